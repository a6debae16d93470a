"""Means with intervals, over values that come in groups which stand and fall together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lumosx.errors import InputError

RESAMPLES = 2000


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


def estimate(groups: Sequence[Sequence[float]]) -> Estimate:
    """Mean of all values of all groups, with a 95 % interval over groups.

    The attributes of one clip, and the clips sampled of one scene, are no independent observations, so the
    interval is a bootstrap over groups (percentiles of 2000 resamples, fixed seed). Where all groups agree a
    bootstrap has no spread; there it is Wilson's over the number of groups, as for shares or truth values. Where
    they agree on a value outside 0 to 1 nothing is known, and the interval is endless. Raises InputError if there is
    no value at all.
    """
    sums = np.array([sum(group) for group in groups if len(group)], dtype=float)
    sizes = np.array([len(group) for group in groups if len(group)])
    if not len(sizes):
        raise InputError("no values: nothing to take a mean of")
    mean = float(sums.sum() / sizes.sum())
    if np.ptp(sums / sizes) == 0:
        low, high = _wilson(mean, len(sizes)) if 0 <= mean <= 1 else (-math.inf, math.inf)
    else:
        drawn = np.random.default_rng(0).integers(len(sizes), size=(RESAMPLES, len(sizes)))
        low, high = (float(v) for v in np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), [2.5, 97.5]))
    return Estimate(mean, low, high, int(sizes.sum()))


def _wilson(mean: float, n: int, z: float = 1.96) -> tuple[float, float]:
    centre, half = mean + z * z / (2 * n), z * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = float((centre - half) / scale), float((centre + half) / scale)
    return (0.0 if mean == 0 else low), (1.0 if mean == 1 else high)  # exact at the ends
