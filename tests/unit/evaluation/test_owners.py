"""The binding measure on painted frames, with models that read the paint."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import find_objects, label

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.owners import OwnersMeasure, bind_flip
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.scene.images import ImageSpec
from lumosx.vision import Face, Found, ModelCard

FACE, SHIRT, HAT = 50, 100, 150  # what is painted, in the blue channel; the red one says which
WORDS = {"shirt": SHIRT, "hat": HAT}
CARD = ModelCard("paint", "tests", "1", "Apache-2.0", True)


def patches(picture: np.ndarray, thing: int) -> list[tuple[float, float, float, float]]:
    """The boxes of what is painted, from left to right: a box for each colour in one piece."""
    boxes = []
    for colour in np.unique(picture[picture[..., 2] == thing][:, 0]):
        areas, _ = label((picture[..., 2] == thing) & (picture[..., 0] == colour))
        boxes += [(float(x.start), float(y.start), float(x.stop), float(y.stop)) for y, x in find_objects(areas)]
    return sorted(boxes)


class Paint:
    """Faces and parts by their paint."""

    card = CARD

    def detect(self, picture: np.ndarray) -> list[Face]:
        return [Face(box, 1.0) for box in patches(picture, FACE)]

    def find(self, picture: np.ndarray, phrases: Sequence[str]) -> list[list[Found]]:
        return [[Found(box, 1.0) for box in patches(picture, WORDS[phrase])] for phrase in phrases]


class FaceColours:
    """The angle between two colours, of which 0 and 255 are opposite."""

    card = CARD

    def embed(self, picture: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        return np.stack([unit(2 * int(picture[int(face.box[1]), int(face.box[0]), 0])) for face in faces])


class PictureColours:
    """The same, but 0 and 255 are at a right angle."""

    card = CARD

    def embed(self, pictures: Sequence[np.ndarray]) -> np.ndarray:
        return np.stack([unit(picture[0, 0, 0]) for picture in pictures])


def unit(colour: int) -> np.ndarray:
    angle = np.pi / 2 * int(colour) / 255
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


MODELS = Models(Paint(), {"face": FaceColours()}, phrases=Paint(), likenesses={"paint": PictureColours()})


@dataclass(frozen=True)
class Worn:
    """A person in a frame: colours of face and clothes, and the place of the face's left edge."""

    face: int
    x: int
    shirt: int | None = None
    hat: int | None = None


def frame_of(*people: Worn) -> np.ndarray:
    """Faces are 8 pixels wide, so bodies are 24 x 56 of which the face is in the second eighth from the top."""
    frame = np.zeros((64, 120, 3), np.uint8)
    for person in people:
        parts = [(FACE, person.face, 8, 16, 0, 8), (SHIRT, person.shirt, 20, 40, -3, 11), (HAT, person.hat, 2, 7, 1, 7)]
        for paint, colour, top, bottom, left, right in parts:
            if colour is not None:
                frame[top:bottom, person.x + left : person.x + right] = colour, 0, paint
    return frame


def picture(paint: int, colour: int) -> ImageSpec:
    return ImageSpec(None, Image.fromarray(np.full((8, 8, 3), (colour, 0, paint), np.uint8)))


def case_of(*people: Worn) -> Case:
    """Asks for people as they are."""
    references = []
    for subject, person in enumerate(people):
        references.append(CaseReference(f"face{subject}", "face", subject, "man", picture(FACE, person.face)))
        for word in WORDS:
            colour = getattr(person, word)
            if colour is not None:
                references.append(
                    CaseReference(f"{word}{subject}", "attribute", subject, word, picture(WORDS[word], colour))
                )
    return Case("case", "people", tuple(references), {}, Path())


def scores(case: Case, frames: Sequence[np.ndarray], threshold: float = 0.9, **options: float) -> dict[str, Score]:
    clip = Clip(np.stack(frames), 8.0)
    measure = OwnersMeasure(MODELS, **options)
    found = measure(case, clip, Evidence(case, clip, MODELS, threshold))
    assert [score.metric for score in found] == list(measure.metrics)
    return {score.metric: score for score in found}


def values(found: dict[str, Score]) -> dict[str, float]:
    """What is not 0."""
    return {metric: round(score.value, 4) for metric, score in found.items() if score.value}


LEFT, RIGHT = Worn(face=0, x=20, shirt=0, hat=60), Worn(face=255, x=80, shirt=255)
CASE = case_of(LEFT, RIGHT)
GOOD = {"BindAcc": 1.0, "BindAcc|seen": 1.0}
ONE, TWO = 0.3333, 0.6667  # of three attributes


