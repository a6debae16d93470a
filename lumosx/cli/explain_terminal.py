"""What `lumosx explain` prints. Scene text goes in as `Text`, which rich never reads as markup."""

from rich.box import SIMPLE_HEAD
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from lumosx.cli.explanation import Explanation, extent_text, level_text, owners_colour, range_text
from lumosx.relations.tables import McamRow
from lumosx.scene.palette import colour_of, ink_on


def print_explanation(explanation: Explanation, console: Console) -> None:
    """The prompt in colours, the tables one below the other, and every message of the checks."""
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


def _heading(explanation: Explanation) -> Text:
    return Text.assemble((explanation.scene.id, "bold"), f"  {explanation.summary}")


def _prompt(explanation: Explanation) -> Text:
    text = Text()
    for run in explanation.runs:
        colour = owners_colour(run.entities) if run.entities else None
        text.append(run.text, f"{ink_on(colour)} on {colour}" if colour else None)
    return text


def _legend(explanation: Explanation) -> Table:
    """Says in words what the prompt says in colours."""
    table = _table("", "entity", "called in the prompt", "strength")
    for entity in explanation.scene.entities:
        named = ", ".join(map(repr, explanation.mentions(entity))) or "-"
        shown = Text(named + ("" if entity.image else " (no picture)"))
        swatch = Text("  ", f"on {colour_of(entity.kind, entity.subject)}")
        table.add_row(swatch, Text(entity.id), shown, f"{entity.strength:g}")
    return table


def _segments(explanation: Explanation) -> RenderableType:
    table = _table("segment", "tokens", "t", "h", "w")
    for row in explanation.tables.segments:
        positions = (extent_text(extent) for extent in (row.t, row.h, row.w))
        table.add_row(Text(row.name), range_text((row.start, row.stop)), *positions)
    return _titled(explanation.r2pe_title, table)


def _csam(explanation: Explanation) -> RenderableType:
    table = _table("segment", "queries", "see keys", "which are")
    for row in explanation.tables.csam:
        keys = ", ".join(range_text(span) for span in row.keys)
        table.add_row(Text(row.name), range_text(row.queries), keys, Text(explanation.sight_text(row)))
    return _titled(explanation.csam_title, table)


def _mcam(explanation: Explanation, width: int) -> list[RenderableType]:
    """The table of levels, cut into as many as the terminal's width needs."""
    rows = explanation.tables.mcam
    if not rows or not explanation.columns:
        return [_titled(explanation.mcam_title, Text("no reference has words"))]
    label = min(max(cell_len(row.name) for row in rows), width // 3)
    tables: list[RenderableType] = []
    for block in _blocks([cell_len(word.text) for word in explanation.columns], width - label - 2):
        table = _table("reference")
        table.columns[0].width = max(label, len("reference"))
        for word in explanation.columns[block]:
            colour = owners_colour(word.entities)
            table.add_column(Text(word.text, f"{ink_on(colour)} on {colour}"), justify="right", no_wrap=True)
        for row in rows:
            table.add_row(Text(row.name), *_levels(row, block))
        tables.append(table if tables else _titled(explanation.mcam_title, table))
    return tables


def _levels(row: McamRow, block: slice) -> list[Text]:
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


def _messages(explanation: Explanation) -> list[Text]:
    styles = {"error": "bold red", "warning": "yellow", "note": "cyan"}
    lines = [Text(str(message), styles[message.severity]) for message in explanation.scene.check()]
    return [Text("\n").join(lines)] if lines else []


def _titled(title: str, body: RenderableType) -> RenderableType:
    return Group(Text(title, "bold"), body)


def _table(*columns: str) -> Table:
    table = Table(
        box=SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for name in columns:
        table.add_column(name)
    return table
