"""Reads in a generated clip who stands where and who wears what, and compares that with the truth.

Reading is by explanation: every face is tried in every slot, then every attribute on every figure found.
Faces take slots jointly, and so do the attributes of one family, each at the least total cost; what no place
explains (dearer than ABSENT, no better than the figure without it, or clearly worse than something else
there) counts as not seen. Nothing is trained, so the measure cannot learn a model's habits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from lumosx.errors import InputError
from lumosx.playground.looks import FAMILIES
from lumosx.playground.matching import Explanation, Matcher, blur, reading_zone, thing_places
from lumosx.playground.render import FILLER, figure_look, worn_parts
from lumosx.playground.truth import Attribute, Truth

ABSENT = 0.2  # RMS colour difference (0..1) above which a part is not seen
OBJECT_ABSENT = 0.12  # the same for an object, which may be anywhere and so has more chances to look seen
UNLIKE = 0.3  # the same of two unrelated looks: likeness 0
CLEARLY = 1.5  # an explanation this many times dearer than another one of the same slot is refused
BLANK = 3.0  # a face is not seen if one flat colour fits this many times better
RESAMPLES = 2000


@dataclass(frozen=True)
class Reading:
    """What was read in one clip; lists over subjects or over attributes are in the order of the sequence.

    slots: per subject the slot its face is read in. owners: (subject, word) of each attribute -> the
    subject on whom it is seen. None means not seen. binding: per attribute, whether it is on its owner.
    placed: whether everyone stands where the caption says; None if it does not say. object_ok and
    background_likeness are None if the clip has none, the latter also if figures hide it. Likenesses go
    from 0 (unrelated or not seen) to 1 (as rendered).
    """

    slots: list[int | None]
    owners: dict[tuple[int, str], int | None]
    binding: list[bool]
    placed: bool | None
    identity: list[float]
    attribute_likeness: list[float]
    object_ok: bool | None
    background_likeness: float | None

    @property
    def all_ok(self) -> bool:
        """Every face seen, every attribute on its owner, the object there, everyone placed as told."""
        return None not in self.slots and all(self.binding) and self.placed is not False and self.object_ok is not False


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` readings of attributes with its 95 % interval."""

    mean: float
    low: float
    high: float
    n: int


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
    count = len(truth.subjects)
    own, rival = _face_costs(matcher, truth)
    nearest, seen = _assign(own, rival)
    slots = [slot if seen[index] else None for index, slot in enumerate(nearest)]
    identity = [_likeness(float(own[index, slot])) for index, slot in enumerate(nearest)]
    standing = {slot: index for index, slot in enumerate(nearest)}  # the face to draw in each slot
    owners: dict[tuple[int, str], int | None] = {}
    likeness: dict[tuple[int, str], float] = {}
    for family in FAMILIES:
        worn = [(index, item) for index, item in truth.attributes if item.family == family]
        if not worn:
            continue
        own, rival = _attribute_costs(matcher, truth, family, worn, standing)
        places, seen = _assign(own, rival)
        for row, (index, item) in enumerate(worn):
            slot = places[row] if seen[row] else None
            owners[index, item.word] = slots.index(slot) if slot is not None and slot in slots else None
            likeness[index, item.word] = 0.0 if slot is None else _likeness(float(own[row, slot]))
    keys = [(index, item.word) for index, item in truth.attributes]
    return Reading(
        slots=slots,
        owners={key: owners[key] for key in keys},
        binding=[owners[key] == key[0] for key in keys],
        placed=[truth.subjects[index].slot for index in range(count)] == slots if truth.placed else None,
        identity=identity,
        attribute_likeness=[likeness[key] for key in keys],
        object_ok=_object_seen(matcher, truth, slots),
        background_likeness=_background_likeness(matcher, truth),
    )


def _face_costs(matcher: Matcher, truth: Truth) -> tuple[Tensor, Tensor]:
    """Costs of every face in every slot: own pixels [subject, slot], those of all faces [subject + 1, slot].

    The second one's last row is BLANK times what a flat patch would cost: an empty frame has no face.
    Each face is tried without and with every pair of glasses of the clip, because they hide the eyes.
    """
    bare = frozenset({"face", "body", "shirt"})
    pairs = [item.look for _, item in truth.attributes if item.family == "glasses"]
    faces = [FILLER | subject.look for subject in truth.subjects]
    variants = [Explanation(face | pair, bare | {"glasses"}) for face in faces for pair in pairs]
    explanations = [*(Explanation(face, bare) for face in faces), *variants]
    owner = torch.tensor([*range(len(faces)), *(index for index in range(len(faces)) for _ in pairs)])
    shapes = [Explanation(face, frozenset({"face"})) for face in faces]
    own, rival = [], []
    for slot in range(len(faces)):
        masks = matcher.silhouettes(slot, shapes).square() * reading_zone("face", matcher.stage, slot, truth.size)
        pictures = matcher.draw(slot, explanations)
        for costs, kind in ((own, masks), (rival, masks.amax(0).expand_as(masks))):
            tried = matcher.costs(pictures, kind[owner])
            costs.append(torch.stack([tried[owner == index].amin() for index in range(len(faces))]))
        rival[-1] = torch.cat([rival[-1], BLANK * matcher.flat_cost(masks.amax(0))[None]])
    return torch.stack(own, 1), torch.stack(rival, 1)


