"""What became of each attribute: from the likeness of every attribute on every person to one verdict each.

The verdicts are a partition, so that each kind of fault moves its own rate. Tables are [people, attributes], relations
between attributes [attributes, attributes]; people are counted from 0.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

Verdict = Literal["right", "swap", "leak", "dominance", "drop", "missing"]
"""What became of an attribute; exactly one of these, the first that holds from the top:

missing: its owner is not in the clip.
dominance: worn by two people or more.
right: worn by its owner alone.
swap: worn by somebody else alone, and following from each wearer what was his of that slot leads back to the owner:
    two people have exchanged their tops, or more have passed theirs on in a circle. A top one way and trousers the
    other way are two leaks.
leak: worn by somebody else alone otherwise.
drop: worn by nobody, and its owner wears nobody else's in its place.

What is worn by nobody because its owner wears somebody else's in its place is crowded out. That is the fault of the
other one and has the same verdict; where the other one's owner is missing, it is a leak.
"""

SHARE = 1 / 3  # of the looks at a person on which an attribute must be found: more than a slip, less than always


@dataclass(frozen=True, eq=False)
class Outfits:
    """What the people of a case should wear.

    owners, slots: of each attribute. likeness: of the references of any two attributes. alike: the likeness above
    which it does not matter who wears which.
    """

    people: int
    owners: Sequence[int]
    slots: Sequence[str]
    likeness: np.ndarray
    alike: float

    @cached_property
    def owned(self) -> np.ndarray:
        """bool table: whose each attribute is."""
        return np.arange(self.people)[:, None] == np.asarray(self.owners)

    @cached_property
    def same_slot(self) -> np.ndarray:
        """bool relation: which attributes take one place."""
        return np.asarray(self.slots)[:, None] == np.asarray(self.slots)

    @cached_property
    def twins(self) -> np.ndarray:
        """bool relation: attributes of one slot and different owners that look alike (MultiBind's hard negatives)."""
        others = np.asarray(self.owners)[:, None] != np.asarray(self.owners)
        return others & self.same_slot & (self.likeness > self.alike)

    @cached_property
    def rivals(self) -> np.ndarray:
        """bool relation: attributes of one slot and different owners that can be told apart."""
        others = np.asarray(self.owners)[:, None] != np.asarray(self.owners)
        return others & self.same_slot & ~self.twins

    @cached_property
    def unclear(self) -> np.ndarray:
        """bool table: where an attribute is a twin of what that person should wear; such pairs do not count."""
        return np.any(self.owned[:, None, :] & self.twins, axis=-1)

    @cached_property
    def counted(self) -> np.ndarray:
        """bool [attributes]: those that could be seen on somebody wrong."""
        return self.unclear.sum(0) < self.people - 1

    @cached_property
    def baseline(self) -> np.ndarray:
        """The table of a perfect clip: the likeness of each attribute's reference and those of what a person should
        wear in its place, the highest of several; NaN where that is nothing."""
        best = np.where(self.owned[:, None, :] & self.same_slot, self.likeness, -np.inf).max(-1)
        return np.where(np.isfinite(best), best, np.nan)

    def worn(self, likeness: np.ndarray, whose: np.ndarray, least: float) -> np.ndarray:
        """bool table, who wears what: an attribute that is at least `least` like its reference somewhere, and there
        more so than any rival.

        Args:
            likeness: [figures, attributes], NaN where it was not found.
            whose: [figures], the person that each figure is: none, one, or several of them for a person.
        """
        known = np.nan_to_num(likeness, nan=-np.inf)
        best_rival = np.where(self.rivals, known[:, None, :], -np.inf).max(-1)
        there = (known >= least) & (known > best_rival)
        is_figure = np.arange(self.people)[:, None] == whose
        return np.any(is_figure[..., None] & there, axis=1) & ~self.unclear

    def judge(self, present: np.ndarray, worn: np.ndarray) -> list[Verdict]:
        """The verdict on every attribute; `present`: bool [people], who is in the clip."""
        wearers = [np.flatnonzero(column) for column in worn.T]
        moved = defaultdict[str, set[tuple[int, int]]](set)  # by slot, from whom to whom
        for owner, slot, who in zip(self.owners, self.slots, wearers, strict=True):
            if len(who) == 1:
                moved[slot].add((owner, int(who[0])))
        verdicts: list[Verdict | None] = [
            _verdict(owner, bool(present[owner]), who.tolist(), moved[slot])
            for owner, slot, who in zip(self.owners, self.slots, wearers, strict=True)
        ]
        return [
            found or _crowded_out(np.flatnonzero(self.rivals[i] & worn[self.owners[i]]), verdicts)
            for i, found in enumerate(verdicts)
        ]


def _verdict(owner: int, present: bool, wearers: list[int], moved: set[tuple[int, int]]) -> Verdict | None:
    """The verdict on what somebody wears; None on what nobody does. `moved`: of the attribute's slot."""
    if not present:
        return "missing"
    if len(wearers) > 1:
        return "dominance"
    if wearers == [owner]:
        return "right"
    if wearers:
        return "swap" if owner in _reached(wearers[0], moved) else "leak"
    return None


def _crowded_out(in_its_place: np.ndarray, verdicts: Sequence[Verdict | None]) -> Verdict:
    """The verdict on an attribute that nobody wears, by what its owner wears `in_its_place`."""
    if not len(in_its_place):
        return "drop"
    fault = verdicts[in_its_place[0]]
    return fault if fault in ("swap", "dominance") else "leak"


def _reached(start: int, moved: set[tuple[int, int]]) -> set[int]:
    """Everybody whom things of `start` went to, or things of those, and so on."""
    reached, front = set[int](), {start}
    while front:
        front = {to for source, to in moved if source in front} - reached
        reached |= front
    return reached


def pooled(looks: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """[figures, attributes] of a clip: the median over the looks on which an attribute was found.

    Args:
        looks: [looks, figures, attributes], NaN where it was not found.
        visible: bool [looks, figures]. What is found on less than SHARE of the looks at a figure is not found (NaN).
    """
    often = (~np.isnan(looks)).sum(0) >= np.maximum(1, SHARE * visible.sum(0))[:, None]
    median = np.ma.median(np.ma.masked_invalid(looks), axis=0)
    return np.where(often, np.ma.filled(median, np.nan), np.nan)
