"""What a report says about one or several runs of one protocol: plain data, which `report_page` makes a page of.

Nothing is left out in silence: errors and missing clips come first, and whatever cannot be shown says why.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lumosx.errors import InputError
from lumosx.evaluation.metrics.owners import ACCURACY
from lumosx.evaluation.results import Results, Row, read_results
from lumosx.evaluation.summary import expect_same_protocol

Key = tuple[str, int | None]
"""A clip: its case and seed."""


@dataclass(frozen=True)
class Run:
    """One run of the report: what it is called, where it lies, its rows."""

    label: str
    folder: Path
    results: Results

    @cached_property
    def clips(self) -> dict[Key, dict[str, Row]]:
        """The rows of each clip by metric."""
        found = defaultdict[Key, dict[str, Row]](dict)
        for row in self.results.rows:
            found[row.case, row.seed][row.metric] = row
        return dict(found)

    def video(self, key: Key) -> Path | None:
        """The clip's file."""
        row = next(iter(self.clips.get(key, {}).values()), None)
        return None if row is None or row.video is None else self.folder / row.video


@dataclass(frozen=True)
class Problem:
    """Metrics of one clip without a value that should have one, for one reason."""

    run: str
    case: str
    seed: int | None
    status: str
    metrics: list[str]
    reason: str


@dataclass(frozen=True)
class Attribute:
    """A row of a confusion matrix: on how many looks it is seen on each column. `right`: the owner's column."""

    name: str
    owner: int
    right: int
    counts: list[int]
    looks: int
    verdict: str = ""


@dataclass(frozen=True)
class Confusion:
    """Attribute x person. columns: people by number, from 0, the last is "nobody"."""

    columns: list[int | str]
    rows: list[Attribute] = field(default_factory=list)


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """The results in `folders`.

    Raises:
        InputError: no results there, one of them twice, or not all of one protocol, version and task.
    """
    runs = [Run(label, folder, read_results(folder)) for label, folder in zip(_labels(folders), folders, strict=True)]
    expect_same_protocol(run.results for run in runs)
    return runs


def problems(runs: Iterable[Run]) -> list[Problem]:
    """All that is missing or went wrong, metrics of one clip with one reason together."""
    found: dict[tuple[str, str, int | None, str, str], list[str]] = {}
    for run in runs:
        for row in run.results.rows:
            if row.status in ("missing", "error"):
                key = (run.label, row.case, row.seed, row.status, _reason(json.loads(row.detail)))
                found.setdefault(key, []).append(row.metric)
    return [Problem(*key[:4], metrics, key[4]) for key, metrics in found.items()]


def ranking_metric(runs: Sequence[Run], wanted: str | None = None) -> str:
    """The metric that says which clips are the worst: binding if it was measured, else the protocol's first.

    Raises:
        InputError: `wanted` is no metric of the runs.
    """
    metrics = runs[0].results.metrics
    if wanted is not None and wanted not in metrics:
        raise InputError(f"--by {wanted}: the metrics are {', '.join(metrics)}")
    return wanted or (ACCURACY if ACCURACY in metrics else next(iter(metrics)))


def worst_first(runs: Sequence[Run], metric: str) -> list[Key]:
    """All clips of all runs by what the first run has: first what is missing or failed, then by value; last what the
    metric does not apply to, and what only other runs have."""
    keys = dict.fromkeys(key for run in runs for key in run.clips)
    sign = 1 if runs[0].results.metrics[metric] else -1

    def badness(key: Key) -> tuple[int, float]:
        row = runs[0].clips.get(key, {}).get(metric)
        if row is None or row.status == "not_applicable":
            return 2, 0.0
        return (0, 0.0) if row.value is None else (1, sign * row.value)

    return sorted(keys, key=badness)


def confusion(rows: Mapping[str, Row]) -> Confusion | None:
    """The confusion matrix of a clip, from the detail of its binding; None if there is none."""
    detail = _owners_detail(rows)
    if detail is None:
        return None
    table = detail["confusion"]
    made = Confusion(list(table["columns"]))
    for attribute, counts in zip(detail["attributes"], table["counts"], strict=True):
        owner = attribute["owner"]
        right, looks, verdict = made.columns.index(owner), table["looks"], attribute["verdict"]
        made.rows.append(Attribute(attribute["word"], owner, right, counts, looks, verdict))
    return made


def confusion_by_slot(run: Run) -> Confusion | None:
    """The sums over all clips of a run, a row for each slot and number of the owner; None if there are none."""
    sums = defaultdict[tuple[str, int], dict[int | str, int]](lambda: defaultdict(int))
    looks = defaultdict[tuple[str, int], int](int)
    for detail in filter(None, map(_owners_detail, run.clips.values())):
        table = detail["confusion"]
        for attribute, counts in zip(detail["attributes"], table["counts"], strict=True):
            key = (attribute["slot"], attribute["owner"])
            looks[key] += table["looks"]
            for column, count in zip(table["columns"], counts, strict=True):
                sums[key][column] += count
    people = sorted({column for row in sums.values() for column in row if isinstance(column, int)})
    made = Confusion([*people, "nobody"])
    for slot, owner in sorted(sums):
        counts = [sums[slot, owner][column] for column in made.columns]
        made.rows.append(Attribute(slot, owner, people.index(owner), counts, looks[slot, owner]))
    return made if made.rows else None


def _owners_detail(rows: Mapping[str, Row]) -> dict[str, Any] | None:
    row = rows.get(ACCURACY)
    detail = json.loads(row.detail) if row is not None and row.status == "ok" else {}
    return detail if "confusion" in detail else None


def _reason(detail: Mapping[str, Any]) -> str:
    if "why" in detail:
        return str(detail["why"])
    return ": ".join(str(detail[key]) for key in ("type", "message") if detail.get(key)) or "no reason was given"


def _labels(folders: Sequence[Path]) -> list[str]:
    """The folders' names, with as much of their paths as tells them apart."""
    resolved = [folder.resolve() for folder in folders]
    if len(set(resolved)) < len(resolved):
        raise InputError("one folder of results is given twice")
    depth = 1
    while len({path.parts[-depth:] for path in resolved}) < len(resolved):
        depth += 1
    return ["/".join(path.parts[-depth:]) for path in resolved]
