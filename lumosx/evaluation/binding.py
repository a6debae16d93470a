"""Binding accuracy on the playground: is every attribute on its owner, in clips of people nobody has seen?

Reported apart for captions that say who stands where and captions that do not, because a model can bind by the words
"on the left" alone; only the second kind shows that it binds by group (see the playground's notes in the README).
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import numpy as np

from lumosx.playground import Estimate, Reading, World, binding_accuracy, read_clip
from lumosx.scene import Scene

Generate = Callable[[Scene, int], np.ndarray]
"""Makes uint8 frames [F, H, W, 3] of a scene with a seed."""


@dataclass(frozen=True)
class Condition:
    """One column of the report: which clips are asked for, and whether MCAM is on."""

    name: str
    subjects: int = 2
    placed: bool | None = None
    same_noun: bool | None = None
    binding: tuple[tuple[str, Any], ...] = ()  # switches of the scene's `binding:` section


CONDITIONS = (
    Condition("placed", placed=True),
    Condition("unplaced", placed=False),
    Condition("placed, MCAM off", placed=True, binding=(("mcam", False),)),
    Condition("unplaced, MCAM off", placed=False, binding=(("mcam", False),)),
)


@dataclass(frozen=True)
class Score:
    """What was read in the clips of one condition."""

    condition: str
    clips: int
    binding: Estimate
    binding_same_noun: Estimate | None
    binding_distinct_nouns: Estimate | None
    dropped: float  # attributes seen on nobody; they count as wrong in `binding`
    all_right: float  # clips in which everything is where it belongs
    placed_right: float | None  # clips whose people stand where the caption says
    identity: float  # mean likeness of faces to their references, 0 to 1
    attribute_likeness: float

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        return asdict(self)


def measure_binding(
    generate: Generate,
    condition: Condition,
    *,
    world: World,
    clips: int,
    first_seed: int = 0,
    split: str = "test",
) -> Iterator[tuple[int, Score | None]]:
    """Generates and reads `clips` unseen clips one by one, so that a caller can show progress.

    Yields:
        (clips done, None), and at the end (clips, Score).
    """
    readings, same = [], []
    for number in range(clips):
        seed = first_seed + number
        rendered = world.render(
            [seed],
            split=split,
            subjects=condition.subjects,
            placed=condition.placed,
            same_noun=condition.same_noun,
        )
        truth = rendered.truth[0]
        scene = Scene.from_dict({**rendered.scene(0), "binding": dict(condition.binding)})
        readings.append(read_clip(generate(scene, seed), truth))
        same.append(len({subject.word for subject in truth.subjects}) < len(truth.subjects))
        yield number + 1, None
    yield clips, score(condition.name, readings, same)


def score(name: str, readings: list[Reading], same_noun: list[bool]) -> Score:
    """The report on one condition's readings."""

    def part(wanted: bool) -> Estimate | None:
        chosen = [r for r, same in zip(readings, same_noun, strict=True) if same is wanted and r.binding]
        return binding_accuracy(chosen) if chosen else None

    told = [r.placed for r in readings if r.placed is not None]
    return Score(
        condition=name,
        clips=len(readings),
        binding=binding_accuracy(readings),
        binding_same_noun=part(True),
        binding_distinct_nouns=part(False),
        dropped=fmean(owner is None for r in readings for owner in r.owners.values()),
        all_right=fmean(r.all_ok for r in readings),
        placed_right=fmean(told) if told else None,
        identity=fmean(value for r in readings for value in r.identity),
        attribute_likeness=fmean(value for r in readings for value in r.attribute_likeness),
    )
