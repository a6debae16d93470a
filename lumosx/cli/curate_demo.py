"""`lumosx curate run --demo`: footage in which it is known what is wrong, and how well that was found."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from lumosx.curation.curate import Curated

PROFILE = "demo"
OUT = Path("out/curate-demo")


def make_footage(out: Path) -> Path:
    """The folder with the footage, which is drawn unless an earlier run drew it."""
    from lumosx.curation.demo_footage import TRUTH, write_footage

    folder = out / "footage"
    if not (folder / TRUTH).is_file():
        typer.echo("drawing the footage ...")
        write_footage(folder)
    return folder


def show_scores(curated: "Curated", footage: Path) -> None:
    """How much of what was planted was found, and how much of what was found is true."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from lumosx.curation.demo import scores
    from lumosx.curation.demo_footage import read_truth

    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("against the truth")
    for column in ("planted", "found", "right", "precision", "recall"):
        table.add_column(column, justify="right")
    for score in scores(curated, read_truth(footage)):
        shares = ("-" if share is None else f"{share:.2f}" for share in (score.precision, score.recall))
        table.add_row(score.name, str(score.there), str(score.found), str(score.right), *shares)
    Console().print(table)
