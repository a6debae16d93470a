"""What a run's rows come to: means by metric and by number of people, with intervals, and all that is missing counted.

Two means of each metric. The strict one is over all clips that should be there: a model cannot raise it by failing on
hard cases. The measured one is over the clips that have a value, and says what those look like.

In a strict mean a clip without a value, missing or failed, counts

- 0 where more is better;
- where less is better as much as the worst clip that is there, and 1 at least;
- what its measure states (`Results.misses`) in rates that share out one whole. Of binding, all attributes of such a
  clip are `missing`: it counts 1 there and 0 in swap, leak, dominance, drop and duplicate, so that with BindAcc the
  rates add up to 1 as they do for clips that are there. Those five can fall by failing; `missing` and BindAcc show it;
- nothing in metrics that its case has nothing for, such as binding where one person is asked for.

Counterfactual twins (`lumosx.evaluation.counterfactual`) are asked for something unusual on purpose. They have a group
of their own and count in no other.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from lumosx.errors import InputError
from lumosx.evaluation.counterfactual import SUFFIX
from lumosx.evaluation.results import Results, Row
from lumosx.playground.estimate import Estimate, estimate

ALL, EXCHANGED = "all", "owners exchanged"


@dataclass(frozen=True)
class MetricSummary:
    """One metric over a group of cases.

    `strict` and `measured` are None where there is nothing to take a mean of. `clips` are those that the metric applies
    to, `missing` and `errors` of them have no value.
    """

    metric: str
    more_is_better: bool
    strict: Estimate | None
    measured: Estimate | None
    cases: int
    clips: int
    missing: int
    errors: int


def expect_same_protocol(runs: Iterable[Results]) -> None:
    """Raises InputError for scores that may not stand in one table."""
    names = sorted({run.name for run in runs})
    if len(names) > 1:
        raise InputError(f"scores of {' and of '.join(names)} do not compare; give each a table of its own")


def miss_value(run: Results, metric: str, rows: Iterable[Row]) -> float:
    """What a clip without a value counts in the strict mean of a metric.

    Args:
        rows: of that metric, of all runs that are compared: where less is better it counts as the worst of them, and 1
            at least, as all rates can be that bad.
    """
    if metric in run.misses:
        return run.misses[metric]
    return 0.0 if run.metrics[metric] else max([1.0, *(row.value for row in rows if row.value is not None)])


def twins(run: Results) -> set[str]:
    """The counterfactual twins among the cases of a run: those that are there beside their originals."""
    cases = run.card["cases"]["digests"]
    return {case for case in cases if case.endswith(SUFFIX) and case.removesuffix(SUFFIX) in cases}


def applicable(rows: Sequence[Row]) -> list[Row]:
    """The rows of one metric that count: without those that have nothing to measure, and without the clips that are
    not there of a case of which another clip says so. Of cases with no clip at all nobody knows, and they count."""
    without = {row.case for row in rows if row.status == "not_applicable"}
    return [row for row in rows if row.value is not None or row.case not in without]


def groups_of(row: Row) -> list[str]:
    """The groups of the table that a clip is in; it is in one twice if it counts twice."""
    if row.protocol == "release":
        from lumosx.evaluation.release.whole import release_groups

        return release_groups(PurePath(row.video).stem if row.video else row.case)
    return [ALL, f"{row.subjects} people" if row.subjects != 1 else "1 person"]


def summarise(run: Results) -> dict[str, list[MetricSummary]]:
    """Every metric over each group: all cases, by number of people, and counterfactual twins apart from both. Under the
    release's protocol its own groups, which go by the names of the cases and count some twice."""
    groups: dict[str, list[Row]] = defaultdict(list)
    apart = twins(run)
    for row in run.rows:
        for group in [EXCHANGED] if row.case in apart else groups_of(row):
            groups[group].append(row)
    order = sorted(groups, key=lambda group: (group == EXCHANGED, group[:1].isdigit(), group))
    return {group: list(_summaries(run, groups[group])) for group in order}


def _summaries(run: Results, rows: Sequence[Row]) -> Iterator[MetricSummary]:
    by_metric: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_metric[row.metric].append(row)
    for metric, more in run.metrics.items():
        concerned = applicable(by_metric[metric])
        miss = miss_value(run, metric, concerned)
        strict: dict[str, list[float]] = defaultdict(list)
        measured: dict[str, list[float]] = defaultdict(list)
        for row in concerned:
            strict[row.case].append(miss if row.value is None else row.value)
            if row.value is not None:
                measured[row.case].append(row.value)
        statuses = [row.status for row in concerned]
        yield MetricSummary(
            metric, more,
            _estimate(strict), _estimate(measured),
            cases=len(strict), clips=len(concerned), missing=statuses.count("missing"), errors=statuses.count("error"),
        )  # fmt: skip


def _estimate(by_case: dict[str, list[float]]) -> Estimate | None:
    return estimate(list(by_case.values())) if by_case else None
