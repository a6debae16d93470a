"""How costs are shown: plain tables of at most 100 columns, short numbers, and what of a GPU's memory counts."""

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

WIDTH = 100  # columns
USABLE = 0.9  # of a GPU's memory; an assumption: the rest is the driver's, NCCL's and lost between allocations
GIB = 2**30

Piece = str | Table


def page(pieces: Iterable[Piece]) -> str:
    """Lines and tables below each other."""
    console = Console(width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        for piece in pieces:
            console.print(piece)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def plain_table(*columns: str) -> Table:
    """A table without lines, its first column for words and the others for numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def short(flops: float) -> str:
    """FLOPs in a unit that leaves few digits: "679.09 T"."""
    unit, size = next(((u, s) for u, s in (("P", 1e15), ("T", 1e12), ("G", 1e9)) if flops >= s), ("M", 1e6))
    return f"{flops / size:,.2f} {unit}"
