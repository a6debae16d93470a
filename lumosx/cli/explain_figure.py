"""The figure of `lumosx explain --png`: both masks of one scene, as in the paper's Figure 4.

Everything is placed in inches on one bare canvas, so that a cell, a letter and a line have the same size in
the figure of any scene, however many pictures and words it has.
"""

import math
import unicodedata
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from itertools import groupby

import typer
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import findfont, get_font, get_font_names
from matplotlib.patches import Rectangle

from lumosx.cli.explanation import Explanation, Word, level_text, owners_colour
from lumosx.scene.palette import SHARED_COLOUR, colour_of, ink_on, mix

CELL, VIDEO_CELL = 0.30, 0.48  # inches; the video has many more tokens than a reference
STRIP, GAP, MARGIN = 0.10, 0.07, 0.25
HEADING = 0.4  # a panel's two lines of title
TILT = math.radians(50)
BLOCK_COLUMNS = 18  # words beside each other before the mask goes on below
LONGEST_LABEL = 26  # letters
DPI = 220
LONGEST_SIDE = 8000  # pixels; a figure of hundreds of words gets a lower resolution instead
FONT, TITLE = 8.0, 10.0  # points
FONTS = ("DejaVu Sans", "Noto Sans CJK SC", "WenQuanYi Zen Hei", "Microsoft YaHei", "PingFang SC")

CSAM_TITLE = "(a) Causal self-attention mask (CSAM)"
MCAM_TITLE = "(b) Multilevel cross-attention mask (MCAM)"

INK, DIM, WHITE = "#1f2328", "#6e7781", "#ffffff"
VIDEO, EMPTY = "#57606a", "#f1f3f5"
POSITIVE, NEGATIVE = "#01665e", "#a6611a"  # teal and brown: colour-blind readers tell them apart


class Canvas:
    """A drawing surface of `width` x `height` inches, y downwards."""

    def __init__(self, width: float, height: float) -> None:
        self._figure = Figure(figsize=(width, height), facecolor=WHITE)
        FigureCanvasAgg(self._figure)
        self._axes = self._figure.add_axes((0, 0, 1, 1))
        self._axes.set(xlim=(0, width), ylim=(height, 0))
        self._axes.set_axis_off()
        self._fonts = [name for name in FONTS if name in get_font_names()]
        self._letters: set[str] = set()

    def box(self, x: float, y: float, width: float, height: float, colour: str) -> None:
        """A filled rectangle with a thin white edge."""
        self._axes.add_patch(Rectangle((x, y), width, height, facecolor=colour, edgecolor=WHITE, linewidth=0.8))

    def text(
        self, x: float, y: float, text: str, *, size: float = FONT, colour: str = INK, ha: str = "left",
        degrees: float = 0.0, weight: str = "normal",
    ) -> None:  # fmt: skip
        """`text` as it is (no mathematics between dollar signs), middle of its height at y."""
        self._letters.update(text)
        self._axes.text(
            x, y, text, fontsize=size, color=colour, ha=ha, va="center", rotation=degrees, rotation_mode="anchor",
            fontweight=weight, family=self._fonts, parse_math=False,
        )  # fmt: skip

    def png(self) -> bytes:
        """The picture as the bytes of a file. Letters that no font has become boxes; says so on standard error."""
        fonts = [get_font(findfont(name)) for name in self._fonts]
        missing = [letter for letter in sorted(self._letters) if not any(f.get_char_index(ord(letter)) for f in fonts)]
        if missing:
            shown = "".join(missing[:20])
            typer.echo(f"no font for {shown!r}, drawn as boxes: install {FONTS[1]} or another of {FONTS[2:]}", err=True)
        buffer = BytesIO()
        longest = float(max(self._figure.get_size_inches()))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # one line a letter; said above in one
            self._figure.savefig(buffer, format="png", dpi=min(DPI, LONGEST_SIDE / longest))
        return buffer.getvalue()


@dataclass(frozen=True)
class Line:
    """A row or a column of a matrix: its name, its owner's colour, its size and the gap before it, in inches."""

    text: str
    colour: str
    size: float = CELL
    gap: float = 0.0


@dataclass(frozen=True)
class Cell:
    """One field of a matrix."""

    colour: str
    text: str = ""


