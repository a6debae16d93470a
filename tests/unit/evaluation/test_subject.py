"""Protocol v1's attributes, objects and background: known cosines, misses, owners, and what is not measured."""

from dataclasses import replace

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

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.subject import SubjectMeasure, resemblance
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.vision import Found

# Two people, each with a face; what they wear lies on them, things lie under them.
MAN, WOMAN = ((0, 0, 50, 60), BODY), ((70, 0, 120, 60), COAT)
RED_FACE, BLUE_FACE = ((10, 10, 20, 20), RED), ((80, 10, 90, 20), BLUE)
PEOPLE = (MAN, WOMAN, RED_FACE, BLUE_FACE)
ON_MAN, ON_WOMAN, BELOW = (25, 30, 45, 50), (95, 30, 115, 50), (50, 62, 70, 78)
WORDS = {"hat": OLIVE, "bag": GREEN, "lamp": TEAL, "street": (0, 0, 0), "scarf": PURPLE}
MODELS = Models(
    BlockFaces(RED, BLUE),
    {"ArcSim": FaceColour()},
    people=BlockPeople(BODY, COAT),
    phrases=BlockPhrases(WORDS),
    likenesses={"CLIP-I": MeanColour()},
    words=MeanColour({**WORDS, "hat": RED, "street": (100, 100, 100)}),
)
FACES = (face(0, RED), face(1, BLUE, "woman"))
HAT = reference("attribute", "hat", plain(OLIVE), 0)
BAG = reference("attribute", "bag", plain(OLIVE), 1)  # asked for in olive, drawn in green
LAMP = reference("object", "lamp", plain(TEAL))
STREET = reference("background", "street", plain(RED))


def scores(case: Case, clip: Clip, models: Models = MODELS, frames: int = 4, looks: int = 16) -> dict[str, Score]:
    """By metric, and each once."""
    measure = SubjectMeasure(models, frames)
    found = measure(case, clip, Evidence(case, clip, models, looks=looks))
    assert [score.metric for score in found] == list(measure.metrics)
    return {score.metric: score for score in found}


def values(*args, **options) -> dict[str, float | None]:
    """Of `scores`."""
    return {metric: score.value for metric, score in scores(*args, **options).items()}


def test_each_entity_weighs_the_same_and_kinds_are_apart() -> None:
    frame = paint(*PEOPLE, (ON_MAN, OLIVE), (ON_WOMAN, GREEN), (BELOW, TEAL))
    found = values(case_of(*FACES, HAT, BAG, LAMP), clip_of(frame, frame))
    assert found["CLIP-I"] == pytest.approx((1 + 0.8 + 1) / 3)
    assert found["CLIP-I:attributes"] == pytest.approx((1 + 0.8) / 2)
    assert found["CLIP-I:objects"] == pytest.approx(1)
    assert found["CLIP-I:background"] is None
    assert found["CLIP-T"] == pytest.approx((0.6 + 1 + 1) / 3)  # the word hat means red
    assert found["CLIP-T:attributes"] == pytest.approx((0.6 + 1) / 2)


def test_what_is_not_found_counts_0_on_its_look_alone() -> None:
    worn, bare = paint(*PEOPLE, (ON_MAN, OLIVE)), paint(*PEOPLE)
    found = scores(case_of(*FACES, HAT, LAMP), clip_of(worn, bare, worn, worn))
    assert found["CLIP-I"].value == pytest.approx((3 / 4 + 0) / 2)
    assert found["CLIP-I|seen"].value == pytest.approx(1)  # the lamp was never seen
    assert found["CLIP-I"].detail["entities"] == {"0.hat": pytest.approx(3 / 4), "lamp": 0}
    assert found["CLIP-I:objects"].value == 0


def test_nothing_is_found_at_all() -> None:
    found = values(case_of(*FACES, HAT, LAMP), clip_of(paint()))
    assert (found["CLIP-T"], found["CLIP-I"], found["CLIP-I|seen"]) == (0, 0, None)


def test_an_attribute_on_somebody_else_is_a_miss() -> None:
    swapped = paint(*PEOPLE, (ON_WOMAN, OLIVE))
    assert values(case_of(*FACES, HAT), clip_of(swapped))["CLIP-I"] == 0
    # and is looked for on whoever has the face, wherever that is
    exchanged = paint(MAN, WOMAN, (RED_FACE[0], BLUE), (BLUE_FACE[0], RED), (ON_WOMAN, OLIVE))
    assert values(case_of(*FACES, HAT), clip_of(exchanged))["CLIP-I"] == pytest.approx(1)


