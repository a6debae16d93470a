"""The release's metrics of the whole video: every quirk, beside what protocol v1 says of the same clip."""

from pathlib import Path
from statistics import mean

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.whole import WholeMeasure
from lumosx.evaluation.models import Models
from lumosx.evaluation.release.whole import (
    ReleaseWhole,
    distributed_means,
    eight_frames,
    padded,
    release_groups,
    truth_frames,
)
from lumosx.evaluation.scores import Score
from lumosx.pipelines.video import write_clip
from lumosx.vision import ModelCard


class Recording:
    """Encodes every clip and text alike, and keeps the grey of the frames that it was given."""

    card = ModelCard("VideoCLIP-XL-v2", "a test", "1", "none", True)

    def __init__(self) -> None:
        self.seen: list[list[int]] = []
        self.read: list[str] = []

    def embed_video(self, frames):
        self.seen.append([int(frame.mean().round()) for frame in frames])
        return np.array([1.0, 0.0], np.float32)

    def embed_text(self, text):
        self.read.append(text)
        return np.array([0.6, 0.8], np.float32)


class Brightening:
    """All of a picture moves as far as it gets brighter."""

    card = ModelCard("raft-things", "a test", "1", "none", True)

    def flow(self, first, second):
        return np.full((*first.shape[:2], 2), (float(second.mean()) - float(first.mean()), 0), np.float32)


def models(**asked) -> Models:
    return Models(None, {}, **asked)  # type: ignore[arg-type]  # no face is looked for


def clip(greys, fps: float = 8) -> Clip:
    """A frame of every grey; with a short side of 64, a pair is moving beyond 1.5."""
    return Clip(np.array([np.full((64, 96, 3), grey) for grey in greys], np.uint8), fps)


def scores(measure, of: Clip, truth: Path | None = None) -> dict[str, Score]:
    case = Case("case", "a man; and a hat", (), {}, Path(), truth)
    return {score.metric: score for score in measure(case, of, Evidence(case, of, models()))}


def degrees(of: Clip) -> tuple[float | None, float | None]:
    """The dynamic degree by the release and by v1."""
    at_hand = models(flow=Brightening())
    both = [scores(measure, of)["dynamic_degree"].value for measure in (ReleaseWhole(at_hand), WholeMeasure(at_hand))]
    return both[0], both[1]


