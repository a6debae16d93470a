"""Do attributes, objects and the background look like their references and words? Protocol v1.

Paper, section 4.1 (CLIP-T, CLIP-I, DINO-I), with the background, several frames, people assigned over the whole clip,
and 0 for whatever is not seen. Faces are `IdentityMeasure`'s.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics import SEEN, named
from lumosx.evaluation.metrics.identity import score_looks
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.scene.entities import Kind
from lumosx.vision import Picture, PictureEncoder, TextPictureEncoder, crop

KINDS: dict[Kind, str] = {"attribute": ":attributes", "object": ":objects", "background": ":background"}
GREY = 128  # hides people in the pictures of the background

Key = TypeVar("Key")
Asked = TypeVar("Asked")


@dataclass(frozen=True)
class Sight:
    """One look at an entity: what is seen, how it is called, and what it should look like (None: words alone)."""

    seen: Picture
    word: str
    asked: Picture | None


class SubjectMeasure:
    """Likeness of what the case asks for besides faces: to its word (CLIP-T), and to its picture for each encoder of
    `Models.likenesses` under its own name. Without a model that finds phrases, of the background alone.

    Attributes are looked for on their owner alone (`Evidence.worn`), objects on the whole frame. The background is the
    frame without its people, and the reference with the same places hidden: the grey that they have in common makes the
    value rise with the share of the frame that people take.

    `NAME`: mean over entities, each with the same weight, and looks; what is not found counts 0, and so does all that
    belongs to a person who is not seen. `NAME|seen`: the same over the looks at which each entity is seen.
    `NAME:attributes`, `NAME:objects`, `NAME:background`: `NAME` over one kind. Entities in words alone have no value
    but CLIP-T. Attributes whose owner has no picture of the face are left out, and named in the detail.

    Args:
        frames: how many looks, evenly spread over the evidence's.
    """

    def __init__(self, models: Models, frames: int = 4) -> None:
        self.models, self.frames = models, frames
        ends = ("", SEEN, *KINDS.values()) if models.phrases else (KINDS["background"],)
        self.metrics = {name + end: True for name in resemblances(models) for end in ends}

    def nothing_for(self, case: Case) -> list[Score]:
        """The kinds that the case does not have, and all of a metric that it has no entity for."""
        scores = [s for metric in resemblances(self.models) for s in _nothing(metric, self._asked(metric, case))]
        return [score for score in scores if score.metric in self.metrics]

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        """Raises ImageError where a reference picture cannot be read."""
        entities = _entities(case)
        left_out = [r.id for r in case.references if r.kind == "attribute" and r not in entities]
        spread = np.linspace(0, len(evidence.frames) - 1, self.frames).round().astype(int)
        looks = list(dict.fromkeys(spread.tolist()))
        sights = _sights(entities, evidence, looks)
        scores = []
        for metric, values in resemblance(self.models, sights).items():
            asked = self._asked(metric, case)
            by_entity: dict[str, dict[int, float]] = {r.id: {} for r in asked}
            for (entity, look), value in values.items():
                by_entity[entity][look] = value
            scores += _scores(metric, asked, by_entity, {"looks": looks, "left_out": left_out})
        given = {score.metric: score for score in scores}
        return [given[metric] for metric in self.metrics]

    def _asked(self, metric: str, case: Case) -> list[CaseReference]:
        """What a metric is of: likeness to a picture of what has one."""
        return [r for r in _entities(case) if r.image is not None or metric not in self.models.likenesses]


def _entities(case: Case) -> list[CaseReference]:
    return [r for r in case.references if r.kind != "face" and (r.subject is None or r.subject in case.faces)]


def resemblance(models: Models, sights: Mapping[Key, Sight]) -> dict[str, dict[Key, float]]:
    """Cosines by metric: CLIP-T of what is seen and its word; for each of `Models.likenesses`, of what is seen and what
    was asked for, where there is a picture of that."""
    found = {}
    if models.words is not None:
        words = [sight.word for sight in sights.values()]
        found[word_metric(models.words)] = _cosines(models.words, sights, words, models.words.embed_text)
    pictured = {key: sight for key, sight in sights.items() if sight.asked is not None}
    pictures = [sight.asked for sight in pictured.values() if sight.asked is not None]
    for name, encoder in models.likenesses.items():
        found[name] = _cosines(encoder, pictured, pictures, encoder.embed)
    return found


def resemblances(models: Models) -> list[str]:
    """The metrics that `resemblance` gives."""
    return [*([] if models.words is None else [word_metric(models.words)]), *models.likenesses]


def word_metric(words: TextPictureEncoder) -> str:
    """What likeness to a word is called: CLIP-T where CLIP gives it."""
    return named("CLIP-T", words.card.name, "CLIP", "WordSim")


def _cosines(
    encoder: PictureEncoder,
    sights: Mapping[Key, Sight],
    asked: Sequence[Asked],
    embed: Callable[[list[Asked]], np.ndarray],
) -> dict[Key, float]:
    """Of what is seen and what each sight is compared with; the latter embedded once, however many looks it is for."""
    if not sights:
        return {}
    distinct = {id(item): item for item in asked}
    references = dict(zip(distinct, embed(list(distinct.values())), strict=True))
    seen = encoder.embed([sight.seen for sight in sights.values()])
    return {
        key: float(embedding @ references[id(item)]) for key, item, embedding in zip(sights, asked, seen, strict=True)
    }


def _sights(
    entities: Sequence[CaseReference], evidence: Evidence, looks: Sequence[int]
) -> dict[tuple[str, int], Sight]:
    """What is seen, by id of the entity and look."""
    pictures = {r.id: r.picture() for r in entities if r.image is not None}
    sights = {}
    for look in looks:
        for reference, seen in _found(entities, evidence, look):
            sights[reference.id, look] = Sight(seen, reference.word, pictures.get(reference.id))
        people = _people(evidence, look)
        for reference in entities:
            if reference.kind == "background" and not people.all():
                empty = _hide(evidence.frames[look], people)
                picture = pictures.get(reference.id)
                asked = None if picture is None else _hide(picture, people)
                sights[reference.id, look] = Sight(empty, reference.word, asked)
    return sights


def _found(entities: Sequence[CaseReference], evidence: Evidence, look: int) -> Iterator[tuple[CaseReference, Picture]]:
    """The objects and attributes of one look, cut out."""
    frame, phrases = evidence.frames[look], evidence.models.phrases
    objects = [r for r in entities if r.kind == "object"]
    boxes = phrases.find(frame, [r.word for r in objects]) if phrases and objects else [[] for _ in objects]
    for reference, found in zip(objects, boxes, strict=True):
        seen = crop(frame, found[0].box) if found else None
        if seen is not None:
            yield reference, seen
    for subject, track in evidence.people.items():
        worn = evidence.worn(track, look) if track else {}
        yield from ((r, worn[r.word]) for r in entities if r.subject == subject and r.word in worn)


def _people(evidence: Evidence, look: int) -> np.ndarray:
    """bool [H, W]: where people are, whoever they are."""
    boxes = [*evidence.bodies[look], *(evidence.body(track, look) for track in evidence.tracks)]
    people = np.zeros(evidence.frames[look].shape[:2], bool)
    for box in boxes:
        part = None if box is None else crop(people, box)
        if part is not None:
            part[:] = True
    return people


def _hide(picture: Picture, where: np.ndarray) -> Picture:
    """Grey over the same part of a picture of any size; `where` is bool [H, W] of the frame's size."""
    height, width = picture.shape[:2]
    rows = np.arange(height) * where.shape[0] // height
    columns = np.arange(width) * where.shape[1] // width
    return np.where(where[np.ix_(rows, columns)][..., None], np.uint8(GREY), picture)


def _scores(
    metric: str, asked: Sequence[CaseReference], values: Mapping[str, Mapping[int, float]], detail: dict[str, Any]
) -> list[Score]:
    """The headline, what is seen of it, and each kind."""
    count = len(detail["looks"])
    scores = _nothing(metric, asked)
    if asked:
        scores += score_looks(metric, values, count, detail)
    for kind, end in KINDS.items():
        own = {r.id: values[r.id] for r in asked if r.kind == kind}
        if own:
            scores.append(score_looks(metric + end, own, count, detail)[0])
    return scores


def _nothing(metric: str, asked: Sequence[CaseReference]) -> list[Score]:
    """What of a metric has nothing to compare."""
    ends = () if asked else ("", SEEN)
    all_kinds = [not_applicable(metric + end, "no attribute, object or background to compare") for end in ends]
    kinds = {kind: end for kind, end in KINDS.items() if all(r.kind != kind for r in asked)}
    return [*all_kinds, *(not_applicable(metric + end, f"no {kind} to compare") for kind, end in kinds.items())]
