"""Means with intervals: over groups that stand and fall together, and honest where all groups agree."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.playground.estimate import estimate

GROUPS = [[random.Random(number).random() < 0.8] * 3 for number in range(100)]


def test_the_mean_is_over_values_and_not_over_groups() -> None:
    found = estimate([[1, 1, 1], [0]])
    assert (found.mean, found.n) == (0.75, 4)


def test_empty_groups_do_not_count() -> None:
    assert estimate([[], [1, 0], [], [1]]) == estimate([[1, 0], [1]])


def test_values_that_stand_together_are_no_more_evidence() -> None:
    """Three equal samples of each clip tell as much as one, so the interval stays as wide."""
    once, thrice = estimate([group[:1] for group in GROUPS]), estimate(GROUPS)
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    apart = estimate([[value] for group in GROUPS for value in group])
    assert thrice.high - thrice.low > 1.5 * (apart.high - apart.low)


def test_the_interval_is_the_binomial_one_where_groups_are_single() -> None:
    found = estimate([[number < 360] for number in range(400)])
    half = 1.96 * (0.9 * 0.1 / 400) ** 0.5
    assert (found.low, found.high) == pytest.approx((0.9 - half, 0.9 + half), abs=0.006)


@pytest.mark.parametrize(("value", "low", "high"), [(1, 0.7224, 1.0), (0, 0.0, 0.2776)])
def test_where_all_groups_agree_it_is_wilsons_over_groups(value: float, low: float, high: float) -> None:
    found = estimate([[value, value]] * 10)
    assert (found.mean, found.n) == (value, 20)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-4)


def test_where_truth_values_agree_on_half_it_is_wilsons_too() -> None:
    found = estimate([[True, False]] * 10)
    assert (found.low, found.high) == pytest.approx((0.2366, 0.7634), abs=1e-4)


@pytest.mark.parametrize(
    "groups", [[[0.884]], [[0.884], [0.884, 0.884]], [[0.1] * 3, [0.1]], [[0.5, 0.5]] * 10, [[12]]]
)
def test_nothing_is_known_of_the_spread_of_other_values_that_agree(groups: list[list[float]]) -> None:
    found = estimate(groups)
    assert found.mean == pytest.approx(groups[0][0])
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_one_group_alone_says_little() -> None:
    found = estimate([[1, 0] * 50])
    assert found.high - found.low > 0.8


@given(st.lists(st.lists(st.floats(0, 1), max_size=4), min_size=1, max_size=20).filter(any))
def test_the_mean_lies_in_the_interval_and_both_in_0_to_1_if_it_ends(groups: list[list[float]]) -> None:
    found = estimate(groups)
    if math.isinf(found.low):
        assert found.high == math.inf and 0 <= found.mean <= 1
        return
    assert -1e-9 <= found.low <= found.mean + 1e-9
    assert found.mean - 1e-9 <= found.high <= 1 + 1e-9


def test_nothing_has_no_mean() -> None:
    with pytest.raises(InputError, match="no values"):
        estimate([[], []])
