"""Means of a run: nobody gains by a missing clip, cases that a metric is not for do not count, groups are apart."""

import bench_fakes as fakes
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.evaluation.results import Results
from lumosx.evaluation.summary import MetricSummary, expect_same_protocol, summarise


def of(run: Results, group: str = "all") -> dict[str, MetricSummary]:
    return {summary.metric: summary for summary in summarise(run)[group]}


def mean(estimate) -> float:
    assert estimate is not None
    return pytest.approx(estimate.mean)


def test_a_clip_without_a_value_counts_0_where_more_is_better() -> None:
    clips = {("a", 0): 0.8, ("a", 1): "missing", ("b", 0): 0.4, ("b", 1): "error"}
    found = of(fakes.make_results({"likeness": clips}))["likeness"]
    assert mean(found.strict) == (0.8 + 0.4) / 4
    assert mean(found.measured) == (0.8 + 0.4) / 2
    assert (found.cases, found.clips, found.missing, found.errors) == (2, 4, 1, 1)


def test_a_missing_clip_is_as_bad_as_can_be_where_less_is_better() -> None:
    clips = {("a", 0): 0.2, ("b", 0): "missing"}
    found = of(fakes.make_results({"swap": clips}, metrics={"swap": False}))["swap"]
    assert (mean(found.strict), mean(found.measured)) == (0.6, 0.2)
    counts = {("a", 0): 5.0, ("b", 0): "missing"}  # no rate: as the worst clip that is there
    assert mean(of(fakes.make_results({"extra": counts}, metrics={"extra": False}))["extra"].strict) == 5


def test_what_a_case_has_nothing_for_does_not_count() -> None:
    clips = {("a", 0): 0.5, ("b", 0): "not_applicable", ("b", 1): "missing", ("c", 0): "missing"}
    found = of(fakes.make_results({"objects": clips}))["objects"]
    assert (mean(found.strict), found.cases, found.clips, found.missing) == (0.25, 2, 2, 1)
    nothing = of(fakes.make_results({"objects": {("a", 0): "not_applicable"}}))["objects"]
    assert (nothing.strict, nothing.measured, nothing.clips) == (None, None, 0)


def test_what_one_clip_does_not_show_another_may() -> None:
    clips = {("a", 0): 0.5, ("a", 1): "not_applicable", ("b", 0): "not_applicable", ("b", 1): "not_applicable"}
    found = of(fakes.make_results({"likeness|seen": clips}))["likeness|seen"]
    assert (mean(found.strict), found.cases, found.clips) == (0.5, 1, 1)


def test_groups_go_by_the_number_of_people() -> None:
    clips = {("a", 0): 0.1, ("b", 0): 0.2, ("c", 0): 0.6}
    run = fakes.make_results({"m": clips}, subjects={"a": 1, "b": 2, "c": 2})
    assert list(summarise(run)) == ["all", "1 person", "2 people"]
    assert mean(of(run)["m"].strict) == 0.3
    assert mean(of(run, "1 person")["m"].strict) == 0.1
    assert mean(of(run, "2 people")["m"].strict) == 0.4


def test_seeds_of_a_case_are_no_more_evidence() -> None:
    values = {f"c{number}": (number % 5) / 5 for number in range(40)}
    one = of(fakes.make_results({"m": {(case, 0): value for case, value in values.items()}}))["m"].strict
    many = {(case, seed): value for case, value in values.items() for seed in range(4)}
    four = of(fakes.make_results({"m": many}))["m"].strict
    assert one and four and (four.low, four.high) == pytest.approx((one.low, one.high)) and four.n == 4 * one.n


def test_values_that_are_no_shares_have_means_too() -> None:
    found = of(fakes.make_results({"m": {("a", 0): -0.5, ("b", 0): -0.5, ("c", 0): 12.0}}))["m"].strict
    assert found and found.low < found.mean < found.high
    assert found.mean == pytest.approx(11 / 3)
    alone = of(fakes.make_results({"m": {("a", 0): 12.0}}))["m"].strict
    assert alone and (alone.low, alone.high) == (float("-inf"), float("inf"))


def test_under_the_releases_protocol_groups_go_by_name_and_count_twice() -> None:
    clips = {("x_person1", None): 0.0, ("y_person2", None): 0.6, ("z_person4", None): 0.9}
    run = fakes.make_results({"m": clips}, protocol="release")
    run = Results([row.__class__(**{**vars(row), "protocol": "release"}) for row in run.rows], run.card)
    assert list(summarise(run)) == ["overall", "person1", "person2"]
    assert mean(of(run, "overall")["m"].strict) == (0.0 + 0.6 + 2 * 0.9) / 4
    assert mean(of(run, "person2")["m"].strict) == 0.6


def test_scores_of_two_protocols_never_stand_in_one_table() -> None:
    run = fakes.make_results({"m": {("a", 0): 1.0}})
    expect_same_protocol([run, run])
    for changed in ({"protocol": "release"}, {"version": 2}, {"task": "identity"}):
        with pytest.raises(InputError, match="do not compare"):
            expect_same_protocol([run, Results(run.rows, run.card | changed)])


@given(st.lists(st.none() | st.floats(0, 1), min_size=1, max_size=12), st.booleans())
def test_losing_a_clip_never_makes_a_strict_mean_better(values: list[float | None], more: bool) -> None:
    def strict(given: list[float | None]) -> float:
        clips = {(f"c{n}", 0): "missing" if value is None else value for n, value in enumerate(given)}
        found = of(fakes.make_results({"m": clips}, metrics={"m": more}))["m"].strict
        assert found is not None
        return found.mean

    without = strict([None, *values[1:]])
    assert without <= strict(values) + 1e-9 if more else without >= strict(values) - 1e-9


def test_of_rates_that_share_out_one_whole_a_missing_clip_counts_in_one() -> None:
    """Two attributes of a and one of b: bound and swapped, and all that b and c should show is missing."""
    clips = {("a", 0): 0.5, ("b", 0): "missing", ("c", 0): "error"}
    none = {**clips, ("a", 0): 0.0}
    values = {"BindAcc": clips, "swap": clips, "leak": none, "missing": none}
    metrics = {"BindAcc": True, "swap": False, "leak": False, "missing": False}
    found = of(fakes.make_results(values, metrics=metrics, misses={"swap": 0.0, "leak": 0.0}))
    strict = {metric: each.strict.mean for metric, each in found.items() if each.strict}
    assert strict == pytest.approx({"BindAcc": 0.5 / 3, "swap": 0.5 / 3, "leak": 0, "missing": 2 / 3})
    assert sum(strict.values()) == pytest.approx(1)


def test_counterfactual_twins_are_a_group_of_their_own() -> None:
    clips = {("a", 0): 0.8, ("a.swapped", 0): 0.2, ("b", 0): 0.4, ("c.swapped", 0): 0.6}  # no c: that is its name
    run = fakes.make_results({"m": clips}, subjects={"a": 2, "a.swapped": 2, "b": 3, "c.swapped": 2})
    found = {group: summaries[0] for group, summaries in summarise(run).items()}
    assert list(found) == ["all", "2 people", "3 people", "owners exchanged"]
    means = {group: each.strict.mean for group, each in found.items() if each.strict}
    assert means == pytest.approx({"all": 0.6, "2 people": 0.7, "3 people": 0.4, "owners exchanged": 0.2})
