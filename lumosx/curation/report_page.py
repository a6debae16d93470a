"""The page of `lumosx curate report`: one self-contained file, no script, readable in a light and a dark browser."""

from collections import Counter
from functools import cache
from typing import Any

from jinja2 import Template

from lumosx.curation.report import (
    KEPT,
    REVIEW,
    ReportInput,
    funnel,
    histograms,
    number,
    packing_steps,
    people,
    problems,
    sample,
)
from lumosx.curation.review import audit
from lumosx.curation.run import Standing
from lumosx.curation.sheets import Sheet, found_sheet, record_sheet
from lumosx.pages import POLICY, style, template

CLIPS = 60  # contact sheets on the page
PAPER = {1: "83.4 %", 2: "14.6 %", 3: "1.9 %"}  # of clips by their number of people (section A.3)


def report_html(report: ReportInput, clips: int = CLIPS, seed: int = 0) -> str:
    """The whole page.

    Args:
        report: where the run stands.
        clips: how many contact sheets it has at most.
        seed: of the clips' choice.
    """
    chosen = sample(report, clips, seed)
    totals = Counter(map(report.outcome, report.clips))
    page = {
        "name": report.name,
        "videos": len(report.sources),
        "clips": len(report.clips),
        "packed": len(report.packed),
        "source_steps": funnel(report.sources, report.source_kinds),
        "clip_steps": [*funnel(report.clips, report.clip_kinds), *packing_steps(report)],
        "unreadable": dict(report.unreadable),
        "copies": dict(report.copies),
        "problems": problems([*report.sources, *report.clips], report.unpackable),
        "people": people(report.packed.values()),
        "paper": PAPER,
        "charts": histograms(report.clips, report.stages),
        "audit": audit(report.reviews, report.records).lines(),
        "shown": sum(map(len, chosen.values())),
        "groups": [
            {"outcome": name, "total": totals[name], "clips": [_clip(report, standing) for standing in own]}
            for name, own in chosen.items()
        ],
        "models": report.card.get("models", {}),
        "card": {key: value for key, value in report.card.items() if key != "models"},
    }
    return _template().render(page=page, policy=POLICY, style=style("lumosx.curation", "sheet.css", "report.css"))


def _clip(report: ReportInput, standing: Standing) -> dict[str, Any]:
    return {"why": report.why(standing), "sheet": _sheet(report, standing)}


def _sheet(report: ReportInput, standing: Standing) -> Sheet:
    """Of a clip that a reviewer rejected, what training would get."""
    if report.outcome(standing) not in (KEPT, REVIEW):
        return found_sheet(standing, report.root)
    clip = standing.record.id
    return record_sheet(standing, report.packed.get(clip, report.records[clip]), report.root)


@cache
def _template() -> Template:
    return template("lumosx.curation", "report.html.j2", number=number, count=lambda n: f"{n:,}", share=_share)


def _share(count: int, of: int) -> str:
    """As per cent, with as many digits as tell 2.2 % of a funnel from nothing."""
    return "" if not of else f"{100 * count / of:.3g} %"
