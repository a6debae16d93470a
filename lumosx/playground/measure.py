"""Reads in a generated clip who is where and who wears what, and compares that with the truth.

Reading is by explanation: what the renderer would draw of the clip's own faces, attributes, object and background is
compared with what is seen (`matching.py`). Nothing is trained, so the measure cannot learn a model's habits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from lumosx.errors import InputError
from lumosx.playground.estimate import Estimate, estimate
from lumosx.playground.matching import Matcher
from lumosx.playground.surroundings import background_difference, find_thing, free_background
from lumosx.playground.truth import Truth
from lumosx.playground.wearing import Verdict, find_people, find_worn, likeness

MEASURE = 1  # raised whenever the same frames or seeds would read differently: such readings do not add up


@dataclass(frozen=True)
class Reading:
    """What was read in one clip; lists over subjects or over attributes are in the order of the sequence.

    slots: per subject the slot its face is read in, at the start where it walks. owners: (subject, word) of each
    attribute -> the subject on whom it is seen, the owner if he is one of several. None means not seen. binding:
    per attribute, whether it is on its owner. placed: whether everyone stands (at the start) where the caption says;
    None if it does not say. object_ok and background_likeness are None if the clip has none, the latter also if
    figures hide it. Likenesses go from 0 (unrelated or not seen) to 1 (as rendered). verdicts: per attribute what
    became of it; what its owner and somebody else wear is right in `binding` and duplicated here. passed: whether
    those who should pass each other do; None if nobody should.
    """

    slots: list[int | None]
    owners: dict[tuple[int, str], int | None]
    binding: list[bool]
    placed: bool | None
    identity: list[float]
    attribute_likeness: list[float]
    object_ok: bool | None
    background_likeness: float | None
    verdicts: list[Verdict]
    passed: bool | None

    @property
    def all_ok(self) -> bool:
        """Every face seen, every attribute right, the object there, everyone placed and walking as told."""
        worn = all(self.binding) and all(verdict == "right" for verdict in self.verdicts)
        return None not in self.slots and worn and False not in (self.placed, self.object_ok, self.passed)


def read_clip(frames: np.ndarray, truth: Truth) -> Reading:
    """Read uint8 frames [F, H, W, 3] of a clip generated from `truth`'s scene. Raises InputError for another
    size.
    """
    width, height = truth.size
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[1:] != (height, width, 3):
        raise InputError(f"frames must be uint8 [F, {height}, {width}, 3], got {frames.dtype} {list(frames.shape)}")
    with torch.no_grad():
        return _read(Matcher(torch.from_numpy(frames), truth), truth)


def _read(matcher: Matcher, truth: Truth) -> Reading:
    tracks = matcher.tracks(moving=True)
    people = find_people(matcher, truth, tracks)
    passed = None
    if any(subject.goal != subject.slot for subject in truth.subjects):
        # Who wears what must be read also where nobody walks: that is a fault of its own.
        stays = matcher.tracks(moving=False)
        standing = find_people(matcher, truth, stays)
        passed = people.total < standing.total
        if not passed:
            tracks, people = stays, standing
    slots, object_ok = people.slots, None
    if truth.object is not None:
        holder = None if truth.object.holder is None else tracks[people.places[truth.object.holder]]
        thing = find_thing(matcher, truth.object, holder)
        object_ok = thing.seen
        matcher.hidden = thing.covered
    found = find_worn(matcher, truth, tracks, people)
    worn = {(index, item.word): found[index, item.word] for index, item in truth.attributes}
    free = free_background(matcher, tracks)
    return Reading(
        slots=slots,
        owners={key: item.owner for key, item in worn.items()},
        binding=[item.owner == index for (index, _), item in worn.items()],
        placed=[subject.slot for subject in truth.subjects] == slots if truth.placed else None,
        identity=[likeness(cost) for cost in people.costs],
        attribute_likeness=[item.likeness for item in worn.values()],
        object_ok=object_ok,
        background_likeness=likeness(background_difference(matcher, free)) if truth.background and free.any() else None,
        verdicts=[item.verdict for item in worn.values()],
        passed=passed,
    )


def binding_accuracy(readings: Sequence[Reading]) -> Estimate:
    """Share of attributes that are on their owner, with a 95 % interval over clips; InputError if there is none."""
    return estimate([reading.binding for reading in readings])
