"""`lumosx bench compare`: is the second run worse than the first? A table, and exit 1 if it is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from lumosx.evaluation.compare import Difference

COLOURS = {"better": "green", "worse": "red"}


def command(
    first: Annotated[Path, typer.Argument(metavar="A", help="Results of `lumosx bench run`: the folder.")],
    second: Annotated[Path, typer.Argument(metavar="B", help="The results to judge.")],
    metric: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only these can fail it. Repeatable (default: all).")
    ] = None,
    common: Annotated[bool, typer.Option("--common", help="Compare the cases that both have.")] = False,
) -> None:
    """Compare two runs of the same cases. Exit code 1: B is worse in some metric: its whole 95 % interval lies on that
    side, and p (the runs exchanged case by case) is below 0.05.

    Of metrics that did not change up to one in twenty shows a change by chance. So for a gate name the few that matter
    by --metric, and confirm a surprise with other seeds. A clip without a value counts as in the strict means of
    `bench run`. The cases of --counterfactual are left out.

    Example: lumosx bench compare out/before out/after --metric BindAcc --metric ArcSim
    """
    from rich.console import Console

    from lumosx.evaluation.compare import FEWEST, compare
    from lumosx.evaluation.results import read_results

    runs = read_results(first), read_results(second)
    comparison = compare(*runs, common=common)
    if not comparison.differences:
        raise InputError("the two runs do not compare: no metric applies to any of their cases")
    worse = comparison.regressions(metric or ())
    Console().print(_table(f"{runs[0].name}: B - A", comparison.differences))
    if comparison.left_out:
        typer.echo(f"left out, as only one run has them: {len(comparison.left_out)} cases")
    if runs[0].card["seeds"] != runs[1].card["seeds"]:
        typer.echo(f"seeds differ: A {runs[0].card['seeds'] or 'none'}, B {runs[1].card['seeds'] or 'none'}")
    if all(difference.verdict == "too few cases" for difference in comparison.differences):
        typer.echo(f"nothing can be said of fewer than {FEWEST} cases")
    if worse:
        typer.echo(f"B is worse in {', '.join(difference.metric for difference in worse)}")
        raise typer.Exit(1)


def _table(title: str, differences: "list[Difference]") -> "Table":
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("metric", overflow="fold")
    for column in ("A", "B", "B - A", "95 %", "p", "cases"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("B is", no_wrap=True)
    for row in differences:
        name = escape(row.metric) + ("" if row.more_is_better else " <")
        known = row.verdict != "too few cases"
        interval = (f"{row.low:+.3f} {row.high:+.3f}", f"{row.p:.4f}") if known else ("?", "?")
        numbers = (f"{row.first:.3f}", f"{row.second:.3f}", f"{row.difference:+.3f}", *interval)
        table.add_row(name, *numbers, str(row.cases), row.verdict, style=COLOURS.get(row.verdict))
    return table
