"""Comparing runs: a shift is seen, noise is not, and what does not compare is refused with what differs."""

import itertools
import random
import statistics

import bench_fakes as fakes
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.evaluation.compare import Difference, compare
from lumosx.evaluation.results import Results


def drawn(count: int, shift: float, seed: int, seeds: int = 1) -> dict[tuple[str, int | None], float | str | None]:
    """Values of cases that are hard or easy for everybody, with noise of their own and a shift."""
    own = random.Random(seed)
    hardness = random.Random(0)
    values = {}
    for case in range(count):
        base = hardness.uniform(0.2, 0.8)
        for number in range(seeds):
            values[f"c{case:03}", number] = base + own.gauss(0, 0.05) + shift
    return values


def difference(first, second, more: bool = True) -> Difference:
    runs = [fakes.make_results({"m": values}, metrics={"m": more}) for values in (first, second)]
    [found] = compare(*runs).differences
    return found


def test_a_shift_is_seen_though_cases_differ_more_than_it() -> None:
    found = difference(drawn(60, 0, 3), drawn(60, -0.04, 4))
    assert found.verdict == "worse" and found.low < -0.04 < found.high < 0 and found.p < 0.01
    assert difference(drawn(60, 0, 3), drawn(60, 0.04, 4)).verdict == "better"
    assert difference(drawn(60, 0, 3), drawn(60, 0.04, 4), more=False).verdict == "worse"


def test_noise_is_taken_for_a_change_about_as_often_as_it_says() -> None:
    found = [difference(drawn(40, 0, 2 * n), drawn(40, 0, 2 * n + 1)) for n in range(20)]
    changed = sum(each.verdict != "no difference" for each in found)
    assert changed <= 4  # of 20 at 5 %: more than 4 happens three times in a thousand


def test_of_few_cases_noise_is_no_change_though_intervals_are_too_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumosx.evaluation.compare.RESAMPLES", 999)
    found = [difference(drawn(12, 0, n), drawn(12, 0, n + 1)) for n in range(4000, 4400, 2)]
    flagged = sum(each.verdict != "no difference" for each in found)
    assert 0 < flagged <= 16  # 8 % of 200
    assert sum(not each.low <= 0 <= each.high for each in found) > flagged


@pytest.mark.parametrize(
    ("low", "p", "verdict"), [(0.1, 0.049, "better"), (0.1, 0.05, "no difference"), (-0.1, 0.01, "no difference")]
)
def test_a_verdict_needs_the_interval_and_the_test(low: float, p: float, verdict: str) -> None:
    assert Difference("m", True, 0.1, 0.3, 0.2, low, 0.3, p, 8).verdict == verdict


def test_interval_and_p_are_those_of_plain_resampling() -> None:
    """Written differently: case by case in plain Python, with random numbers of its own."""
    first, second = drawn(25, 0, 5), drawn(25, 0.02, 6)
    found = difference(first, second)
    apart = [second[key] - first[key] for key in first]  # pyright: ignore[reportOperatorIssue]
    own = random.Random(7)
    means = sorted(statistics.fmean(own.choices(apart, k=len(apart))) for _ in range(20000))
    assert (found.low, found.high) == pytest.approx((means[500], means[-501]), abs=0.0015)
    seen = abs(statistics.fmean(apart))
    flipped = [abs(statistics.fmean(own.choice((-1, 1)) * d for d in apart)) >= seen for _ in range(20000)]
    assert found.p == pytest.approx(statistics.fmean(flipped), abs=0.015)
    assert found.difference == pytest.approx(statistics.fmean(apart))


def test_of_few_cases_all_exchanges_are_tried() -> None:
    apart = [0.3, 0.1, 0.2, -0.05, 0.4, 0.15, 0.1]
    cases = [(f"c{n}", 0) for n in range(len(apart))]
    found = difference(dict.fromkeys(cases, 0.5), {key: 0.5 + d for key, d in zip(cases, apart, strict=True)})
    sums = [sum(s * d for s, d in zip(signs, apart, strict=True)) for signs in itertools.product((-1, 1), repeat=7)]
    exact = sum(abs(total) >= sum(apart) - 1e-9 for total in sums) / len(sums)
    assert found.p == pytest.approx(exact)


def test_fewer_than_six_cases_say_nothing() -> None:
    clips = {(f"c{n}", seed): 0.9 for n in range(5) for seed in range(10)}
    found = difference(clips, dict.fromkeys(clips, 0.1))
    assert (found.verdict, found.cases, found.low, found.high) == ("too few cases", 5, -float("inf"), float("inf"))
    six = clips | {("c5", 0): 0.9}
    assert difference(six, dict.fromkeys(six, 0.1)).verdict == "worse"


def test_a_case_counts_once_whatever_its_seeds() -> None:
    first = drawn(20, 0, 1)
    twice = {(case, seed): value for (case, _), value in first.items() for seed in range(3)}
    assert difference(first, twice).verdict == "no difference"
    assert difference(first, twice).difference == pytest.approx(0, abs=1e-12)


def test_who_loses_clips_is_worse() -> None:
    first = drawn(20, 0, 1)
    lost = {key: "missing" if index % 2 else value for index, (key, value) in enumerate(first.items())}
    assert difference(first, lost).verdict == "worse"
    rates = {key: 0.0 for key in first}
    assert difference(rates, {**rates, **{k: "error" for k in list(rates)[:10]}}, more=False).verdict == "worse"


