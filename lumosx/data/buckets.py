"""Which clips can share a batch: records by size, length and number of people."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lumosx.data.batch import Bucket
from lumosx.errors import InputError
from lumosx.records import ClipRecord

# of a stored frame: rates are measured from time stamps that a file rounds, so a clip of just the right length may seem
# a little too short. Up to half a frame behind the last one, that one is the nearest to be shown.
_SLACK = 0.25


class Pool(NamedTuple):
    """Clips of one bucket with one number of people: the sampler goes round them in turn."""

    bucket: Bucket
    subjects: int

    def __str__(self) -> str:
        return f"{self.bucket}/{self.subjects}"


@dataclass(frozen=True)
class Pools:
    """The records of a data set in their pools."""

    members: dict[Pool, NDArray[np.int64]]  # ascending places in the list of records; none is empty
    shares: dict[Pool, float]  # of all picks; they sum to 1
    left_out: dict[str, int]  # why: how many records


def nearest_buckets(records: Sequence[ClipRecord], buckets: Sequence[Bucket], fps: float) -> NDArray[np.int64]:
    """Each record's bucket as its place in `buckets`, int64 [len(records)]; -1 for one too short for all of them.

    Of the buckets whose length the record can fill at `fps` frames a second: the nearest in aspect, then the longest,
    then the nearest in size, then the first.
    """
    width, height, frames, rate = (
        np.array([getattr(record, name) for record in records], dtype=np.float64)
        for name in ("width", "height", "frames", "fps")
    )
    best = np.full(len(records), -1)
    lowest = np.full((3, len(records)), np.inf)
    for place, bucket in enumerate(buckets):
        cost = np.stack([
            # rounded: a square clip is as far from 16:9 as from 9:16 on every machine
            np.abs(np.log(width / height) - np.log(bucket.width / bucket.height)).round(6),
            np.full(len(records), -bucket.frames, dtype=np.float64),
            np.abs(np.log(width * height) - np.log(bucket.width * bucket.height)).round(6),
        ])  # fmt: skip
        fills = (frames - 1 + _SLACK) * fps >= (bucket.frames - 1) * rate
        nearer = fills & _precedes(cost, lowest)
        best[nearer], lowest[:, nearer] = place, cost[:, nearer]
    return best


def _precedes(left: NDArray[np.float64], right: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether the columns of `left` come before those of `right` in lexical order; both [rows, N]."""
    before = np.zeros(left.shape[1], dtype=bool)
    for lower, upper in zip(reversed(left), reversed(right), strict=True):
        before = (lower < upper) | ((lower == upper) & before)
    return before


def make_pools(
    records: Sequence[ClipRecord],
    buckets: Sequence[Bucket],
    *,
    fps: float,
    subjects: Sequence[float],
    split: str = "train",
) -> Pools:
    """The records of one split in pools.

    A pool's share is its part of the clips with that many people, times the weight of that number: over a run, clips
    with 1, 2 ... people come in the proportions of `subjects` (of those numbers that occur), and all clips with the
    same number equally often.

    Args:
        records: of the whole data set; members are places in it.
        buckets: to bring clips to.
        fps: frames a second of the clips that the model sees.
        subjects: weights of clips with 1, 2 ... people.
        split: "train" or "validation".

    Raises:
        InputError: no record can be used, or a weight is negative.
    """
    if min(subjects, default=0) < 0:
        raise InputError(f"data.subjects: {list(subjects)} has a negative share")
    weights = {people: weight for people, weight in enumerate(subjects, start=1) if weight}
    nearest = nearest_buckets(records, buckets, fps)
    people = np.array([len(record.subjects) for record in records])
    wanted = np.array([record.split == split for record in records], dtype=bool)
    members: dict[Pool, NDArray[np.int64]] = {}
    shares: dict[Pool, float] = {}
    left_out = {f"too short for every bucket at {fps:g} frames a second": int((wanted & (nearest < 0)).sum())}
    for number in np.unique(people[wanted]).tolist():
        alike = wanted & (nearest >= 0) & (people == number)
        if number not in weights:
            left_out[f"{number} people, whom data.subjects gives no share"] = int(alike.sum())
            continue
        for place in np.unique(nearest[alike]).tolist():
            pool = Pool(buckets[place], number)
            members[pool] = np.flatnonzero(alike & (nearest == place))
            shares[pool] = weights[number] * len(members[pool]) / int(alike.sum())
    left_out = {reason: count for reason, count in left_out.items() if count}
    if not members:
        raise InputError(_none_left(len(records), split, left_out))
    total = sum(shares.values())
    return Pools(members, {pool: share / total for pool, share in shares.items()}, left_out)


def _none_left(records: int, split: str, left_out: dict[str, int]) -> str:
    reasons = "".join(f"\n  {count} are left out: {reason}" for reason, count in left_out.items())
    return (
        f"none of {records} clips can be used with split {split!r}{reasons}\n"
        "Change data.buckets, data.fps or data.subjects, or bring other clips"
    )