def test_what_a_neighbour_wears_is_not_taken_for_ones_own() -> None:
    """Hers is the surer one in his box, which reaches over it; his is nearer to his face."""
    both, hers = ((0, 0, 120, 60), BODY), ((70, 25, 110, 55), GREEN)
    case = case_of(*FACES, reference("attribute", "bag", plain(GREEN), 0))
    assert values(case, clip_of(paint(both, RED_FACE, BLUE_FACE, hers)))["CLIP-I"] == 0
    clip = clip_of(paint(both, RED_FACE, BLUE_FACE, hers, ((10, 30, 20, 40), GREEN)))
    assert values(case, clip)["CLIP-I"] == pytest.approx(1)
    evidence = Evidence(case, clip, MODELS)
    widths = {s: evidence.worn(track, 0)["bag"].shape[1] for s, track in evidence.people.items() if track}
    assert widths == {0: 10, 1: 40}


def test_attributes_of_a_missing_person_count_0() -> None:
    alone = paint(WOMAN, BLUE_FACE, (ON_WOMAN, GREEN), (ON_MAN, OLIVE))
    assert values(case_of(*FACES, HAT, BAG), clip_of(alone))["CLIP-I"] == pytest.approx(0.8 / 2)


def test_words_alone_have_no_value_but_clip_t() -> None:
    frame = paint(*PEOPLE, (ON_MAN, PURPLE), (BELOW, TEAL))
    scarf = reference("attribute", "scarf", None, 0)
    found = values(case_of(*FACES, scarf, LAMP), clip_of(frame))
    assert found["CLIP-T"] == pytest.approx(1) and found["CLIP-T:attributes"] == pytest.approx(1)
    assert found["CLIP-I"] == pytest.approx(1) and found["CLIP-I:attributes"] is None
    alone = scores(case_of(*FACES, scarf), clip_of(frame))
    assert alone["CLIP-T"].value == pytest.approx(1)
    assert alone["CLIP-I"].status == alone["CLIP-I|seen"].status == "not_applicable"


def test_an_attribute_without_a_known_owner_is_left_out_and_named() -> None:
    case = case_of(face(0, RED), reference("face", "woman", None, 1), HAT, BAG)
    found = scores(case, clip_of(paint(*PEOPLE, (ON_MAN, OLIVE), (ON_WOMAN, GREEN))))
    assert found["CLIP-I"].value == pytest.approx(1)
    assert found["CLIP-I"].detail["left_out"] == ["1.bag"]


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.mark.parametrize("size", [(120, 80), (60, 40), (240, 160)])
def test_the_background_is_compared_without_people_at_the_same_places(size: tuple[int, int]) -> None:
    wall = ((0, 0, 120, 80), GREEN)
    frame = paint(wall, *PEOPLE)
    # Of the reference, which is red but purple where the people stand, the red alone counts.
    scale = size[0] / 120
    people = [(tuple(scale * v for v in box), PURPLE) for box, _ in (MAN, WOMAN)]
    asked = reference("background", "street", paint(((0, 0, *size), RED), *people, size=size))
    hidden = 2 * 50 * 60 / (120 * 80)
    seen, wanted = ((1 - hidden) * np.array(colour) + hidden * 128 for colour in (GREEN, RED))
    found = values(case_of(*FACES, asked), clip_of(frame))
    assert found["CLIP-I:background"] == pytest.approx(cosine(seen, wanted), abs=1e-6)
    assert found["CLIP-I"] == found["CLIP-I:background"]
    assert found["CLIP-T:background"] == pytest.approx(cosine(seen, np.ones(3)), abs=1e-6)


def test_strangers_and_people_without_faces_are_no_background() -> None:
    wall = ((0, 0, 120, 80), GREEN)
    case = case_of(face(0, RED), reference("background", "street", paint(wall)))
    masked = values(case, clip_of(paint(wall, MAN, WOMAN)))  # nobody's face is seen
    assert masked["CLIP-I:background"] == pytest.approx(1)
    overlooked = values(case, clip_of(paint(wall, MAN, ((55, 10, 65, 20), BLUE))))  # a face that has no body
    assert overlooked["CLIP-I:background"] == pytest.approx(1)
    # without a detector of people, faces tell where they are
    blind = replace(MODELS, people=None)
    face_alone = paint(wall, ((55, 10, 65, 20), BLUE))
    assert values(case, clip_of(face_alone), models=blind)["CLIP-I:background"] == pytest.approx(1)


