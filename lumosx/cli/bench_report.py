"""`lumosx bench report`: one page that shows what one or several runs scored, worst clips first."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.evaluation.cases import Case
    from lumosx.evaluation.report import Run


def command(
    results: Annotated[list[Path], typer.Argument(metavar="OUT...", help="Folders of `lumosx bench run`.")],
    html: Annotated[Path, typer.Option(metavar="FILE", help="The page to write.")],
    worst: Annotated[int, typer.Option(min=0, metavar="N", help="Clips to show, the worst of the first run.")] = 24,
    by: Annotated[
        str | None, typer.Option(metavar="METRIC", help="What ranks clips (default: BindAcc, or the first).")
    ] = None,
    cases: Annotated[
        Path | None, typer.Option(metavar="CASES", help="Where the cases lie now, if they have moved.")
    ] = None,
) -> None:
    """Write a self-contained page: means, who wears what, clips side by side, the card. Opens without a network.

    Example: lumosx bench report out/ours out/baseline --html report.html
    """
    from lumosx.evaluation.report import load_runs
    from lumosx.evaluation.report_page import report_html
    from lumosx.files import atomic

    runs = load_runs(results)
    known, notes = _cases(runs, cases)
    page = report_html(runs, known, worst=worst, by=by, notes=notes)
    with atomic(html) as temporary:
        temporary.write_text(page, encoding="utf-8")
    typer.echo(f"wrote {html} ({html.stat().st_size / 1e6:.1f} MB)")


def _cases(runs: "Sequence[Run]", given: Path | None) -> "tuple[dict[str, Case], list[str]]":
    """Cases by id, and what to say where they are not at hand: scores can be read without them."""
    from lumosx.evaluation.readers import read_cases

    card = runs[0].results.card
    try:
        found = read_cases(given or Path(card["cases"]["source"]), faces_only=card["task"] == "identity")
    except InputError as error:
        if given is not None:
            raise
        return {}, [f"References, captions and ground truths are not shown; --cases says where they lie now. {error}"]
    return {case.id: case for case in found}, []
