"""Each kind of fault, planted in rendered clips, moves its own rate by as much as was planted, and no other.

So it does in clips that are as soft and noisy as generated ones.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import torch

from lumosx.playground import Reading, Truth, World, read_clip
from lumosx.playground.looks import FAMILIES, Look
from lumosx.playground.matching import blur
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.playground.truth import Attribute

WORLD = World()
CLIPS = 10
TOLERANCE = 0.03  # by which a rate may differ from what was planted


@dataclass(frozen=True)
class Planted:
    """A clip that shows the mean of `shown`; `verdicts` of the attributes that are not right."""

    truth: Truth
    shown: list[Truth]
    verdicts: dict[tuple[int, str], str]

    @property
    def expected(self) -> list[str]:
        return [self.verdicts.get((subject, item.family), "right") for subject, item in self.truth.attributes]


def wearing(truth: Truth, subject: int, attributes: dict[str, Attribute]) -> Truth:
    """The clip with somebody in other attributes."""
    subjects = list(truth.subjects)
    subjects[subject] = replace(subjects[subject], attributes=tuple(attributes.values()))
    return truth.with_subjects(subjects)


def worn(truth: Truth, subject: int) -> dict[str, Attribute]:
    return {item.family: item for item in truth.subjects[subject].attributes}


def shared(truth: Truth) -> list[str]:
    """Families that both wear."""
    return [family for family in FAMILIES if family in worn(truth, 0) and family in worn(truth, 1)]


def own(truth: Truth) -> list[tuple[int, Attribute]]:
    """Attributes of families that only one of them wears."""
    return [(subject, item) for subject, item in truth.attributes if item.family not in worn(truth, 1 - subject)]


def exchanged(truth: Truth, family: str) -> Truth:
    first, second = worn(truth, 0), worn(truth, 1)
    truth = wearing(truth, 0, first | {family: second[family]})
    return wearing(truth, 1, second | {family: first[family]})


def swapped(truth: Truth) -> Planted | None:
    """Both wear the other's, of one family."""
    for family in shared(truth):
        return Planted(truth, [exchanged(truth, family)], {(0, family): "swapped", (1, family): "swapped"})
    return None


def moved(truth: Truth) -> Planted | None:
    """What only one should wear is on the other."""
    for subject, item in own(truth):
        rest = {family: kept for family, kept in worn(truth, subject).items() if kept is not item}
        other = worn(truth, 1 - subject) | {item.family: item}
        shown = wearing(wearing(truth, subject, rest), 1 - subject, other)
        return Planted(truth, [shown], {(subject, item.family): "swapped"})
    return None


def dropped(truth: Truth) -> Planted | None:
    """The last attribute is nowhere."""
    if not truth.attributes:
        return None
    subject, item = truth.attributes[-1]
    rest = {family: kept for family, kept in worn(truth, subject).items() if kept is not item}
    return Planted(truth, [wearing(truth, subject, rest)], {(subject, item.family): "dropped"})


def duplicated(truth: Truth) -> Planted | None:
    """What only one should wear is on both."""
    for subject, item in own(truth):
        shown = wearing(truth, 1 - subject, worn(truth, 1 - subject) | {item.family: item})
        return Planted(truth, [shown], {(subject, item.family): "duplicated"})
    return None


def displaced(truth: Truth) -> Planted | None:
    """Both wear the second one's, and the first one's is nowhere."""
    for family in shared(truth):
        shown = wearing(truth, 0, worn(truth, 0) | {family: worn(truth, 1)[family]})
        return Planted(truth, [shown], {(0, family): "dropped", (1, family): "duplicated"})
    return None


def half_way(one: Look, other: Look) -> Look:
    look = dict(one)
    for name, value in one.items():
        between = other[name]
        if isinstance(value, tuple) and isinstance(between, tuple):
            red, green, blue = ((a + b) / 2 for a, b in zip(value, between, strict=True))
            look[name] = (red, green, blue)
    return look


def mixed(truth: Truth) -> Planted | None:
    """The second one's has colours half way to the first one's."""
    for family in shared(truth):
        first, second = worn(truth, 0)[family], worn(truth, 1)[family]
        item = replace(second, look=half_way(second.look, first.look))
        return Planted(truth, [wearing(truth, 1, worn(truth, 1) | {family: item})], {(1, family): "blended"})
    return None


def ghostly(truth: Truth) -> Planted | None:
    """Both wear their own and the other's, half transparent."""
    for family in shared(truth):
        verdicts = {(0, family): "blended", (1, family): "blended"}
        return Planted(truth, [truth, exchanged(truth, family)], verdicts)
    return None


FAULTS = (swapped, moved, dropped, duplicated, displaced, mixed, ghostly)


def plant(fault: Callable[[Truth], Planted | None], clips: int = CLIPS) -> list[Planted]:
    """The fault in the first clips of two that it can be planted in."""
    truths = (sample_truth(n, "faults", WORLD.size, WORLD.frames, Wishes(subjects=2)) for n in range(20 * clips))
    return [planted for planted in map(fault, truths) if planted is not None][:clips]


def read(planted: list[Planted], sigma: float = 0.0, noise: float = 0.0) -> list[Reading]:
    """Readings of the planted clips, blurred by `sigma` pixels, with noise of `noise` of the range of values."""
    shown = [WORLD.draw([clip.shown[number % len(clip.shown)] for clip in planted]).video for number in range(2)]
    frames = ((shown[0] + shown[1]) / 4 + 0.5).transpose(1, 2)  # [B, F, 3, H, W] in 0..1
    if sigma:
        frames = blur(frames.flatten(0, 1), sigma).unflatten(0, frames.shape[:2])
    frames = frames + noise * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    pixels = frames.mul(255).round().clamp(0, 255).byte().permute(0, 1, 3, 4, 2).numpy()
    return [read_clip(clip, plan.truth) for clip, plan in zip(pixels, planted, strict=True)]


def compare(planted: list[Planted], readings: list[Reading]) -> dict[str, tuple[float, float]]:
    """Each verdict's rate, planted and read."""
    wanted = Counter(verdict for plan in planted for verdict in plan.expected)
    found = Counter(verdict for reading in readings for verdict in reading.verdicts)
    return {name: (wanted[name] / wanted.total(), found[name] / wanted.total()) for name in wanted | found}


@pytest.mark.parametrize("soft", [False, True], ids=["clean", "soft"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_moves_its_own_rate_alone(fault: Callable[[Truth], Planted | None], soft: bool) -> None:
    planted = plant(fault)
    readings = read(planted, *((1.0, 0.03) if soft else ()))
    assert len(planted) == CLIPS
    for name, (wanted, found) in compare(planted, readings).items():
        assert abs(wanted - found) <= TOLERANCE, name
