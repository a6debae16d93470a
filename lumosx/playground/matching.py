"""How far frames are from what the renderer would draw: the measure's ruler.

A generated figure's pose is unknown, so every explanation ("this face is here", "this hat is on that head")
is drawn in a standing pose, in a window that follows a track through the clip, and slid over each frame by a
few pixels; its cost is the root mean square colour difference over the explanation's own pixels, at the best
offset, in the median frame. What is hidden or outside the frame says nothing. A few frames stand for all of
them. Frames and drawings are blurred alike first, so that softness and pixel noise, which are no binding
errors, cost little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.playground.camera import Camera
from lumosx.playground.figures import Pose, draw_figures
from lumosx.playground.looks import HAT_BASE, HIP, SHOULDER, Look
from lumosx.playground.render import VIEWS, Stage, pack, render_backdrops, shown
from lumosx.playground.truth import Attribute, Truth

REACH = 0.34  # figure units that a figure may be away from its standing pose
BLUR = 0.8  # pixels
MOMENTS = (0, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 7 / 8, 1)  # frames that are read: most while those who pass are still apart
VISIBLE = 0.3  # share of an explanation's pixels that must be seen for a cost


@dataclass(frozen=True)
class Explanation:
    """A figure to try on a track: its complete look and the parts of it that are seen."""

    look: Look
    parts: frozenset[str]

    def wearing(self, item: Attribute) -> Explanation:
        """The same figure in something else."""
        return Explanation(self.look | item.look, self.parts | {item.family})


@dataclass(frozen=True)
class Track:
    """A way through the clip: where a figure's middle is in each frame that is read [F], on which row its feet are,
    and how many pixels a figure unit is.
    """

    centres: Tensor
    ground: float
    unit: float


class Matcher:
    """The frames of one clip that are read, ready to be compared with drawings. `frames` is uint8 [F, H, W, 3].

    `hidden` [F, H, W] is 1 where a pixel is not read.
    """

    def __init__(self, frames: Tensor, truth: Truth) -> None:
        self.truth = truth
        self.stage = Stage.of(truth.size, len(truth.subjects))
        self.length = len(frames)
        self.steps = torch.tensor([round(moment * (self.length - 1)) for moment in MOMENTS])
        self.frames = blur(frames[self.steps].permute(0, 3, 1, 2).float() / 255)
        self.hidden = torch.zeros_like(self.frames[:, 0])
        self.backdrop = render_backdrops([truth], truth.size[1], truth.size[0], "cpu")
        self.reach = max(1, round(REACH * self.stage.unit))

    def tracks(self, *, moving: bool) -> list[Track]:
        """The ways of the truth's subjects, whoever goes them, by the slots they start in; they stay there unless
        `moving`.
        """
        subjects = sorted(self.truth.subjects, key=lambda subject: subject.slot)
        ways = [self.stage.track(s.slot, s.goal if moving else s.slot, self.length)[self.steps] for s in subjects]
        depths = [subject.depth for subject in subjects]
        return [Track(way, self.stage.feet(d), self.stage.scale(d)) for way, d in zip(ways, depths, strict=True)]

    def sight(self, track: Track, part: str) -> Sight:
        """What is seen of a part (a key of VIEWS) of whoever is on a track."""
        across, up, half_side = VIEWS[part]
        half = math.ceil(half_side * track.unit)
        left, top = track.centres + across * track.unit - half, track.ground - up * track.unit - half
        backdrop = self.backdrop.expand(len(self.steps), -1, -1, -1)
        return Sight(
            seen=self.windows(left, top, 2 * half, (self.reach, self.reach)),
            behind=moving_windows(backdrop, left, top, 2 * half, (0, 0))[:, 0, 0],
            origin=(half - across * track.unit, half + up * track.unit),
            unit=track.unit,
        )

    def windows(self, left: Tensor, top: float, side: int, reach: tuple[int, int]) -> Tensor:
        """`moving_windows` of the frames with a fourth channel, 1 where a frame is read; all are 0 where it is not."""
        free = 1 - self.hidden[:, None]
        return moving_windows(torch.cat([self.frames * free, free], 1), left, top, side, reach)


class Sight:
    """What a clip shows of one part along one track, and drawings of what it might be.

    Args:
        seen: pixels [F, Y, X, 4, h, w] at all offsets within reach, as `Matcher.windows` gives them.
        behind: the background there [F, 3, h, w].
        origin: where the figure's point (0, 0) is, in pixels of the window.
        unit: pixels a figure unit.
    """

    def __init__(self, seen: Tensor, behind: Tensor, origin: tuple[float, float], unit: float) -> None:
        self.seen, self.behind, self.origin, self.unit = seen, behind, origin, unit
        self.side = seen.shape[-1]

    def draw(self, figures: Sequence[Explanation], shapes: Sequence[Explanation]) -> tuple[Tensor, Tensor]:
        """Figures over the background, blurred, [F, E, 3, h, w] in 0..1, and opacities [S, h, w] of shapes."""
        drawn = [*figures, *shapes]
        looks = pack([explanation.look for explanation in drawn], "cpu")
        show = shown([set(explanation.parts) for explanation in drawn], "cpu")
        pose, camera = Pose.standing(len(drawn)), self._camera(len(drawn))
        layers = draw_figures(looks, pose, camera, show, self.side, self.side)
        worn, silhouettes = layers[: len(figures)], layers[len(figures) :, 3]
        pictures = self.behind[:, None] * (1 - worn[:, 3:]) + worn[:, :3]
        return blur(pictures.flatten(0, 1)).unflatten(0, pictures.shape[:2]), silhouettes

    def zone(self, part: str) -> Tensor:
        """[h, w] of 0 and 1: where a part shows whatever else its figure wears and does.

        Faces are read under the hat and above the collar, shirts between the arms, trousers below the shirt.
        """
        x, y, _ = self._camera(1).grid(self.side, self.side)
        x, y = x[0], y[0]
        if part == "face":
            return (y < HAT_BASE - 0.08) * (y > SHOULDER + 0.08)
        if part == "shirt":
            return (x.abs() < 0.45) * (y < SHOULDER) * (y > HIP + 0.04)
        if part == "trousers":
            return y < HIP - 0.1
        return torch.ones(self.side, self.side)

    def costs(self, pictures: Tensor, masks: Tensor, anchors: Tensor | None = None) -> Tensor:
        """Costs [M, E] of pictures [F, E, 3, h, w] over masks [M, E, h, w]; 1, the most possible, of what is never
        seen.

        Each frame's offset is the one that fits best over `anchors` [h, w], by default the masks themselves: what is
        too small to tell where it is (glasses) is read where the face around it is.
        """
        count = pictures.shape[1]
        weights = masks if anchors is None else torch.cat([masks, anchors.expand_as(masks[:1])])
        found = distances(self.seen, pictures.repeat(1, len(weights), 1, 1, 1), weights.flatten(0, 1))
        found = found.unflatten(2, (-1, count)).movedim(1, 3)  # [F, M, E, O]
        tried = found[:, : len(masks)]
        best = (tried if anchors is None else found[:, -1:]).argmin(3, keepdim=True)
        costs = tried.gather(3, best.expand(*tried.shape[:3], 1))[..., 0]
        return torch.where(costs.isinf(), torch.nan, costs).nanmedian(0).values.nan_to_num(1.0)

    def flat_cost(self, mask: Tensor) -> Tensor:
        """What one flat colour per frame would cost over mask [h, w]: what says nothing explains nothing."""
        unmoved = self.seen[:, self.seen.shape[1] // 2, self.seen.shape[2] // 2]
        weights = mask * unmoved[:, 3:]
        weights = weights / weights.sum((2, 3), keepdim=True).clamp(min=1e-6)
        spread = unmoved[:, :3] - (unmoved[:, :3] * weights).sum((2, 3), keepdim=True)
        return (spread.square() * weights).mean(1).sum((1, 2)).sqrt().median()

    def _camera(self, count: int) -> Camera:
        return Camera(*(torch.full((count,), value) for value in (*self.origin, self.unit)))


def moving_windows(pictures: Tensor, left: Tensor, top: float, side: int, reach: tuple[int, int]) -> Tensor:
    """Squares [F, Y, X, C, side, side] of pictures [F, C, H, W] at all offsets within reach (x, y) of left [F] and top,
    in pixels; 0 beyond a picture's edge.
    """
    frames, _, height, width = pictures.shape
    columns = left.round().long()[:, None] + torch.arange(-reach[0], side + reach[0])
    rows = (round(top) + torch.arange(-reach[1], side + reach[1]))[None]
    within = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[:, None]
    every, rows, columns = torch.arange(frames)[:, None, None], rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    region = pictures[every, :, rows[:, :, None], columns[:, None]] * within[..., None]
    return region.unfold(1, side, 1).unfold(2, side, 1)


def distances(seen: Tensor, pictures: Tensor, masks: Tensor) -> Tensor:
    """RMS colour difference [F, O, N] of pictures [F or 1, N, 3, h, w] from seen [F, Y, X, 4, h, w] over masks
    [N, h, w], at every offset O; infinite where less than VISIBLE of a mask is seen.

    The fourth channel of `seen` is 1 where something is seen, and the others are 0 where it is 0.
    """
    rows, columns = (span(masks.amax((0, axis))) for axis in (2, 1))
    weights, pictures = masks[:, rows, columns].flatten(1), pictures[..., rows, columns].flatten(3)
    pixels = seen[..., rows, columns].flatten(4).flatten(1, 2)  # [F, O, 4, h w]
    colours, free = pixels[:, :, :3], pixels[:, :, 3]
    weighted = weights[:, None] * pictures
    squared = colours.square().sum(2) @ weights.T - 2 * colours.flatten(2) @ weighted.flatten(2).transpose(1, 2)
    squared += free @ (weighted * pictures).sum(2).transpose(1, 2)
    visible, whole = free @ weights.T, weights.sum(1)
    costs = (squared / (3 * visible).clamp(min=1e-6)).clamp(min=0).sqrt()
    return torch.where((visible >= VISIBLE * whole) & (whole > 0), costs, torch.inf)


def span(marked: Tensor) -> slice:
    """The smallest slice that holds all nonzero entries of a vector."""
    places = marked.nonzero().flatten()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)


def blur(pictures: Tensor, sigma: float = BLUR) -> Tensor:
    """Gaussian blur of [N, 3, H, W], edges replicated."""
    radius = max(1, round(3 * sigma))
    taps = torch.exp(-0.5 * (torch.arange(-radius, radius + 1) / sigma).square())
    kernel = (taps / taps.sum()).expand(3, 1, 1, -1)
    padded = F.pad(pictures, (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(padded, kernel, groups=3), kernel.transpose(2, 3), groups=3)