def test_who_loses_clips_is_worse_in_what_they_count_in_alone() -> None:
    full = {key: 0.25 for key in drawn(20, 0, 1)}
    lost = {key: "missing" if index % 2 else value for index, (key, value) in enumerate(full.items())}
    first, second = (
        fakes.make_results(
            {"swap": clips, "missing": clips}, metrics={"swap": False, "missing": False}, misses={"swap": 0.0}
        )
        for clips in (full, lost)
    )
    swap, missing = compare(first, second).differences
    assert (swap.second, missing.second) == (pytest.approx(0.25 / 2), pytest.approx((0.25 + 1) / 2))
    assert missing.verdict == "worse"


def test_counterfactual_twins_are_left_out() -> None:
    first, second = drawn(8, 0, 1), drawn(8, 0, 1)
    first |= {(case + ".swapped", 0): 0.9 for case, _ in drawn(8, 0, 1)}
    second |= {(case + ".swapped", 0): 0.1 for case, _ in drawn(7, 0, 1)}  # nor are they cases that one run lacks
    found = difference(first, second)
    assert (found.cases, found.difference) == (8, 0)


def test_a_case_that_a_metric_is_not_for_is_left_out_of_it() -> None:
    first = {**drawn(10, 0, 1), ("x", 0): "not_applicable", ("y", 0): "missing"}
    second = {**drawn(10, 0, 1), ("x", 0): "missing", ("y", 0): "not_applicable"}
    found = difference(first, second)
    assert (found.cases, found.difference) == (10, 0)
    second["c000", 0] = "not_applicable"  # in one run alone there is something to measure
    assert difference(first, second).cases == 9
    runs = [fakes.make_results({"m": {("x", 0): "not_applicable"}}) for _ in range(2)]
    assert compare(*runs).differences == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"protocol": "release"}, "protocol: v1 and release"),
        ({"version": 2}, "version: 1 and 2"),
        ({"task": "identity"}, "task: subject and identity"),
        ({"looks": 4}, "looks: 16 and 4"),
        ({"models": {"faces": fakes.card("fake", "2").to_dict()}}, r"models: faces \(differs\)"),
        ({"models": {}}, r"models: faces \(in the first alone\)"),
        ({"metrics": {"m": True, "n": True}}, r"metrics: n \(in the second alone\)"),
    ],
)
def test_runs_that_do_not_compare_are_refused_with_what_differs(changed: dict[str, object], said: str) -> None:
    run = fakes.make_results({"m": drawn(6, 0, 1)})
    with pytest.raises(InputError, match=said):
        compare(run, Results(run.rows, run.card | changed))


def test_other_cases_are_refused_or_left_out() -> None:
    first, second = (
        fakes.make_results({"m": dict(list(drawn(12, 0, 1).items())[span])}) for span in (slice(0, 9), slice(2, 12))
    )
    with pytest.raises(InputError, match=r"5 cases \(c000, c001, c009, ...\) in one alone; .* --common"):
        compare(first, second)
    found = compare(first, second, common=True)
    assert found.left_out == ["c000", "c001", "c009", "c010", "c011"]
    assert [each.cases for each in found.differences] == [7]
    with pytest.raises(InputError, match="no case in common"):
        compare(first, fakes.make_results({"m": {("z", 0): 1.0}}), common=True)


def test_cases_of_one_id_and_other_content_are_refused() -> None:
    run = fakes.make_results({"m": drawn(6, 0, 1)})
    cases = {**run.card["cases"], "digests": {**run.card["cases"]["digests"], "c003": "another"}}
    with pytest.raises(InputError, match=r"1 case \(c003\) of one id, but with another prompt or other pictures"):
        compare(run, Results(run.rows, run.card | {"cases": cases}), common=True)


def test_only_named_metrics_fail() -> None:
    first = fakes.make_results({"m": drawn(20, 0, 1), "n": drawn(20, 0, 1)})
    second = fakes.make_results({"m": drawn(20, -0.2, 1), "n": drawn(20, 0, 1)})
    found = compare(first, second)
    assert [each.metric for each in found.regressions()] == ["m"] == [each.metric for each in found.regressions(["m"])]
    assert found.regressions(["n"]) == []
    with pytest.raises(InputError, match="no metric q in both runs; choose from m, n"):
        found.regressions(["q"])


STATUS = st.sampled_from(["missing", "error", "not_applicable"])
CLIPS = st.dictionaries(
    st.tuples(st.sampled_from("abcdefgh"), st.integers(0, 2)), st.floats(-1, 5) | STATUS, min_size=1, max_size=16
)


@settings(max_examples=25, deadline=None)
@given(CLIPS, st.booleans(), st.randoms())
def test_a_run_does_not_differ_from_itself_in_any_order(clips, more: bool, mixed: random.Random) -> None:
    run = fakes.make_results({"m": clips}, metrics={"m": more})
    again = Results(mixed.sample(run.rows, len(run.rows)), run.card)
    for found in compare(run, again).differences:
        assert found.difference == 0 and found.first == found.second
        assert found.verdict in ("no difference", "too few cases") and found.p == 1