@dataclass(frozen=True)
class Matrix:
    """A labelled matrix: row names on the left, column names tilted on top, a strip of the owner's colour at each."""

    rows: Sequence[Line]
    columns: Sequence[Line]
    cells: Sequence[Sequence[Cell]]

    @property
    def left(self) -> float:
        """Inches that the row names take."""
        return max((_text_width(line.text) for line in self.rows), default=0.0) + STRIP + 2 * GAP

    @property
    def top(self) -> float:
        """Inches that the column names take."""
        longest = max((_text_width(line.text) for line in self.columns), default=0.0)
        return longest * math.sin(TILT) + STRIP + 3 * GAP

    @property
    def width(self) -> float:
        """With the names, also where the last tilted ones stick out."""
        reach = max(
            (start + line.size / 2 + _text_width(line.text) * math.cos(TILT) for line, start in _placed(self.columns)),
            default=0.0,
        )
        return self.left + max(reach, _extent(self.columns))

    @property
    def height(self) -> float:
        """With the names."""
        return self.top + _extent(self.rows)

    def draw(self, canvas: Canvas, x: float, y: float) -> None:
        """Draws it with its upper left corner at (x, y)."""
        x0, y0 = x + self.left, y + self.top
        for line, start in _placed(self.rows):
            canvas.box(x0 - STRIP - GAP / 2, y0 + start, STRIP, line.size, line.colour)
            canvas.text(x0 - STRIP - GAP * 1.5, y0 + start + line.size / 2, line.text, ha="right")
        for line, start in _placed(self.columns):
            canvas.box(x0 + start, y0 - STRIP - GAP / 2, line.size, STRIP, line.colour)
            canvas.text(
                x0 + start + line.size / 2 - GAP / 2, y0 - STRIP - GAP * 2, line.text, degrees=math.degrees(TILT)
            )
        for (row, top), fields in zip(_placed(self.rows), self.cells, strict=True):
            for (column, start), field in zip(_placed(self.columns), fields, strict=True):
                canvas.box(x0 + start, y0 + top, column.size, row.size, field.colour)
                middle = (x0 + start + column.size / 2, y0 + top + row.size / 2)
                ink = DIM if field.colour == EMPTY else ink_on(field.colour)
                canvas.text(*middle, field.text, size=FONT - 1, colour=ink, ha="center")


def figure_png(explanation: Explanation) -> bytes:
    """Both masks side by side, and what the colours mean, as the bytes of a PNG file."""
    csam, blocks = csam_matrix(explanation), mcam_matrices(explanation)
    left, right, top = MARGIN, 3 * MARGIN + max(csam.width, _title_width(CSAM_TITLE)), MARGIN + HEADING
    # the first block's rows stand at the height of the same references in the CSAM
    lift = max([csam.top + VIDEO_CELL - block.top for block in blocks[:1]] + [0.0])
    body = max(csam.height, lift + sum(block.height + MARGIN for block in blocks))
    width = right + max([block.width for block in blocks] + [_title_width(MCAM_TITLE)]) + MARGIN
    legend = _legend_rows(_legend(explanation), width - 2 * MARGIN)
    canvas = Canvas(width, top + body + MARGIN * (1.5 + len(legend)))
    _draw_title(canvas, left, CSAM_TITLE, "rows: queries, columns: keys; coloured: attended")
    _draw_title(canvas, right, MCAM_TITLE, "rows: references, columns: words of the prompt")
    csam.draw(canvas, left, top)
    y = top + lift
    for block in blocks:
        block.draw(canvas, right, y)
        y += block.height + MARGIN
    if not blocks:
        canvas.text(right, top + csam.top + VIDEO_CELL / 2, "no reference has words", colour=DIM)
    for number, entries in enumerate(legend):
        _draw_legend(canvas, entries, top + body + MARGIN * (1 + number))
    return canvas.png()


def _draw_title(canvas: Canvas, x: float, title: str, subtitle: str) -> None:
    canvas.text(x, MARGIN, title, size=TITLE, weight="bold")
    canvas.text(x, MARGIN + 0.2, subtitle, colour=DIM)


def csam_matrix(explanation: Explanation) -> Matrix:
    """Who sees whom, segment by segment: rows are queries, columns keys."""
    names = [row.name for row in explanation.tables.segments]
    colours = [VIDEO, *(colour_of(entity.kind, entity.subject) for entity in explanation.references)]
    sizes = [VIDEO_CELL] + [CELL] * (len(names) - 1)
    lines = [Line(_short(n), c, s) for n, c, s in zip(names, colours, sizes, strict=True)]
    cells = [
        [Cell(colour if sees else EMPTY) for colour, sees in zip(colours, row.sees, strict=True)]
        for row in explanation.tables.csam
    ]
    cells[0] = [cells[0][0], *(Cell(mix(colour, WHITE, 0.4)) for colour in colours[1:])]  # the video looks at others
    return Matrix(lines, lines, cells)


