"""The figure of `lumosx bench attention`: the paper's Figure 10, and a table of attributes and faces below it.

(i) self-attention between segments, (ii) cross-attention from segments to words, (iii) whose face the video looks at
where it looks at an attribute; each of the last layer (as in the paper) and averaged over all layers.
"""

import torch
from torch import Tensor

from lumosx.cli.bench_attention import AttentionStudy
from lumosx.cli.explain_figure import (
    DIM,
    EMPTY,
    GAP,
    HEADING,
    MARGIN,
    POSITIVE,
    TITLE,
    VIDEO,
    Canvas,
    Cell,
    Line,
    Matrix,
)
from lumosx.scene.palette import colour_of, mix

CELL = 0.36  # inches; two digits fit in
OTHER = "#d0d7de"  # words that name nothing
DARKEST = 0.9  # how much of the full colour a share of 1 gets
LONGEST_LABEL = 26  # letters
HEADLINE = 0.55  # inches


def attention_png(study: AttentionStudy) -> bytes:
    """The figure as the bytes of a PNG file."""
    rows = [[panel for panel in _panels(study, layer) if panel.matrix.rows] for layer in (study.layers - 1, None)]
    left, right = (max(panel.width for panel in column) for column in rows)
    heights = [max(panel.height for panel in pair) for pair in zip(*rows, strict=True)]
    width = left + right + 4 * MARGIN
    canvas = Canvas(width, HEADLINE + sum(heights) + 1.5 * MARGIN * (len(heights) + 2))
    steps = ", ".join(map(str, study.steps))
    canvas.text(MARGIN, 1.2 * MARGIN, f"Where attention goes: {study.scene.id}", size=TITLE + 2, weight="bold")
    about = f"{study.model}; seed {study.seed}; step {steps} of {study.job.settings.steps}; mean over heads and queries"
    canvas.text(MARGIN, 1.2 * MARGIN + 0.25, about, colour=DIM)
    for x, column in ((MARGIN, rows[0]), (left + 3 * MARGIN, rows[1])):
        y = HEADLINE + 2 * MARGIN
        for panel, height in zip(column, heights, strict=True):
            panel.draw(canvas, x, y)
            y += height + 1.5 * MARGIN
    return canvas.png()


class Panel:
    """A titled matrix."""

    def __init__(self, title: str, subtitle: str, matrix: Matrix) -> None:
        self.title, self.subtitle, self.matrix = title, subtitle, matrix

    @property
    def width(self) -> float:
        """Inches."""
        return max(self.matrix.width, 5.6)  # the longest subtitle

    @property
    def height(self) -> float:
        """Inches."""
        return HEADING + self.matrix.height

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draws it with its upper left corner at (x, y)."""
        canvas.text(x, y, self.title, size=TITLE, weight="bold")
        canvas.text(x, y + 0.2, self.subtitle, colour=DIM)
        self.matrix.draw(canvas, x, y + HEADING)


def _panels(study: AttentionStudy, layer: int | None) -> list[Panel]:
    view = "mean of all layers" if layer is None else f"last layer ({layer + 1})"
    segments, words, binding = (study.mean(table, layer) for table in ("segments", "words", "binding"))
    references = [Line(_short(e.id), colour_of(e.kind, e.subject), CELL) for e in study.references]
    lines = [Line("video", VIDEO, CELL), *references]
    named = [*references, *(Line(name, OTHER, CELL) for name in study.columns[len(references) : -2])]
    rest = [Line(name, OTHER, CELL, 3 * GAP * (not n)) for n, name in enumerate(("all of these", *study.columns[-2:]))]
    attributes, faces = ([references[index] for index in chosen] for chosen in (study.attributes, study.faces))
    return [
        Panel(
            f"(i) Self-attention, {view}",
            "rows: queries, columns: keys; rows sum to 1, blank is exactly 0",
            Matrix(lines, lines, _cells(segments)),
        ),
        Panel(
            f"(ii) Cross-attention, {view}",
            "columns: words of the prompt, each a share of all named ones; right of the gap: shares of all attention",
            Matrix(lines, [*named, *rest], _cells(_of_named(words))),
        ),
        Panel(
            f"(iii) Co-attention, {view}",
            "rows: attributes, columns: faces; ✓ is the owner. An indication only",
            Matrix(attributes if faces else [], faces, _binding_cells(study, binding)),
        ),
    ]


def _of_named(words: Tensor) -> Tensor:
    """The named words' shares of their sum, then that sum and the rest: padding takes most of all attention."""
    total = words[:, :-2].sum(dim=1, keepdim=True)
    return torch.cat([words[:, :-2] / total, total, words[:, -2:]], dim=1)


def _cells(table: Tensor) -> list[list[Cell]]:
    return [[_cell(value, POSITIVE) for value in row] for row in table.tolist()]


def _binding_cells(study: AttentionStudy, table: Tensor) -> list[list[Cell]]:
    cells = []
    for index, row in zip(study.attributes, table.tolist(), strict=True):
        owner = study.owner_column(index)
        cells.append([_cell(value, POSITIVE, "✓" if g == owner else "") for g, value in enumerate(row)])
    return cells


def _cell(value: float, colour: str, mark: str = "") -> Cell:
    text = "" if value == 0 else f"{value:.2f}".replace("0.", ".", 1) if value < 0.995 else "1"
    return Cell(mix(EMPTY, colour, DARKEST * value**0.5), mark + text)  # the root: small shares differ visibly


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
