"""Reads whose face is where and who wears what.

Every face is tried on every track (the ways of the truth's subjects through the clip), then every attribute on
every figure found. Faces take tracks jointly, and so do the attributes of one family, each at the least total
cost; what no place explains (dearer than ABSENT, no better than the figure without it, or clearly worse than
something else there) counts as not seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Literal

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lumosx.playground.looks import FAMILIES, Look
from lumosx.playground.matching import Explanation, Matcher, Sight, Track
from lumosx.playground.render import BARE_PARTS, FILLER
from lumosx.playground.truth import Attribute, Truth

ABSENT = 0.2  # RMS colour difference (0..1) above which a part is not seen
UNLIKE = 0.3  # the same of two unrelated looks: likeness 0
CLEARLY = 1.5  # an explanation this many times dearer than another one of the same place is refused
COVERED_BY = {"shirt": ("bag",), "trousers": ("bag",)}
BLANK = 3.0  # a face is not seen if one flat colour fits this many times better

Verdict = Literal["right", "swapped", "dropped", "duplicated", "blended"]
"""What became of an attribute; exactly one of these, the first that holds from the top:

blended: its owner clearly wears a mixture of this and another look of the family, about half of each, of the
    colours or of the whole picture, and neither of them.
duplicated: seen on two subjects or more.
right: seen on its owner alone.
swapped: seen on another subject alone.
dropped: seen on no subject.
"""


@dataclass(frozen=True)
class Costs:
    """How dear it is to see each row (a face, or an attribute of one family) on each track.

    own [rows, tracks]: over the row's own pixels. tried [rows, tracks]: over the pixels of all rows. none
    [tracks] and mixed [tracks]: over the same, that none of the rows is there, or a mixture of two.
    """

    own: Tensor
    tried: Tensor
    none: Tensor
    mixed: Tensor

    def assign(self) -> tuple[list[int], list[bool]]:
        """A track for each row, at the least total cost, and whether it is really seen there."""
        least = torch.minimum(self.tried.amin(0), self.mixed)
        likely = (self.own < ABSENT) & (self.tried <= CLEARLY * least) & (self.tried < self.none)
        # Places where it is not seen are all alike: how dear it is there must push nobody else away.
        _, tracks = linear_sum_assignment((torch.where(likely, self.tried, ABSENT) + 1e-3 * self.tried).numpy())
        places = [int(track) for track in tracks]
        return places, [bool(likely[row, track]) for row, track in enumerate(places)]

    def wearers(self) -> Tensor:
        """Where each row is seen [rows, tracks]: where it is assigned, and wherever nothing else comes near it."""
        best = torch.cat([self.tried, self.none[None]]).topk(2, dim=0, largest=False)
        wins = torch.arange(len(self.own))[:, None] == best.indices[0]
        worn = wins & (self.own < ABSENT) & (CLEARLY * best.values[0] <= best.values[1])
        places, seen = self.assign()
        worn[range(len(places)), places] |= torch.tensor(seen)
        return worn

    def blended(self) -> Tensor:
        """Where a mixture is seen so well that nothing pure comes near [tracks]."""
        pure = torch.minimum(self.tried.amin(0), self.none)
        return (self.mixed < ABSENT) & (CLEARLY * self.mixed <= pure)


@dataclass(frozen=True)
class People:
    """Whose face is where: per subject its likeliest track, whether it is seen there, and its cost there."""

    places: list[int]
    seen: list[bool]
    costs: list[float]

    @property
    def total(self) -> float:
        """How well these tracks explain the clip; a face that is not seen costs ABSENT."""
        return sum(cost if seen else ABSENT for cost, seen in zip(self.costs, self.seen, strict=True))

    @property
    def slots(self) -> list[int | None]:
        """Per subject the track its face is seen on."""
        return [place if seen else None for place, seen in zip(self.places, self.seen, strict=True)]


@dataclass(frozen=True)
class Worn:
    """What was read of one attribute: on whom it is seen (its owner, if he is one of several), and how well."""

    owner: int | None
    verdict: Verdict
    likeness: float


def find_people(matcher: Matcher, truth: Truth, tracks: Sequence[Track]) -> People:
    """Whose face is on which track."""
    costs = _face_costs(matcher, truth, tracks)
    places, seen = costs.assign()
    return People(places, seen, [float(costs.own[index, place]) for index, place in enumerate(places)])


def _face_costs(matcher: Matcher, truth: Truth, tracks: Sequence[Track]) -> Costs:
    """Each face is tried without and with every pair of glasses of the clip, because they hide the eyes. That no
    face is there costs BLANK times what a flat patch would: an empty frame has no face.
    """
    pairs: list[Look] = [{}, *(item.look for _, item in truth.attributes if item.family == "glasses")]
    faces = [FILLER | subject.look for subject in truth.subjects]
    worn = [BARE_PARTS | {"glasses"} if pair else BARE_PARTS for pair in pairs]
    tried = [Explanation(face | pair, parts) for pair, parts in zip(pairs, worn, strict=True) for face in faces]
    columns = []
    for track in tracks:
        sight = matcher.sight(track, "face")
        pictures, silhouettes = sight.draw(tried, [Explanation(face, frozenset({"face"})) for face in faces])
        masks = (silhouettes.square() * sight.zone("face")).repeat(len(pairs), 1, 1)
        every = masks.amax(0)
        costs = sight.costs(pictures, torch.stack([masks, every.expand_as(masks)]))
        own, common = costs.unflatten(1, (len(pairs), len(faces))).amin(1)
        columns.append((own, common, BLANK * sight.flat_cost(every), torch.tensor(torch.inf)))
    return Costs(*(torch.stack(values, -1) for values in zip(*columns, strict=True)))


def find_worn(matcher: Matcher, truth: Truth, tracks: Sequence[Track], people: People) -> dict[tuple[int, str], Worn]:
    """What became of every attribute, by (subject, word).

    A family is read on figures that wear what was found of the families before it.
    """
    faces = [truth.subjects[people.places.index(place)].look for place in range(len(tracks))]
    figures = [Explanation(FILLER | face, BARE_PARTS) for face in faces]
    found: dict[tuple[int, str], Worn] = {}
    for family in FAMILIES:
        items = [(index, item) for index, item in truth.attributes if item.family == family]
        if not items:
            continue
        covers = [item for _, item in truth.attributes if item.family in COVERED_BY.get(family, ())]
        costs = _attribute_costs(matcher, items, covers, tracks, people, figures)
        worn, blended = costs.wearers(), costs.blended()
        for row, (index, item) in enumerate(items):
            found[index, item.word] = _judge(index, costs.own[row], worn[row], blended, people)
            for place in worn[row].nonzero():
                figures[int(place)] = figures[int(place)].wearing(item)
    return found


def _judge(index: int, costs: Tensor, worn: Tensor, blended: Tensor, people: People) -> Worn:
    """What became of the attribute of subject `index` that is `worn` [tracks] at `costs` [tracks]."""
    slots, home = people.slots, people.places[index]
    if home in slots and blended[home]:
        return Worn(None, "blended", likeness(costs[home]))
    wearers = {slots.index(place): place for place in worn.nonzero().flatten().tolist() if place in slots}
    if not wearers:
        return Worn(None, "dropped", 0.0)
    owner = index if index in wearers else min(wearers)
    verdict: Verdict = "duplicated" if len(wearers) > 1 else "right" if owner == index else "swapped"
    return Worn(owner, verdict, likeness(costs[wearers[owner]]))


def _attribute_costs(
    matcher: Matcher,
    items: Sequence[tuple[int, Attribute]],
    covers: Sequence[Attribute],
    tracks: Sequence[Track],
    people: People,
    figures: Sequence[Explanation],
) -> Costs:
    """Costs of one family's attributes on the figure of every track, read where no `covers` may be."""
    rows = {people.places[index]: row for row, (index, _) in enumerate(items)}
    attributes = [item for _, item in items]
    view = "face" if attributes[0].family == "glasses" else attributes[0].family
    columns = [
        _costs_on(matcher.sight(track, view), figures[place], attributes, covers, rows.get(place))
        for place, track in enumerate(tracks)
    ]
    return Costs(*(torch.stack(values, -1) for values in zip(*columns, strict=True)))


