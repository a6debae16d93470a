"""The ablation of the paper's Table 4 on the playground: its rows, what is measured of each, and what follows.

In the paper a row is a training and two numbers, CLIP-T and ArcSim, on 500 videos. Here it is several trainings, each
from the first weights and on the noisy clips of its seed that all rows share, and readings of the same unseen clips,
where it is known who wears what.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from lumosx.errors import InputError
from lumosx.evaluation.binding import Outcome
from lumosx.playground.estimate import Estimate


@dataclass(frozen=True)
class Row:
    """One training of the ablation.

    `name` is its experiment, configs/experiment/ablation/NAME.yaml. `scattered`: its references are in random order
    and nobody's own. `paper`: CLIP-T and ArcSim in Table 4.
    """

    name: str
    title: str
    paper: tuple[float, float] | None = None
    scattered: bool = False


ROWS = (
    Row("none", "None", (0.184, 0.316)),
    Row("scattered", "None, scattered references", scattered=True),
    Row("r2pe", "+ R2PE", (0.178, 0.363)),
    Row("csam", "+ CSAM", (0.182, 0.363)),
    Row("mcam_0.1", "+ MCAM, r = 0.1", (0.182, 0.364)),
    Row("mcam_0.5", "+ MCAM, r = 0.5", (0.186, 0.429)),
    Row("mcam_1.0", "+ MCAM, r = 1.0", (0.187, 0.384)),
)
BASE = "base"  # the experiment that makes the first weights
CAPTIONS = ("unplaced", "placed")  # whether the caption says who stands where
FEWEST = 3  # seeds that a verdict needs: between two trainings nobody knows what is chance
NOUNS = ("same", "distinct")  # whether two people share their noun


@dataclass
class Form:
    """How large the ablation is: configs/ablation/NAME.yaml."""

    label: str  # what a reader must know beside every number
    seeds: list[int]
    clips: int  # unseen clips for each number of people and kind of caption; every other has two of one noun
    subjects: list[int]
    all: list[str] = field(default_factory=list)  # overrides of every training
    base: list[str] = field(default_factory=list)  # of the training that makes the first weights
    rows: list[str] = field(default_factory=list)  # of the rows' trainings

    def __post_init__(self) -> None:
        if not self.seeds or len(set(self.seeds)) < len(self.seeds) or min(self.seeds) < 0:
            raise InputError(f"seeds: {self.seeds}: one or more whole numbers from 0 up, each once")
        if self.clips < 2:
            raise InputError(f"clips: {self.clips}: two or more, one with two people of one noun and one without")
        if not self.subjects or not set(self.subjects) <= {1, 2, 3, 4}:
            raise InputError(f"subjects: {self.subjects}: numbers of people, of 1, 2, 3, 4")


Readings = Mapping[tuple[str, int], Sequence[Outcome]]
"""Outcomes by row and seed."""

Values = Callable[[Outcome], Sequence[float]]

MEASURES: Mapping[str, Values] = {
    "binding": lambda outcome: outcome.binding,
    "faces": lambda outcome: outcome.identity,
    "attributes": lambda outcome: outcome.attribute_likeness,
    "all right": lambda outcome: [outcome.all_right],
}
"""Per clip: which attributes are on their owner; likeness of each face, and of each attribute wherever it is, to its
reference (0 where it is not seen); whether the whole clip is as told."""


@dataclass(frozen=True)
class Cell:
    """Which clips a number is about. None: all of them."""

    captions: str | None = None
    nouns: str | None = None
    subjects: int | None = None  # None: two and more, because one person's attributes can be on nobody else

    def holds(self, outcome: Outcome) -> bool:
        """Whether an outcome counts here."""
        people = outcome.condition.subjects
        return (
            (self.captions is None or outcome.condition.name.startswith(self.captions))
            and (self.nouns is None or (people > 1 and outcome.same_noun == (self.nouns == "same")))
            and (people == self.subjects if self.subjects else people > 1)
        )


class Table:
    """Numbers of an ablation, of rows that were read on the same clips. Intervals are 95 %, over seeds and clips,
    because another training of the same row would differ as well as other clips."""

    def __init__(self, readings: Readings) -> None:
        self.readings = readings
        self.rows = [row for row in ROWS if any(name == row.name for name, _ in readings)]

    def seeds(self, row: str) -> list[int]:
        """The seeds that a row was trained with."""
        return sorted(seed for name, seed in self.readings if name == row)

    def estimate(self, row: str, measure: str, cell: Cell) -> Estimate | None:
        """The mean of a row; None if nothing was read."""
        return _interval(self._sums(row, self.seeds(row), measure, cell))

    def by_seed(self, row: str, measure: str, cell: Cell) -> list[float]:
        """The mean of each seed."""
        return self._means(row, self.seeds(row), measure, cell).tolist()

    def difference(self, better: str, worse: str, measure: str, cell: Cell) -> Estimate | None:
        """How much more one row has than another, paired by seed and clip; None without a common seed."""
        common = self._common(better, worse)
        return _interval(*(self._sums(row, common, measure, cell) for row in (better, worse))) if common else None

    def differences_by_seed(self, better: str, worse: str, measure: str, cell: Cell) -> list[float]:
        """The same of each seed that both rows have."""
        common = self._common(better, worse)
        more, less = (self._means(row, common, measure, cell) for row in (better, worse))
        return (more - less).tolist()

    def _common(self, *rows: str) -> list[int]:
        return sorted(set.intersection(*(set(self.seeds(row)) for row in rows)))

    def _means(self, row: str, seeds: Sequence[int], measure: str, cell: Cell) -> np.ndarray:
        sums, counts = self._sums(row, seeds, measure, cell)
        return sums.sum(1) / np.maximum(counts.sum(1), 1)

    def _sums(self, row: str, seeds: Sequence[int], measure: str, cell: Cell) -> tuple[np.ndarray, np.ndarray]:
        """Sums and counts of values, [seeds, clips]: the same clips in the same order for every row."""
        found: list[dict[Any, tuple[float, int]]] = []
        for seed in seeds:
            values = {}
            for outcome in self.readings[row, seed]:
                if cell.holds(outcome):
                    read = MEASURES[measure](outcome)
                    key = outcome.condition.name.partition(",")[0], outcome.condition.subjects, outcome.clip
                    values[key] = (float(sum(read)), len(read))
            found.append(values)
        clips = sorted(found[0]) if found else []
        table = np.array([[values[clip] for clip in clips] for values in found]).reshape(len(found), len(clips), 2)
        return table[..., 0], table[..., 1]


def _interval(*cells: tuple[np.ndarray, np.ndarray]) -> Estimate | None:
    """The mean of sums and counts [seeds, clips], or of the first less that of the second; None if there is nothing.

    Seeds and clips are crossed random effects, so the variance of the mean is that of the seeds' means over the number
    of seeds and that of the clips' over the number of clips, and t has Satterthwaite's degrees of freedom. What both
    share, their interaction, counts twice: the interval is a little too wide. Of one seed it is over clips alone.
    """
    if not all(counts.sum() for _, counts in cells):
        return None
    means = [float(sums.sum() / counts.sum()) for sums, counts in cells]
    # what each clip adds to the mean, a quotient of sums, linearised
    added = [(s - mean * n) / n.mean() for mean, (s, n) in zip(means, cells, strict=True)]
    value, added = (means[0], added[0]) if len(cells) == 1 else (means[0] - means[1], added[0] - added[1])
    effects = [effect for effect in (added.mean(1), added.mean(0)) if len(effect) > 1]  # of seeds, of clips
    parts = [(np.var(effect, ddof=1) / len(effect), len(effect) - 1) for effect in effects]
    variance = sum(part for part, _ in parts)
    if not variance:
        return Estimate(value, value, value, int(cells[0][1].sum()))
    freedom = variance**2 / sum(part**2 / n for part, n in parts)
    half = float(stats.t.ppf(0.975, freedom) * np.sqrt(variance))
    return Estimate(value, value - half, value + half, int(cells[0][1].sum()))


@dataclass(frozen=True)
class Claim:
    """Something that the paper's Table 4 says, or that this project does, as a difference between two rows."""

    text: str
    more: str  # the row that is said to have more
    less: str
    measure: str
    paper: str = ""  # the numbers that it rests on


