"""`lumosx explain`: what a scene binds to what, and what that does in the network. Needs no weights.

The terminal shows what the HTML page and the figure show; all three render the same `Explanation`.
"""

import os
import uuid
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

    from lumosx.cli.explanation import Explanation
    from lumosx.relations.tables import McamRow


class _Rules(StrEnum):
    paper = "paper"
    release = "release"


def command(
    scene: Annotated[Path, typer.Argument(help="A scene file.")],
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels [default: the scene's, or 832x480].")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames [default: the scene's, or 81].")] = None,
    rules: Annotated[_Rules | None, typer.Option(help="The rule set [default: the scene's, or paper].")] = None,
    html: Annotated[Path | None, typer.Option(help="Also write a page with all of it.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also write a figure of the two masks.")] = None,
) -> None:
    """Show which words mean whom, where each picture stands, and the attention masks.

    Positions are those of a model with Wan2.1's factors: a token is 16 x 16 pixels and 4 frames.

    Example: lumosx explain configs/scenes/two_friends/scene.yaml --png masks.png
    """
    from rich.console import Console

    from lumosx.cli.explanation import explain, load_scene
    from lumosx.scene import SceneError

    overrides = {
        ("generation", "size"): size,
        ("generation", "frames"): frames,
        ("binding", "rules"): rules.value if rules else None,
    }
    try:
        explanation = explain(load_scene(scene, overrides))
    except SceneError as error:
        typer.echo("\n".join(map(str, error.messages)), err=True)
        raise typer.Exit(2) from error
    _print(explanation, Console(highlight=False))
    if html is not None:
        from lumosx.cli.explain_html import page

        _write(html, page(explanation).encode())
    if png is not None:
        from lumosx.cli.explain_figure import figure_png

        _write(png, figure_png(explanation))


def _write(path: Path, content: bytes) -> None:
    """Atomically: the file is there whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    typer.echo(f"wrote {path}")


def _print(explanation: "Explanation", console: "Console") -> None:
    parts: list[RenderableType] = [
        _heading(explanation),
        _prompt(explanation),
        _legend(explanation),
        _segments(explanation),
        _csam(explanation),
        *_mcam(explanation, console.width),
        *_messages(explanation),
    ]
    for part in parts:
        console.print(part)
        console.print()


def _heading(explanation: "Explanation") -> "Text":
    from rich.text import Text

    time, height, width = explanation.layout.video
    heading = Text(explanation.scene.id, "bold")
    heading.append(f"  {explanation.size}, {explanation.frames} frames = {time} x {height} x {width} tokens", "none")
    heading.append(f", rules: {explanation.layout.rules}")
    return heading


def _prompt(explanation: "Explanation") -> "Text":
    from rich.text import Text

    from lumosx.cli.explanation import owners_colour
    from lumosx.scene.palette import ink_on

    text = Text()
    for run in explanation.runs:
        colour = owners_colour(run.entities) if run.entities else None
        text.append(run.text, f"{ink_on(colour)} on {colour}" if colour else None)
    return text


def _legend(explanation: "Explanation") -> "Table":
    """Says in words what the prompt says in colours."""
    from rich.text import Text

    from lumosx.scene.palette import colour_of

    table = _table("", "entity", "called in the prompt", "strength", title="")
    for entity in explanation.scene.entities:
        named = ", ".join(map(repr, explanation.mentions(entity))) or "-"
        shown = Text(named + ("" if entity.image else " (no picture)"))
        swatch = Text("  ", f"on {colour_of(entity.kind, entity.subject)}")
        table.add_row(swatch, Text(entity.id), shown, f"{entity.strength:g}")
    return table


def _segments(explanation: "Explanation") -> "Table":
    from rich.text import Text

    from lumosx.cli.explanation import extent_text, range_text

    table = _table("segment", "tokens", "t", "h", "w", title=explanation.r2pe_title)
    for row in explanation.tables.segments:
        positions = (extent_text(extent) for extent in (row.t, row.h, row.w))
        table.add_row(Text(row.name), range_text((row.start, row.stop)), *positions)
    return table


def _csam(explanation: "Explanation") -> "Table":
    from rich.text import Text

    from lumosx.cli.explanation import range_text

    table = _table("segment", "queries", "see keys", "which are", title=explanation.csam_title)
    for row in explanation.tables.csam:
        keys = ", ".join(range_text(span) for span in row.keys)
        table.add_row(Text(row.name), range_text(row.queries), keys, Text(explanation.sight_text(row)))
    return table


def _mcam(explanation: "Explanation", width: int) -> list["Table"]:
    """The table of levels, cut into as many as the terminal's width needs."""
    from rich.text import Text

    from lumosx.cli.explanation import owners_colour
    from lumosx.scene.palette import ink_on

    rows = explanation.tables.mcam
    if not rows or not explanation.columns:
        return [_table("no reference has words", title=explanation.mcam_title)]
    label = min(max(len(row.name) for row in rows), width // 3)
    tables = []
    for block in _blocks([len(word.text) for word in explanation.columns], width - label):
        table = _table("reference", title=explanation.mcam_title if not tables else "")
        table.columns[0].width = label
        for word in explanation.columns[block]:
            colour = owners_colour(word.entities)
            table.add_column(Text(word.text, f"{ink_on(colour)} on {colour}"), justify="right", no_wrap=True)
        for row in rows:
            table.add_row(Text(row.name), *_levels(row, block))
        tables.append(table)
    return tables


def _levels(row: "McamRow", block: slice) -> list["Text"]:
    from rich.text import Text

    from lumosx.cli.explanation import level_text

    return [
        Text(level_text(level), "bold" if level > 0 else "italic" if level < 0 else "dim")
        for level in row.levels[block]
    ]


def _blocks(lengths: list[int], width: int) -> list[slice]:
    """Consecutive columns that fit into `width` characters, two between each and at least one to a block."""
    blocks, start, used = [], 0, 0
    for index, length in enumerate(lengths):
        needed = max(length, len("-0.33")) + 2
        if index > start and used + needed > width:
            blocks.append(slice(start, index))
            start, used = index, 0
        used += needed
    return [*blocks, slice(start, len(lengths))]


def _messages(explanation: "Explanation") -> list["Text"]:
    from rich.text import Text

    styles = {"error": "bold red", "warning": "yellow", "note": "cyan"}
    lines = [Text(str(message), styles[message.severity]) for message in explanation.scene.check()]
    return [Text("\n").join(lines)] if lines else []


def _table(*columns: str, title: str) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
        title=title or None,
        title_justify="left",
        title_style="bold",
    )
    for name in columns:
        table.add_column(name)
    return table
