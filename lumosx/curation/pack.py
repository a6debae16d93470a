"""Clip records of the clips that came through: what training reads (`lumosx.records`)."""

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
from lumosx.curation.stages.values import Caption, Cutout, Entities, FacePicture, Phrase
from lumosx.curation.stages.video import ClipVideo
from lumosx.records import ClipRecord, Part, Person, Picture, Thing
from lumosx.scene import Scene
from lumosx.scene.mentions import find_phrase
from lumosx.scene.text import escape_braces


class WordsDiffer(Exception):
    """The record's words do not stand where curation found them."""


@dataclass(frozen=True)
class _Packed:
    """What a record is made of."""

    caption: str
    entities: Entities
    chosen: Chosen
    numbers: list[int]  # of the key frames

    @property
    def phrases(self) -> list[str]:
        """All that is searched in the caption."""
        entities = self.entities
        told = [*entities.objects, *([entities.background] if entities.background else [])]
        told += [phrase for subject in entities.subjects for phrase in (subject.noun, *subject.attributes)]
        return [phrase.text for phrase in told]


def record_of(look: Look, stages: Stages, validation: float = 0.0) -> ClipRecord:
    """The record of a clip with the values of all stages.

    Args:
        look: the clip; pictures are chosen by its seed.
        stages: which of a clip's pictures pass is for their thresholds to say.
        validation: share of the videos whose clips are for validation.

    Raises:
        WordsDiffer: the caption cannot be told in a scene so that every word has its owner.
    """
    kept, caption, entities = look.of(Technical), look.of(Captioning), look.of(Matching)
    parts = _Packed(caption.text, entities, _chosen(look, stages), kept.key_numbers)
    clip = look.clip
    record = ClipRecord(
        id=clip.id,
        video=look.of(ClipVideo).video,
        caption=tagged(caption.text, {f"s{n}": s.noun for n, s in enumerate(entities.subjects, start=1)}),
        width=kept.width,
        height=kept.height,
        frames=kept.frames,
        fps=float(FPS),
        split="validation" if look.source_random("split").random() < validation else "train",
        background=_background(parts),
        objects=_objects(parts),
        subjects=_subjects(parts),
        scores=_scores(look) | _certainty(parts.chosen),
        meta={"source": clip.source.id, "file": clip.source.name, "start": f"{clip.start}", "end": f"{clip.end}"},
    )
    _expect_owners(record, caption, entities)
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


def _background(parts: _Packed) -> Part | None:
    phrase, found = parts.entities.background, parts.chosen.background
    if phrase is None or found is None:
        return None
    picture = Picture(image=found.picture, frame=parts.numbers[found.key], fit="crop")
    return Part(**_words(phrase, parts), pictures=[picture])


def _objects(parts: _Packed) -> list[Thing]:
    pairs = zip(parts.entities.objects, parts.chosen.objects, strict=True)
    return [Thing(**_words(p, parts), pictures=[_picture(found, parts)]) for p, found in pairs if found]


def _subjects(parts: _Packed) -> list[Person]:
    people = []
    rows = zip(parts.entities.subjects, parts.chosen.faces, parts.chosen.attributes, strict=True)
    for number, (subject, face, worn) in enumerate(rows, start=1):
        attributes = [
            Part(**_words(phrase, parts), pictures=[_picture(found, parts)] if found else [])
            for phrase, found in zip(subject.attributes, worn, strict=True)
        ]
        faces = [_picture(face, parts)] if face else []
        people.append(Person(id=f"s{number}", word=subject.noun.text, faces=faces, attributes=attributes))
    return people


def _picture(found: FacePicture | Cutout, parts: _Packed) -> Picture:
    return Picture(image=found.picture, frame=parts.numbers[found.key])


def _words(phrase: Phrase, parts: _Packed) -> dict[str, Any]:
    """A phrase as a record states it: with the number of its occurrence where there are several, of which a scene
    leaves those out that lie inside a longer phrase ("hat" in "red hat")."""
    longer = [
        span for text in parts.phrases for span in find_phrase(text, parts.caption) if len(text) > len(phrase.text)
    ]
    places = [
        (start, stop)
        for start, stop in find_phrase(phrase.text, parts.caption)
        if not any(outer[0] <= start and stop <= outer[1] for outer in longer)
    ]
    several = len(places) > 1 and phrase.chars in places
    return {"word": phrase.text} | ({"occurrence": places.index(phrase.chars) + 1} if several else {})


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


def _expect_owners(record: ClipRecord, caption: Caption, entities: Entities) -> None:
    """That a scene of the record finds every word where curation found it, whatever rules it goes by."""
    shades = count()  # a scene refuses one face for two people, so each picture is another
    scene = Scene.from_dict(
        record.scene(lambda pictures: Image.new("RGB", (64, 64), (next(shades), 0, 0))), source=record.id
    )
    wanted = {(subject.noun.chars, number) for number, subject in enumerate(entities.subjects)}
    wanted |= {(a.chars, number) for number, subject in enumerate(entities.subjects) for a in subject.attributes}
    found = {(span, entity.subject) for entity in scene.entities for span in entity.spans}
    if scene.prompt != caption.text or not wanted <= found:
        lost = [caption.text[slice(*chars)] for chars, _ in sorted(wanted - found)]
        raise WordsDiffer(f"a scene would read {caption.text!r} in another way: {', '.join(lost) or scene.prompt!r}")