CLAIMS = (
    Claim("R2PE raises the likeness of faces", "r2pe", "none", "faces", "ArcSim .316 to .363"),
    Claim("R2PE costs a little likeness of attributes", "none", "r2pe", "attributes", "CLIP-T .184 to .178"),
    Claim("CSAM wins it back", "csam", "r2pe", "attributes", "CLIP-T .178 to .182"),
    Claim("MCAM (r = 0.5) raises the likeness of faces", "mcam_0.5", "csam", "faces", "ArcSim .363 to .429"),
    Claim("MCAM (r = 0.5) raises that of attributes", "mcam_0.5", "csam", "attributes", "CLIP-T .182 to .186"),
    Claim("r = 0.5 is better for faces than 0.1", "mcam_0.5", "mcam_0.1", "faces", "ArcSim .364 and .429"),
    Claim("r = 0.5 is better for faces than 1.0", "mcam_0.5", "mcam_1.0", "faces", "ArcSim .384 and .429"),
    Claim("R2PE puts more attributes on their owners", "r2pe", "none", "binding"),
    Claim("CSAM does", "csam", "r2pe", "binding"),
    Claim("MCAM (r = 0.5) does", "mcam_0.5", "csam", "binding"),
    Claim("All three together do", "mcam_0.5", "none", "binding"),
    Claim("Without relations, the order of the references tells owners", "none", "scattered", "binding"),
)


