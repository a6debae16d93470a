"""Metrics of the whole video: motion of known length, clips and words of known likeness."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import gaussian_filter

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.whole import WholeMeasure, fastest, frame_interval
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.pipelines.video import write_clip
from lumosx.vision import ModelCard

HEIGHT, WIDTH = 128, 192  # half of VBench's 256, so a pair is moving beyond 3 pixels


class Named:
    def __init__(self, name: str) -> None:
        self.card = ModelCard(name, "a test", "1", "none", True)


class Marked(Named):
    """Reads the place of a picture from its first pixel: all of it moves right by the difference."""

    def flow(self, first, second):
        moved = float(second[0, 0, 0]) - float(first[0, 0, 0])
        return np.full((*first.shape[:2], 2), (moved, 0), np.float32)


class Brightness(Named):
    """Puts the words "bright" and "dark" and the brightness of frames on a quarter of a circle."""

    def embed_video(self, frames):
        return self._at(frames.mean() / 255)

    def embed_text(self, text):
        return self._at({"dark": 0.0, "bright": 1.0}[text])

    def _at(self, share):
        return np.array([math.cos(share * math.pi / 2), math.sin(share * math.pi / 2)], np.float32)


def models(**asked) -> Models:
    return Models(None, {}, **asked)  # type: ignore[arg-type]  # no face is looked for


def placed(*places: int, fps: float = 8) -> Clip:
    frames = np.zeros((len(places), HEIGHT, WIDTH, 3), np.uint8)
    frames[:, 0, 0, 0] = places
    return Clip(frames, fps)


def grey(value: int, frames: int = 16) -> Clip:
    return Clip(np.full((frames, 32, 48, 3), value, np.uint8), 8)


def measured(clip: Clip, truth: Path | None = None, **asked) -> dict[str, Score]:
    at_hand = models(**asked)
    case, measure = Case("case", "bright", (), {}, Path(), truth), WholeMeasure(at_hand)
    scores = measure(case, clip, Evidence(case, clip, at_hand))
    assert [score.metric for score in scores] == list(measure.metrics)
    return {score.metric: score for score in scores}


def degree(clip: Clip) -> float | None:
    return measured(clip, flow=Marked("raft-things"))["dynamic_degree"].value


def strength(clip: Clip) -> float:
    value = measured(clip, flow=Marked("raft-things"))["dynamic_strength"].value
    assert value is not None
    return value


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(2)), elements=st.floats(-50, 50, width=32)
    )
)
def test_fastest_is_the_mean_of_the_longest_twentieth(flow: np.ndarray) -> None:
    lengths = sorted((math.hypot(float(x), float(y)) for x, y in flow.reshape(-1, 2)), reverse=True)
    longest = lengths[: max(1, len(lengths) // 20)]
    assert fastest(flow) == pytest.approx(sum(longest) / len(longest), abs=1e-4)


def test_a_small_thing_that_moves_makes_a_moving_picture() -> None:
    """A still picture in which 5 % of all pixels move by (3, 4)."""
    flow = np.zeros((20, 40, 2), np.float32)
    flow[:2, :20] = 3, 4
    assert fastest(flow) == pytest.approx(5)
    flow[1, :20] = 0
    assert fastest(flow) == pytest.approx(2.5)


@pytest.mark.parametrize(("fps", "interval"), [(8, 1), (16, 2), (24, 3), (30, 4), (29.97, 4), (12, 2), (4, 1), (1, 1)])
def test_motion_is_looked_at_about_eight_times_a_second(fps: float, interval: int) -> None:
    assert frame_interval(fps) == interval


def test_a_clip_without_a_rate_is_refused() -> None:
    with pytest.raises(InputError, match="frames a second"):
        degree(placed(0, 1, fps=0))


def test_a_clip_is_dynamic_from_just_above_the_limit() -> None:
    """Eight frames: 2 of 7 pairs must move by more than 6 pixels x 128 / 256."""
    assert degree(placed(0, 3, 6, 9, 12, 15, 18, 21)) == 0
    assert degree(placed(0, 4, 8, 12, 16, 20, 24, 28)) == 1
    assert degree(placed(0, 4, 8, 8, 8, 8, 8, 8)) == 1
    assert degree(placed(0, 4, 4, 4, 4, 4, 4, 4)) == 0


def test_a_still_clip_of_two_frames_is_not_dynamic() -> None:
    assert degree(placed(5, 5)) == 0
    assert degree(placed(5, 9)) == 1


def test_frames_between_are_not_looked_at() -> None:
    """At 16 frames a second every other counts: what shakes and returns is still, 2 pixels a frame are 4."""
    assert degree(placed(0, 50, 0, 50, 0, 50, 0, 50, fps=16)) == 0
    assert strength(placed(0, 2, 4, 6, 8, 10, 12, 14, fps=16)) == pytest.approx(4 * 2)


def test_strength_is_in_pixels_of_a_short_side_of_256() -> None:
    assert strength(placed(0, 1, 3, 6)) == pytest.approx((1 + 2 + 3) / 3 * 256 / HEIGHT)


def test_one_frame_does_not_move() -> None:
    for clip in (placed(3), placed(3, 9, fps=16)):  # at 16 frames a second, of two frames one is looked at
        found = measured(clip, flow=Marked("raft-things"))
        assert {score.status for score in found.values()} == {"not_applicable"}


def test_dis_flow_sees_how_far_a_texture_moves() -> None:
    """A texture moved by 2 and by 5 pixels a frame, on both sides of the limit of 3."""
    pytest.importorskip("cv2")
    from lumosx.vision.motion import DisFlow

    noise = gaussian_filter(np.random.default_rng(0).random((HEIGHT, WIDTH)), 2, mode="wrap")
    texture = ((noise - noise.min()) / np.ptp(noise) * 255).astype(np.uint8)[..., None].repeat(3, 2)
    for pixels, moving in ((2, 0), (5, 1)):
        frames = np.stack([np.roll(texture, pixels * t, axis=1) for t in range(6)])
        found = list(measured(Clip(frames, 8), flow=DisFlow()).values())
        assert found[0].value == moving
        assert found[1].value == pytest.approx(pixels * 256 / HEIGHT, rel=0.15)


def test_a_clip_is_as_like_its_words_as_it_is_bright() -> None:
    for value, cosine in ((255, 1), (0, 0), (85, math.cos(math.pi / 3))):
        found = measured(grey(value), videos=Brightness("VideoCLIP-XL"))
        assert found["ViCLIP-T"].value == pytest.approx(cosine, abs=1e-6)
        assert found["ViCLIP-V"].status == "not_applicable"


def test_a_clip_is_compared_with_its_ground_truth(tmp_path: Path) -> None:
    write_clip(grey(255).frames, tmp_path / "video.mp4", 8)
    for value, cosine in ((255, 1), (0, 0)):
        found = measured(grey(value), tmp_path / "video.mp4", videos=Brightness("VideoCLIP-XL"))
        assert found["ViCLIP-V"].value == pytest.approx(cosine, abs=0.02)  # the file is compressed


def test_that_there_is_no_ground_truth_shows_without_a_clip() -> None:
    measure = WholeMeasure(models(videos=Brightness("VideoCLIP-XL")))
    case = Case("id", "prompt", (), {}, Path())
    assert [score.metric for score in measure.nothing_for(case)] == ["ViCLIP-V"]
    assert measure.nothing_for(replace(case, truth=Path("video.mp4"))) == []
    assert WholeMeasure(models()).nothing_for(case) == []


def test_names_say_what_measured() -> None:
    def names(videos: str, flow: str) -> list[str]:
        return list(WholeMeasure(models(videos=Brightness(videos), flow=Marked(flow))).metrics)

    assert names("VideoCLIP-XL-v2", "raft-things") == ["ViCLIP-T", "ViCLIP-V", "dynamic_degree", "dynamic_strength"]
    assert names("VideoCLIP-XL", "RAFT")[2:] == ["dynamic_degree[RAFT]", "dynamic_strength[RAFT]"]  # its other weights
    other = ["VideoSim-T[X-CLIP]", "VideoSim-V[X-CLIP]", "dynamic_degree[DIS]", "dynamic_strength[DIS]"]
    assert names("X-CLIP", "DIS") == other
    assert WholeMeasure(models()).metrics == {}
