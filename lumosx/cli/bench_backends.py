"""`lumosx bench backends`: which backend of relational attention is fastest on this machine, on real shapes."""

import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from lumosx.attention.compare import Row
    from lumosx.attention.dense import Range

SIZES = {"cuda": ("832x480", 81), "cpu": ("192x128", 17)}  # the paper's, and one that takes seconds


@dataclass(frozen=True)
class Clip:
    """The clip whose attention is measured."""

    width: int
    height: int
    frames: int


def command(
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Default: 832x480, on a CPU 192x128.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, metavar="N", help="Default: 81, on a CPU 17.")] = None,
    references: Annotated[
        int, typer.Option(min=0, metavar="N", help="A background, then a face and two attributes a person.")
    ] = 4,
    heads: Annotated[int, typer.Option(min=1, metavar="N", help="Heads of attention.")] = 12,
    head_dim: Annotated[int, typer.Option(min=8, metavar="N", help="Channels of a head.")] = 128,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, float32, bfloat16.")] = "auto",
) -> None:
    """Compare the attention backends on this machine, one layer of one clip, and say which one `auto` takes and why.

    The size is of a clip of Wan 2.1. Without options it is the paper's on a GPU, and on a CPU a small one that takes
    half a minute.

    Example: lumosx bench backends --size 832x480 --frames 81 --references 8
    """
    from rich.console import Console
    from rich.progress import track

    from lumosx.attention import MODULES, choose_backend
    from lumosx.attention.compare import compare
    from lumosx.cli.sample import choose_device

    place, kind = choose_device(device, dtype)
    usual = SIZES["cpu" if place.type == "cpu" else "cuda"]
    clip = _parse(size or usual[0], frames or usual[1])
    ranges = _ranges(clip, references)
    measuring = compare(ranges, heads, head_dim, place, kind)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="flex_attention called without torch.compile")  # the table says so
        rows = list(track(measuring, "measuring", 1 + len(MODULES), console=Console(stderr=True), transient=True))
    title = f"{clip.width}x{clip.height}x{clip.frames}, {references} references: {ranges[0][3]} tokens, {heads} heads"
    Console().print(_table(f"{title} of {head_dim}, {str(kind).removeprefix('torch.')} on {_name(place)}", rows))
    for row in rows:
        if row.problem:
            typer.echo(f"{row.backend} {row.problem}")
    typer.echo(_legend(rows))
    typer.echo("auto takes {}: {}".format(*choose_backend(place, kind)))


def _parse(size: str, frames: int) -> Clip:
    match = re.fullmatch(r"(\d+)x(\d+)", size)
    if not match:
        raise InputError(f"--size {size}: give WIDTHxHEIGHT, such as 832x480")
    return Clip(int(match[1]), int(match[2]), frames)


def _ranges(clip: Clip, references: int) -> "list[Range]":
    from lumosx.models.grid import Grid
    from lumosx.relations.typical import typical_layout

    grid = Grid(spatial=8, temporal=4, patch=(1, 2, 2))  # of Wan 2.1
    grid.check(clip)
    return typical_layout(grid.tokens(clip), references, text_length=512).attention_ranges


def _name(device: "torch.device") -> str:
    from lumosx.pipelines.provenance import device_name

    return device_name(device)


def _table(title: str, rows: "list[Row]") -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("backend", no_wrap=True)
    table.add_column("kernel", overflow="fold")
    for column in ("forward\nms", "backward\nms", "TFLOP/s", "x plain", "error"):
        table.add_column(column, justify="right")
    plain = rows[0].forward
    for row in rows:
        numbers = (
            _number(row.forward, "{:.2f}", 1e3),
            _number(row.backward, "{:.2f}", 1e3),
            _number(row.rate, "{:.3g}", 1e-12),
            _number(row.forward and plain and row.forward / plain, "{:.2f}"),
            _number(row.error, "{:.1e}"),
        )
        table.add_row(row.backend, row.kernel, *numbers)
    return table


def _number(value: float | None, form: str, unit: float = 1.0) -> str:
    return "-" if value is None else form.format(value * unit)


def _legend(rows: "list[Row]") -> str:
    share = rows[1].flops / rows[0].flops
    return (
        "plain: all tokens see all, without a mask. x plain: forward time over its; the FLOPs are "
        f"{share:.2f} of its.\nerror: largest difference from the masked oracle in float32, forward."
        "\nflash, flex and magi compute the forward pass again in the backward pass."
    )
