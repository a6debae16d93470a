"""The whole video by the release's protocol, bug for bug: ViCLIP-T, ViCLIP-V, dynamic degree, and how it averages.

What it does differently from protocol v1, and where (benchmark/subject_consistency_eval/):

| quirk                | what happens                                                              | release           |
|----------------------|---------------------------------------------------------------------------|-------------------|
| `eight_frames`       | the tail of a clip is never seen; a clip of fewer than 8 frames stops it  | eval_global_ddp   |
| `truth_frames`       | of the ground truth, 10 frames are skipped and at most 5 seconds are seen | eval_global_ddp   |
| `after_start`        | motion in the first 5 frames does not count                               | dynamic_degree.py |
| `Motion.quarter`     | of two frames, round(2 / 4) = 0 pairs must move: a still clip is dynamic  | dynamic_degree.py |
| `release_groups`     | a clip of four people counts twice in the overall mean                    | all scripts       |
| `padded`             | files are doubled until every process has as many                         | all scripts       |
| `distributed_means`  | on several GPUs the means of groups mix clips of other groups             | all scripts       |

Not reproduced: the release reads the words of a case after the first ';' of caption.txt, which readers of its layout
have done by the time a `Case` has its prompt; and it stops at a case without ground truth, which here is merely not
measured by ViCLIP-V.
"""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip, VideoFile
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.whole import degree, degree_name, frame_interval, motion, similarities, similarity_names
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import Flow

SEEN = 8  # frames that the encoder of videos is given
SKIPPED = 10  # frames of the ground truth
SECONDS = 5  # of the ground truth
DROPPED = 5  # frames of a clip before its motion is measured
GROUPS = ("person1", "person2", "person3")
OVERALL = "overall"


def eight_frames(frames: np.ndarray, of: str = "the video") -> np.ndarray:
    """Every (F // 8)-th frame of uint8 [F, H, W, 3], the first eight of them: of 81 frames the last 10 are not seen.

    Raises InputError, which says of what, for fewer than eight.
    """
    if len(frames) < SEEN:
        raise InputError(
            f"{of} has {len(frames)} frames, and the release's protocol needs {SEEN}: take a longer one, or score with "
            "--protocol v1"
        )
    return frames[:: len(frames) // SEEN][:SEEN]


def truth_frames(clip: Clip) -> np.ndarray:
    """Frames 10 to 5 seconds of a ground truth, a second having int(fps) frames: 29 at 29.97."""
    return clip.frames[SKIPPED : SECONDS * int(clip.fps)]


def after_start(clip: Clip) -> np.ndarray:
    """The frames whose motion counts: about 8 a second, from the sixth on."""
    return clip.frames[DROPPED :: frame_interval(clip.fps)]


class ReleaseWhole:
    """ViCLIP-T, ViCLIP-V and the dynamic degree as the release computes them."""

    def __init__(self, models: Models) -> None:
        self._videos, self._flow = models.videos, models.flow
        names = [*similarity_names(models.videos)] if models.videos else []
        if models.flow:
            names.append(degree_name(models.flow))
        self.metrics = dict.fromkeys(names, True)

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        scores: list[Score] = []
        if self._videos:
            truth = _truth(case.truth) if case.truth else None
            scores += similarities(self._videos, case.prompt, eight_frames(clip.frames), truth)
        if self._flow:
            scores.append(_degree(self._flow, clip))
        return scores


def _truth(path: Path) -> np.ndarray:
    span = f"{path} between its frame {SKIPPED} and its second {SECONDS}"
    return eight_frames(truth_frames(VideoFile(path).clip), of=span)


def _degree(flow: Flow, clip: Clip) -> Score:
    metric, frames = degree_name(flow), after_start(clip)
    if len(frames) < 2:
        return not_applicable(metric, f"without its first {DROPPED} frames, no pair is left")
    found = motion(frames, flow.flow)
    return degree(metric, found, found.quarter)


def release_groups(name: str) -> list[str]:
    """The means that a clip is added to, by its name: that of its number of people, which ends at three, and the
    overall one, which a clip of no such group is added to twice."""
    return [next((group for group in GROUPS if group in name), OVERALL), OVERALL]


def padded(names: Sequence[str], processes: int) -> list[str]:
    """The files that are scored on so many processes: the first ones again until the number divides."""
    missing = -len(names) % processes
    return [*names, *(names[i % len(names)] for i in range(missing))]


def distributed_means(ranks: Sequence[Sequence[tuple[str, float]]]) -> dict[str, float]:
    """What the first of several processes reports as the mean of each group.

    After every clip each process adds, to the groups of its own clip, the sum over all processes of their values, and
    to their counts the number of processes. So the value of a clip counts for the group of another that was scored at
    the same moment, and a group that the first process never held is not reported.

    Args:
        ranks: for each process the names and values of its clips in the order of scoring, all equally many.
    """
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    for clips in zip(*ranks, strict=True):
        together = sum(value for _, value in clips)
        for group in release_groups(clips[0][0]):
            sums[group] += together
            counts[group] += len(clips)
    return {group: sums[group] / counts[group] for group in sums}