def mcam_matrices(explanation: Explanation) -> list[Matrix]:
    """The levels of each reference on each word, in as many blocks of words as are needed."""
    rows = [Line(_short(e.id), colour_of(e.kind, e.subject)) for e in explanation.references]
    matrices: list[Matrix] = []
    for start, stop in _blocks(explanation.columns) if rows else []:
        words = explanation.columns[start:stop]
        columns = [
            Line(_short(word.text), owners_colour(word.entities), gap=GAP if before and before.run != word.run else 0.0)
            for before, word in zip([None, *words], words, strict=False)
        ]
        cells = [[_level_cell(level) for level in row.levels[start:stop]] for row in explanation.tables.mcam]
        matrices.append(Matrix(rows, columns, cells))
    return matrices


def _level_cell(level: float) -> Cell:
    depth = min(abs(level), 1.0)
    colour = mix(EMPTY, POSITIVE if level > 0 else NEGATIVE, depth) if level else EMPTY
    return Cell(colour, level_text(level).replace("-", "−"))


def _blocks(words: Sequence[Word]) -> list[tuple[int, int]]:
    """[start, stop) of words that stand beside each other, about equally many; a mention's words stay together."""
    if not words:
        return []
    target = math.ceil(len(words) / math.ceil(len(words) / BLOCK_COLUMNS))
    blocks: list[tuple[int, int]] = []
    start = stop = 0
    for _, mention in groupby(words, key=lambda word: word.run):
        length = len(list(mention))
        if stop > start and stop + length / 2 - start > target:
            blocks.append((start, stop))
            start = stop
        stop += length
    return [*blocks, (start, stop)]


def _legend(explanation: Explanation) -> list[tuple[str, str]]:
    """(colour, meaning) of every colour that occurs."""
    entries = [(VIDEO, "video")]
    kinds = [entity.kind for entity in explanation.references]
    entries += [(colour_of(kind, None), kind) for kind in ("background", "object") if kind in kinds]
    entries += [(colour_of("face", number), name) for number, name in enumerate(explanation.subject_ids)]
    if any(owners_colour(word.entities) == SHARED_COLOUR for word in explanation.columns):
        entries.append((SHARED_COLOUR, "word of several owners"))
    levels = [level for row in explanation.tables.mcam for level in row.levels]
    entries.append((EMPTY, "not seen, or level 0"))
    entries += [(POSITIVE, "own word")] * any(level > 0 for level in levels)
    return entries + [(NEGATIVE, "another subject's word")] * any(level < 0 for level in levels)


def _legend_rows(entries: Sequence[tuple[str, str]], width: float) -> list[list[tuple[str, str]]]:
    rows: list[list[tuple[str, str]]] = [[]]
    for entry in entries:
        if rows[-1] and sum(map(_entry_width, [*rows[-1], entry])) > width:
            rows.append([])
        rows[-1].append(entry)
    return rows


def _entry_width(entry: tuple[str, str]) -> float:
    return 0.18 + GAP + _text_width(entry[1]) + 0.2


def _draw_legend(canvas: Canvas, entries: Sequence[tuple[str, str]], y: float) -> None:
    x = MARGIN
    for colour, meaning in entries:
        canvas.box(x, y - 0.07, 0.18, 0.14, colour)
        canvas.text(x + 0.18 + GAP, y, _short(meaning), colour=DIM)
        x += _entry_width((colour, meaning))


def _placed(lines: Sequence[Line]) -> list[tuple[Line, float]]:
    """Each line and where it starts, in inches."""
    placed, position = [], 0.0
    for line in lines:
        position += line.gap
        placed.append((line, position))
        position += line.size
    return placed


def _extent(lines: Sequence[Line]) -> float:
    return sum(line.gap + line.size for line in lines)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"


def _title_width(title: str) -> float:
    return _text_width(title) * TITLE / FONT * 1.15  # bold


def _text_width(text: str) -> float:
    """Inches, about: 0.56 em a letter, and a full em for wide ones."""
    ems = sum(1.0 if unicodedata.east_asian_width(letter) in "WF" else 0.56 for letter in text)
    return ems * FONT / 72
