"""Footage of the playground in which it is known what is wrong: raw videos for a first run that needs nothing else.

Every fault that curation looks for is planted: cuts, borders, subtitles, grey clips, crowds, nobody, stills, haste,
blur, a copy of a file and one that was encoded again and made smaller, a file that is damaged. The camera shakes as one
does that is held in the hand, because the playground moves less than the filters want.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lumosx.files import atomic, write_json
from lumosx.mp4 import write_mp4
from lumosx.playground import World
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.playground.truth import Truth

FPS = 16
SIZE = (240, 160)
SMALLER = (216, 144)  # of a video that was encoded again
FRAMES = 90  # of a shot: of those between two cuts, whose margins are left out, 81 are wanted
SHAKE = 3  # pixels around the picture in which it moves
SWINGS = (61, 47)  # frames that it takes to and fro, across and down
AWAY = 100.0  # figures: out of the frame
HASTE = 9  # times as fast
TRUTH = "truth.json"
GREY = (0.299, 0.587, 0.114)  # of red, green and blue (BT.601)

Fault = Literal["grey", "subtitles", "crowd", "no-people", "flow-low", "flow-high", "quality"]
"""A shot's own fault, called by the code with which it should be rejected; subtitles are to be cropped away."""


@dataclass(frozen=True)
class Shot:
    """A planted shot: clip number `seed` of the playground with `people` in it, none of whom pass each other."""

    seed: int
    people: int
    fault: Fault | None = None


@dataclass(frozen=True)
class Video:
    """A planted file: its shots, the border around them in pixels (left, top, right, bottom), and what else is done.

    copy_of: an earlier file: nothing but its bytes, the first half of them, or its shots at another compression.
    """

    name: str
    shots: tuple[Shot, ...] = ()
    border: tuple[int, int, int, int] = (0, 0, 0, 0)
    copy_of: str | None = None
    made: Literal["new", "copied", "damaged", "encoded again"] = "new"


VIDEOS = (
    Video("holiday.mp4", (Shot(1, 2), Shot(2, 1), Shot(4, 2), Shot(5, 3))),
    Video("cinema.mp4", (Shot(6, 2), Shot(8, 1), Shot(17, 3)), border=(0, 24, 0, 24)),
    Video("phone.mp4", (Shot(7, 2), Shot(14, 2, "subtitles"), Shot(18, 1)), border=(32, 0, 32, 0)),
    Video("archive.mp4", (Shot(9, 2, "grey"), Shot(10, 1, "flow-low"), Shot(16, 2, "quality"), Shot(19, 1, "grey"))),
    Video("party.mp4", (Shot(12, 4, "crowd"), Shot(37, 1, "no-people"), Shot(22, 2), Shot(21, 4, "crowd"))),
    Video("chase.mp4", (Shot(25, 2, "flow-high"), Shot(26, 2), Shot(27, 1, "flow-high"), Shot(28, 2, "quality"))),
    Video("lecture.mp4", (Shot(29, 1, "subtitles"), Shot(30, 3), Shot(31, 2, "flow-low"), Shot(52, 1, "no-people"))),
    Video("street.mp4", (Shot(33, 2), Shot(34, 2), Shot(35, 3))),
    Video("holiday copy.mp4", copy_of="holiday.mp4", made="copied"),
    Video("holiday again.mp4", (Shot(1, 2), Shot(4, 2)), copy_of="holiday.mp4", made="encoded again"),
    Video("broken.mp4", copy_of="holiday.mp4", made="damaged"),
)


@dataclass(frozen=True)
class Planted:
    """What is true of a shot: where it is, what is wrong, and everything about the scene.

    start, end: in seconds. crop: the picture without borders, in pixels of the file. again: whether the same is in an
    earlier file.
    """

    video: str
    start: float
    end: float
    fault: str | None
    crop: tuple[int, int, int, int]
    again: bool
    truth: Truth = field(repr=False)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Planted":
        """Of what `asdict` gives, also after JSON."""
        return cls(**data | {"crop": tuple(data["crop"]), "truth": Truth.from_dict(data["truth"])})