def test_a_background_that_people_cover_is_not_seen() -> None:
    frame = paint(((0, 0, 120, 80), BODY), RED_FACE)
    found = values(case_of(FACES[0], STREET), clip_of(frame))
    assert (found["CLIP-I:background"], found["CLIP-I|seen"]) == (0, None)


def test_looks_are_few_and_evenly_chosen() -> None:
    worn, bare = paint(*PEOPLE, (ON_MAN, OLIVE)), paint(*PEOPLE)
    frames = [worn if index in (0, 3, 6, 9) else bare for index in range(10)]
    case = case_of(*FACES, HAT)
    found = scores(case, clip_of(*frames))
    assert found["CLIP-I"].detail["looks"] == [0, 3, 6, 9]
    assert found["CLIP-I"].value == pytest.approx(1)
    assert values(case, clip_of(*frames), frames=10)["CLIP-I"] == pytest.approx(4 / 10)
    assert scores(case, clip_of(worn, bare))["CLIP-I"].detail["looks"] == [0, 1]


def test_an_empty_or_outer_box_shows_nothing() -> None:
    for box in ((30.0, 30.0, 30.2, 40.0), (-20.0, -20.0, -1.0, -1.0)):
        phrases = BlockPhrases({"hat": [Found(box, 1.0)]})
        found = values(case_of(*FACES, HAT), clip_of(paint(*PEOPLE)), models=replace(MODELS, phrases=phrases))
        assert found["CLIP-I"] == 0


def test_a_case_without_entities_and_models_that_are_missing() -> None:
    clip = clip_of(paint(*PEOPLE))
    assert {score.status for score in scores(case_of(*FACES), clip).values()} == {"not_applicable"}
    without = SubjectMeasure(replace(MODELS, words=None)).metrics
    assert list(without) == ["CLIP-I", "CLIP-I|seen", "CLIP-I:attributes", "CLIP-I:objects", "CLIP-I:background"]
    assert SubjectMeasure(replace(MODELS, words=None, likenesses={})).metrics == {}


@pytest.mark.parametrize("phrases", [MODELS.phrases, None])
@pytest.mark.parametrize("entities", [(), (HAT,), (LAMP, STREET), (reference("attribute", "scarf", None, 0),)])
def test_what_there_is_nothing_for_shows_without_a_clip(entities: tuple[CaseReference, ...], phrases) -> None:
    """Of a clip that shows nothing, what does not apply is just that, and what is never seen."""
    models, case = replace(MODELS, phrases=phrases), case_of(*FACES, *entities)
    found = scores(case, clip_of(paint(((0, 0, 120, 80), RED))), models=models)
    nothing = {s.metric for s in SubjectMeasure(models).nothing_for(case)}
    unseen = {
        m for m, s in found.items() if s.status == "not_applicable" and s.detail != {"why": "nothing of it is seen"}
    }
    assert nothing == unseen


def test_the_background_needs_no_model_that_finds_phrases() -> None:
    clip, blind = clip_of(paint(((0, 0, 120, 80), GREEN), *PEOPLE)), replace(MODELS, phrases=None)
    case = case_of(*FACES, HAT, LAMP, STREET)
    found = values(case, clip, models=blind)
    assert list(found) == ["CLIP-T:background", "CLIP-I:background"]
    assert found == {metric: value for metric, value in values(case, clip).items() if metric in found}
    assert {score.status for score in scores(case_of(*FACES, HAT), clip, models=blind).values()} == {"not_applicable"}


def test_clip_t_is_only_called_so_when_clip_gives_it() -> None:
    other = replace(MODELS, words=MeanColour(WORDS, name="SigLIP2"), likenesses={})
    assert next(iter(SubjectMeasure(other).metrics)) == "WordSim[SigLIP2]"
    assert next(iter(SubjectMeasure(MODELS).metrics)) == "CLIP-T"


def test_references_are_embedded_once_for_all_looks() -> None:
    class Counting(MeanColour):
        pictures = 0

        def embed(self, pictures):
            self.pictures += len(pictures)
            return super().embed(pictures)

    counting = Counting()
    models = replace(MODELS, likenesses={"CLIP-I": counting})
    scores(case_of(*FACES, HAT), clip_of(*[paint(*PEOPLE, (ON_MAN, OLIVE))] * 4), models=models)
    assert counting.pictures == 4 + 1
    assert resemblance(models, {}) == {"CLIP-T": {}, "CLIP-I": {}}
