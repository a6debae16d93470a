"""Flow strength, in pixels of a picture whose shorter side has 256, from frame to frame at 16 a second."""

from pathlib import Path

import numpy as np
import pytest
from curation_footage import look_at, pan, save_video

from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.values import FlowStrength, Subtitles
from lumosx.vision import ModelCard, Picture
from lumosx.vision.motion import DisFlow


class Told:
    """A flow to the right that is told what it is, wherever pictures differ."""

    card = ModelCard("told", "tests", "1", "Apache-2.0", True)

    def __init__(self, step: int = 0) -> None:
        self.step = step
        self.sides: set[tuple[int, ...]] = set()

    def flow(self, first: Picture, second: Picture) -> np.ndarray:
        self.sides.add(first.shape)
        differ = np.abs(first.astype(int) - second).mean() > 1
        return np.full((*first.shape[:2], 2), (self.step * differ, 0), np.float32)


def strength(path: Path, seconds: float, flow: Told | DisFlow, crop: tuple[int, int, int, int], pairs: int = 10):
    uncovered = Subtitles(share=0.0, crop=crop, left=0.0, texts=[])
    return Motion(flow, pairs=pairs).measure(look_at(path, seconds, {SubtitleText: uncovered}))


def test_the_mean_length_over_pairs_spread_evenly(tmp_path: Path) -> None:
    grain = np.random.default_rng(0).integers(0, 256, (128, 192, 1), np.uint8).repeat(3, 2)
    still, moved = [grain] * 9, [np.roll(grain, 6 * step, 1) for step in range(1, 9)]
    flow = Told(6)
    video = save_video(tmp_path / "a.mp4", np.stack(still + moved), pixels="yuv444p", options={"crf": "0"})
    value = strength(video, 17 / 16, flow, (0, 0, 192, 128), pairs=4)
    assert value.pairs == pytest.approx([0, 0, 12, 12], rel=0.1)  # of sides of 128, as 256; an edge shows what is new
    assert value.value == pytest.approx(np.mean(value.pairs))
    assert flow.sides == {(128, 192, 3)}


@pytest.mark.parametrize("level", [2, 8])
def test_grain_does_not_move(tmp_path: Path, level: float) -> None:
    """A wall that a camera sees is never twice the same."""
    noise = np.random.default_rng(0).normal(0, level, (16, 256, 384, 1))
    still, moving = pan(16, 0, height=256, width=384), pan(16, 4, height=256, width=384)
    for frames, least, most in ((np.full_like(still, 128), 0, 0.05), (still, 0, 0.05), (moving, 3.5, 4.5)):
        video = save_video(tmp_path / "a.mp4", np.clip(frames + noise, 0, 255).round().astype(np.uint8))
        assert least <= strength(video, 1.0, DisFlow(), (0, 0, 384, 256)).value <= most


@pytest.mark.parametrize(("height", "width"), [(128, 192), (384, 576)])
@pytest.mark.parametrize("fps", [16, 32])
def test_a_pan_by_the_real_flow(tmp_path: Path, height: int, width: int, fps: int) -> None:
    """One 64th of the height from frame to frame at 16 a second is 4 pixels of 256, whatever the size and the rate."""
    step = height // 64 * 16 // fps
    video = save_video(tmp_path / "a.mp4", pan(fps, step, height=height, width=width), fps)
    value = strength(video, 1.0, DisFlow(), (0, 0, width, height))
    assert value.value == pytest.approx(4, rel=0.1) and len(value.pairs) == 10


def test_what_is_cut_off_does_not_count(tmp_path: Path) -> None:
    frames = np.full((16, 160, 160, 3), 90, np.uint8)
    frames[:, :60] = pan(16, 4, height=60, width=160)
    video = save_video(tmp_path / "a.mp4", frames)
    whole, below = (strength(video, 1.0, DisFlow(), (0, top, 160, 160)).value for top in (0, 68))
    assert whole > 1 and below < 0.05


def test_a_single_frame_does_not_move(tmp_path: Path) -> None:
    video = save_video(tmp_path / "a.mp4", pan(16))
    assert strength(video, 1 / 16, Told(), (0, 0, 160, 96)) == FlowStrength(value=0.0, pairs=[])


def test_the_judgement() -> None:
    stage = Motion(Told())
    for value, code, limit in ((0.04, "flow-low", 0.05), (2.1, "flow-high", 2.0)):
        rejected = stage.judge(FlowStrength(value=value, pairs=[value]))
        assert rejected is not None and (rejected.code, rejected.value, rejected.threshold) == (code, value, limit)
    assert all(stage.judge(FlowStrength(value=value, pairs=[value])) is None for value in (0.05, 2.0))
