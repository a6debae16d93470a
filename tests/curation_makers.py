"""A data set of curation with eleven clips of one video, of which four are packed, made without any model."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from lumosx.curation.blobs import Blobs
from lumosx.curation.report import ReportInput
from lumosx.curation.run import Kind, Standing
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Failed, Rejected
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.shots import ShotSplit
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import (
    Attributes,
    Caption,
    Cutout,
    Entities,
    FacePicture,
    Faces,
    FlowStrength,
    Kept,
    People,
    Phrase,
    Seen,
    Shots,
    Subject,
    VideoFile,
)
from lumosx.curation.stages.video import ClipVideo
from lumosx.mp4 import write_mp4
from lumosx.records import ClipRecord, Model

CAPTION = "A man in a red hat and a woman in a blue coat stand by a boat on a beach."
PROMPT = "A {man:ann} in a red hat and a {woman:eve} in a blue coat stand by a boat on a beach."
ALONE = "A {man:ann} in a red hat </script><script>document.title = 'run'</script>"
HEIGHT, WIDTH = 48, 64
KEYS = [4, 40, 76]


KINDS: tuple[Kind, ...] = (
    ShotSplit, Technical, Motion, PeopleCount, Captioning, Matching, FaceGates, AttributeMasks, ClipVideo
)  # fmt: skip
UNASKED = SimpleNamespace(same_person=0.6)  # in the place of every model
LOW = Rejected("flow-low", "too little moves", 0.01, 0.05)


def make_dataset(root: Path) -> ReportInput:
    """Clips 0 to 3 are packed (0: one person with markup in the caption, 1 to 3: two people), 4 and 5 move too little,
    6 too much, 7 was not measured further than flow, 8's caption failed, 9 names nobody, 10 is not packed yet."""
    path = root / "videos" / "day.mp4"
    path.parent.mkdir(parents=True)
    frames = np.full((90, HEIGHT, WIDTH, 3), 90, np.uint8)
    frames[:, 8:40, 8:24] = np.arange(0, 180, 2, dtype=np.uint8)[:, None, None, None]
    write_mp4(frames, path, 16, {})
    source, broken = Source("a" * 16, path, "day.mp4"), Source("b" * 16, root / "videos" / "cut.mp4", "cut.mp4")
    clips = [Clip(source, round(number * 0.01, 2), 5.5) for number in range(11)]
    values = _values(Blobs(root), path.read_bytes())
    ends: Mapping[int, tuple[Kind, Any]] = {
        4: (Motion, LOW),
        5: (Motion, LOW),
        6: (Motion, Rejected("flow-high", "too much moves", 7.5, 2.0)),
        7: (PeopleCount, None),
        8: (Captioning, Failed("ServerError", f"no answer about {path} <b>", True)),
        9: (Matching, Rejected("no-subjects", "the caption names nobody")),
    }
    standings = [_standing(clip, values, *ends.get(number, (None, None))) for number, clip in enumerate(clips)]
    for number, flow in {4: 0.01, 5: 0.01, 6: 7.5}.items():
        standings[number].values[Motion] = FlowStrength(value=flow, pairs=[flow])
    records = {clip.id: _record(clip.id, number, values) for number, clip in enumerate(clips[:4])}
    shots = Shots(width=WIDTH, height=HEIGHT, fps=16.0, seconds=5.6, clips=[(clip.start, clip.end) for clip in clips])
    failed = Failed("InputError", f"{broken.path}: ends too early")
    sources = [Standing(source, {ShotSplit: shots}), Standing(broken, stopped=(ShotSplit, failed))]
    card = {"models": {}, "seed": 0, "profile": "offline"}
    stages = {kind: kind(**dict.fromkeys(_models(kind), UNASKED)) for kind in KINDS}
    return ReportInput("sea", root, stages, sources, standings, records, copies={"again.mp4": "day.mp4"}, card=card)


def _models(kind: Kind) -> list[str]:
    return [each.name for each in fields(kind) if each.metadata.get("use") == "model"]


def _standing(clip: Clip, values: Mapping[Kind, Model], end: Kind | None, why: Any) -> Standing:
    """Through all stages, or up to `end`, where it waits or was stopped."""
    standing = Standing(clip)
    for kind in KINDS[1:]:
        if kind is end:
            standing.waits, standing.stopped = (None, (kind, why)) if why else (kind, None)
            break
        standing.values[kind] = values[kind]
    return standing