def test_a_right_clip_and_all_that_explains_it() -> None:
    found = scores(CASE, [frame_of(LEFT, RIGHT)] * 3 + [frame_of(RIGHT)])
    assert values(found) == GOOD
    detail = json.loads(json.dumps(found["BindAcc"].detail))
    assert detail["people"] == [{"subject": 0, "seen_as": 1}, {"subject": 1, "seen_as": 1}]
    told = [(a["id"], a["slot"], a["owner"], a["worn_by"], a["verdict"]) for a in detail["attributes"]]
    assert told == [
        ("shirt0", "top", 0, [0], "right"), ("hat0", "head", 0, [0], "right"), ("shirt1", "top", 1, [1], "right"),
    ]  # fmt: skip
    assert detail["confusion"] == {
        "columns": [0, 1, "nobody"],
        "looks": 4,
        "counts": [[3, 0, 1], [3, 0, 1], [0, 4, 0]],
        "shares": [[0.75, 0, 0.25], [0.75, 0, 0.25], [0, 1, 0]],
    }
    assert detail["likeness"] == [[1, 1, 0], [0, None, 1]]
    assert detail["baseline"] == [[1, 1, 0], [0, None, 1]]
    assert detail["delta"] == [[0, 0, 0], [0, None, 0]]


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ([replace(LEFT, x=80), replace(RIGHT, x=20)], GOOD),
        ([replace(LEFT, shirt=255), replace(RIGHT, shirt=0)], {"BindAcc": ONE, "BindAcc|seen": ONE, "swap": TWO}),
        ([replace(LEFT, hat=None), replace(RIGHT, hat=60)], {"BindAcc": TWO, "BindAcc|seen": TWO, "leak": ONE}),
        ([LEFT, replace(RIGHT, hat=60)], {**GOOD, "dominance": ONE}),
        ([LEFT, replace(RIGHT, shirt=0)], {"BindAcc": TWO, "BindAcc|seen": TWO, "dominance": TWO}),
        ([replace(LEFT, hat=None), RIGHT], {"BindAcc": TWO, "BindAcc|seen": 1.0, "drop": ONE}),
        ([LEFT, replace(RIGHT, shirt=None)], {"BindAcc": TWO, "BindAcc|seen": 1.0, "drop": ONE}),
        ([LEFT], {"BindAcc": TWO, "BindAcc|seen": 1.0, "missing": ONE}),
        ([RIGHT], {"BindAcc": ONE, "BindAcc|seen": 1.0, "missing": TWO}),
        ([LEFT, RIGHT, replace(LEFT, x=50)], {**GOOD, "duplicate": 0.5}),
        ([LEFT, RIGHT, Worn(face=128, x=50, shirt=0, hat=60)], GOOD),
        # the face of 0 in the place of 1, whose clothes it wears
        ([LEFT, replace(RIGHT, face=0)], {"BindAcc": TWO, "BindAcc|seen": 1.0, "missing": ONE, "duplicate": 0.5}),
    ],
)  # fmt: skip
def test_each_fault_moves_its_own_rate(drawn: list[Worn], expected: dict[str, float]) -> None:
    assert values(scores(CASE, [frame_of(*drawn)] * 3)) == expected


def test_a_person_who_comes_back_changed_is_no_duplicate() -> None:
    """The face turns by 70 degrees while it is not seen, so that it is two tracks, each like the reference."""
    case = case_of(replace(LEFT, face=128), RIGHT)
    first, later = replace(LEFT, face=85), replace(LEFT, face=184)
    seen_apart = [frame_of(first, RIGHT)] * 2 + [frame_of(replace(later, x=50), RIGHT)] * 2
    assert values(scores(case, seen_apart, threshold=0.5)) == GOOD
    together = [frame_of(first, RIGHT)] * 2 + [frame_of(first, RIGHT, replace(later, x=50))] * 2
    assert values(scores(case, together, threshold=0.5)) == {**GOOD, "duplicate": 0.5}


def test_a_distant_likeness_is_no_duplicate() -> None:
    """A stranger 70 degrees from a person whom the other one of the case is 90 degrees from."""
    right = replace(RIGHT, face=128)
    drawn = frame_of(LEFT, right, Worn(face=227, x=50))
    assert values(scores(case_of(LEFT, right), [drawn] * 2, threshold=0.0)) == GOOD


def test_nothing_is_seen_where_nobody_is() -> None:
    found = scores(CASE, [frame_of()] * 2)
    assert values(found) == {"missing": 1.0}
    assert found["BindAcc"].value == 0.0
    assert found["BindAcc|seen"].status == "not_applicable"


def test_garments_of_a_neighbour_reach_into_a_body_but_stay_his() -> None:
    """A body box is 24 pixels wide; with faces 14 apart each holds a part of the other's shirt and hat."""
    left, right = replace(LEFT, x=20), replace(RIGHT, x=34)
    bare = case_of(replace(LEFT, shirt=None), replace(RIGHT, hat=200))
    drawn = frame_of(replace(left, shirt=None), replace(right, shirt=255, hat=None))
    found = scores(bare, [drawn] * 3)
    assert found["BindAcc"].detail["confusion"]["counts"] == [[3, 0, 0], [0, 3, 0], [0, 0, 3]]