@dataclass(frozen=True)
class Finding:
    """A claim against the readings: "reproduced", "contradicted", or "not shown" where the interval holds 0 or fewer
    than three seeds were trained."""

    claim: Claim
    captions: str
    difference: Estimate
    by_seed: list[float]

    @property
    def verdict(self) -> str:
        if len(self.by_seed) < FEWEST:
            return "not shown"
        if self.difference.low > 0:
            return "reproduced" if self.claim.paper else "yes"
        if self.difference.high < 0:
            return "contradicted" if self.claim.paper else "no, the opposite"
        return "not shown"


def findings(table: Table) -> list[Finding]:
    """Every claim that the readings can speak of, for captions of each kind."""
    found = []
    for claim in CLAIMS:
        for captions in CAPTIONS:
            cell = Cell(captions)
            difference = table.difference(claim.more, claim.less, claim.measure, cell)
            if difference is not None:
                by_seed = table.differences_by_seed(claim.more, claim.less, claim.measure, cell)
                found.append(Finding(claim, captions, difference, by_seed))
    return found


def results(table: Table, form: Form) -> dict[str, Any]:
    """All numbers as plain data: `results.json`."""
    cells = [Cell(c, n) for c in CAPTIONS for n in (None, *NOUNS)] + [
        Cell(c, subjects=number) for c in CAPTIONS for number in form.subjects
    ]
    rows = []
    for row in table.rows:
        numbers = [
            {"measure": measure, **vars(cell), **vars(estimate), "by_seed": table.by_seed(row.name, measure, cell)}
            for measure in MEASURES
            for cell in cells
            if (estimate := table.estimate(row.name, measure, cell)) is not None
        ]
        rows.append({"row": row.name, "title": row.title, "paper": row.paper, "seeds": table.seeds(row.name),
                     "numbers": numbers})  # fmt: skip
    claims = [
        {**vars(finding.claim), "captions": finding.captions, **vars(finding.difference), "by_seed": finding.by_seed,
         "verdict": finding.verdict}
        for finding in findings(table)
    ]  # fmt: skip
    return {"form": vars(form), "rows": rows, "claims": claims}


def missing(readings: Readings, seeds: Iterable[int]) -> list[tuple[str, int]]:
    """Rows and seeds that were not read."""
    return [(row.name, seed) for row in ROWS for seed in seeds if (row.name, seed) not in readings]
