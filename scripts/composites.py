"""Pictures of people whose faces, clothes and places are known, and faults that are planted in them.

Photographs of heads on drawn garments: they prove the logic of the benchmark's metrics, and that real face embeddings
carry it. They say nothing about real clothing. Needs a checkout: the heads lie in tests/data/faces.

Lengths are in sides of the face's square, as dlib's detector draws it: from the middle of the forehead to the chin.
A person has the proportions of an adult who stands: shoulders 1.3 under the forehead, the waist 3.8, and the picture
ends at the knees.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter

from lumosx.vision import Box

FACES = ("astronaut", "obama", "biden")
RGB = tuple[int, int, int]
SIDES = 7.0  # of a face in the height of a frame, as many as in a body of `lumosx.evaluation.evidence`
HEAD = (0.35, 0.5, 1.7, 1.85)  # a head's picture: the face's left and top in it, its width and height

# Left, top, right, bottom of what a person wears, seen from the middle of the face's upper edge.
PARTS = {
    "hat": (-0.55, -0.9, 0.55, -0.1),
    "top": (-1.1, 1.1, 1.1, 3.8),
    "trousers": (-0.85, 3.8, 0.85, 6.0),
    "face": (-0.5, 0.0, 0.5, 1.0),
    "body": (-1.5, -1.0, 1.5, 6.0),
}
# The right half of each garment's outline, from its upper to its lower end.
OUTLINES = {
    "hat": [(0.42, -0.9), (0.48, -0.84), (0.48, -0.3), (0.55, -0.26), (0.55, -0.1)],
    "top": [(0.3, 1.1), (0.85, 1.35), (1.0, 1.6), (1.1, 3.3), (0.88, 3.3), (0.76, 2.2), (0.74, 3.8)],
    "trousers": [(0.74, 3.8), (0.85, 6.0), (0.1, 6.0), (0.02, 4.7)],
}  # fmt: skip
CLOTHES = ("trousers", "top", "hat")  # in the order in which they are put on
SWATCH = 96  # pixels of a reference picture's side
FINE = 4  # samples of an outline in each direction of a pixel


@dataclass(frozen=True)
class Person:
    """Whose face, the colours worn (None: none), and where the middle of the face is, as a share of the width."""

    face: str
    top: RGB
    trousers: RGB | None = None
    hat: RGB | None = None
    x: float = 0.5

    @property
    def worn(self) -> dict[str, RGB]:
        """The colours of the garments that the person wears."""
        return {part: colour for part in CLOTHES if (colour := getattr(self, part)) is not None}

    def box(self, part: str, width: int, height: int) -> Box:
        """Where a part is (`PARTS`), in pixels of a frame, or would be."""
        side = height / SIDES
        left, top, right, bottom = (side * v for v in PARTS[part])
        return self.x * width + left, side + top, self.x * width + right, side + bottom


@dataclass(frozen=True)
class Scene:
    """What a clip is drawn of: figures from left to right, and what the case asks for, a figure for each subject.

    spare: a colour of a top that nobody should wear.
    """

    asked: tuple[Person, ...]
    drawn: tuple[Person, ...]
    spare: RGB

    @classmethod
    def of(cls, faces: Sequence[str], tops: Sequence[RGB], trousers: Sequence[RGB], hat: RGB) -> "Scene":
        """Everybody wears a top and trousers, the first one a hat; the last of `tops` is to spare."""
        *worn, spare = tops
        first, *others = (Person(*of_one) for of_one in zip(faces, worn, trousers, strict=True))
        asked = (replace(first, hat=hat), *others)
        return cls(asked, (), spare).standing(asked)

    def dressed(self, index: int, **worn: RGB | None) -> "Scene":
        """The same with one figure dressed differently."""
        drawn = list(self.drawn)
        drawn[index] = replace(drawn[index], **worn)
        return replace(self, drawn=tuple(drawn))

    def standing(self, drawn: Sequence[Person]) -> "Scene":
        """The same with other figures, side by side."""
        places = (np.arange(len(drawn)) + 0.5) / len(drawn)
        return replace(self, drawn=tuple(replace(p, x=float(x)) for p, x in zip(drawn, places, strict=True)))


def _tops(scene: Scene, *tops: RGB) -> Scene:
    for index, top in enumerate(tops):
        scene = scene.dressed(index, top=top)
    return scene


FAULTS: Mapping[str, Callable[[Scene], Scene]] = {
    "correct": lambda s: s,
    "people reordered": lambda s: s.standing(s.drawn[::-1]),
    "tops exchanged": lambda s: _tops(s, s.asked[1].top, s.asked[0].top),
    "tops go round": lambda s: _tops(s, *(person.top for person in (*s.asked[1:], s.asked[0]))),
    "hat on the wrong one": lambda s: s.dressed(0, hat=None).dressed(1, hat=s.asked[0].hat),
    "top on the wrong one": lambda s: _tops(s, s.spare, s.asked[0].top),
    "hat on two": lambda s: s.dressed(1, hat=s.asked[0].hat),
    "top on two": lambda s: _tops(s, s.asked[0].top, s.asked[0].top),
    "top unlike": lambda s: s.dressed(0, top=s.spare),
    "hat left out": lambda s: s.dressed(0, hat=None),
    "person missing": lambda s: s.standing(s.drawn[:-1]),
    "person twice": lambda s: s.standing([*s.drawn, s.drawn[0]]),
    "person in another's place": lambda s: s.standing([*s.drawn[:-1], replace(s.drawn[-1], face=s.drawn[0].face)]),
    "a stranger": lambda s: s.standing([*s.drawn, _stranger(s)]),
    "a stranger with a top": lambda s: s.standing([*s.drawn, replace(_stranger(s), top=s.asked[0].top)]),
}
"""What is done to a clip that is right."""


def _stranger(scene: Scene) -> Person:
    face = next(name for name in FACES if name not in [person.face for person in scene.asked])
    return Person(face, scene.spare, scene.spare)


@lru_cache
def face_picture(name: str) -> np.ndarray:
    """The head of one of `FACES`: uint8 [H, W, 3], RGB, about 200 pixels wide."""
    path = Path(__file__).parents[1] / "tests" / "data" / "faces" / f"{name}.jpg"
    return np.asarray(Image.open(path).convert("RGB"))


def swatch(part: str, colour: RGB) -> np.ndarray:
    """The reference picture of a garment: uint8 [96, 96, 3], in the middle of a white square."""
    left, top, right, bottom = PARTS[part]
    width, height = right - left, bottom - top
    side = 0.85 * SWATCH / max(width, height)
    picture = np.full((SWATCH, SWATCH, 3), 255, np.uint8)
    corner = (round((SWATCH - side * width) / 2), round((SWATCH - side * height) / 2))
    _paste(picture, corner, *_garment(part, colour, side))
    return picture


def composite(
    people: Sequence[Person], width: int = 640, height: int = 360, background: RGB = (110, 120, 105)
) -> np.ndarray:
    """A frame [height, width, 3] of people who stand side by side before a textured wall.

    The same arguments make the same frame. Who comes later in `people` stands before the others.
    """
    frame = _textured(background, width, height, 0, 6).copy()
    for person in people:
        _paste_head(frame, person.box("face", width, height), face_picture(person.face))
        for part, colour in person.worn.items():
            left, top, *_ = person.box(part, width, height)
            _paste(frame, (round(left), round(top)), *_garment(part, colour, height / SIDES))
    return frame


def clip_of(frame_at: Callable[[float], np.ndarray], count: int = 8) -> np.ndarray:
    """Frames [count, H, W, 3] of a scene that is drawn at a time from 0 to 1."""
    return np.stack([frame_at(time) for time in np.linspace(0, 1, count)])


def swayed(people: Sequence[Person], phases: np.ndarray, time: float) -> list[Person]:
    """Where people are at a time from 0 to 1, each swaying once around the own place, in step with a phase."""
    shifts = 0.02 * np.sin(2 * np.pi * (time + phases))
    return [replace(person, x=person.x + float(shift)) for person, shift in zip(people, shifts, strict=True)]


@lru_cache
def _garment(part: str, colour: RGB, side: float) -> tuple[np.ndarray, np.ndarray]:
    """Its cloth [H, W, 3] and opacity [H, W, 1]; `side`: of a face, in pixels."""
    left, top, right, bottom = PARTS[part]
    width, height = round(side * (right - left)), round(side * (bottom - top))
    half = OUTLINES[part]
    outline = [*half, *((-x, y) for x, y in reversed(half))]
    fine = Image.new("L", (FINE * width, FINE * height))
    ImageDraw.Draw(fine).polygon([(FINE * side * (x - left), FINE * side * (y - top)) for x, y in outline], fill=255)
    opacity = np.asarray(fine.resize((width, height), Image.Resampling.BOX))[..., None] / 255
    return _textured(colour, width, height, 1 + CLOTHES.index(part), 5), opacity


@lru_cache
def _textured(colour: RGB, width: int, height: int, seed: int, contrast: float) -> np.ndarray:
    """A plain colour under smooth noise that changes its lightness."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 2)
    return np.clip(np.array(colour) + contrast * (noise / noise.std())[..., None], 0, 255).astype(np.uint8)


