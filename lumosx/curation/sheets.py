"""Contact sheets: all that a page shows of one clip, with pictures inside.

Of a packed clip it is what training gets: words where the scene of its record finds them, and the chosen pictures. Of
one that was dropped it is as much as stages found of it.
"""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lumosx.curation import marks
from lumosx.curation.blobs import Blobs
from lumosx.curation.footage import Span
from lumosx.curation.report import numbers
from lumosx.curation.review import placed
from lumosx.curation.run import Standing
from lumosx.curation.sources import Clip
from lumosx.curation.stages.values import (
    Attributes,
    Background,
    Caption,
    Cutout,
    Entities,
    Faces,
    Kept,
    Objects,
    People,
    Phrase,
)
from lumosx.errors import InputError
from lumosx.pages import THUMBNAIL, picture_uri
from lumosx.records import ClipRecord, Model, Part, Picture
from lumosx.scene import Scene
from lumosx.scene.palette import BACKGROUND_COLOUR, OBJECT_COLOUR, ink_on

SIDE = 384  # pixels of a key frame's longer side
Box = tuple[int, int, int, int]
Words = tuple[int, int, str, str]  # from, up to, colour, whose
Origins = dict[str, list[tuple[str, int]]]


@dataclass(frozen=True)
class Shot:
    """A picture as a data URI, and what is said of it; without a picture `uri` is empty."""

    uri: str
    note: str


@dataclass(frozen=True)
class Thing:
    """An attribute, an object or a background. `owner` and `number` are where a record had an attribute at first."""

    words: str
    shots: list[Shot]
    owner: str = ""
    number: int = 0


@dataclass(frozen=True)
class Somebody:
    """A person: the number and colour of the box in the frame that the tagger saw."""

    number: int
    id: str
    noun: str
    faces: list[Shot]
    attributes: list[Thing]

    @property
    def colour(self) -> str:
        return marks.colour(self.number)

    @property
    def ink(self) -> str:
        return ink_on(self.colour)


@dataclass(frozen=True)
class Piece:
    """Text of a caption, coloured if it names something."""

    text: str
    colour: str = ""
    whose: str = ""

    @property
    def ink(self) -> str:
        return ink_on(self.colour)


@dataclass(frozen=True)
class Sheet:
    """What a page shows of a clip."""

    id: str
    source: str
    frames: list[Shot]
    numbers: list[tuple[str, str]]
    caption: list[Piece]
    people: list[Somebody]
    objects: list[Thing]
    backgrounds: list[Thing]


def found_sheet(standing: Standing, root: Path) -> Sheet:
    """Of a clip that is not packed: what the stages found. `root` is the data set's folder."""
    caption, entities = standing.value(Caption), standing.value(Entities)
    spans, people, objects, backgrounds = list[Words](), list[Somebody](), list[Thing](), list[Thing]()
    if entities:
        faces, worn = standing.value(Faces), standing.value(Attributes)
        things, clean = standing.value(Objects), standing.value(Background)
        for place, subject in enumerate(entities.subjects):
            who, number = f"person {subject.box + 1}", subject.box + 1
            spans += [_words(phrase, marks.colour(number), who) for phrase in [subject.noun, *subject.attributes]]
            own = faces.subjects[place] if faces else []
            shots = [_blob(root, face.picture, f"{_frame_name(face.key)}: {_measures(face)}") for face in own]
            attributes = [
                Thing(phrase.text, _cutouts(root, worn.subjects[place][nth] if worn else []))
                for nth, phrase in enumerate(subject.attributes)
            ]
            people.append(Somebody(number, who, subject.noun.text, shots, attributes))
        for nth, phrase in enumerate(entities.objects):
            spans.append(_words(phrase, OBJECT_COLOUR, "object"))
            objects.append(Thing(phrase.text, _cutouts(root, things.objects[nth] if things else [])))
        if entities.background:
            spans.append(_words(entities.background, BACKGROUND_COLOUR, "background"))
            shots = [_blob(root, each.picture, _frame_name(each.key)) for each in clean.frames] if clean else []
            backgrounds.append(Thing(entities.background.text, shots))
    return Sheet(
        standing.record.id, standing.record.called, _frames(standing, root), numbers(standing),
        pieces(caption.text if caption else "", spans), people, objects, backgrounds,
    )  # fmt: skip


def record_sheet(standing: Standing, record: ClipRecord, root: Path, origins: Origins | None = None) -> Sheet:
    """Of a packed clip: what training gets of it.

    Args:
        standing: how the clip came through the stages.
        record: as packing, or a review, leaves it. Its people are in the order of `Entities.subjects`.
        root: the data set's folder.
        origins: of `review.placed`, where the record's attributes were before a review.

    Raises:
        SceneError: the record's words cannot be bound.
    """
    scene = Scene.from_dict(record.scene(lambda pictures: _stand_in(record, pictures)), source=record.id)
    entities, origins = standing.value(Entities), origins or placed(record, [])
    alike = entities is not None and len(entities.subjects) == len(record.subjects)
    boxes = [s.box + 1 for s in entities.subjects] if alike and entities else range(1, len(record.subjects) + 1)
    people = [
        Somebody(
            number, person.id, _text(person.word), _pictures(root, person.faces),
            [Thing(_text(part.word), _pictures(root, part.pictures), *origin)
             for part, origin in zip(person.attributes, origins[person.id], strict=True)],
        )
        for number, person in zip(boxes, record.subjects, strict=True)
    ]  # fmt: skip
    spans = []
    for entity in scene.entities:
        number = None if entity.subject is None else people[entity.subject].number
        grey = BACKGROUND_COLOUR if entity.kind == "background" else OBJECT_COLOUR
        colour, whose = (grey, entity.kind) if number is None else (marks.colour(number), f"person {number}")
        spans += [(*span, colour, whose) for span in entity.spans]
    return Sheet(
        record.id, standing.record.called, _frames(standing, root), numbers(standing), pieces(scene.prompt, spans),
        people, _things(root, record.objects), _things(root, [record.background] if record.background else []),
    )  # fmt: skip


