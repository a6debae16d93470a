"""The release's identity scores: what each of its quirks does to the score of one clip, beside protocol v1."""

from dataclasses import dataclass, replace
from itertools import permutations

import numpy as np
import pytest
from block_models import (
    BLUE,
    GREEN,
    OLIVE,
    PURPLE,
    RED,
    RGB,
    BlockFaces,
    FaceColour,
    Named,
    case_of,
    clip_of,
    face,
    paint,
    reference,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.identity import IdentityMeasure
from lumosx.evaluation.models import Models
from lumosx.evaluation.release.identity import ReleaseIdentity, raised
from lumosx.evaluation.scores import Score
from lumosx.vision import Face, Picture

LEFT, RIGHT = (10, 20, 30, 40), (70, 20, 90, 40)
FOREST = (0, 192, 56)  # cosine .28 with blue
COLOURS = (RED, GREEN, BLUE, OLIVE, PURPLE, FOREST)


class EitherWay(BlockFaces):
    """Sees faces in their own colours and with red and blue exchanged, so that only other quirks show."""

    def __init__(self, *colours: RGB) -> None:
        super().__init__(*dict.fromkeys([*colours, *((b, g, r) for r, g, b in colours)]))


MODELS = Models(EitherWay(*COLOURS), {"ArcSim": FaceColour(), "CurSim": FaceColour(red=4)})
MAN, PAIR = case_of(face(0, RED)), case_of(face(0, RED), face(1, BLUE, "woman"))


def release(case: Case, clip: Clip, models: Models = MODELS) -> dict[str, Score]:
    """By metric. It takes nothing from the evidence of v1 but its place."""
    measure = ReleaseIdentity(models)
    found = measure(case, clip, Evidence(case, clip, models))
    assert [score.metric for score in found] == list(measure.metrics)
    return {score.metric: score for score in found}


def v1(case: Case, clip: Clip, models: Models = MODELS, looks: int = 0, threshold: float = 0.5) -> dict[str, Score]:
    found = IdentityMeasure(models)(case, clip, Evidence(case, clip, models, threshold, looks))
    return {score.metric: score for score in found}


@dataclass(frozen=True)
class Quirk:
    """A clip of a case, and what both protocols say of it."""

    case: Case
    clip: Clip
    ours: float
    theirs: float
    metric: str = "ArcSim"
    models: Models = MODELS
    looks: int = 0


BOTH = paint((LEFT, RED), (RIGHT, BLUE))
PORTRAIT = paint(((0, 0, 120, 80), (0, 255, 0)), ((0, 0, 60, 80), RED))  # half of the picture is not the face
HAIR = ((10, 10, 30, 20), (0, 250, 0))  # over the face on the left
HAIRY = np.array([20 * 200, 3 * 250, 0])  # of 24.32 rows from 16.6 to 40.7, 3 of hair and 20 of face

QUIRKS = {
    "no quirk": Quirk(PAIR, clip_of(BOTH, BOTH), 1.0, 1.0),
    "a miss counts 0 in both": Quirk(PAIR, clip_of(BOTH, paint((LEFT, RED))), 0.75, 0.75),
    "all frames": Quirk(MAN, clip_of(*[paint((LEFT, RED))] * 2, paint(), paint((LEFT, RED))), 1.0, 0.75, looks=2),
    "unaligned reference": Quirk(
        case_of(reference("face", "man", PORTRAIT, 0)), clip_of(paint((LEFT, RED))),
        1.0, 200 / np.hypot(200, 255),
    ),
    "swapped channels for the detector": Quirk(
        MAN, clip_of(paint((LEFT, RED))), 1.0, 0.0, models=replace(MODELS, faces=BlockFaces(*COLOURS[:1])),
    ),
    "raised box": Quirk(MAN, clip_of(paint(HAIR, (LEFT, RED))), 1.0, HAIRY[0] / np.linalg.norm(HAIRY)),
    # A face turns olive, and v1 stays with it; the release goes over to the red one that has come.
    "matching per frame": Quirk(MAN, clip_of(paint((LEFT, RED)), paint((LEFT, OLIVE), (RIGHT, RED))), 0.8, 1.0),
    "a stranger fills in": Quirk(PAIR, clip_of(paint((LEFT, RED), (RIGHT, FOREST))), 0.5, (1 + 0.28) / 2),
    "one matching for both": Quirk(
        case_of(face(0, OLIVE)), clip_of(paint((LEFT, RED), (RIGHT, GREEN))),
        1 / np.sqrt(10), 1 / np.sqrt(10), metric="CurSim",  # by its own matching it would be 3 / sqrt(10)
    ),
}  # fmt: skip


@pytest.mark.parametrize("quirk", QUIRKS.values(), ids=QUIRKS)
def test_what_each_quirk_does_to_a_score(quirk: Quirk) -> None:
    ours = v1(quirk.case, quirk.clip, quirk.models, quirk.looks)[quirk.metric]
    theirs = release(quirk.case, quirk.clip, quirk.models)[quirk.metric]
    assert ours.value == pytest.approx(quirk.ours, abs=1e-6)
    assert theirs.value == pytest.approx(quirk.theirs, abs=1e-6)


def test_extra_people_cost_nothing_and_have_no_metric() -> None:
    crowd = clip_of(paint((LEFT, RED), ((40, 50, 60, 70), RED), (RIGHT, GREEN)))
    assert {name: score.value for name, score in release(MAN, crowd).items()} == {"ArcSim": 1, "CurSim": 1}
    assert v1(MAN, crowd)["extra_people"].value == 2


def test_a_box_grows_upwards_and_then_a_little_downwards() -> None:
    assert raised((0, 100, 10, 200)) == pytest.approx((0, 83, 10, 203.51))


class Elsewhere(Named):
    """Sees one face, in a box of no width."""

    def detect(self, picture: Picture) -> list[Face]:
        return [Face((10.0, 10.0, 10.2, 20.0), 1.0)]


def test_an_empty_box_stops_it() -> None:
    models = replace(MODELS, faces=Elsewhere())
    with pytest.raises(InputError, match=r"no pixel.*--protocol v1"):
        release(MAN, clip_of(paint()), models)


class Landmarks(EitherWay):
    """Sees faces and where their eyes are."""

    def detect(self, picture: Picture) -> list[Face]:
        return [replace(found, landmarks=np.zeros((5, 2))) for found in super().detect(picture)]


class Asked(FaceColour):
    """Keeps whether it was told to align."""

    def __init__(self) -> None:
        super().__init__()
        self.aligned: list[bool] = []

    def embed(self, picture: Picture, faces) -> np.ndarray:
        self.aligned += [found.landmarks is not None for found in faces]
        return super().embed(picture, faces)


def test_no_face_is_aligned() -> None:
    encoder = Asked()
    models = Models(Landmarks(*COLOURS), {"ArcSim": encoder})
    release(MAN, clip_of(paint((LEFT, RED))), models)
    assert encoder.aligned == [False, False]
    v1(MAN, clip_of(paint((LEFT, RED))), models)
    assert encoder.aligned[2:] == [True, True]


@given(
    st.lists(st.sampled_from(COLOURS), min_size=1, max_size=3),
    st.lists(st.lists(st.sampled_from(COLOURS), max_size=3), min_size=1, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_the_sum_is_the_best_of_all_pairings_of_each_frame(wanted: list[RGB], people: list[list[RGB]]) -> None:
    places = [LEFT, (40, 20, 60, 40), RIGHT]
    clip = clip_of(*(paint(*zip(places, frame, strict=False)) for frame in people))
    best = 0.0
    for frame in people:
        cosines = [
            [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for b in wanted] for a in np.array(frame, float)
        ]
        chosen = permutations([*range(len(frame)), *[None] * len(wanted)], len(wanted))
        best += max(sum(cosines[i][j] for j, i in enumerate(ways) if i is not None) for ways in chosen)
    case = case_of(*(face(subject, colour) for subject, colour in enumerate(wanted)))
    found = release(case, clip)["ArcSim"]
    assert found.value == pytest.approx(best / (len(people) * len(wanted)), abs=1e-5)
    assert found.detail == {"frames": len(people), "references": len(wanted), "faces": sum(map(len, people))}


def test_without_a_picture_of_a_face_nothing_is_measured() -> None:
    found = release(case_of(reference("face", "man", None, 0)), clip_of(paint((LEFT, RED))))
    assert {score.status for score in found.values()} == {"not_applicable"}
