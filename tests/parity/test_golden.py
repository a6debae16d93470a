"""Both rule sets equal the release's own equations, and the comparison notices each mechanism being off."""

import pytest
from golden_cases import BOUND, META, case, error

CASES = range(len(META["cases"]))


@pytest.mark.parametrize("rules", ["release", "paper"])
@pytest.mark.parametrize("index", CASES)
def test_golden(index: int, rules: str) -> None:
    assert error(*case(index, rules)) < BOUND


@pytest.mark.parametrize(
    "change",
    [{"csam": False}, {"r2pe": False}, {"mcam_ratio": 0.45}, {"mcam_ratio": 0.0}],
    ids=["no CSAM", "no R2PE", "r wrong by a tenth", "no MCAM"],
)
@pytest.mark.parametrize("rules", ["release", "paper"])
@pytest.mark.parametrize("index", CASES)
def test_a_broken_mechanism_shows(index: int, rules: str, change: dict) -> None:
    assert error(*case(index, rules, **change)) > BOUND


@pytest.mark.parametrize("index", [0, 2])
def test_the_other_rules_show(index: int) -> None:
    _, paper = case(index, "paper")
    inputs, release = case(index, "release")
    assert error(inputs, release) < BOUND < error(inputs, paper)
