"""Where things are seen: from their own units to a frame's pixels, and back into a frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Camera:
    """Pixel (x, y) shows figure point ((x - centre) / unit, (ground - y) / unit); fields [N], in pixels."""

    centre: Tensor
    ground: Tensor
    unit: Tensor

    def __getitem__(self, rows: slice) -> Camera:
        return Camera(self.centre[rows], self.ground[rows], self.unit[rows])

    def grid(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, 1, W] and y [N, H, 1] in figure units (y upwards), and a pixel's size [N, 1, 1]."""
        unit = self.unit[:, None, None]
        columns = torch.arange(width, device=unit.device, dtype=torch.float32) + 0.5
        rows = torch.arange(height, device=unit.device, dtype=torch.float32) + 0.5
        x = (columns[None, None, :] - self.centre[:, None, None]) / unit
        y = (self.ground[:, None, None] - rows[None, :, None]) / unit
        return x, y, 1 / unit


@dataclass(frozen=True)
class Window:
    """The same h x w pixels for N figures, each at its own place within the frame: `rows` [N, h], `columns` [N, w]."""

    rows: Tensor
    columns: Tensor

    @classmethod
    def of(
        cls, edges: tuple[float, float, float, float], camera: Camera, largest: float, size: tuple[int, int]
    ) -> Window:
        """The window that shows `edges` of every figure as far as it lies in the frame of `size` (height, width).

        `largest` is the largest unit of all figures.
        """
        left, right, lower, upper = edges
        height, width = (
            min(full, int(extent * largest) + 3)
            for full, extent in zip(size, (upper - lower, right - left), strict=True)
        )
        top = (camera.ground - upper * camera.unit - 1).floor().clamp(0, size[0] - height).long()
        first = (camera.centre + left * camera.unit - 1).floor().clamp(0, size[1] - width).long()
        device = camera.unit.device
        return cls(
            top[:, None] + torch.arange(height, device=device), first[:, None] + torch.arange(width, device=device)
        )

    def grid(self, camera: Camera) -> tuple[Tensor, Tensor, Tensor]:
        """As `Camera.grid`, of the window's pixels alone."""
        unit = camera.unit[:, None, None]
        x = (self.columns[:, None, :] + 0.5 - camera.centre[:, None, None]) / unit
        y = (camera.ground[:, None, None] - self.rows[:, :, None] - 0.5) / unit
        return x, y, 1 / unit

    def lay_over(self, pictures: Tensor, layer: Tensor) -> None:
        """Lays premultiplied `layer` [N, 4, h, w] over `pictures` [N, H, W, 4] in place."""
        place = (
            torch.arange(len(layer), device=layer.device)[:, None, None],
            self.rows[:, :, None],
            self.columns[:, None, :],
        )
        layer = layer.permute(0, 2, 3, 1)
        pictures[place] = pictures[place] * (1 - layer[..., 3:]) + layer
