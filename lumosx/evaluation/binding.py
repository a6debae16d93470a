"""Binding accuracy on the playground: is every attribute on its owner, in clips of people nobody has seen?

Reported apart for captions that say who stands where and captions that do not, because a model can bind by the words
"on the left" alone; only the second kind shows that it binds by group. Every other clip has two people of one noun,
and those are reported apart too.
"""

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter
from typing import Any, get_args

import numpy as np
import torch

from lumosx.data.keyed import keyed_generator
from lumosx.data.rows import scattered
from lumosx.evaluation.results import plain
from lumosx.playground import Reading, Truth, World, read_clip
from lumosx.playground.estimate import Estimate, estimate
from lumosx.playground.wearing import Verdict
from lumosx.scene import Scene

Generate = Callable[[Scene, list[int]], Iterable[np.ndarray]]
"""Frames uint8 [F, H, W, 3] of a scene, one clip a seed of the noise, each made when it is asked for."""

SPLIT = "test"  # no training draws from it
FAULTS = tuple(verdict for verdict in get_args(Verdict) if verdict != "right")


@dataclass(frozen=True)
class Variant:
    """What the captions say, which mechanisms are switched off, and whether the references are in random order and
    nobody's own."""

    placed: bool
    switches: Mapping[str, bool] = field(default_factory=dict)  # of the scene's `binding:` section
    scattered: bool = False


VARIANTS: Mapping[str, Variant] = {
    "placed": Variant(placed=True),
    "unplaced": Variant(placed=False),
    "placed, MCAM off": Variant(placed=True, switches={"mcam": False}),
    "unplaced, MCAM off": Variant(placed=False, switches={"mcam": False}),
    "placed, CSAM off": Variant(placed=True, switches={"csam": False}),
    "unplaced, CSAM off": Variant(placed=False, switches={"csam": False}),
    "placed, scattered": Variant(placed=True, scattered=True),
    "unplaced, scattered": Variant(placed=False, scattered=True),
}


@dataclass(frozen=True)
class Condition:
    """One row of the report: a variant, subjects a clip, and how it is sampled (None: as the checkpoint says)."""

    name: str
    subjects: int = 2
    steps: int | None = None
    solver: str | None = None
    cfg: float | None = None


Key = tuple[Condition, int, int]
"""Condition, clip and sample: what no two outcomes share."""


@dataclass(frozen=True)
class Outcome:
    """What was read in one generated clip; what is not explained here is as in `Reading`.

    `clip` is the world's seed, `sample` numbers the noises tried on it. `seconds` of a clip's first sample hold the
    encoding of text and pictures, which the others share; `threads` are PyTorch's while it was sampled.
    """

    condition: Condition
    clip: int
    sample: int
    seconds: float
    threads: int
    same_noun: bool
    binding: list[bool]
    verdicts: list[Verdict]
    identity: list[float]
    attribute_likeness: list[float]
    placed: bool | None
    passed: bool | None
    all_right: bool

    @property
    def key(self) -> Key:
        """Condition, clip and sample."""
        return self.condition, self.clip, self.sample

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "Outcome":
        """The inverse of `asdict`. Raises TypeError or KeyError on missing or unknown fields."""
        values: dict[str, Any] = {**data, "condition": Condition(**data["condition"])}
        return cls(**values)


