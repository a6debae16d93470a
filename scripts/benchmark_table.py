"""The one table that `benchmark.py` writes: figures with their goals."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median


@dataclass(frozen=True)
class Goal:
    """A bound of a figure."""

    limit: float
    at_least: bool

    def met(self, value: float) -> bool:
        """Whether a figure is within it."""
        return value >= self.limit if self.at_least else value <= self.limit

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:.4g}"


def at_least(limit: float) -> Goal:
    """Of a figure that should be large."""
    return Goal(limit, True)


def at_most(limit: float) -> Goal:
    """Of a figure that should be small."""
    return Goal(limit, False)


@dataclass(frozen=True)
class Figure:
    """A cell of the table: row `name`, column `references`.

    spread: of a ratio, half of the range that the middle half of the rounds lies in, relative to the value.
    """

    name: str
    references: int
    value: float
    goal: Goal | None = None
    spread: float | None = None

    def __str__(self) -> str:
        text = f"{self.value:.0f}" if self.value >= 100 else f"{self.value:.3g}"
        if self.goal is None:
            return text
        return f"{text} met" if self.goal.met(self.value) else f"{text} **missed**"


def table(figures: Iterable[Figure], notes: Iterable[str]) -> str:
    """Markdown: a row for each name in the order of their first figures, a column for each number of references."""
    rows: dict[str, dict[int, Figure]] = {}
    for figure in figures:
        rows.setdefault(figure.name, {})[figure.references] = figure
    columns = sorted({references for row in rows.values() for references in row})
    lines = [
        f"| references | {' | '.join(map(str, columns))} | goal |",
        f"|---|{'---:|' * len(columns)}---|",
        *(f"| {name} | {' | '.join(_cells(row, columns))} | {_goals(row)} |" for name, row in rows.items()),
    ]
    return "\n".join([*lines, "", *_spread(rows), *(f"- {note}" for note in dict.fromkeys(notes))])


def _cells(row: Mapping[int, Figure], columns: Sequence[int]) -> list[str]:
    return [str(row[column]) if column in row else "" for column in columns]


def _goals(row: Mapping[int, Figure]) -> str:
    """One goal where all figures have the same, else those of each."""
    columns: dict[str, list[str]] = {}
    for references, figure in row.items():
        if figure.goal is not None:
            columns.setdefault(str(figure.goal), []).append(str(references))
    if [len(where) for where in columns.values()] == [len(row)]:
        return next(iter(columns))
    return "; ".join(f"{goal} at {', '.join(where)}" for goal, where in columns.items())


def _spread(rows: Mapping[str, Mapping[int, Figure]]) -> list[str]:
    spreads = {f: f.spread for row in rows.values() for f in row.values() if f.spread is not None}
    if not spreads:
        return []
    worst = max(spreads, key=lambda figure: spreads[figure])
    return [
        "- A ratio is the median of the ratios of all rounds; the middle half of them spans "
        f"±{median(spreads.values()):.1%} of it, at worst ±{spreads[worst]:.1%} "
        f"({worst.name}, {worst.references} references)."
    ]
