"""Whether one run is better than another: paired over cases, metric by metric.

Each case counts once, with the mean of its seeds; a clip without a value counts as in a strict mean, so that a model
cannot win by failing. Counterfactual twins are left out. Intervals are percentiles of a bootstrap over cases, p-values
of a test that exchanges the two runs at each case (Good, Permutation, Parametric and Bootstrap Tests of Hypotheses,
ch. 3), both from scipy with a fixed seed.

A verdict needs both. Of 6 to 24 cases such an interval is too short: of two runs that are alike it leaves out 0 in 5 to
19 of 100 metrics. The test keeps its 5 %, for it is exact where the runs can be exchanged.
"""

import math
from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from scipy import stats

from lumosx.errors import InputError
from lumosx.evaluation.results import Results, Row
from lumosx.evaluation.summary import applicable, miss_value, twins

RESAMPLES = 9999
FEWEST = 6  # cases. Of fewer, no exchange of the runs is rarer than 5 %: 2 / 2^5 = 0.06
LEVEL = 0.05  # of the p-value
NAMED = ("protocol", "version", "task", "looks")  # of a card: what must be the same
Verdict = Literal["better", "worse", "no difference", "too few cases"]


@dataclass(frozen=True)
class Difference:
    """One metric of two runs. `difference` is the second run's mean less the first one's, with its 95 % interval."""

    metric: str
    more_is_better: bool
    first: float
    second: float
    difference: float
    low: float
    high: float
    p: float
    cases: int

    @property
    def verdict(self) -> Verdict:
        """Of the second run: better or worse where the whole interval is and p is below 0.05."""
        if self.cases < FEWEST:
            return "too few cases"
        if self.p >= LEVEL or self.low <= 0 <= self.high:
            return "no difference"
        return "better" if (self.low > 0) == self.more_is_better else "worse"


@dataclass(frozen=True)
class Comparison:
    """All metrics that both runs have cases for. `left_out`: cases that only one run has."""

    differences: list[Difference]
    left_out: list[str]

    def regressions(self, metrics: Sequence[str] = ()) -> list[Difference]:
        """The metrics, of those that are named or else of all, in which the second run is worse.

        Raises:
            InputError: a metric that was not compared.
        """
        known = [difference.metric for difference in self.differences]
        if unknown := sorted(set(metrics) - set(known)):
            raise InputError(f"no metric {', '.join(unknown)} in both runs; choose from {', '.join(known)}")
        return [d for d in self.differences if d.verdict == "worse" and (not metrics or d.metric in metrics)]


def compare(first: Results, second: Results, *, common: bool = False) -> Comparison:
    """The difference of two runs in every metric, `second` less `first`.

    Args:
        common: compare the cases that both have, and leave the others out.

    Raises:
        InputError: the runs do not compare, with all that differs: protocol, version, task, models, metrics, cases.
    """
    _expect_comparable(first.card, second.card)
    left_out = _left_out(_digests(first), _digests(second), common)
    away = {*left_out, *twins(first), *twins(second)}
    differences = []
    for metric, more in first.metrics.items():
        rows = _of(first, metric, away), _of(second, metric, away)
        pairs = _pairs(*rows, miss_value(first, metric, [*rows[0], *rows[1]]))
        if len(pairs):
            differences.append(_difference(metric, more, pairs))
    return Comparison(differences, left_out)


def _expect_comparable(first: dict[str, Any], second: dict[str, Any]) -> None:
    problems = [f"{name}: {first[name]} and {second[name]}" for name in NAMED if first[name] != second[name]]
    for name in ("metrics", "models"):
        changed = sorted(
            key for key in first[name].keys() | second[name].keys() if first[name].get(key) != second[name].get(key)
        )
        if changed:
            problems.append(f"{name}: {', '.join(_described(key, first[name], second[name]) for key in changed)}")
    if problems:
        raise InputError("\n".join(["the two runs do not compare; score both alike:", *problems]))


def _described(key: str, first: dict[str, Any], second: dict[str, Any]) -> str:
    if key not in first or key not in second:
        return f"{key} (in the {'first' if key in first else 'second'} alone)"
    return f"{key} (differs)"


def _digests(run: Results) -> dict[str, str]:
    """Of the cases, without counterfactual twins."""
    apart = twins(run)
    return {case: digest for case, digest in run.card["cases"]["digests"].items() if case not in apart}


def _left_out(first: dict[str, str], second: dict[str, str], common: bool) -> list[str]:
    """The cases that only one run has. Raises InputError if there are any, or none is in both, as `common` allows."""
    changed = sorted(case for case in first.keys() & second.keys() if first[case] != second[case])
    if changed:
        raise InputError(
            f"the two runs do not compare: {_listed(changed)} of one id, but with another prompt or other pictures"
        )
    apart = sorted(first.keys() ^ second.keys())
    if not first.keys() & second.keys():
        raise InputError("the two runs do not compare: they have no case in common")
    if apart and not common:
        raise InputError(
            f"the two runs do not compare: {_listed(apart)} in one alone; score the same cases, or compare those that "
            "both have with --common"
        )
    return apart


def _listed(cases: Sequence[str]) -> str:
    shown = ", ".join(cases[:3]) + (", ..." if len(cases) > 3 else "")
    return f"{len(cases)} cases ({shown})" if len(cases) > 1 else f"1 case ({shown})"


def _of(run: Results, metric: str, away: Container[str]) -> list[Row]:
    return [row for row in run.rows if row.metric == metric and row.case not in away]


def _pairs(first: list[Row], second: list[Row], miss: float) -> np.ndarray:
    """[cases, 2]: what each case that has something to measure in both runs counts in either, the mean over its seeds,
    of which one without a value counts `miss`."""
    concerned = {id(row) for row in applicable([*first, *second])}
    means = []
    for rows in (first, second):
        by_case: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            if id(row) in concerned:
                by_case[row.case].append(miss if row.value is None else row.value)
        means.append({case: float(np.mean(sorted(values))) for case, values in by_case.items()})
    cases = sorted(means[0].keys() & means[1].keys())
    return np.array([[run[case] for run in means] for case in cases]).reshape(-1, 2)


def _difference(metric: str, more_is_better: bool, pairs: np.ndarray) -> Difference:
    first, second = pairs.mean(0)
    low, high, p = _interval(np.round(pairs[:, 1] - pairs[:, 0], 12))  # equal means of seeds differ by rounding
    return Difference(
        metric, more_is_better, float(first), float(second), float(second - first), low, high, p, len(pairs)
    )  # fmt: skip


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    """95 % interval of the mean, and the p-value of the mean being 0. Of too few cases nothing is known."""
    if len(differences) < FEWEST:
        return -math.inf, math.inf, 1.0
    resampled = stats.bootstrap(
        (differences,), np.mean, n_resamples=RESAMPLES, batch=256, method="percentile", rng=np.random.default_rng(0)
    )
    exchanged = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=RESAMPLES, batch=256,
        rng=np.random.default_rng(0),
    )  # fmt: skip
    interval = resampled.confidence_interval
    return float(interval.low), float(interval.high), float(exchanged.pvalue)
