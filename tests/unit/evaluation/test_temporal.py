"""Temporal metrics: clips whose answer is known, and the formulas against their definitions written out."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.temporal import TemporalMeasure, consistency, face_consistency, smoothness
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.scene.images import ImageSpec
from lumosx.vision import Face, ModelCard

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class Named:
    def __init__(self, name: str) -> None:
        self.card = ModelCard(name, "a test", "1", "none", True)


def mean_colours(pictures) -> np.ndarray:
    """Of length 1; those of red, green and blue are at right angles."""
    means = np.array([picture.mean((0, 1)) for picture in pictures], np.float32)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


class MeanColour(Named):
    def embed(self, pictures):
        return mean_colours(pictures)


class FaceColour(Named):
    def embed(self, picture, faces):
        boxes = [[int(v) for v in face.box] for face in faces]
        return mean_colours([picture[y0:y1, x0:x1] for x0, y0, x1, y1 in boxes])


class Squares(Named):
    """Finds a face wherever one of three columns of a picture is not black."""

    def detect(self, picture):
        width = picture.shape[1] // 3
        columns = [(x, picture[:, x : x + width]) for x in (0, width, 2 * width)]
        return [Face((x, 0, x + width, len(picture)), 1.0) for x, column in columns if column.any()]


class Average(Named):
    def between(self, first, second):
        return ((first.astype(int) + second) // 2).astype(np.uint8)


def composite(*looks: tuple[tuple[int, int, int] | None, ...]) -> Clip:
    """A clip of frames with faces (colours, or None) in three columns."""
    frames = np.zeros((len(looks), 8, 24, 3), np.uint8)
    for frame, colours in zip(frames, looks, strict=True):
        for column, colour in enumerate(colours):
            frame[:, 8 * column : 8 * column + 8] = colour or 0
    return Clip(frames, 16)


def models(**others) -> Models:
    return Models(Squares("squares"), {"Colour": FaceColour("mean colour")}, **others)


def case(*faces: tuple[int, int, int]) -> Case:
    """A case of people who are one colour each."""
    pictures = [ImageSpec(None, Image.new("RGB", (24, 8), colour)) for colour in faces]
    people = [CaseReference(f"face{i}", "face", i, "face", picture) for i, picture in enumerate(pictures)]
    return Case("case", "people", tuple(people), {}, Path())


def measured(clip: Clip, of: Case | None = None, **others) -> dict[str, Score]:
    asked, of = models(**others), of or case()
    measure = TemporalMeasure(asked)
    scores = measure(of, clip, Evidence(of, clip, asked))
    assert [score.metric for score in scores] == list(measure.metrics)
    return {score.metric: score for score in scores}


def solid(*colours: tuple[int, int, int]) -> Clip:
    return Clip(np.array([np.full((6, 9, 3), colour) for colour in colours], np.uint8), 16)


@given(st.lists(st.lists(st.floats(-1, 1), min_size=3, max_size=3).filter(any), min_size=2, max_size=7))
def test_consistency_is_vbenchs_sum_written_out(vectors: list[list[float]]) -> None:
    def cos(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    units = [[x / math.hypot(*vector) for x in vector] for vector in vectors]
    terms = [
        (max(0.0, cos(units[t], units[t - 1])) + max(0.0, cos(units[t], units[0]))) / 2 for t in range(1, len(units))
    ]
    assert consistency(np.array(units)) == pytest.approx(sum(terms) / len(terms), abs=1e-6)


def test_a_clip_that_stands_still_is_consistent_and_smooth() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1, 12, 18, 3), np.uint8).repeat(5, 0)
    found = measured(Clip(noise, 16), likenesses={"DINO-I": MeanColour("a")}, interpolator=Average("AMT-S"))
    assert found["subject_consistency[DINO-I]"].value == pytest.approx(1)
    assert found["motion_smoothness"].value == 1


def test_pictures_in_turn_are_half_consistent_and_not_smooth() -> None:
    """Red, blue, red, blue, red: nothing is like the frame before, every second frame is the first again. Of a blue
    frame between red ones, two channels of three are off by 255."""
    found = measured(solid(RED, BLUE, RED, BLUE, RED), likenesses={"x": MeanColour("a")}, interpolator=Average("AMT-S"))
    assert found["frame_consistency[x]"].value == pytest.approx((0 + 0.5 + 0 + 0.5) / 4)
    assert found["motion_smoothness"].value == pytest.approx(1 / 3)


def test_opposite_features_count_as_unlike_and_not_less() -> None:
    assert consistency(np.array([[1.0, 0], [-1, 0]])) == 0


def test_smoothness_sees_every_second_frame_that_has_two_neighbours() -> None:
    """Grey 0, 10, 40, 42: the frame of 10 lies between 0 and 40, which suggest 20; that of 42 has one neighbour, and
    that of 40 is one that stays."""
    frames = np.array([np.full((4, 4, 3), grey) for grey in (0, 10, 40, 42)], np.uint8)
    assert smoothness(frames, Average("").between) == pytest.approx((255 - 10) / 255)
    assert smoothness(frames[:3], Average("").between) == pytest.approx((255 - 10) / 255)


def test_smoothness_of_a_darker_frame_does_not_wrap_around() -> None:
    frames = np.array([np.full((4, 4, 3), grey) for grey in (200, 10, 200)], np.uint8)
    assert smoothness(frames, Average("").between) == pytest.approx((255 - 190) / 255)


def test_a_face_that_stays_is_consistent_though_another_changes() -> None:
    found = measured(composite((RED, GREEN, None), (RED, GREEN, None), (RED, GREEN, None)), case(RED, GREEN))
    assert found["face_consistency[Colour]"].value == pytest.approx(1)
    turned = measured(composite((RED, GREEN, None), (RED, BLUE, None), (RED, GREEN, None)), case(RED, GREEN))
    assert turned["face_consistency[Colour]"].detail["subjects"] == pytest.approx({"0": 1, "1": 0})


def test_a_face_that_is_lost_for_a_look_costs_both_of_its_pairs() -> None:
    lost = composite((RED,), (RED,), (None,), (RED,), (RED,))
    assert measured(lost, case(RED))["face_consistency[Colour]"].value == pytest.approx(2 / 4)


def test_a_person_who_is_never_seen_counts_nothing() -> None:
    found = measured(composite((RED,), (RED,), (RED,)), case(RED, GREEN))["face_consistency[Colour]"]
    assert found.detail == {"subjects": pytest.approx({"0": 1, "1": 0}), "looks": 3}
    assert found.value == pytest.approx(0.5)


def test_people_who_move_stay_themselves() -> None:
    moved = composite((RED, GREEN, None), (None, RED, GREEN), (RED, GREEN, None))
    assert measured(moved, case(RED, GREEN))["face_consistency[Colour]"].value == pytest.approx(1)


def test_face_consistency_is_the_mean_cosine_of_pairs_and_may_be_negative() -> None:
    looks = {0: np.array([1.0, 0]), 1: np.array([-0.6, 0.8]), 3: np.array([0.0, 1])}
    assert face_consistency(looks, 4) == pytest.approx(-0.6 / 3)
    assert face_consistency({}, 4) == 0


def test_that_there_is_no_face_shows_without_a_clip() -> None:
    measure = TemporalMeasure(models(likenesses={"HueSim": MeanColour("c")}))
    assert [score.metric for score in measure.nothing_for(case())] == ["face_consistency[Colour]"]
    assert measure.nothing_for(case(RED)) == []


def test_names_say_what_measured() -> None:
    own = {"DINO ViT-B/16": MeanColour("a"), "CLIP ViT-B/32": MeanColour("b")}
    ours = {"DINO-I": MeanColour("a"), "CLIP-I": MeanColour("b"), "HueSim": MeanColour("c")}
    paper = Models(
        Squares("s"),
        {"ArcSim": FaceColour("d"), "CurSim": FaceColour("e")},
        likenesses=own,
        interpolator=Average("AMT-S"),
    )
    plain = ["subject_consistency", "background_consistency", "motion_smoothness", "face_consistency"]
    assert list(TemporalMeasure(paper).metrics) == plain
    assert list(TemporalMeasure(models(likenesses=ours, interpolator=Average("linear"))).metrics) == [
        "subject_consistency[DINO-I]",
        "background_consistency[CLIP-I]",
        "frame_consistency[HueSim]",
        "motion_smoothness[linear]",
        "face_consistency[Colour]",
    ]
    assert list(TemporalMeasure(models()).metrics) == ["face_consistency[Colour]"]


def test_what_a_clip_is_too_short_for_is_not_applicable() -> None:
    others = {"likenesses": {"CLIP-I": MeanColour("a")}, "interpolator": Average("linear")}
    one = measured(composite((RED,)), case(RED), **others)
    assert {score.status for score in one.values()} == {"not_applicable"}
    two = measured(composite((RED,), (RED,)), case(RED), **others)
    assert [name for name, score in two.items() if score.status != "ok"] == ["motion_smoothness[linear]"]
    assert measured(composite((RED,), (RED,)), case())["face_consistency[Colour]"].status == "not_applicable"
