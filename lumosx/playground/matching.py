"""How far frames are from what the renderer would draw: the measure's ruler.

A generated figure's pose is unknown, so every explanation ("this face stands here", "this hat is on that
head") is drawn in a standing pose and slid over each frame by a few pixels; its cost is the root mean square
colour difference over the explanation's own pixels, at the best offset, in the median frame. Frames and
drawings are blurred alike first, so that softness and pixel noise, which are no binding errors, cost little.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.playground.figures import Camera, Pose, draw_figures, draw_things
from lumosx.playground.looks import HAT_BASE, SHOULDER, Look
from lumosx.playground.render import THING, Stage, pack, render_backdrops, shown, thing_height
from lumosx.playground.truth import Thing, Truth

REACH = 0.34  # figure units that a figure may be away from its standing pose
BLUR = 0.7  # pixels
PHASES = ((0.0, 0.0), (0.5, 0.0), (0.0, 0.5), (0.5, 0.5))  # templates are drawn at half-pixel offsets too


@dataclass(frozen=True)
class Explanation:
    """A figure to try in a slot: its complete look and the parts of it that are seen."""

    look: Look
    parts: frozenset[str]


class Matcher:
    """Compares one clip's frames with explanations. `frames` is uint8 [F, H, W, 3]."""

    def __init__(self, frames: Tensor, truth: Truth) -> None:
        self.truth = truth
        self.stage = Stage.of(truth.size, len(truth.subjects))
        self.frames = blur(frames.permute(0, 3, 1, 2).float() / 255)
        self.backdrop = render_backdrops([truth], truth.size[1], truth.size[0], "cpu")
        self.reach = max(1, round(REACH * self.stage.unit))

    def draw(self, slot: int, explanations: Sequence[Explanation]) -> Tensor:
        """Explanations over the clip's background in all phases, blurred: [E, P, 3, H, W] in 0..1."""
        layers = self._layers(slot, explanations, [phase for _ in explanations for phase in PHASES])
        pictures = self.backdrop * (1 - layers[:, 3:]) + layers[:, :3]
        return blur(pictures).unflatten(0, (len(explanations), len(PHASES)))

    def silhouettes(self, slot: int, explanations: Sequence[Explanation]) -> Tensor:
        """Opacities [E, H, W] of the explanations' visible parts."""
        return self._layers(slot, explanations, [(0.0, 0.0)] * len(explanations))[:, 3]

    def _layers(self, slot: int, explanations: Sequence[Explanation], offsets: list[tuple[float, float]]) -> Tensor:
        repeats = len(offsets) // len(explanations)
        width, height = self.truth.size
        x, y = (torch.tensor(values) for values in zip(*offsets, strict=True))
        unit = torch.full((len(offsets),), self.stage.unit)
        camera = Camera(self.stage.slots[slot] + x, self.stage.ground + y, unit)
        looks = {
            name: v.repeat_interleave(repeats, 0) for name, v in pack([e.look for e in explanations], "cpu").items()
        }
        show = {
            part: v.repeat_interleave(repeats) for part, v in shown([set(e.parts) for e in explanations], "cpu").items()
        }
        return draw_figures(looks, Pose.standing(len(offsets)), camera, show, height, width)

    def costs(self, pictures: Tensor, masks: Tensor, anchors: Tensor | None = None) -> Tensor:
        """Costs [E] of pictures [E, P, 3, H, W] over masks [E, H, W]; 1, the most possible, where a mask is
        empty.

        Each frame's offset is the one that fits best over `anchors` [E, H, W], by default the masks
        themselves: what is too small to tell where it is (glasses) is read where the face around it is.
        """
        anchors = masks if anchors is None else anchors
        rows, columns = (span(torch.maximum(masks, anchors).amax((0, axis))) for axis in (2, 1))
        padded = F.pad(self.frames, (self.reach,) * 4, mode="replicate")
        window = padded[:, :, rows.start : rows.stop + 2 * self.reach, columns.start : columns.stop + 2 * self.reach]
        cropped = pictures[..., rows, columns].flatten(0, 1)

        def distances(weights: Tensor) -> Tensor:
            every = weights[:, rows, columns].repeat_interleave(pictures.shape[1], 0)
            return slide(window, cropped, every).unflatten(1, pictures.shape[:2]).flatten(2)  # [F, E, phase and offset]

        best = distances(anchors).argmin(2, keepdim=True)
        costs = distances(masks).gather(2, best)[:, :, 0].median(0).values
        return torch.where(masks.flatten(1).sum(1) > 0, costs, 1.0)

    def flat_cost(self, mask: Tensor) -> Tensor:
        """What one flat colour per frame would cost over mask [H, W]: what says nothing explains nothing."""
        weights = mask / mask.sum().clamp(min=1e-6)
        spread = self.frames - (self.frames * weights).sum((2, 3), keepdim=True)
        return (spread.square().mean(1) * weights).sum((1, 2)).sqrt().median()

    def thing_cost(self, thing: Thing, places: Sequence[tuple[float, float, float]]) -> float:
        """Cost of an object at the best of `places`, each (x, y, leeway in x), in pixels.

        The object is drawn alone, so a place beside it costs what is really there.
        """
        unit = self.stage.unit * THING
        half = int(unit * 1.2) + 1
        centre = (
            torch.tensor([half + 0.5 + x for x, _ in PHASES]),
            torch.tensor([half + 0.5 + y for _, y in PHASES]),
        )
        look = {name: value.repeat_interleave(len(PHASES), 0) for name, value in pack([thing.look], "cpu").items()}
        camera = Camera(*centre, torch.full((len(PHASES),), unit))
        layers = draw_things(look, camera, 2 * half + 1, 2 * half + 1)
        around = self.frames.mean((0, 2, 3))[None, :, None, None]
        pictures = blur(around * (1 - layers[:, 3:]) + layers[:, :3])
        padded = F.pad(self.frames, (half,) * 4, mode="replicate")
        distance = slide(padded, pictures, (layers[:, 3] > 0.7).float()).amin(1)  # [F, H, W]: the object's centre there
        rows, columns = torch.meshgrid(
            torch.arange(distance.shape[1]) + 0.5, torch.arange(distance.shape[2]) + 0.5, indexing="ij"
        )
        allowed = torch.zeros_like(rows, dtype=torch.bool)
        for x, y, leeway in places:
            allowed |= ((columns - x).abs() <= leeway) & ((rows - y).abs() <= self.reach)
        return float(distance[:, allowed].amin(1).median())


