"""Draws objects and backgrounds from their looks, N at a time."""

from __future__ import annotations

import torch
from torch import Tensor

from lumosx.playground.camera import Camera
from lumosx.playground.looks import SCENERY
from lumosx.playground.shapes import OUTLINE, Canvas, Looks, box, lit, stripes, taper


def draw_things(looks: Looks, camera: Camera, height: int, width: int) -> Tensor:
    """Premultiplied RGBA [N, 4, H, W] of N objects, each about two units wide and centred on its camera's
    origin.
    """
    x, y, pixel = camera.grid(height, width)
    canvas = Canvas(pixel, height, width)
    pole = box(x, y + 0.3, torch.full_like(x, 0.1), torch.full_like(y, 0.65), 0.05)
    foot = box(x, y + 0.85, torch.full_like(x, 0.42), torch.full_like(y, 0.12), 0.05)
    canvas.paint(torch.minimum(pole, foot), looks["second"] * 0.6, looks["pole"], outline=True)
    y = y - looks["middle"]
    cos, sin = torch.cos(looks["turn"]), torch.sin(looks["turn"])
    x, y = x * cos + y * sin, y * cos - x * sin
    body = box(x, y, taper(y, looks["bottom"], looks["top"], looks["height"]), looks["height"], looks["round"])
    canvas.paint(body, looks["main"], outline=True)
    stripe = stripes(x, y, looks["band_angle"], torch.full_like(looks["band"], 2.0), looks["band"] * 0.6)
    canvas.paint(torch.maximum(body + OUTLINE, stripe), looks["second"])
    return lit(canvas.rgba(), x, y)


def draw_backgrounds(looks: Looks, height: int, width: int) -> Tensor:
    """RGB [N, 3, H, W] in 0..1: a sky that pales to the horizon, scenery that pales with its distance, a ground that
    darkens towards the viewer, and a road on it.
    """
    device, count = looks["sky"].device, len(looks["sky"])
    aspect = width / height
    camera = Camera(*(torch.full((count,), value, device=device) for value in (width / 2, height / 2, height / 2)))
    x, y, pixel = camera.grid(height, width)
    canvas = Canvas(pixel, height, width)
    share = ((y - looks["horizon"]) / (1 - looks["horizon"])).clamp(0, 1).expand(count, height, width)
    canvas.paint(torch.full_like(share, -1.0), looks["haze"])
    canvas.paint(torch.full_like(share, -1.0), looks["sky"], share)
    horizon = looks["horizon"]
    for index in range(SCENERY):
        across, up = x - looks[f"x{index}"] * aspect, y - looks[f"y{index}"]
        half = looks[f"height{index}"]
        shape = taper(up, looks[f"bottom{index}"] * aspect, looks[f"top{index}"] * aspect, half)
        depth = looks[f"depth{index}"][:, 0]
        near = looks["near"] if index % 2 else looks["far"]
        colour = near + (looks["haze"] - near) * depth
        canvas.paint(box(across, up, shape, half, looks[f"round{index}"] * min(aspect, 1.0)), colour)
    ground = (y - horizon).expand(count, height, width)
    canvas.paint(ground, looks["ground"])
    down = (horizon - y) / (1 + horizon)  # 0 at the horizon, 1 at the lower edge
    road = x.abs() - looks["road"] * aspect * down.clamp(min=0)
    canvas.paint(torch.maximum(ground, road), looks["path"], (looks["road"] > 0).float())
    canvas.paint(ground, looks["ground"] * 0.35, 0.4 * down.clamp(0, 1).expand(count, height, width))
    return canvas.rgba()[:, :3]