def write_footage(folder: Path, videos: Sequence[Video] = VIDEOS) -> list[Planted]:
    """Writes the videos and their truth into a folder, which appears when all is there; the same footage gives the same
    bytes."""
    planted: list[Planted] = []
    with atomic(folder) as temporary:
        temporary.mkdir()
        for video in videos:
            _write(video, temporary)
            planted += _planted(video)
        write_json([asdict(each) for each in planted], temporary / TRUTH)
    return planted


def read_truth(folder: Path) -> list[Planted]:
    """What `write_footage` planted in a folder."""
    return [Planted.from_dict(each) for each in json.loads((folder / TRUTH).read_text(encoding="utf-8"))]


def _write(video: Video, folder: Path) -> None:
    path = folder / video.name
    if video.made == "copied":
        shutil.copyfile(folder / str(video.copy_of), path)
    elif video.made == "damaged":
        whole = (folder / str(video.copy_of)).read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    else:
        left, top, right, bottom = video.border
        frames = np.concatenate([_drawn(shot) for shot in video.shots])
        if video.made == "encoded again":
            frames = np.stack([np.asarray(Image.fromarray(frame).resize(SMALLER)) for frame in frames])
        framed = np.pad(frames, ((0, 0), (top, bottom), (left, right), (0, 0)))
        write_mp4(framed, path, FPS, {"crf": "30" if video.made == "encoded again" else "16"})


def _planted(video: Video) -> list[Planted]:
    left, top, _, _ = video.border
    width, height = SMALLER if video.made == "encoded again" else SIZE
    crop, seconds = (left, top, left + width, top + height), FRAMES / FPS
    return [
        Planted(
            video.name, number * seconds, (number + 1) * seconds, shot.fault, crop, bool(video.copy_of), _truth(shot)
        )
        for number, shot in enumerate(video.shots)
    ]


def _truth(shot: Shot) -> Truth:
    size = SIZE[0] + 2 * SHAKE, SIZE[1] + 2 * SHAKE
    return sample_truth(shot.seed, "footage", size, FRAMES, Wishes(subjects=shot.people, background=True))


def _drawn(shot: Shot) -> np.ndarray:
    """The shot's frames, uint8 [F, H, W, 3], with its fault."""
    truth = _truth(shot)
    if shot.fault == "no-people":
        left = truth.with_subjects([replace(subject, shift=AWAY) for subject in truth.subjects])
        return _shaken(World(truth.size, FRAMES).draw([left]).frames(0))
    frames = _shaken(World(truth.size, FRAMES).draw([truth]).frames(0), HASTE if shot.fault == "flow-high" else 1)
    if shot.fault == "flow-low":
        return np.repeat(frames[:1], FRAMES, axis=0)
    if shot.fault == "grey":
        return np.repeat((frames @ np.array(GREY)).round().astype(np.uint8)[..., None], 3, axis=3)
    if shot.fault == "quality":
        return np.stack([np.asarray(Image.fromarray(frame).filter(ImageFilter.GaussianBlur(4))) for frame in frames])
    if shot.fault == "subtitles":
        return np.stack([_subtitled(frame, number) for number, frame in enumerate(frames)])
    return frames


def _shaken(frames: np.ndarray, haste: float = 1) -> np.ndarray:
    """The part of every frame that a hand shows that is not still."""
    turns = 2 * np.pi * haste * np.arange(len(frames))[:, None] / np.array(SWINGS)
    offsets = (SHAKE * (1 + np.sin(turns))).round().astype(int)
    return np.stack([f[y : y + SIZE[1], x : x + SIZE[0]] for f, (x, y) in zip(frames, offsets, strict=True)])


def _subtitled(frame: np.ndarray, number: int) -> np.ndarray:
    """Two lines of subtitles after one another at the lower edge."""
    image = Image.fromarray(frame)
    text = ("I told you so.", "And you never listened!")[number >= FRAMES // 2]
    font = ImageFont.load_default(size=12)
    draw = ImageDraw.Draw(image)
    place = (SIZE[0] - draw.textlength(text, font=font)) / 2, SIZE[1] - 18
    draw.text(place, text, fill="white", font=font, stroke_width=1, stroke_fill="black")
    return np.asarray(image)