def _paste_head(frame: np.ndarray, box: Box, picture: np.ndarray) -> None:
    """Blends a head in, so that its face fills the box; an oval leaves out the wall that it was photographed before."""
    side = box[2] - box[0]
    left, top, width, height = (side * v for v in HEAD)
    head = np.asarray(Image.fromarray(picture).resize((round(width), round(height)), Image.Resampling.LANCZOS))
    y, x = np.ogrid[: head.shape[0], : head.shape[1]]
    radius = ((x / width - 0.5) / 0.42) ** 2 + ((y / height - 0.48) / 0.42) ** 2
    _paste(frame, (round(box[0] - left), round(box[1] - top)), head, np.clip((1.1 - radius) / 0.2, 0, 1)[..., None])


def _paste(frame: np.ndarray, corner: tuple[int, int], picture: np.ndarray, opacity: np.ndarray) -> None:
    """Blends a picture in with its upper left corner at (x, y), where it is in the frame."""
    x0, y0 = corner
    crop = np.s_[max(0, -y0) : max(0, frame.shape[0] - y0), max(0, -x0) : max(0, frame.shape[1] - x0)]
    picture, opacity = picture[crop], opacity[crop]
    y0, x0 = max(0, y0), max(0, x0)
    part = frame[y0 : y0 + picture.shape[0], x0 : x0 + picture.shape[1]]
    part[:] = np.round(opacity * picture + (1 - opacity) * part)