@dataclass(frozen=True)
class Score:
    """What was read in the clips of one condition. Rates and likenesses are None where there was nothing to read.

    Shares of attributes: `binding` of those on their owner (also for clips with two people of one noun and without),
    `faults` of each kind; what is on its owner and on somebody else counts as bound and as duplicated. Shares of
    clips: `all_right`, `placed_right` (everyone where the caption says), `passed` (people exchange places where told).
    Likenesses to the references, 0 to 1: `identity` of faces, `attribute_likeness`. `samples` counts generated clips,
    `seconds` is the median time that one takes to sample, on so many `threads`.
    """

    condition: Condition
    clips: int
    samples: int
    seconds: float
    threads: list[int]
    binding: Estimate | None
    binding_same_noun: Estimate | None
    binding_distinct_nouns: Estimate | None
    faults: dict[str, Estimate | None]
    all_right: Estimate | None
    placed_right: Estimate | None
    passed: Estimate | None
    identity: Estimate | None
    attribute_likeness: Estimate | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, the condition's name as `condition` and its settings beside it. The ends of an endless
        interval are None."""
        data = plain(asdict(self))
        condition = data.pop("condition")
        return {"condition": condition.pop("name"), **condition, **data}


def measure_binding(
    generate: Generate,
    condition: Condition,
    *,
    world: World,
    clips: Iterable[int],
    samples: int = 1,
    done: Container[Key] = frozenset(),
) -> Iterator[Outcome]:
    """Generates and reads unseen clips one by one.

    Args:
        clips: seeds of the world.
        samples: noises a clip, keyed by the clip's seed and their number: the same ones under every condition.
        done: keys of outcomes that are known and left out.
    """
    for clip in clips:
        left = [sample for sample in range(samples) if (condition, clip, sample) not in done]
        if not left:
            continue
        scene, truth = asked(world, condition, clip)
        made = iter(generate(scene, [keyed_generator(clip, sample, "noise").initial_seed() for sample in left]))
        for sample in left:
            started = perf_counter()
            frames = next(made)
            yield _outcome(condition, sample, perf_counter() - started, read_clip(frames, truth), truth)


def asked(world: World, condition: Condition, clip: int) -> tuple[Scene, Truth]:
    """What a condition asks for with clip `clip` of the measurement, and what is true of that clip."""
    variant = VARIANTS[condition.name]
    same_noun = clip % 2 == 0 if condition.subjects > 1 else None
    rendered = world.render(
        [clip], split=SPLIT, subjects=condition.subjects, placed=variant.placed, same_noun=same_noun
    )
    scene = rendered.scene(0)
    if variant.scattered:
        scene = scattered(scene, keyed_generator(clip, 0, "scatter"))
    return Scene.from_dict({**scene, "binding": dict(variant.switches)}), rendered.truth[0]


def _outcome(condition: Condition, sample: int, seconds: float, reading: Reading, truth: Truth) -> Outcome:
    words = [subject.word for subject in truth.subjects]
    return Outcome(
        condition=condition,
        clip=truth.seed,
        sample=sample,
        seconds=seconds,
        threads=torch.get_num_threads(),
        same_noun=len(set(words)) < len(words),
        binding=reading.binding,
        verdicts=reading.verdicts,
        identity=reading.identity,
        attribute_likeness=reading.attribute_likeness,
        placed=reading.placed,
        passed=reading.passed,
        all_right=reading.all_ok,
    )


def scores(outcomes: Iterable[Outcome]) -> list[Score]:
    """The report: one score a condition, in the order in which they first occur."""
    by_condition = defaultdict[Condition, list[Outcome]](list)
    for outcome in outcomes:
        by_condition[outcome.condition].append(outcome)
    return [score(condition, found) for condition, found in by_condition.items()]


def score(condition: Condition, outcomes: Sequence[Outcome]) -> Score:
    """The score of one condition's outcomes. Intervals are over clips, each with all its samples."""

    def over(values: Callable[[Outcome], Sequence[float]]) -> Estimate | None:
        groups = defaultdict[int, list[float]](list)
        for outcome in outcomes:
            groups[outcome.clip] += values(outcome)
        return estimate(list(groups.values())) if any(groups.values()) else None

    def share(verdict: str) -> Estimate | None:
        return over(lambda outcome: [found == verdict for found in outcome.verdicts])

    return Score(
        condition=condition,
        clips=len({outcome.clip for outcome in outcomes}),
        samples=len(outcomes),
        seconds=median(outcome.seconds for outcome in outcomes if outcome.sample == 0),
        threads=sorted({outcome.threads for outcome in outcomes}),
        binding=over(lambda outcome: outcome.binding),
        binding_same_noun=over(lambda outcome: outcome.binding if outcome.same_noun else []),
        binding_distinct_nouns=over(lambda outcome: [] if outcome.same_noun else outcome.binding),
        faults={fault: share(fault) for fault in FAULTS},
        all_right=over(lambda outcome: [outcome.all_right]),
        placed_right=over(lambda outcome: _stated(outcome.placed)),
        passed=over(lambda outcome: _stated(outcome.passed)),
        identity=over(lambda outcome: outcome.identity),
        attribute_likeness=over(lambda outcome: outcome.attribute_likeness),
    )


def _stated(value: bool | None) -> list[bool]:
    return [] if value is None else [value]
