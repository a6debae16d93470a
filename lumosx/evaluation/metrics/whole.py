"""The whole video: does it say what was asked, is it like the ground truth, does it move? Protocol v1.

ViCLIP-T and ViCLIP-V are the paper's (Section 4); the dynamic degree is VBench's (Huang et al., CVPR 2024). The
release's protocol measures the same of other frames: `lumosx.evaluation.release.whole`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip, VideoFile
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics import named
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import Flow, Picture, VideoEncoder

VBENCH_FLOW = "raft-things"
RATE = 8  # frames a second between which motion is measured
FASTEST = 0.05  # the share of a picture's pixels that are its motion: most of a good clip stands still
LIMIT = 6.0  # pixels that the fastest move between two frames of a short side of 256: more is moving


def frame_interval(fps: float) -> int:
    """Of how many frames one is looked at for about 8 a second. Raises InputError without a frame rate."""
    if fps <= 0:
        raise InputError(f"a video of {fps:g} frames a second: motion needs the rate; write it again with one")
    return max(1, round(fps / RATE))


def fastest(flow: np.ndarray) -> float:
    """Pixels that the fastest 5 % of a picture move, on average. `flow` [H, W, 2]."""
    lengths = np.sort(np.hypot(flow[..., 0], flow[..., 1]), axis=None)
    return float(lengths[-max(1, int(lengths.size * FASTEST)) :].mean())


@dataclass(frozen=True)
class Motion:
    """The motion of a clip. `pairs` [N - 1]: `fastest` of each of its N frames to the next; `size`: its short side."""

    pairs: np.ndarray
    size: int

    @property
    def limit(self) -> float:
        """Pixels; a pair that moves farther is moving (VBench: 6 at a short side of 256)."""
        return LIMIT * self.size / 256

    @property
    def strength(self) -> float:
        """The mean over the pairs, in pixels of a picture whose short side is 256: clips of all sizes compare."""
        return float(self.pairs.mean()) * 256 / self.size

    @property
    def quarter(self) -> int:
        """VBench's round(N / 4) of N frames, halves to even."""
        return round((len(self.pairs) + 1) / 4)

    def moves(self, least: int) -> bool:
        """Whether at least so many pairs are moving."""
        return int((self.pairs > self.limit).sum()) >= least


def motion(frames: np.ndarray, flow: Callable[[Picture, Picture], np.ndarray]) -> Motion:
    """The motion between neighbours of uint8 [N >= 2, H, W, 3]."""
    pairs = [fastest(flow(first, second)) for first, second in pairwise(frames)]
    return Motion(np.array(pairs), min(frames.shape[1:3]))


def similarity_names(encoder: VideoEncoder) -> tuple[str, str]:
    """ViCLIP-T and ViCLIP-V by VideoCLIP-XL; by another encoder VideoSim-T and VideoSim-V with its name."""
    name = encoder.card.name
    return named("ViCLIP-T", name, "VideoCLIP-XL", "VideoSim-T"), named("ViCLIP-V", name, "VideoCLIP-XL", "VideoSim-V")


def without_truth(metric: str) -> Score:
    """Likeness to a ground truth that there is none of."""
    return not_applicable(metric, "the case has no ground truth")


def similarities(encoder: VideoEncoder, prompt: str, frames: np.ndarray, truth: np.ndarray | None) -> list[Score]:
    """cos(prompt, clip) and cos(ground truth, clip). Frames are uint8 [F, H, W, 3]."""
    text, video = similarity_names(encoder)
    clip = encoder.embed_video(frames)
    scores = [Score(text, float(encoder.embed_text(prompt) @ clip))]
    if truth is None:
        return [*scores, without_truth(video)]
    return [*scores, Score(video, float(encoder.embed_video(truth) @ clip))]


def degree_name(flow: Flow) -> str:
    """What the dynamic degree is called by a model of motion."""
    return named("dynamic_degree", flow.card.name, VBENCH_FLOW)


def degree(metric: str, motion: Motion, least: int) -> Score:
    """The dynamic degree, 1 or 0: whether at least so many pairs are moving."""
    pairs = [round(float(pair), 3) for pair in motion.pairs]
    return Score(metric, float(motion.moves(least)), detail={"pairs": pairs, "limit": motion.limit, "least": least})


class WholeMeasure:
    """ViCLIP-T and -V, the dynamic degree, and the strength of the motion behind it.

    The encoder of videos is given all frames, of the clip and of the ground truth, and spreads the number that it takes
    over them. Motion is measured on every round(fps / 8)-th frame from the first on, N in all, and is a clip's if at
    least round(N / 4) of the pairs, and one in any case, are moving.
    """

    def __init__(self, models: Models) -> None:
        self._videos, self._flow = models.videos, models.flow
        names: list[str] = []
        if models.videos:
            names += similarity_names(models.videos)
        if models.flow:
            names += _motion_names(models.flow)
        self.metrics = dict.fromkeys(names, True)

    def nothing_for(self, case: Case) -> list[Score]:
        """ViCLIP-V of a case without ground truth."""
        return [without_truth(similarity_names(self._videos)[1])] if self._videos and case.truth is None else []

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        scores: list[Score] = []
        if self._videos:
            truth = VideoFile(case.truth).clip.frames if case.truth else None
            scores += similarities(self._videos, case.prompt, clip.frames, truth)
        if self._flow:
            scores += _dynamics(self._flow, clip)
        return scores


def _motion_names(flow: Flow) -> tuple[str, str]:
    return degree_name(flow), named("dynamic_strength", flow.card.name, VBENCH_FLOW)


def _dynamics(flow: Flow, clip: Clip) -> list[Score]:
    binary, continuous = _motion_names(flow)
    frames = clip.frames[:: frame_interval(clip.fps)] if len(clip.frames) > 1 else clip.frames
    if len(frames) < 2:
        return [not_applicable(metric, "one frame does not move") for metric in (binary, continuous)]
    found = motion(frames, flow.flow)
    return [degree(binary, found, max(1, found.quarter)), Score(continuous, found.strength)]
