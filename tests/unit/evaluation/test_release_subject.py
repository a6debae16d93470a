"""The release's subject scores: what each of its quirks does to the scores of one clip, beside protocol v1."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from block_models import (
    BLUE,
    BODY,
    COAT,
    GREEN,
    OLIVE,
    PURPLE,
    RED,
    RGB,
    TEAL,
    BlockFaces,
    BlockPeople,
    BlockPhrases,
    FaceColour,
    MeanColour,
    case_of,
    clip_of,
    face,
    paint,
    plain,
    reference,
)

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.identity import IdentityMeasure
from lumosx.evaluation.metrics.subject import SubjectMeasure
from lumosx.evaluation.models import Models
from lumosx.evaluation.release.subject import ReleaseSubject, described, face_in, middle
from lumosx.evaluation.scores import Score
from lumosx.vision import Face, Found, Picture

FRAME = (0, 0, 120, 80)
BLACK = (0, 0, 0)  # around faces, so that raised boxes show no more colours
MAN = ((0, 0, 50, 60), BODY), ((8, 5, 22, 25), BLACK)
WOMAN = ((70, 0, 120, 60), COAT), ((78, 5, 92, 25), BLACK)
RED_FACE, BLUE_FACE = ((10, 10, 20, 20), RED), ((80, 10, 90, 20), BLUE)
PEOPLE = (*MAN, *WOMAN, RED_FACE, BLUE_FACE)
ON_MAN, UNDER, ON_WOMAN = ((25, 30, 45, 40), OLIVE), ((25, 42, 45, 52), PURPLE), ((95, 30, 115, 50), GREEN)
BELOW = ((10, 62, 30, 78), TEAL)

THINGS: dict[str, RGB] = {"hat": OLIVE, "scarf": PURPLE, "bag": GREEN, "lamp": TEAL, "cup": (90, 90, 0)}
DESCRIBED: dict[str, RGB] = {
    "man": BODY, "man with hat": BODY, "man with hat and scarf": BODY, "woman": COAT, "woman with bag": COAT,
}  # fmt: skip
FACES = (face(0, RED), face(1, BLUE, "woman"))
HAT, SCARF = reference("attribute", "hat", plain(OLIVE), 0), reference("attribute", "scarf", plain(PURPLE), 0)
BAG = reference("attribute", "bag", plain(OLIVE), 1)  # asked for in olive, drawn in green: .8
LAMP, CUP = reference("object", "lamp", plain(TEAL)), reference("object", "cup", plain(BLUE))


class EitherWay(BlockFaces):
    """Sees faces with red and blue in place or exchanged, the first colours first."""

    def __init__(self, *colours: RGB) -> None:
        super().__init__(*dict.fromkeys(way for r, g, b in colours for way in ((r, g, b), (b, g, r))))


MODELS = Models(
    EitherWay(RED),  # and so blue
    {"ArcSim": FaceColour(), "CurSim": FaceColour(red=4)},
    people=BlockPeople(BODY, COAT),
    phrases=BlockPhrases(THINGS),
    subjects=BlockPhrases(DESCRIBED),
    likenesses={"CLIP-I": MeanColour(), "DINO-I": MeanColour()},
    words=MeanColour({**THINGS, "hat": RED}),
)


def release(case: Case, clip: Clip, models: Models = MODELS) -> dict[str, Score]:
    """By metric, and each once."""
    measure = ReleaseSubject(models)
    found = measure(case, clip, Evidence(case, clip, models))
    assert [score.metric for score in found] == list(measure.metrics)
    return {score.metric: score for score in found}


def v1(case: Case, clip: Clip, models: Models = MODELS) -> dict[str, Score]:
    evidence = Evidence(case, clip, models, threshold=0.5)
    measures = IdentityMeasure(models), SubjectMeasure(models)
    return {score.metric: score for measure in measures for score in measure(case, clip, evidence)}


def described_by(**boxes: list[Found]) -> Models:
    """Models whose detector of people answers some descriptions with given boxes."""
    return replace(MODELS, subjects=BlockPhrases({**DESCRIBED, **{k.replace("_", " "): v for k, v in boxes.items()}}))


@dataclass(frozen=True)
class Quirk:
    """A clip of a case, and what both protocols say of it. None: not applicable."""

    case: Case
    clip: Clip
    ours: Mapping[str, float | None]
    theirs: Mapping[str, float | None]
    models: Models = field(default=MODELS)


ALL = paint(*PEOPLE, ON_MAN, UNDER, ON_WOMAN, BELOW)
EMPTY = Found((30.0, 30.0, 30.2, 40.0), 1.0)  # a box with no pixel
WALL = (FRAME, GREEN)

QUIRKS = {
    "no quirk": Quirk(
        case_of(*FACES, HAT), clip_of(ALL),
        {"CLIP-I": 1, "CLIP-T": 0.6, "ArcSim": 1}, {"CLIP-I": 1, "CLIP-T": 0.6, "ArcSim": 1},
    ),
    "the middle frame alone": Quirk(
        case_of(*FACES, HAT), clip_of(paint(), paint(), ALL, paint()),
        {"CLIP-I": 1 / 4, "ArcSim": 1 / 4}, {"CLIP-I": 1, "ArcSim": 1},
    ),
    "a person is found by words": Quirk(  # the two have exchanged their faces, and the release compares the wrong ones
        case_of(*FACES, HAT),
        clip_of(paint(*MAN, *WOMAN, (RED_FACE[0], BLUE), (BLUE_FACE[0], RED), ON_MAN)),
        {"CLIP-I": 0, "ArcSim": 1}, {"CLIP-I": 1, "ArcSim": 0},
    ),
    "two subjects are one person": Quirk(
        case_of(face(0, RED), face(1, RED)), clip_of(paint(*MAN, RED_FACE)), {"ArcSim": 0.5}, {"ArcSim": 1},
    ),
    "no person is 0, and not in CurSim": Quirk(
        case_of(*FACES, HAT, BAG), clip_of(paint(*MAN, RED_FACE, ON_MAN)),
        {"CLIP-I": 0.5, "ArcSim": 0.5, "CurSim": 0.5}, {"CLIP-I": 0.5, "ArcSim": 0.5, "CurSim": 1},
    ),
    "an empty person is the whole frame": Quirk(
        case_of(face(0, RED), HAT), clip_of(paint(*MAN, RED_FACE, ((80, 30, 90, 40), OLIVE))),
        {"CLIP-I": 0}, {"CLIP-I": 1}, described_by(man_with_hat=[EMPTY]),
    ),
    "without a face the person is the face": Quirk(
        case_of(face(0, GREEN)), clip_of(paint(*MAN)), {"ArcSim": 0}, {"ArcSim": 1 / np.sqrt(3)},
    ),
    "no attribute is 0 in both": Quirk(
        case_of(*FACES, HAT, SCARF), clip_of(paint(*PEOPLE, ON_MAN)), {"CLIP-I": 0.5}, {"CLIP-I": 0.5},
    ),
    "an empty attribute is the whole person": Quirk(
        case_of(face(0, GREEN), reference("attribute", "hat", plain(BODY), 0)),
        clip_of(paint(*MAN)),
        {"CLIP-I": 0}, {"CLIP-I": 1}, replace(MODELS, phrases=BlockPhrases({"hat": [EMPTY]})),
    ),
    "an empty object is the whole frame": Quirk(
        case_of(reference("object", "lamp", plain(GREEN))), clip_of(paint(WALL)),
        {"CLIP-I": 0}, {"CLIP-I": 1}, replace(MODELS, phrases=BlockPhrases({"lamp": [EMPTY]})),
    ),
    "objects weigh as much as subjects": Quirk(
        case_of(*FACES, HAT, SCARF, LAMP, CUP), clip_of(ALL),
        {"CLIP-I": 3 / 4}, {"CLIP-I": (1 + 1 / 2) / 2},
    ),
    "one attribute weighs as much as two": Quirk(
        case_of(*FACES, HAT, SCARF, BAG), clip_of(ALL), {"CLIP-I": (1 + 1 + 0.8) / 3}, {"CLIP-I": (1 + 0.8) / 2},
    ),
    "who wears nothing is left out": Quirk(
        case_of(*FACES, HAT), clip_of(ALL), {"CLIP-I": 1}, {"CLIP-I": 1},
    ),
    "who wears nothing and is not found counts 0": Quirk(
        case_of(*FACES, HAT), clip_of(paint(*MAN, RED_FACE, ON_MAN)), {"CLIP-I": 1}, {"CLIP-I": 0.5},
    ),
    "nothing asked for counts 0": Quirk(
        case_of(*FACES), clip_of(ALL), {"CLIP-T": None, "CLIP-I": None}, {"CLIP-T": 0, "CLIP-I": 0},
    ),
    "the background is not scored": Quirk(
        case_of(reference("background", "lamp", plain(GREEN))), clip_of(paint(WALL)),
        {"CLIP-I": 1, "CLIP-I:background": 1}, {"CLIP-I": 0},
    ),
    "words alone are not scored": Quirk(
        case_of(face(0, RED), reference("attribute", "scarf", None, 0)), clip_of(ALL), {"CLIP-T": 1}, {"CLIP-T": 0},
    ),
}  # fmt: skip


@pytest.mark.parametrize("quirk", QUIRKS.values(), ids=QUIRKS)
def test_what_each_quirk_does_to_the_scores(quirk: Quirk) -> None:
    ours, theirs = (score(quirk.case, quirk.clip, quirk.models) for score in (v1, release))
    assert {metric: ours[metric].value for metric in quirk.ours} == pytest.approx(dict(quirk.ours), abs=1e-6)
    assert {metric: theirs[metric].value for metric in quirk.theirs} == pytest.approx(dict(quirk.theirs), abs=1e-6)


def test_face_encoders_are_shown_blue_for_red_on_both_sides() -> None:
    class Asked(FaceColour):
        def __init__(self) -> None:
            super().__init__()
            self.seen: list[tuple[int, ...]] = []

        def embed(self, picture: Picture, faces) -> np.ndarray:
            self.seen += [tuple(picture[11, 5].tolist())]
            return super().embed(picture, faces)

    encoder = Asked()
    models = replace(MODELS, faces=EitherWay(RED), identities={"ArcSim": encoder})
    person = paint(((0, 0, 50, 60), RED))
    subjects = BlockPhrases({"man": [Found((0, 0, 50, 60), 1.0)]})
    found = release(case_of(face(0, RED)), clip_of(person), replace(models, subjects=subjects))
    assert found["ArcSim"].value == pytest.approx(1)
    assert set(encoder.seen) == {BLUE}


def test_exchanged_colours_change_what_an_encoder_says() -> None:
    # To an encoder in which red counts 4 times, red is like olive (480, 160); with blue for red it is not.
    case, clip = case_of(face(0, RED)), clip_of(paint(*MAN, (RED_FACE[0], OLIVE)))
    models = replace(MODELS, faces=EitherWay(OLIVE), identities={"CurSim": FaceColour(red=4)})
    assert v1(case, clip, models)["CurSim"].value == pytest.approx(3 / np.sqrt(10), abs=1e-6)
    assert release(case, clip, models)["CurSim"].value == pytest.approx(0.6, abs=1e-6)


def test_the_surest_face_of_a_person_counts() -> None:
    two = paint(((5, 5, 15, 15), BLUE), ((30, 5, 40, 15), RED))
    assert face_in(BlockFaces(BLUE, RED), two).box[0] == 30  # it sees red as blue
    assert face_in(BlockFaces(RED, BLUE), two).box[0] == 5
    assert face_in(BlockFaces(GREEN), two) == Face((0.0, 0.0, 120.0, 80.0), 0.0)


def test_the_first_box_of_a_description_counts_and_the_surest_of_a_part() -> None:
    man, woman = Found((0, 0, 50, 60), 0.2), Found((70, 0, 120, 60), 0.9)
    models = described_by(man_with_hat=[man, woman])
    low, high = Found((25, 42, 45, 52), 0.3), Found((25, 30, 45, 40), 0.8)
    models = replace(models, phrases=BlockPhrases({"hat": [low, high]}))
    assert release(case_of(face(0, RED), HAT), clip_of(ALL), models)["CLIP-I"].value == pytest.approx(1)


def test_a_person_is_described_with_all_that_has_a_picture() -> None:
    assert described("man", []) == "man"
    assert described("man", [HAT]) == "man with hat"
    assert described("man", [HAT, SCARF, BAG]) == "man with hat and scarf and bag"
    subjects = BlockPhrases(DESCRIBED)
    case = case_of(*FACES, HAT, reference("attribute", "beard", None, 0), BAG)
    release(case, clip_of(ALL), replace(MODELS, subjects=subjects))
    assert subjects.asked == ["man with hat", "woman with bag"]


@pytest.mark.parametrize(("count", "index"), [(1, 0), (2, 1), (4, 2), (81, 40)])
def test_the_middle_frame(count: int, index: int) -> None:
    frames = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert (middle(Clip(frames, 16.0)) == index).all()


def test_nobody_is_found() -> None:
    found = {metric: score.value for metric, score in release(case_of(*FACES, HAT, BAG), clip_of(paint())).items()}
    assert found == dict.fromkeys(["CLIP-T", "CLIP-I", "DINO-I", "ArcSim", "CurSim"], 0)


def test_a_case_without_faces_and_models_that_are_missing() -> None:
    case, clip = case_of(LAMP), clip_of(ALL)
    found = release(case, clip)
    assert found["CLIP-I"].value == pytest.approx(1)
    assert found["ArcSim"].status == found["CurSim"].status == "not_applicable"
    assert release(case, clip, replace(MODELS, subjects=None)) == {}
    assert list(release(case, clip, replace(MODELS, phrases=None))) == ["ArcSim", "CurSim"]
    assert list(ReleaseSubject(replace(MODELS, words=None)).metrics) == ["CLIP-I", "DINO-I", "ArcSim", "CurSim"]


def test_the_detail_says_which_terms_were_averaged() -> None:
    score = release(case_of(*FACES, HAT, SCARF, LAMP, CUP), clip_of(ALL))["CLIP-I"]
    assert score.detail["terms"] == pytest.approx({"subjects": 1, "objects": 0.5})
    assert score.detail["found"] == pytest.approx({"0.hat": 1, "0.scarf": 1, "lamp": 1})
