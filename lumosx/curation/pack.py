"""Clip records of the clips that came through: what training reads (`lumosx.records`).

What no picture shows stays as words of the caption: an attribute as its owner's, a background, an object or a person as
nobody's, just as `ClipRecord.scene` leaves them out. A person of whom there is neither a face nor an attribute comes
here only where `faces.least_faces` is 0, which asks for people without faces; a clip with nobody else has no record,
because it would teach nothing about people."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

from PIL import Image

from lumosx.curation.footage import FPS
from lumosx.curation.run import Stages
from lumosx.curation.stage import Look
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.background import CleanBackgrounds
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.choice import Chosen, choose
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.grey import Greyscale
from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.objects import ObjectMasks
from lumosx.curation.stages.scores import Quality
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import CleanBackground, Cutout, Entities, FacePicture, Phrase, Subject
from lumosx.curation.stages.video import ClipVideo
from lumosx.records import ClipRecord, RecordError
from lumosx.scene import Scene
from lumosx.scene.mentions import find_phrase
from lumosx.scene.resolution import inside
from lumosx.scene.text import escape_braces


class NoRecord(Exception):
    """A clip that came through makes no record that can be trained on."""


class WordsDiffer(NoRecord):
    """The record's words do not stand where curation found them."""


@dataclass(frozen=True)
class _Packed:
    """What a record is made of: entities that it states, each with its picture."""

    caption: str
    background: tuple[Phrase, CleanBackground] | None
    objects: list[tuple[Phrase, Cutout]]
    subjects: dict[str, tuple[Subject, FacePicture | None, list[Cutout | None]]]  # by their ids
    numbers: list[int]  # of the key frames

    @property
    def nouns(self) -> dict[str, Phrase]:
        """What the caption calls people, by their ids."""
        return {name: subject.noun for name, (subject, _, _) in self.subjects.items()}

    @property
    def mentions(self) -> list[tuple[str, int | None, Phrase]]:
        """Kind, number of the subject, and words of every entity, in the order of a scene's."""
        found: list[tuple[str, int | None, Phrase]] = []
        if self.background:
            found.append(("background", None, self.background[0]))
        found += [("object", None, phrase) for phrase, _ in self.objects]
        for number, (subject, _, _) in enumerate(self.subjects.values()):
            found.append(("face", number, subject.noun))
            found += [("attribute", number, phrase) for phrase in subject.attributes]
        return found


def record_of(look: Look, stages: Stages, validation: float = 0.0) -> ClipRecord:
    """The record of a clip with the values of all stages.

    Args:
        look: the clip; pictures are chosen by its seed.
        stages: which of a clip's pictures pass is for their thresholds to say.
        validation: share of the videos whose clips are for validation.

    Raises:
        WordsDiffer: the caption cannot be told in a scene so that every word has its owner.
        NoRecord: nobody is left, or the record is none by the rules of records.
        SceneError: nor is there a scene of it.
    """
    kept, clip, chosen = look.of(Technical), look.clip, _chosen(look, stages)
    parts = _packed(look.of(Captioning).text, look.of(Matching), chosen, kept.key_numbers)
    stated = {
        "id": clip.id,
        "video": look.of(ClipVideo).video,
        "caption": tagged(parts.caption, parts.nouns),
        "width": kept.width,
        "height": kept.height,
        "frames": kept.frames,
        "fps": float(FPS),
        "split": "validation" if look.source_random("split").random() < validation else "train",
        "background": _background(parts),
        "objects": _objects(parts),
        "subjects": _subjects(parts),
        "scores": _scores(look) | _certainty(chosen),
        "meta": {"source": clip.source.id, "file": clip.source.name, "start": f"{clip.start}", "end": f"{clip.end}"},
    }
    try:
        record = ClipRecord.from_dict(stated)
    except RecordError as error:
        raise NoRecord(str(error)) from error
    _expect_owners(record, parts)
    return record


def tagged(caption: str, names: Mapping[str, Phrase]) -> str:
    """A caption as a prompt of the scene format: `{man:s1}` where a phrase names somebody, other braces doubled."""
    pieces, done = [], 0
    for name, phrase in sorted(names.items(), key=lambda item: item[1].chars):
        start, stop = phrase.chars
        pieces += [escape_braces(caption[done:start]), f"{{{caption[start:stop]}:{name}}}"]
        done = stop
    return "".join([*pieces, escape_braces(caption[done:])])