def _values(blobs: Blobs, video: bytes) -> dict[Kind, Model]:
    """What every stage says of a clip with two people."""
    pictures = [blobs.put_picture(np.full((HEIGHT, WIDTH, 3), 60 + 50 * key, np.uint8)) for key in range(3)]
    left, right = Seen(box=(4.0, 4.0, 28.0, 46.0), score=0.9), Seen(box=(34.0, 4.0, 60.0, 46.0), score=0.8)

    def phrase(text: str) -> Phrase:
        start = CAPTION.index(text)
        return Phrase(text=text, chars=(start, start + len(text)))

    def face(person: int, key: int) -> FacePicture:
        picture = blobs.put_picture(np.full((12, 12, 3), (200, 40 + 90 * person, 20 * key), np.uint8))
        return FacePicture(
            key=key, person=person, box=(8.0, 6.0, 18.0, 18.0), score=0.99, sharpness=0.7, turned=0.1, likeness=0.9,
            picture=picture,
        )  # fmt: skip

    def cutout(shade: int) -> Cutout:
        picture = np.zeros((16, 16, 4), np.uint8)
        picture[4:12, 4:12] = (shade, 30, 30, 255)
        mask = blobs.put_picture(np.zeros((HEIGHT, WIDTH, 3), np.uint8))
        return Cutout(
            key=1, box=(4.0, 20.0, 20.0, 36.0), score=0.6, area=0.02, picture=blobs.put_picture(picture), mask=mask
        )

    people = [
        Subject(box=0, noun=phrase("man"), attributes=[phrase("red hat")]),
        Subject(box=1, noun=phrase("woman"), attributes=[phrase("blue coat")]),
    ]
    return {
        Technical: Kept(width=WIDTH, height=HEIGHT, frames=88, stored_fps=25.0, key_numbers=KEYS, key_frames=pictures),
        Motion: FlowStrength(value=0.5, pairs=[0.5]),
        PeopleCount: People(frames=[[left, right]] * 3),
        Captioning: Caption(text=CAPTION),
        Matching: Entities(
            shown=1, people=2, subjects=people, objects=[phrase("boat")], background=phrase("beach"), repaired=False
        ),
        FaceGates: Faces(subjects=[[face(0, 0), face(0, 1)], [face(1, 1)]]),
        AttributeMasks: Attributes(subjects=[[[cutout(220)]], [[cutout(20)]]]),
        ClipVideo: VideoFile(video=blobs.put(video, ".mp4")),
    }


def _record(clip: str, number: int, values: Mapping[Kind, Model]) -> ClipRecord:
    """As packing writes it: one picture an entity. Clip 0 has one person alone."""
    faces, worn, kept = values[FaceGates], values[AttributeMasks], values[Technical]
    video = values[ClipVideo]
    assert isinstance(faces, Faces) and isinstance(worn, Attributes)
    assert isinstance(kept, Kept) and isinstance(video, VideoFile)

    def person(place: int, name: str, noun: str, worn_word: str) -> dict[str, Any]:
        hat = worn.subjects[place][0][0]
        face = faces.subjects[place][0]
        return {
            "id": name, "word": noun, "faces": [{"image": face.picture, "frame": KEYS[face.key]}],
            "attributes": [{"word": worn_word, "pictures": [{"image": hat.picture, "frame": KEYS[hat.key]}]}],
        }  # fmt: skip

    subjects = [person(0, "ann", "man", "red hat"), person(1, "eve", "woman", "blue coat")]
    sizes = {"width": WIDTH, "height": HEIGHT, "frames": 88, "fps": 16.0}
    record = {"id": clip, "video": video.video, "caption": ALONE, **sizes, "subjects": subjects[:1]}
    if number:
        objects = [{"word": "boat", "pictures": [{"image": kept.key_frames[0], "frame": 4, "crop": [0, 0, 32, 32]}]}]
        background = {"word": "beach", "pictures": [{"image": kept.key_frames[2]}]}
        record |= {"caption": PROMPT, "subjects": subjects, "objects": objects, "background": background}
    return ClipRecord.from_dict(record)