def _attribute_costs(
    matcher: Matcher,
    truth: Truth,
    family: str,
    worn: Sequence[tuple[int, Attribute]],
    standing: dict[int, int],
) -> tuple[Tensor, Tensor]:
    """Costs of one family's attributes on the figure of every slot: own pixels [A, slot], all pixels [A + 1,
    slot].

    The second one's last row is the figure that wears none of them.
    """
    parts = frozenset({"face", "body", "shirt", family})
    own, rival = [], []
    for slot, index in sorted(standing.items()):
        face = FILLER | truth.subjects[index].look
        figures = [Explanation(face | item.look, parts) for _, item in worn]
        bare = Explanation(face, parts if family == "shirt" else parts - {family})
        shapes = [Explanation(figure.look, frozenset({family})) for figure in figures]
        masks = matcher.silhouettes(slot, shapes).square() * reading_zone(family, matcher.stage, slot, truth.size)
        pictures = matcher.draw(slot, [*figures, bare])
        every = masks.amax(0).expand(len(pictures), -1, -1)
        anchors = every
        if family == "glasses":
            anchors = reading_zone("face", matcher.stage, slot, truth.size) * matcher.silhouettes(slot, [bare])
            anchors = anchors.expand_as(every)
        own.append(matcher.costs(pictures[:-1], masks, anchors[:-1]))
        rival.append(matcher.costs(pictures, every, anchors))
    return torch.stack(own, 1), torch.stack(rival, 1)


def _assign(own: Tensor, rival: Tensor) -> tuple[list[int], list[bool]]:
    """Slots for the rows of `own` [rows, slots] at the least total cost, and whether each is really seen
    there.

    `rival` has the same rows over common pixels, and one more: what is seen where none of them is.
    """
    count = len(own)
    tried, least = rival[:count], rival[:count].amin(0)
    likely = (own < ABSENT) & (tried <= CLEARLY * least) & (tried < rival[-1])
    # Places where it is not seen are all alike: how dear it is there must push nobody else away.
    _, slots = linear_sum_assignment((torch.where(likely, tried, ABSENT) + 1e-3 * tried).numpy())
    places = [int(slot) for slot in slots]
    return places, [bool(likely[row, slot]) for row, slot in enumerate(places)]


def _object_seen(matcher: Matcher, truth: Truth, slots: Sequence[int | None]) -> bool | None:
    thing = truth.object
    if thing is None:
        return None
    places = thing_places(truth, matcher.stage, None if thing.holder is None else slots[thing.holder])
    return bool(places) and matcher.thing_cost(thing, places) < OBJECT_ABSENT


def _background_likeness(matcher: Matcher, truth: Truth) -> float | None:
    """Likeness of what figures leave free, in the median frame; None without background or where none is free."""
    if truth.background is None:
        return None
    parts = frozenset().union(*(worn_parts(subject) for subject in truth.subjects))
    dressed = [Explanation(figure_look(subject), parts) for subject in truth.subjects]
    covered = torch.stack([matcher.silhouettes(slot, dressed).amax(0) for slot in range(len(dressed))]).amax(0)
    margin = matcher.reach // 2
    free = F.max_pool2d(covered[None], 2 * margin + 1, 1, margin)[0] < 0.01
    if truth.object is not None:
        free[round(matcher.stage.ground - matcher.stage.unit) :] = False
    difference = matcher.frames.median(0).values - blur(matcher.backdrop)[0]
    return _likeness(float(difference[:, free].square().mean().sqrt())) if free.any() else None


def _likeness(cost: float) -> float:
    return max(0.0, 1 - cost / UNLIKE)


def binding_accuracy(readings: Sequence[Reading]) -> Estimate:
    """Share of attributes that are on their owner, with a 95 % interval over clips.

    The attributes of one clip stand and fall together, so the interval is a bootstrap over clips (percentiles
    of 2000 resamples, fixed seed). Where all attributes agree a bootstrap has no spread; there it is Wilson's
    over the number of clips. Raises InputError when no reading has an attribute.
    """
    counted = [reading.binding for reading in readings if reading.binding]
    if not counted:
        raise InputError("no reading has an attribute: nothing to take a mean of")
    hits, sizes = (
        np.array([sum(binding) for binding in counted]),
        np.array([len(binding) for binding in counted]),
    )
    mean = float(hits.sum() / sizes.sum())
    if mean in (0.0, 1.0):
        low, high = _wilson(mean, len(counted))
    else:
        drawn = np.random.default_rng(0).integers(len(counted), size=(RESAMPLES, len(counted)))
        low, high = (float(v) for v in np.percentile(hits[drawn].sum(1) / sizes[drawn].sum(1), [2.5, 97.5]))
    return Estimate(mean, low, high, int(sizes.sum()))


def _wilson(mean: float, n: int, z: float = 1.96) -> tuple[float, float]:
    centre, half = mean + z * z / (2 * n), z * np.sqrt(mean * (1 - mean) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    low, high = float((centre - half) / scale), float((centre + half) / scale)
    return (0.0 if mean == 0 else low), (1.0 if mean == 1 else high)  # exact at the ends