def span(marked: Tensor) -> slice:
    """The smallest slice that holds all nonzero entries of a vector."""
    places = marked.nonzero().flatten()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)


def slide(frames: Tensor, pictures: Tensor, masks: Tensor) -> Tensor:
    """RMS colour difference over `masks` [N, h, w] of pictures [N, 3, h, w] at every offset of frames [F, 3,
    H, W].

    Returns [F, N, H - h + 1, W - w + 1].
    """
    weights = masks[:, None].expand_as(pictures)
    squared = F.conv2d(frames.square(), weights) - 2 * F.conv2d(frames, weights * pictures)
    squared += (weights * pictures.square()).sum((1, 2, 3))[None, :, None, None]
    return (squared / weights.sum((1, 2, 3)).clamp(min=1e-6)[None, :, None, None]).clamp(min=0).sqrt()


def blur(pictures: Tensor, sigma: float = BLUR) -> Tensor:
    """Gaussian blur of [N, 3, H, W], edges replicated."""
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma).square())
    kernel = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)


def reading_zone(part: str, stage: Stage, slot: int, size: tuple[int, int]) -> Tensor:
    """[H, W] of 0 and 1: where a part shows whatever else its figure wears and does.

    Faces are read under the hat and above the collar, shirts between the arms and above what is held or
    stands in front.
    """
    width, height = size
    x = ((torch.arange(width) + 0.5 - stage.slots[slot]) / stage.unit)[None, :].expand(height, width)
    y = ((stage.ground - torch.arange(height) - 0.5) / stage.unit)[:, None].expand(height, width)
    if part == "face":
        return ((y < HAT_BASE - 0.08) & (y > SHOULDER + 0.12)).float()
    if part == "shirt":
        return ((x.abs() < 0.45) & (y < SHOULDER) & (y > 0.8)).float()
    return torch.ones(height, width)


def thing_places(truth: Truth, stage: Stage, holder_slot: int | None) -> list[tuple[float, float, float]]:
    """Where an object may be seen, for `thing_cost`: anywhere on the ground, or in a hand of its holder."""
    thing = truth.object
    assert thing is not None
    if thing.holder is None:
        width = truth.size[0]
        return [(width / 2, stage.ground - thing_height(thing) * THING * stage.unit, width * 0.4)]
    if holder_slot is None:
        return []
    centre, row = stage.slots[holder_slot], stage.ground - 0.62 * stage.unit
    return [(centre + side * 0.66 * stage.unit, row, REACH * stage.unit) for side in (-1, 1)]
