"""The page of `lumosx bench report`: one self-contained file, no script, readable in a light and a dark browser.

Clips and pictures are in it, so that it can be mailed and archived. A template with escaping makes it, and the browser
is told to load and to run nothing: case names, captions and errors come from strangers.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Template

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.report import (
    Key,
    Run,
    confusion,
    confusion_by_slot,
    problems,
    ranking_metric,
    worst_first,
)  # fmt: skip
from lumosx.evaluation.report_media import video_uri
from lumosx.evaluation.summary import MetricSummary, summarise
from lumosx.pages import POLICY, picture_uri, style, template
from lumosx.scene.images import ImageError
from lumosx.scene.palette import colour_of, ink_on

Summary = dict[str, list[MetricSummary]]
"""Of `summarise`: the metrics of each group."""

STRAYS = "videos of no case"  # of a card
BUDGET = 9_000_000  # characters of clips in one page; browsers and mail take a page of ten megabytes


def report_html(
    runs: Sequence[Run], cases: Mapping[str, Case], *, worst: int, by: str | None = None, notes: Sequence[str] = ()
) -> str:
    """The whole page.

    Args:
        runs: of one protocol, of `load_runs`; the first one ranks the clips.
        cases: by id, for references, captions and ground truths; a case that is not at hand says so.
        worst: how many clips are shown.
        by: the metric that ranks them; None: of `ranking_metric`.
        notes: sentences for the top of the page.

    Raises:
        InputError: `by` is no metric of the runs.
    """
    metric = ranking_metric(runs, by)
    keys = worst_first(runs, metric)
    labels, first = [run.label for run in runs], runs[0].results
    seeds = sorted({seed for _, seed in keys if seed is not None})
    summaries = [summarise(run.results) for run in runs]
    page = {
        "title": " and ".join(labels),
        "name": first.name,
        "summary": f"{len({case for case, _ in keys})} cases, {len(keys)} clips"
        + (f", seeds {', '.join(map(str, seeds))}" if seeds else ""),
        "problems": problems(runs),
        "notes": [*notes, *_stray_notes(runs)],
        "means": _table(runs, ["strict", "measured", "clips"], [_overall(summary) for summary in summaries]),
        "people": _by_people(runs, summaries),
        "slots": [{"label": run.label, "table": table} for run in runs if (table := confusion_by_slot(run))],
        "metric": metric,
        "first": labels[0],
        "labels": labels,
        "total": len(keys),
        "clips": _Clips(runs, cases).of(keys[:worst]),
        "cards": [_card(run) for run in runs],
    }
    return _template().render(page=page, policy=POLICY, style=style("lumosx.evaluation", "report.css"))


def _table(runs: Sequence[Run], columns: Sequence[str], cells: Sequence[Mapping[str, list[Any]]]) -> dict[str, Any]:
    """A table of all metrics: of every run the same columns, from its `cells` by metric: estimates, None or text."""
    lines = [
        {"metric": metric, "more": more, "cells": [cell for own in cells for cell in own[metric]]}
        for metric, more in runs[0].results.metrics.items()
    ]
    return {"labels": [run.label for run in runs], "columns": list(columns), "lines": lines}


def _overall(summary: Summary) -> dict[str, list[Any]]:
    """Both means over all clips, which are the first group, and how many there are."""
    cells = {}
    for one in next(iter(summary.values())):
        lost = [f"{count} {what}" for count, what in ((one.missing, "missing"), (one.errors, "failed")) if count]
        cells[one.metric] = [one.strict, one.measured, f"{one.clips} ({', '.join(lost)})" if lost else str(one.clips)]
    return cells


def _by_people(runs: Sequence[Run], summaries: Sequence[Summary]) -> dict[str, Any]:
    """Strict means in every group but the first."""
    names = list(dict.fromkeys(name for summary in summaries for name in list(summary)[1:]))
    cells = []
    for summary in summaries:
        means = {name: {one.metric: one.strict for one in summary.get(name, [])} for name in names}
        cells.append({metric: [means[name].get(metric) for name in names] for metric in runs[0].results.metrics})
    return _table(runs, names, cells)


class _Clips:
    """What the page shows of single clips. Clips are embedded until the page is full."""

    def __init__(self, runs: Sequence[Run], cases: Mapping[str, Case]) -> None:
        self.runs, self.cases = runs, cases
        self.left = BUDGET

    def of(self, keys: Sequence[Key]) -> list[dict[str, Any]]:
        """One entry a clip, in order."""
        return [self._clip(key) for key in keys]

    def _clip(self, key: Key) -> dict[str, Any]:
        case, rows = self.cases.get(key[0]), [run.clips.get(key, {}) for run in self.runs]
        tables = [(run.label, confusion(own)) for run, own in zip(self.runs, rows, strict=True)]
        videos = [self._video(run.label, run.video(key), f"{key[0]} by {run.label}") for run in self.runs]
        if case is not None and case.truth is not None:
            videos.append(self._video("ground truth", case.truth, f"{key[0]}, ground truth"))
        return {
            "case": key[0],
            "seed": key[1],
            "videos": videos,
            "prompt": case.prompt if case else None,
            "references": [_reference(reference) for reference in case.references] if case else [],
            "confusions": [{"label": label, "table": table} for label, table in tables if table],
            "scores": {metric: [own.get(metric) for own in rows] for metric in self.runs[0].results.metrics},
        }

    def _video(self, label: str, path: Path | None, name: str) -> dict[str, Any]:
        uri, why = "", "no video"
        if path is not None and self.left <= 0:
            why = f"left out, the page is full: {path}"
        elif path is not None:
            try:
                uri = video_uri(path)
            except InputError as error:
                why = str(error)
        self.left -= len(uri)
        return {"label": label, "name": name, "uri": uri, "why": why}


def _reference(reference: CaseReference) -> dict[str, Any]:
    uri, why = "", "in words alone"
    if reference.image is not None:
        try:
            uri = picture_uri(reference.image.open())
        except ImageError as error:
            why = str(error)
    owner = None if reference.subject is None else f"person {reference.subject + 1}"
    colour = colour_of(reference.kind, reference.subject)
    return {"uri": uri, "why": why, "word": reference.word, "kind": reference.kind, "owner": owner, "colour": colour}


def _card(run: Run) -> dict[str, Any]:
    """Without what the page says elsewhere, and without the hashes of single cases."""
    card = run.results.card
    said = ("models", "metrics", "missing", "errors", STRAYS)
    rest = {key: value for key, value in card.items() if key not in said}
    cases = {key: value for key, value in card["cases"].items() if key != "digests"}
    return {"label": run.label, "models": card["models"], "rest": rest | {"cases": cases}}


def _stray_notes(runs: Sequence[Run]) -> list[str]:
    strays = [(run.label, run.results.card.get(STRAYS, [])) for run in runs]
    return [f"{label}: {len(paths)} videos belong to no case: {', '.join(paths)}" for label, paths in strays if paths]


@cache
def _template() -> Template:
    return template(
        "lumosx.evaluation",
        "report.html.j2",
        colour=lambda person: colour_of("face", person),
        ink=lambda person: ink_on(colour_of("face", person)),
    )