def test_a_slip_on_one_look_in_four_is_no_leak_but_is_in_the_confusion() -> None:
    slip = frame_of(LEFT, replace(RIGHT, hat=60))
    found = scores(CASE, [frame_of(LEFT, RIGHT)] * 3 + [slip])
    assert values(found) == GOOD
    assert found["BindAcc"].detail["confusion"]["counts"][1] == [4, 1, 0]


def test_what_is_too_unlike_its_reference_is_dropped() -> None:
    """A colour 100 of 255 away is at cos 55 degrees: 0.82."""
    frames = [frame_of(replace(LEFT, shirt=100), RIGHT)] * 2
    assert values(scores(CASE, frames, seen=0.8)) == GOOD
    assert values(scores(CASE, frames, seen=0.83))["drop"] == 0.3333


def test_alike_references_are_left_out_and_counted() -> None:
    alike = case_of(replace(LEFT, shirt=10), replace(RIGHT, shirt=20, hat=255))
    exchanged = frame_of(replace(LEFT, shirt=20), replace(RIGHT, shirt=10, hat=255))
    found = scores(alike, [exchanged] * 2)
    assert values(found) == GOOD
    assert found["BindAcc"].detail["left_out"] == {
        "words alone": 0, "owner without a face": 0, "alike": 2, "alike pairs": 1,
    }  # fmt: skip
    told_apart = scores(alike, [exchanged] * 2, alike=0.9999)
    assert values(told_apart) == {"BindAcc": 0.5, "BindAcc|seen": 0.5, "swap": 0.5}


def test_words_alone_and_owners_without_a_face_are_left_out_and_counted() -> None:
    faceless = CaseReference("shirt2", "attribute", 2, "shirt", picture(SHIRT, 128))
    in_words = CaseReference("hat1", "attribute", 1, "hat", None)
    ball = CaseReference("ball", "object", None, "ball", None)
    case = replace(CASE, references=(*CASE.references, in_words, faceless, ball))
    found = scores(case, [frame_of(LEFT, RIGHT)])
    assert values(found) == GOOD
    left_out = found["BindAcc"].detail["left_out"]
    assert (left_out["words alone"], left_out["owner without a face"]) == (1, 1)


@pytest.mark.parametrize(
    "case",
    [
        case_of(LEFT),
        case_of(replace(LEFT, shirt=None, hat=None), replace(RIGHT, shirt=None)),
        case_of(replace(LEFT, hat=None), replace(RIGHT, shirt=0)),
    ],
)
def test_cases_with_nothing_to_bind_are_not_applicable(case: Case) -> None:
    found = scores(case, [frame_of(LEFT, RIGHT)])
    assert {score.status for score in found.values()} == {"not_applicable"}


@pytest.mark.parametrize(
    "case", [case_of(LEFT), case_of(replace(LEFT, shirt=None, hat=None), replace(RIGHT, shirt=None))]
)
def test_that_there_is_nothing_to_bind_shows_without_a_clip(case: Case) -> None:
    measure = OwnersMeasure(MODELS)
    assert measure.nothing_for(CASE) == []
    assert {score.metric for score in measure.nothing_for(case)} == measure.metrics.keys()


def test_of_a_clip_that_is_not_there_attributes_are_missing_and_nothing_else() -> None:
    rates = {"swap", "leak", "dominance", "drop", "duplicate"}
    assert OwnersMeasure(MODELS).misses == dict.fromkeys(rates, 0)
    assert OwnersMeasure(replace(MODELS, phrases=None)).misses == {}


@pytest.mark.parametrize("models", [replace(MODELS, phrases=None), replace(MODELS, likenesses={})])
def test_without_the_models_there_is_no_metric(models: Models) -> None:
    clip = Clip(frame_of(LEFT)[None], 8.0)
    measure = OwnersMeasure(models)
    assert measure.metrics == {}
    assert measure(CASE, clip, Evidence(CASE, clip, models)) == []


def test_dino_compares_before_others() -> None:
    other = PictureColours()
    assert OwnersMeasure(replace(MODELS, likenesses={"CLIP-I": PictureColours(), "DINO-I": other})).encoder is other


def detail_of(case: Case, *drawn: Worn) -> dict:
    return scores(case, [frame_of(*drawn)] * 2)["BindAcc"].detail


def test_attributes_that_follow_their_references_flip() -> None:
    exchanged_left, exchanged_right = replace(LEFT, shirt=255), replace(RIGHT, shirt=0)
    swapped = case_of(exchanged_left, exchanged_right)
    asked = detail_of(CASE, LEFT, RIGHT)
    assert bind_flip(asked, detail_of(swapped, exchanged_left, exchanged_right)) == 1.0
    assert bind_flip(asked, detail_of(swapped, LEFT, RIGHT)) == 0.0
    # the shirt of 0 follows onto 1, that of 1 is lost
    assert bind_flip(asked, detail_of(swapped, replace(LEFT, shirt=None), exchanged_right)) == 0.5


def test_nothing_can_flip_where_nothing_changes_owners() -> None:
    asked = detail_of(CASE, LEFT, RIGHT)
    assert bind_flip(asked, asked) is None
