"""Signed distances of a few soft shapes, and a canvas that paints them with anti-aliasing.

Distances (negative inside) keep the world independent of resolution: a pixel's coverage follows from the
distance and the pixel's size alone, so the same parameters make a 64-pixel training clip and a 512-pixel
reference. Everything is plain tensor maths over N drawings at once: x is [N, 1, w], y is [N, h, 1],
parameters are [N, 1, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

Looks = dict[str, Tensor]
"""Fields of N looks: numbers [N, 1, 1], colours [N, 3]."""

OUTLINE = 0.055  # units; a thin dark rim separates two neighbours of one colour
OUTLINE_SHADE = 0.4


def ellipse(x: Tensor, y: Tensor, half_width: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Distance to an axis-aligned ellipse; exact for circles, first-order otherwise."""
    half_width, half_height = torch.as_tensor(half_width), torch.as_tensor(half_height)
    radius = ((x / half_width).square() + (y / half_height).square()).sqrt()
    return (radius - 1) * torch.minimum(half_width, half_height)


def box(
    x: Tensor,
    y: Tensor,
    half_width: Tensor | float,
    half_height: Tensor | float,
    rounding: Tensor | float = 0.0,
) -> Tensor:
    """Distance to a rounded box. `rounding` is the corner's radius; `half_width` may vary with y (a
    trapezoid).
    """
    dx = x.abs() - half_width + rounding
    dy = y.abs() - half_height + rounding
    outside = (dx.clamp(min=0).square() + dy.clamp(min=0).square()).sqrt()
    return outside + torch.maximum(dx, dy).clamp(max=0) - rounding


def taper(y: Tensor, bottom: Tensor | float, top: Tensor | float, half_height: Tensor | float) -> Tensor:
    """Half width at height y of a trapezoid that is `bottom` wide at -half_height and `top` wide at
    +half_height.
    """
    return bottom + (top - bottom) * ((y / half_height + 1) / 2).clamp(0, 1)


def capsule(
    x: Tensor, y: Tensor, start: tuple[Tensor, Tensor], stop: tuple[Tensor, Tensor], radius: Tensor | float
) -> Tensor:
    """Distance to a thick line from `start` to `stop`."""
    dx, dy = stop[0] - start[0], stop[1] - start[1]
    along = (((x - start[0]) * dx + (y - start[1]) * dy) / (dx * dx + dy * dy).clamp(min=1e-6)).clamp(0, 1)
    return ((x - start[0] - along * dx).square() + (y - start[1] - along * dy).square()).sqrt() - radius


def stripes(x: Tensor, y: Tensor, angle: Tensor, period: Tensor, share: Tensor) -> Tensor:
    """Distance to parallel bands: direction `angle` (radians), one band a `period`, `share` of it filled."""
    phase = (x * torch.cos(angle) + y * torch.sin(angle)) / period
    return ((phase - phase.round()).abs() - share / 2) * period


class Canvas:
    """N transparent pictures of h x w pixels; `paint` lays one shape over each.

    Shapes are kept as coverages and colours, and laid over one another only in `rgba`: one number a pixel and
    shape instead of four, which is most of a clip's cost.

    Args:
        pixel: [N, 1, 1], a pixel's size in the units of the distances.
        height, width: h and w.
    """

    def __init__(self, pixel: Tensor, height: int, width: int) -> None:
        self.pixel, self.size = pixel, (height, width)
        self._layers: list[tuple[Tensor, Tensor]] = []

    def paint(
        self,
        distance: Tensor,
        colour: Tensor,
        amount: Tensor | float = 1.0,
        *,
        outline: bool = False,
        soft: Tensor | float = 0.0,
    ) -> None:
        """Paint where `distance` < 0 with `colour` [N, 3]; `amount` ([N, 1, 1] or number) is its opacity.

        `outline` puts a dark rim inside the shape's edge; `soft` (units) widens the edge.
        """
        if outline:
            self.paint(distance, colour * OUTLINE_SHADE, amount)
            distance = distance + OUTLINE
        cover = (0.5 - distance / (self.pixel + soft)).clamp_(0, 1) * amount
        self._layers.append((cover.expand(-1, *self.size), colour))

    def rgba(self) -> Tensor:
        """Premultiplied RGBA [N, 4, h, w]."""
        left = torch.ones_like(self._layers[0][0])  # of what lies below, the share that is still seen
        shares, colours = [], []
        for cover, colour in reversed(self._layers):
            share = cover * left
            left = left - share
            shares.append(share)
            colours.append(torch.cat([colour, torch.ones_like(colour[:, :1])], dim=1))
        stacked = torch.stack(shares, dim=1).flatten(2)
        return (torch.stack(colours, dim=2) @ stacked).unflatten(2, self.size)


def lit(rgba: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """RGBA [N, 4, h, w] under light from above on the left; x and y in units from the middle."""
    light = (1 + 0.12 * y - 0.09 * x).clamp(0.75, 1.15).unsqueeze(1)
    return torch.cat([torch.minimum(rgba[:, :3] * light, rgba[:, 3:]), rgba[:, 3:]], dim=1)
