"""Records go to the bucket that suits them best, and none is left out in silence."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.data.batch import Bucket
from lumosx.data.buckets import Pool, make_pools, nearest_buckets
from lumosx.errors import InputError
from lumosx.records import ClipRecord, Person, Picture

WIDE, TALL, SHORT = Bucket(832, 480, 81), Bucket(480, 832, 81), Bucket(832, 480, 33)


def clip(
    width: int = 832, height: int = 480, frames: int = 81, fps: float = 16.0, people: int = 1, **more: Any
) -> ClipRecord:
    subjects = [Person(id=f"p{n}", word="man", faces=[Picture(image=f"{n}.png")]) for n in range(people)]
    return ClipRecord(
        id="a", video="a.mp4", caption="a man", width=width, height=height, frames=frames, fps=fps,
        subjects=subjects, **more,
    )  # fmt: skip


def bucket_of(record: ClipRecord, *buckets: Bucket, fps: float = 16.0) -> Bucket | None:
    place = int(nearest_buckets([record], buckets, fps)[0])
    return None if place < 0 else buckets[place]


def test_the_nearest_aspect_comes_first() -> None:
    assert bucket_of(clip(1920, 1080), TALL, WIDE) == WIDE
    assert bucket_of(clip(1080, 1920), TALL, WIDE) == TALL
    assert bucket_of(clip(1920, 1080), Bucket(480, 480, 81), SHORT) == SHORT


def test_aspects_are_compared_as_ratios() -> None:
    """2:1 is nearer to 3:1 than to 1:1 only as a ratio: 1.5 against 2."""
    assert bucket_of(clip(200, 100), Bucket(100, 100, 81), Bucket(300, 100, 81)) == Bucket(300, 100, 81)
    assert bucket_of(clip(100, 200), Bucket(100, 100, 81), Bucket(100, 300, 81)) == Bucket(100, 300, 81)


def test_then_the_longest_length_that_the_clip_can_fill() -> None:
    assert bucket_of(clip(frames=81), SHORT, WIDE) == WIDE
    assert bucket_of(clip(frames=80), SHORT, WIDE) == SHORT
    assert bucket_of(clip(frames=32), SHORT, WIDE) is None


def test_length_is_counted_at_the_frame_rate_of_the_model() -> None:
    assert bucket_of(clip(frames=161, fps=32), WIDE) == WIDE
    assert bucket_of(clip(frames=160, fps=32), WIDE) is None
    assert bucket_of(clip(frames=41, fps=8), WIDE) == WIDE  # each frame is shown twice
    assert bucket_of(clip(frames=81), WIDE, fps=15) is None


@pytest.mark.parametrize("fps", [15.98, 16.02])
def test_a_rate_that_was_measured_a_little_off_makes_no_clip_too_short(fps: float) -> None:
    assert bucket_of(clip(frames=81, fps=fps), WIDE) == WIDE
    assert bucket_of(clip(frames=80, fps=fps), WIDE) is None


def test_a_clip_too_short_for_its_aspect_takes_the_nearest_that_it_fills() -> None:
    square = Bucket(640, 640, 33)
    assert bucket_of(clip(frames=40), WIDE, square, Bucket(480, 832, 33)) == square


def test_of_equal_aspect_and_length_the_nearest_size_wins() -> None:
    small, large = Bucket(416, 240, 81), WIDE
    assert bucket_of(clip(400, 230), large, small) == small
    assert bucket_of(clip(1664, 960), small, large) == large


def test_a_square_between_two_mirrored_buckets_goes_to_the_first() -> None:
    assert bucket_of(clip(640, 640), WIDE, TALL) == WIDE
    assert bucket_of(clip(640, 640), TALL, WIDE) == TALL


buckets_drawn = st.lists(
    st.builds(
        Bucket, st.sampled_from([160, 240, 480, 832]), st.sampled_from([160, 240, 480]), st.sampled_from([1, 9, 81])
    ),
    min_size=1,
    max_size=6,
)
clips_drawn = st.lists(
    st.builds(clip, st.integers(16, 2000), st.integers(16, 2000), st.integers(1, 300), st.sampled_from([8, 24, 29.97])),
    min_size=1,
    max_size=8,
)


@given(clips_drawn, buckets_drawn)
def test_all_at_once_is_the_same_as_one_by_one_by_the_rule(records: list[ClipRecord], buckets: list[Bucket]) -> None:
    found = nearest_buckets(records, buckets, 16.0)
    for record, place in zip(records, found.tolist(), strict=True):
        fit = [n for n, bucket in enumerate(buckets) if (record.frames - 0.75) / record.fps * 16 >= bucket.frames - 1]
        assert (place in fit) if fit else place == -1
        if fit:
            assert rule(record, buckets[place]) == min(rule(record, buckets[n]) for n in fit)


def rule(record: ClipRecord, bucket: Bucket) -> tuple[float, int, float]:
    aspect = math.log(record.width / record.height * bucket.height / bucket.width)
    area = math.log(record.width * record.height / (bucket.width * bucket.height))
    return round(abs(aspect), 6), -bucket.frames, round(abs(area), 6)


def test_pools_hold_every_usable_record_of_the_split_once() -> None:
    records = [
        clip(people=1),
        clip(people=2),
        clip(480, 832, people=2),
        clip(people=2, split="validation"),
        clip(people=2),
        clip(frames=5, people=1),
        clip(people=4),
        clip(people=0),
    ]
    pools = make_pools(records, [WIDE, TALL], fps=16, subjects=[0.5, 0.5, 1])
    found = {pool: members.tolist() for pool, members in pools.members.items()}
    assert found == {Pool(WIDE, 1): [0], Pool(WIDE, 2): [1, 4], Pool(TALL, 2): [2]}
    assert sum(pools.left_out.values()) == 3
    assert {reason.split(",")[0]: count for reason, count in pools.left_out.items()} == {
        "too short for every bucket at 16 frames a second": 1,
        "0 people": 1,
        "4 people": 1,
    }
    held_out = make_pools(records, [WIDE, TALL], fps=16, subjects=[1, 1], split="validation")
    assert {pool: members.tolist() for pool, members in held_out.members.items()} == {Pool(WIDE, 2): [3]}


def test_shares_keep_the_mixture_of_people_and_treat_clips_alike() -> None:
    records = [clip(people=1)] * 6 + [clip(480, 832, people=1)] * 2 + [clip(480, 832, people=2)] * 4
    pools = make_pools(records, [WIDE, TALL], fps=16, subjects=[0.25, 0.55, 0.2])
    expected = {Pool(WIDE, 1): 0.25 * 6 / 8, Pool(TALL, 1): 0.25 * 2 / 8, Pool(TALL, 2): 0.55}
    assert pools.shares == pytest.approx({pool: share / 0.8 for pool, share in expected.items()})


def test_the_order_of_buckets_in_the_configuration_does_not_matter() -> None:
    records = [clip(), clip(480, 832), clip(people=2), clip(700, 500, frames=40)]
    first, second = (
        make_pools(records, order, fps=16, subjects=[1, 1]) for order in ([WIDE, TALL, SHORT], [SHORT, TALL, WIDE])
    )
    assert first.shares == second.shares
    assert all(np.array_equal(first.members[pool], second.members[pool]) for pool in first.members)


def test_people_with_share_0_are_left_out() -> None:
    pools = make_pools([clip(people=1), clip(people=2)], [WIDE], fps=16, subjects=[0, 1])
    assert list(pools.members) == [Pool(WIDE, 2)]
    assert list(pools.left_out.values()) == [1]


def test_a_data_set_without_a_usable_clip_says_every_reason() -> None:
    records = [clip(frames=5), clip(people=3), clip(split="validation")]
    with pytest.raises(InputError) as caught:
        make_pools(records, [WIDE], fps=16, subjects=[1, 1])
    for text in ("none of 3", "'train'", "1 are left out: too short", "1 are left out: 3 people", "data.buckets"):
        assert text in str(caught.value)
    with pytest.raises(InputError, match="none of 0"):
        make_pools([], [WIDE], fps=16, subjects=[1])


def test_a_negative_share_is_refused() -> None:
    with pytest.raises(InputError, match=r"data\.subjects"):
        make_pools([clip()], [WIDE], fps=16, subjects=[1, -0.5])
