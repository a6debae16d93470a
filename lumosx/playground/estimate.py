"""Means with intervals, over values that come in groups which stand and fall together."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lumosx.errors import InputError

RESAMPLES = 2000
ROUNDING = 1e-12  # equal values have means that differ by less


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` values with its 95 % interval, endless (-inf, inf) where nothing is known about their spread."""

    mean: float
    low: float
    high: float
    n: int

    @property
    def bounded(self) -> bool:
        """Whether the interval has ends."""
        return math.isfinite(self.low)


def estimate(groups: Sequence[Sequence[float]]) -> Estimate:
    """Mean of all values of all groups, with a 95 % interval over groups.

    The attributes of one clip, and the clips sampled of one scene, are no independent observations, so the
    interval is a bootstrap over groups (percentiles of 2000 resamples, fixed seed). Where all groups agree, or
    there is one alone, a bootstrap has no spread. There it is Wilson's over the number of groups if all values are 0 or
    1, truth values; of any other kind nothing is known about their spread, and the interval is endless. Raises
    InputError if there is no value at all.
    """
    sums = np.array([sum(group) for group in groups if len(group)], dtype=float)
    sizes = np.array([len(group) for group in groups if len(group)])
    if not len(sizes):
        raise InputError("no values: nothing to take a mean of")
    mean = float(sums.sum() / sizes.sum())
    if np.ptp(sums / sizes) < ROUNDING:
        truths = all(value in (0, 1) for group in groups for value in group)
        low, high = _wilson(mean, len(sizes)) if truths else (-math.inf, math.inf)
    else:
        drawn = np.random.default_rng(0).integers(len(sizes), size=(RESAMPLES, len(sizes)))
        low, high = (float(v) for v in np.percentile(sums[drawn].sum(1) / sizes[drawn].sum(1), [2.5, 97.5]))
    return Estimate(mean, low, high, int(sizes.sum()))


def _wilson(mean: float, n: int, z: float = 1.96) -> tuple[float, float]:
    centre, half = mean + z * z / (2 * n), z * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = float((centre - half) / scale), float((centre + half) / scale)
    return (0.0 if mean == 0 else low), (1.0 if mean == 1 else high)  # exact at the ends
