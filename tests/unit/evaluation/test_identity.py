"""Protocol v1's identity: known cosines, one rule for misses, and people who are missing or too many."""

import numpy as np
import pytest
from block_models import (
    BLUE,
    GREEN,
    OLIVE,
    PURPLE,
    RED,
    BlockFaces,
    FaceColour,
    case_of,
    clip_of,
    face,
    paint,
    reference,
)
from composites import Person, composite, face_picture
from hypothesis import given
from hypothesis import strategies as st

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.identity import IdentityMeasure, score_looks
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.vision.faces import DlibEncoder, DlibFaces

LEFT, RIGHT = (10, 10, 30, 30), (70, 10, 90, 30)
MODELS = Models(BlockFaces(RED, GREEN, BLUE, OLIVE, PURPLE), {"ArcSim": FaceColour(), "CurSim": FaceColour(red=4)})
PAIR = case_of(face(0, RED), face(1, BLUE, "woman"))


def scores(case: Case, clip: Clip, threshold: float | None = 0.0, models: Models = MODELS) -> dict[str, Score]:
    """By metric, and each once."""
    measure = IdentityMeasure(models)
    found = measure(case, clip, Evidence(case, clip, models, threshold))
    assert [score.metric for score in found] == list(measure.metrics)
    return {score.metric: score for score in found}


def values(*args, **options) -> dict[str, float | None]:
    """Of `scores`, to 6 digits."""
    return {
        metric: None if score.value is None else round(score.value, 6)
        for metric, score in scores(*args, **options).items()
    }


def test_faces_like_their_references_and_less_like_them() -> None:
    exact = values(PAIR, clip_of(*[paint((LEFT, RED), (RIGHT, BLUE))] * 4))
    assert (exact["ArcSim"], exact["ArcSim|seen"]) == (1, 1)
    assert (exact["person_recall"], exact["person_precision"], exact["extra_people"]) == (1, 1, 0)
    clip = clip_of(*[paint((LEFT, OLIVE), (RIGHT, PURPLE))] * 4)
    drifted = values(PAIR, clip)
    assert drifted["ArcSim"] == pytest.approx((0.6 + 0.8) / 2)  # olive is .6 like red, purple .8 like blue
    assert drifted["CurSim"] == pytest.approx((3 + 1) / np.sqrt(10) / 2, abs=1e-6)  # with red at (480, 160), (480, 160)


def test_a_look_without_the_person_counts_nothing_and_seen_leaves_it_out() -> None:
    clip = clip_of(paint((LEFT, RED), (RIGHT, BLUE)), paint((LEFT, OLIVE)), paint((LEFT, RED)), paint((LEFT, RED)))
    found = scores(PAIR, clip)
    red, blue = (1 + 0.6 + 1 + 1) / 4, 1 / 4
    assert found["ArcSim"].value == pytest.approx((red + blue) / 2)
    assert found["ArcSim|seen"].value == pytest.approx((red + 1) / 2)
    assert found["ArcSim"].detail == {
        "looks": 4,
        "frames": 4,
        "entities": pytest.approx({"0.man": red, "1.woman": blue}),
    }
    assert found["person_recall"].value == 1


def test_a_person_who_is_never_seen_is_zero_and_lowers_recall() -> None:
    found = values(PAIR, clip_of(*[paint((LEFT, RED))] * 3))
    assert (found["ArcSim"], found["ArcSim|seen"]) == (0.5, 1)
    assert (found["person_recall"], found["person_precision"], found["extra_people"]) == (0.5, 1, 0)


def test_strangers_and_copies_are_extra_and_cost_no_likeness() -> None:
    both = [(LEFT, RED), (RIGHT, BLUE)]
    for third in (GREEN, RED):
        found = values(PAIR, clip_of(*[paint(*both, ((40, 50, 60, 70), third))] * 3))
        assert (found["ArcSim"], found["person_recall"], found["extra_people"]) == (1, 1, 1)
        assert found["person_precision"] == pytest.approx(2 / 3, abs=1e-6)


def test_somebody_else_instead_is_missing_and_extra_from_the_threshold_on() -> None:
    clip = clip_of(*[paint((LEFT, RED), (RIGHT, PURPLE))] * 2)
    lenient, strict = values(PAIR, clip), values(PAIR, clip, threshold=0.9)
    assert (lenient["ArcSim"], lenient["person_recall"], lenient["extra_people"]) == (0.9, 1, 0)
    assert (strict["ArcSim"], strict["person_recall"], strict["extra_people"]) == (0.5, 0.5, 1)