def _costs_on(
    sight: Sight, figure: Explanation, items: Sequence[Attribute], covers: Sequence[Attribute], own: int | None
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """One track's column of `Costs`. Mixtures are tried with number `own`, which this figure should wear."""
    family, count = items[0].family, len(items)
    pairs = [] if own is None else [(own, other) for other in range(count) if other != own]
    mixtures = [_mixture(items[one], items[two]) for pair in pairs for one, two in permutations(pair)]
    shapes = [Explanation(FILLER | item.look, frozenset({item.family})) for item in [*items, *covers]]
    bare = Explanation(figure.look, figure.parts & {family})
    figures = [*(figure.wearing(item) for item in [*items, *mixtures]), figure]
    pictures, silhouettes = sight.draw(figures, [*shapes, bare, figure])
    ghosts = [pictures[:, pair].mean(1, keepdim=True) for pair in pairs]
    pictures = torch.cat([pictures, *ghosts], 1)
    zone = sight.zone(family) * (1 - silhouettes[count : len(shapes)]).prod(0)
    masks = silhouettes[:count].square() * zone
    every = torch.maximum(masks.amax(0), silhouettes[-2].square() * zone).expand(pictures.shape[1], -1, -1)
    anchors = sight.zone("face") * silhouettes[-1] if family == "glasses" else None
    own_pixels, common = sight.costs(pictures, torch.stack([torch.cat([masks, every[count:]]), every]), anchors)
    none = count + len(mixtures)
    mixed = torch.cat([common[count:none], common[none + 1 :], torch.tensor([torch.inf])]).amin()
    return own_pixels[:count], common[:count], common[none], mixed


def _mixture(shape: Attribute, other: Attribute) -> Attribute:
    """An attribute with the shape of one and colours half way to the other's."""
    look = dict(shape.look)
    for name, value in shape.look.items():
        between = other.look[name]
        if isinstance(value, tuple) and isinstance(between, tuple):
            red, green, blue = ((a + b) / 2 for a, b in zip(value, between, strict=True))
            look[name] = (red, green, blue)
    return replace(shape, look=look)


def likeness(cost: Tensor | float) -> float:
    return max(0.0, 1 - float(cost) / UNLIKE)