def pieces(text: str, spans: Iterable[Words]) -> list[Piece]:
    """A text cut into coloured and plain pieces; where words lie inside of others, the inner ones' colour."""
    spans = sorted(spans, key=lambda span: span[1] - span[0])  # the shortest is the innermost
    edges = sorted({0, len(text), *(edge for span in spans for edge in span[:2])})
    made = []
    for start, stop in itertools.pairwise(edges):
        inner = next((span for span in spans if span[0] <= start and stop <= span[1]), None)
        made.append(Piece(text[start:stop], *inner[2:]) if inner else Piece(text[start:stop]))
    return made


def _frames(standing: Standing, root: Path) -> list[Shot]:
    """The key frames, with the people in them if they were looked for; of the source where none were kept."""
    kept, people, entities = standing.value(Kept), standing.value(People), standing.value(Entities)
    if kept is None:
        return _source_frames(standing)
    shots = []
    for key, name in enumerate(kept.key_frames):
        note = f"frame {kept.key_numbers[key]}"
        try:
            picture = Blobs(root).picture(name)
        except OSError as error:
            shots.append(Shot("", f"{note} cannot be shown: {error}"))
            continue
        boxes = [seen.box for seen in people.frames[key]] if people else []
        if entities and key == entities.shown:
            picture, note = marks.draw(picture, boxes), f"{note}, as the tagger saw it"
        else:
            picture = _outlined(picture, boxes, _known(standing, entities, key))
        shots.append(Shot(picture_uri(Image.fromarray(picture), SIDE), note))
    return shots


def _source_frames(standing: Standing) -> list[Shot]:
    clip = standing.record
    assert isinstance(clip, Clip)
    span = Span.of_clip(clip)
    try:
        read = span.read(span.key_numbers, side=SIDE // 2)
    except (InputError, OSError) as error:
        return [Shot("", f"cannot be shown: {error}")]
    return [
        Shot(picture_uri(Image.fromarray(picture), SIDE), f"frame {number} of the source")
        for number, picture in zip(span.key_numbers, read, strict=True)
    ]


def _known(standing: Standing, entities: Entities | None, key: int) -> dict[int, int]:
    """Of the boxes of a key frame, by place, the numbers of people whose faces were recognised in it."""
    faces = standing.value(Faces)
    if not entities or not faces:
        return {}
    own = zip(entities.subjects, faces.subjects, strict=True)
    return {face.person: subject.box + 1 for subject, found in own for face in found if face.key == key}


def _outlined(picture: np.ndarray, boxes: Sequence[marks.Box], known: dict[int, int]) -> np.ndarray:
    """Boxes in their people's colours, in grey where nobody was recognised: the tagger saw none of these numbers."""
    image = Image.fromarray(picture)
    for place, box in enumerate(boxes):
        colour = marks.colour(known[place]) if place in known else OBJECT_COLOUR
        ImageDraw.Draw(image).rectangle(box, outline=colour, width=max(2, round(min(image.size) * marks.LINE)))
    return np.asarray(image)


def _words(phrase: Phrase, colour: str, whose: str) -> Words:
    return (*phrase.chars, colour, whose)


def _cutouts(root: Path, candidates: Iterable[Cutout]) -> list[Shot]:
    return [_blob(root, each.picture, f"{_frame_name(each.key)}: {_measures(each)}") for each in candidates]


def _measures(value: Model) -> str:
    """The numbers of a picture that are shares or scores."""
    found = {name: value for name, value in value.model_dump().items() if isinstance(value, float)}
    return ", ".join(f"{name} {value:.3g}" for name, value in found.items())


def _frame_name(key: int) -> str:
    return f"key frame {key + 1}"


def _things(root: Path, parts: Iterable[Part]) -> list[Thing]:
    return [Thing(_text(part.word), _pictures(root, part.pictures)) for part in parts]


def _pictures(root: Path, pictures: Iterable[Picture]) -> list[Shot]:
    return [
        _blob(root, picture.image, "" if picture.frame is None else f"frame {picture.frame}", picture.crop)
        for picture in pictures
    ]


def _text(word: str | list[str] | None) -> str:
    return "" if word is None else word if isinstance(word, str) else ", ".join(word)


def _blob(root: Path, name: str, note: str, crop: Box | None = None) -> Shot:
    try:
        return Shot(_blob_uri(root, name, crop), note)
    except OSError as error:
        return Shot("", f"cannot be shown: {error}")


@lru_cache(maxsize=512)
def _blob_uri(root: Path, name: str, crop: Box | None) -> str:
    """Cached, because a reviewer's page is made anew at every move."""
    with Image.open(root / name) as image:
        return picture_uri(image.crop(crop) if crop else image, THUMBNAIL)


def _stand_in(record: ClipRecord, pictures: Sequence[Picture]) -> Image.Image:
    """A pixel in the place of an entity's picture, whose words alone are bound; each of its own colour, so that none
    is taken for another."""
    number = [picture.image for picture in record.pictures()].index(pictures[0].image)
    return Image.new("RGB", (1, 1), (number % 256, number // 256, 0))