def test_people_may_stand_anywhere_but_are_the_same_ones_for_the_whole_clip() -> None:
    one, other = paint((LEFT, RED), (RIGHT, BLUE)), paint((LEFT, BLUE), (RIGHT, RED))
    assert values(PAIR, clip_of(other, other))["ArcSim"] == 1
    assert values(PAIR, clip_of(one, other))["ArcSim"] == 1  # followed by their faces
    # The face of one person turns, in his place, to be more like the other's, who is away, and back.
    turned = clip_of(paint((LEFT, RED)), paint((LEFT, PURPLE)), paint((LEFT, RED)))
    assert values(PAIR, turned)["ArcSim"] == pytest.approx((1 + 0.6 + 1) / 3 / 2, abs=1e-6)
    # After a cut the other one is in his place.
    cut = clip_of(paint((LEFT, RED)), paint((LEFT, BLUE)), paint((LEFT, RED)))
    assert values(PAIR, cut)["ArcSim"] == pytest.approx((2 / 3 + 1 / 3) / 2, abs=1e-6)


def test_every_encoder_judges_the_same_person_by_its_own_eyes() -> None:
    # Olive is like green (.8) rather than red (.6) to the first; with red at 4 times, like red (.95, not .32).
    case, clip = case_of(face(0, OLIVE)), clip_of(*[paint((LEFT, RED), (RIGHT, GREEN))] * 2)
    found = values(case, clip)
    assert (found["ArcSim"], found["CurSim"]) == (0.8, pytest.approx(1 / np.sqrt(10), abs=1e-6))
    turned = values(case, clip, models=Models(MODELS.faces, dict(reversed(MODELS.identities.items()))))
    assert (turned["ArcSim"], turned["CurSim"]) == (0.6, pytest.approx(3 / np.sqrt(10), abs=1e-6))


def test_without_a_picture_of_a_face_nothing_is_measured() -> None:
    found = scores(case_of(reference("face", "man", None, 0)), clip_of(paint((LEFT, RED))))
    assert {score.status for score in found.values()} == {"not_applicable"}


def test_that_there_is_no_face_shows_without_a_clip() -> None:
    measure, faceless = IdentityMeasure(MODELS), case_of(reference("face", "man", None, 0))
    assert measure.nothing_for(PAIR) == []
    assert {score.metric for score in measure.nothing_for(faceless)} == measure.metrics.keys()


def test_nobody_at_all() -> None:
    found = values(PAIR, clip_of(paint(), paint()))
    assert found == {
        "ArcSim": 0, "ArcSim|seen": None, "CurSim": 0, "CurSim|seen": None,
        "person_recall": 0, "person_precision": None, "extra_people": 0,
    }  # fmt: skip


def test_a_subject_without_a_face_picture_may_be_anybody() -> None:
    case = case_of(face(0, RED), reference("face", "woman", None, 1))
    two, three = [paint((LEFT, RED), (RIGHT, BLUE))], [paint((LEFT, RED), (RIGHT, BLUE), ((40, 50, 60, 70), GREEN))]
    assert values(case, clip_of(*two))["extra_people"] == 0
    found = values(case, clip_of(*three))
    assert (found["extra_people"], found["person_precision"]) == (1, pytest.approx(2 / 3, abs=1e-6))


@given(st.dictionaries(st.text(max_size=2), st.dictionaries(st.integers(0, 4), st.floats(-1, 1)), min_size=1))
def test_seen_and_strict_agree_with_their_definitions(entities: dict[str, dict[int, float]]) -> None:
    strict, given = score_looks("metric", entities, 5, {})
    table = np.array([[seen.get(look, np.nan) for look in range(5)] for seen in entities.values()])
    assert strict.value == pytest.approx(np.nan_to_num(table).mean())
    rows = table[~np.isnan(table).all(1)]
    assert given.value == (pytest.approx(np.nanmean(rows, 1).mean()) if len(rows) else None)


def test_real_faces_with_one_person_missing_and_one_too_many() -> None:
    case = case_of(
        reference("face", "man", face_picture("obama"), 0), reference("face", "woman", face_picture("astronaut"), 1)
    )
    models = Models(DlibFaces(), {"FaceSim-dlib": DlibEncoder()})
    clip = clip_of(composite([Person("obama", RED, x=0.2), Person("biden", GREEN, x=0.7)]))
    found = values(case, clip, None, models)
    assert found["FaceSim-dlib|seen"] > DlibEncoder.same_person
    assert found["FaceSim-dlib"] == pytest.approx(found["FaceSim-dlib|seen"] / 2, abs=1e-6)
    assert (found["person_recall"], found["person_precision"], found["extra_people"]) == (0.5, 0.5, 1)