def _chosen(look: Look, stages: Stages) -> Chosen:
    def passing(kind: Any) -> Any:
        return stages[kind].passing(look.values[kind])  # pyright: ignore[reportAttributeAccessIssue]

    clean = passing(CleanBackgrounds) if CleanBackgrounds in stages else []
    chance = look.random("pictures")
    return choose(clean, passing(ObjectMasks), passing(FaceGates), passing(AttributeMasks), chance)


def _packed(caption: str, entities: Entities, chosen: Chosen, numbers: list[int]) -> _Packed:
    objects = zip(entities.objects, chosen.objects, strict=True)
    rows = zip(entities.subjects, chosen.faces, chosen.attributes, strict=True)
    people = {f"s{number}": row for number, row in enumerate(rows, start=1) if row[1] or row[0].attributes}
    if not people:
        raise NoRecord("of nobody in this clip there is a face or an attribute")
    place = (entities.background, chosen.background) if entities.background and chosen.background else None
    return _Packed(caption, place, [(phrase, found) for phrase, found in objects if found], people, numbers)


def _background(parts: _Packed) -> dict[str, Any] | None:
    if parts.background is None:
        return None
    phrase, found = parts.background
    return _words(phrase, parts) | {"pictures": [_picture(found, parts) | {"fit": "crop"}]}


def _objects(parts: _Packed) -> list[dict[str, Any]]:
    return [_words(phrase, parts) | {"pictures": [_picture(found, parts)]} for phrase, found in parts.objects]


def _subjects(parts: _Packed) -> list[dict[str, Any]]:
    people = []
    for name, (subject, face, worn) in parts.subjects.items():
        attributes = [
            _words(phrase, parts) | {"pictures": [_picture(found, parts)] if found else []}
            for phrase, found in zip(subject.attributes, worn, strict=True)
        ]
        faces = [_picture(face, parts)] if face else []
        people.append({"id": name, "word": subject.noun.text, "faces": faces, "attributes": attributes})
    return people


def _picture(found: CleanBackground | FacePicture | Cutout, parts: _Packed) -> dict[str, Any]:
    return {"image": found.picture, "frame": parts.numbers[found.key]}


def _words(phrase: Phrase, parts: _Packed) -> dict[str, Any]:
    """A phrase as a record states it: with the number of its occurrence where there are several, of which a scene
    leaves those out that lie inside a longer phrase ("hat" in "red hat").

    Raises:
        WordsDiffer: so does the phrase itself.
    """
    told = [noun.chars for noun in parts.nouns.values()]  # tagged, so a scene takes them nowhere else
    for kind, _, other in parts.mentions:
        told += find_phrase(other.text, parts.caption) if kind != "face" else []
    found = find_phrase(phrase.text, parts.caption)
    places = [place for place in found if not any(inside(place, other) for other in told)]
    if phrase.chars not in places:
        text = f"{phrase.text!r} at character {phrase.chars[0]} lies inside other words, which it leaves out"
        raise WordsDiffer(f"a scene would read {parts.caption!r} in another way: {text}")
    return {"word": phrase.text} | ({"occurrence": places.index(phrase.chars) + 1} if len(places) > 1 else {})


def _scores(look: Look) -> dict[str, float]:
    scores = {"colourfulness": look.of(Greyscale).value, "flow": look.of(Motion).value}
    if Quality in look.values:
        quality = look.of(Quality)
        scores |= {"quality": quality.quality, "aesthetic": quality.aesthetic}
    return scores


def _certainty(chosen: Chosen) -> dict[str, float]:
    """The least score that a detector gave what was chosen; nothing if nothing was detected."""
    found = [*chosen.objects, *chosen.faces, *(part for worn in chosen.attributes for part in worn)]
    scores = [each.score for each in found if each]
    return {"certainty": min(scores)} if scores else {}


def _expect_owners(record: ClipRecord, parts: _Packed) -> None:
    """That a scene of the record finds every word where curation found it and nowhere else, whatever rules it goes
    by."""
    shades = count()  # a scene refuses one face for two people, so each picture is another
    scene = Scene.from_dict(
        record.scene(lambda pictures: Image.new("RGB", (64, 64), (next(shades), 0, 0))), source=record.id
    )
    wanted = [(kind, subject, (phrase.chars,)) for kind, subject, phrase in parts.mentions]
    found = [(entity.kind, entity.subject, entity.spans) for entity in scene.entities]
    if scene.prompt != parts.caption or wanted != found:
        lost = [phrase.text for own, (_, _, phrase) in zip(wanted, parts.mentions, strict=True) if own not in found]
        raise WordsDiffer(f"a scene would read {parts.caption!r} in another way: {', '.join(lost) or scene.prompt!r}")
