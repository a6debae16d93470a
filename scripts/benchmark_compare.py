"""How `benchmark.py` compares: what gives the same result is timed in turns, so that drift cancels in the ratios."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median, quantiles
from typing import Any, NamedTuple

import torch
from benchmark_gpu import clock
from benchmark_table import Figure, Goal
from torch import Tensor

REFERENCES = (0, 1, 4, 8, 12)
MOST_ROUNDS = 40
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}  # of results that have to be the same

Parts = Iterator[Figure | str]  # figures, and notes on what was left out


@dataclass(frozen=True)
class Setup:
    """What is measured, where and for how long.

    transformer: configuration of `LumosXTransformer3DModel`, all keys; its references have to be cacheable.
    training_layers: of the network that is trained. Time is in proportion, and memory is saved.
    video: (T, H, W) in tokens; text: tokens of the prompt.
    compiled: numbers of references for which a compiled step is measured too.
    rounds, seconds: of each comparison, at least as many and about as long, whichever is more.
    goals: by row of the table and number of references.
    """

    device: torch.device
    dtype: torch.dtype
    transformer: Mapping[str, Any]
    training_layers: int
    video: tuple[int, int, int]
    text: int
    compiled: tuple[int, ...]
    rounds: int
    seconds: float
    goals: Mapping[str, Mapping[int, Goal]]


class Variant(NamedTuple):
    """One way to do something.

    run: does it and returns a tensor or several.
    same_as: the variant whose result this one has to give; None where it computes something else.
    optional: left out with a note, instead of an error, where it cannot run.
    """

    run: Callable[[], Any]
    same_as: str | None = None
    optional: bool = False


class Comparison:
    """Timings of the variants of one thing for one number of references, and the figures that they give.

    seconds: of the variants that ran, round by round.
    notes: on those that were left out.
    """

    def __init__(self, setup: Setup, what: str, references: int, variants: Mapping[str, Variant]) -> None:
        print(f"{what}, {references} references ...", file=sys.stderr, flush=True)
        self._setup, self._what, self._references = setup, what, references
        runs, notes = warm_up(variants, TOLERANCE[setup.dtype])
        self.notes = [f"{what}, {note}" for note in notes]
        self.seconds = time_in_turns(runs, partial(clock, setup.device), setup.rounds, setup.seconds)

    def ratios(self, *pairs: tuple[str, str]) -> Iterator[Figure]:
        """How many times longer the first of two variants takes, where both ran."""
        for over, under in pairs:
            if over in self.seconds and under in self.seconds:
                value, spread = ratio(self.seconds[over], self.seconds[under])
                yield self.figure(f"{over} / {under}", value, spread)

    def milliseconds(self, *variants: str) -> Iterator[Figure]:
        """Of the variants that ran."""
        for variant in variants:
            if variant in self.seconds:
                yield self.figure(f"{variant}, ms", 1e3 * median(self.seconds[variant]))

    def figure(self, name: str, value: float, spread: float | None = None) -> Figure:
        """With its goal, if it has one."""
        row = f"{self._what}: {name}"
        return Figure(row, self._references, value, self._setup.goals.get(row, {}).get(self._references), spread)


def warm_up(variants: Mapping[str, Variant], tolerance: float) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """Runs every variant once: those that can be compared, and notes on the others.

    Args:
        tolerance: largest difference between results that have to be the same, as `difference` counts it.
    """
    results, notes = {}, []
    for name, variant in variants.items():
        try:
            results[name] = variant.run()
        except Exception as error:
            if not variant.optional:
                raise
            notes.append(f"{name}: {(str(error).strip() or type(error).__name__).splitlines()[0]}")
    runs = {name: variants[name].run for name in results}
    for name, result in results.items():
        other = variants[name].same_as
        if other is not None and not difference(result, results[other]) <= tolerance:  # nor if it is not a number
            apart = difference(result, results[other])
            notes.append(f"{name}: not compared, because its result differs from that of {other} by {apart:.2g}")
            del runs[name]
    return runs, notes


def difference(result: Any, expected: Any) -> float:
    """max |difference| / max |expected|; of several tensors the largest, and no number if any has none."""
    if isinstance(result, Tensor):
        return float((result - expected).abs().max() / expected.abs().max())
    return float(torch.tensor([difference(*pair) for pair in zip(result, expected, strict=True)]).max())


def time_in_turns(
    runs: Mapping[str, Callable[[], Any]], now: Callable[[], float], rounds: int, seconds: float
) -> dict[str, list[float]]:
    """Seconds of each function, round by round; every second round goes backwards.

    A machine that grows slower or is shared then slows all of them alike.

    Args:
        now: the time in seconds.
        rounds, seconds: as in `Setup`.
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    first = now()
    for turn in range(MOST_ROUNDS):
        if turn >= rounds and now() - first > seconds:
            break
        for name in runs if turn % 2 == 0 else reversed(runs):
            started = now()
            runs[name]()
            times[name].append(now() - started)
    return times


def ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """Median over the rounds of over / under in the same round, and its spread as in `Figure`."""
    ratios = [a / b for a, b in zip(over, under, strict=True)]
    first, middle, third = quantiles(ratios, n=4, method="inclusive")
    return middle, (third - first) / 2 / middle