@given(st.integers(8, 200))
def test_eight_frames_leave_the_tail_unseen(count: int) -> None:
    seen = [int(frame) for frame in eight_frames(np.arange(count))]
    assert seen == [k * (count // 8) for k in range(8)]
    assert count - 1 - seen[-1] >= count // 8 - 1


def test_of_81_frames_the_last_ten_are_not_seen() -> None:
    assert list(eight_frames(np.arange(81))) == [0, 10, 20, 30, 40, 50, 60, 70]
    assert list(eight_frames(np.arange(15))) == list(range(8))  # nearly half of a short clip


def test_fewer_than_eight_frames_stop_it_where_v1_goes_on() -> None:
    at_hand = models(videos=Recording())
    with pytest.raises(InputError, match=r"the video has 7 frames.*v1"):
        scores(ReleaseWhole(at_hand), clip(range(7)))
    assert scores(WholeMeasure(at_hand), clip(range(7)))["ViCLIP-T"].value == pytest.approx(0.6)


def test_the_encoder_is_given_eight_frames_of_the_clip_and_of_the_cut_ground_truth(tmp_path: Path) -> None:
    """At 8.5 frames a second the ground truth ends at frame 5 x 8 = 40, so every (30 // 8)-th from 10 on is seen."""
    write_clip(clip(range(0, 240, 4)).frames, tmp_path / "video.mp4", 8.5)
    encoder = Recording()
    found = scores(ReleaseWhole(models(videos=encoder)), clip(range(100, 117)), tmp_path / "video.mp4")
    seen = {frames[0] > 99: frames for frames in encoder.seen}
    assert seen[True] == list(range(100, 116, 2))
    assert seen[False] == pytest.approx([4 * frame for frame in range(10, 34, 3)], abs=3)  # the file is compressed
    assert encoder.read == ["a man; and a hat"]  # a second ';' belongs to the prompt
    assert {name: score.value for name, score in found.items()} == pytest.approx({"ViCLIP-T": 0.6, "ViCLIP-V": 1.0})


def test_a_ground_truth_that_is_too_short_is_named(tmp_path: Path) -> None:
    write_clip(clip(range(17)).frames, tmp_path / "video.mp4", 8)
    measure = ReleaseWhole(models(videos=Recording()))
    with pytest.raises(InputError, match=r"video\.mp4 between its frame 10 and its second 5 has 7 frames"):
        scores(measure, clip(range(8)), tmp_path / "video.mp4")


@pytest.mark.parametrize(("fps", "last"), [(16, 79), (29.97, 144), (15.99, 74)])
def test_a_second_of_the_ground_truth_has_whole_frames(fps: float, last: int) -> None:
    cut = truth_frames(Clip(np.arange(200), fps))
    assert (cut[0], cut[-1]) == (10, last)


def test_without_ground_truth_only_viclip_v_is_left_out() -> None:
    found = scores(ReleaseWhole(models(videos=Recording())), clip(range(8)))
    assert [found[name].status for name in ("ViCLIP-T", "ViCLIP-V")] == ["ok", "not_applicable"]


def test_motion_in_the_first_five_frames_does_not_count() -> None:
    assert degrees(clip([0, 10, 20, 30, 40, 40, 40, 40, 40, 40, 40])) == (0, 1)
    assert degrees(clip([0, 0, 0, 0, 0, 10, 20, 30, 40, 40, 40])) == (1, 1)


def test_of_81_frames_at_16_a_second_ten_of_37_pairs_must_move() -> None:
    still = [0] * 5
    for moving, dynamic in ((9, 0), (10, 1)):
        rising = np.minimum(np.arange(76) // 2, moving) * 5
        at_hand = models(flow=Brightening())
        found = scores(ReleaseWhole(at_hand), clip([*still, *rising], fps=16))["dynamic_degree"]
        assert (len(found.detail["pairs"]), found.detail["least"], found.value) == (37, 10, dynamic)


def test_a_still_clip_is_dynamic_where_two_frames_are_left() -> None:
    assert degrees(clip([9] * 7)) == (1, 0)


def test_a_clip_of_which_no_pair_is_left_is_not_applicable() -> None:
    found = scores(ReleaseWhole(models(flow=Brightening())), clip(range(6)))
    assert found["dynamic_degree"].status == "not_applicable"


def test_four_people_count_twice_overall() -> None:
    assert release_groups("video_person2_002_1") == ["person2", "overall"]
    assert release_groups("video_person4_002_1") == ["overall", "overall"]
    values = [("video_person1_1", 1.0), ("video_person4_1", 0.25)]
    assert distributed_means([values]) == pytest.approx({"person1": 1.0, "overall": (1 + 0.25 + 0.25) / 3})


@given(st.lists(st.integers(0, 9).map(str), min_size=1, max_size=12), st.integers(1, 8))
def test_files_are_doubled_until_every_process_has_as_many(names: list[str], processes: int) -> None:
    files = padded(names, processes)
    assert len(files) % processes == 0 and len(files) - len(names) < processes
    assert files[: len(names)] == names and set(files) == set(names)


def test_doubled_files_move_the_mean() -> None:
    value = {"a": 1.0, "b": 0.0, "c": 0.0}
    assert mean(value[name] for name in padded(list(value), 2)) == 0.5  # not 1/3


def test_two_processes_report_wrong_means_of_groups_and_the_right_overall() -> None:
    """One clip of one person scores 0.9, three of two people 0.5, 0.3, 0.1. The first process holds the 0.9 beside the
    0.5 of the other, and then the 0.3 beside the 0.1."""
    first = [("person1_a", 0.9), ("person2_b", 0.3)]
    second = [("person2_c", 0.5), ("person2_d", 0.1)]
    wrong = distributed_means([first, second])
    assert wrong == pytest.approx({"person1": (0.9 + 0.5) / 2, "person2": (0.3 + 0.1) / 2, "overall": 1.8 / 4})
    assert distributed_means([[*first, *second]]) == pytest.approx(
        {"person1": 0.9, "person2": 0.9 / 3, "overall": 0.45}
    )


def test_a_group_that_the_first_process_never_holds_is_not_reported() -> None:
    assert set(distributed_means([[("person1_a", 1.0)], [("person2_b", 0.0)]])) == {"person1", "overall"}
