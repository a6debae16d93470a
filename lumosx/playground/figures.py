"""Draws figures, objects and backgrounds from their looks, N at a time.

A figure is layers of shapes at fixed anchors (hat base, eye line, shoulders), so that every hat fits every
head and the measure can try any part on any figure. What is visible is an opacity per part: a reference is
the same drawing with one part shown, which keeps references and clips of one make.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lumosx.playground.looks import HAT_BASE, HEAD, SHOULDER, TROUSERS
from lumosx.playground.shapes import OUTLINE, Canvas, box, capsule, ellipse, stripes, taper

PARTS = ("face", "hat", "shirt", "glasses", "body")


@dataclass(frozen=True)
class Camera:
    """Pixel (x, y) shows figure point ((x - centre) / unit, (ground - y) / unit); fields [N], in pixels."""

    centre: Tensor
    ground: Tensor
    unit: Tensor

    def grid(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """x [N, 1, W] and y [N, H, 1] in figure units (y upwards), and a pixel's size [N, 1, 1]."""
        unit = self.unit[:, None, None]
        columns = torch.arange(width, device=unit.device, dtype=torch.float32) + 0.5
        rows = torch.arange(height, device=unit.device, dtype=torch.float32) + 0.5
        x = (columns[None, None, :] - self.centre[:, None, None]) / unit
        y = (self.ground[:, None, None] - rows[None, :, None]) / unit
        return x, y, 1 / unit


@dataclass(frozen=True)
class Pose:
    """Where the moving points are; all [N], in figure units. Hands are (x, y), left and right."""

    left: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]
    nod: Tensor
    stride: Tensor

    @classmethod
    def standing(cls, count: int, device: torch.device | str = "cpu") -> Pose:
        """Arms down, head up."""
        zero = torch.zeros(count, device=device)
        return cls((zero - 0.82, zero + 0.72), (zero + 0.82, zero + 0.72), zero, zero)


Looks = dict[str, Tensor]
"""Fields of N looks: numbers [N, 1, 1], colours [N, 3]."""


@dataclass(frozen=True)
class Drawing:
    """What the layers of one figure share while they are painted."""

    canvas: Canvas
    looks: Looks
    show: dict[str, Tensor]
    x: Tensor
    y: Tensor
    pose: Pose = field(repr=False)

    def head(self) -> tuple[Tensor, Tensor]:
        """Coordinates about the head's centre."""
        return self.x, self.y - HEAD - self.pose.nod[:, None, None]


def draw_figures(looks: Looks, pose: Pose, camera: Camera, show: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Premultiplied RGBA [N, 4, H, W] of N figures. `show` gives each of PARTS an opacity [N]."""
    x, y, pixel = camera.grid(height, width)
    canvas = Canvas(len(camera.unit), height, width, pixel)
    drawing = Drawing(canvas, looks, {part: show[part][:, None, None] for part in PARTS}, x, y, pose)
    for layer in (_back_hair, _legs, _torso, _arms, _ears, _face, _eyes, _mouth, _glasses, _hat):
        layer(drawing)
    return canvas.rgba


def _constant(drawing: Drawing, colour: tuple[float, float, float]) -> Tensor:
    return torch.tensor(colour, device=drawing.x.device).expand(len(drawing.looks["skin"]), 3)


def _back_hair(drawing: Drawing) -> None:
    look, (x, y) = drawing.looks, drawing.head()
    top = look["head_height"]
    bottom = look["hair_bottom"] - HEAD
    half = (top - bottom) / 2
    distance = box(x, y - (top + bottom) / 2, look["head_width"] * 0.93 + look["hair_width"], half + 0.06, 0.3)
    drawing.canvas.paint(distance, look["hair"], drawing.show["face"], outline=True)


def _legs(drawing: Drawing) -> None:
    stride = drawing.pose.stride[:, None, None]
    swing = torch.where(drawing.x > 0, stride, -stride)
    distance = box(drawing.x.abs() - 0.27, drawing.y - 0.24 - swing.clamp(min=0), 0.19, 0.26, 0.06)
    drawing.canvas.paint(distance, _constant(drawing, TROUSERS), drawing.show["body"])


def _torso(drawing: Drawing) -> None:
    look, canvas, show, x = drawing.looks, drawing.canvas, drawing.show["shirt"], drawing.x
    half = (SHOULDER + 0.1 - 0.36) / 2
    y = drawing.y - 0.36 - half
    width = taper(y, look["shirt_hem"], 0.5, half)
    distance = box(x, y, width, half, 0.14)
    canvas.paint(distance, look["shirt_main"], show, outline=True)
    inside = distance + OUTLINE
    bands = stripes(x, y, look["shirt_angle"], look["shirt_period"], look["shirt_share"])
    canvas.paint(torch.maximum(inside, bands), look["shirt_second"], show)
    white = _constant(drawing, (0.95, 0.95, 0.95))
    opened = (look["shirt_open"] > 0).float() * show
    canvas.paint(torch.maximum(inside, x.abs() - look["shirt_open"] * (1 + 0.8 * y)), white, opened)
    collared = (look["shirt_collar"] > 0).float() * show
    canvas.paint(
        box(x, y - half + 0.02, 0.34, look["shirt_collar"], 0.08),
        look["shirt_second"],
        collared,
        outline=True,
    )


def _arms(drawing: Drawing) -> None:
    look, canvas, show = drawing.looks, drawing.canvas, drawing.show
    limbs, hands, sleeves = [], [], []
    for side, hand in ((-1.0, drawing.pose.left), (1.0, drawing.pose.right)):
        hand_x, hand_y = (value[:, None, None] for value in hand)
        shoulder_x, shoulder_y = torch.full_like(hand_x, 0.5 * side), torch.full_like(hand_y, SHOULDER - 0.12)
        reach = look["shirt_sleeve"]
        cuff = (shoulder_x + reach * (hand_x - shoulder_x), shoulder_y + reach * (hand_y - shoulder_y))
        limbs.append(capsule(drawing.x, drawing.y, (shoulder_x, shoulder_y), (hand_x, hand_y), 0.1))
        sleeves.append(capsule(drawing.x, drawing.y, (shoulder_x, shoulder_y), cuff, 0.16))
        hands.append(ellipse(drawing.x - hand_x, drawing.y - hand_y, 0.15, 0.15))
    canvas.paint(torch.minimum(torch.minimum(*limbs), torch.minimum(*hands)), look["skin"], show["body"], outline=True)
    canvas.paint(torch.minimum(*sleeves), look["shirt_main"], show["shirt"], outline=True)


def _ears(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    side = x.abs()
    size = look["ear_size"].clamp(min=1e-3)
    top = y - look["head_height"] * 0.95
    pointed = box(
        side - look["head_width"] * 0.86 - 0.25 * top,
        top,
        taper(top, size, size * (1 - look["ear_point"]), size),
        size,
    )
    canvas.paint(pointed, look["hair"], show * (look["ear_size"] > 0).float(), outline=True)
    length = look["antenna"].clamp(min=1e-3)
    stop = (look["head_width"] + length * 0.8, 0.1 + length)
    rod = capsule(side, y, (look["head_width"] - 0.05, torch.full_like(length, 0.1)), stop, 0.06)
    tip = ellipse(side - stop[0], y - stop[1], 0.14, 0.14)
    canvas.paint(torch.minimum(rod, tip), look["hair"], show * (look["antenna"] > 0).float(), outline=True)


def _face(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    half = look["head_height"]
    width = taper(y, look["head_width"] * look["jaw"], look["head_width"], half)
    distance = box(x, y, width, half, look["head_round"])
    canvas.paint(distance, look["skin"], show, outline=True)
    inside = distance + OUTLINE
    canvas.paint(torch.maximum(inside, look["hairline"] - y - 0.25 * x.square()), look["hair"], show)
    beard = torch.maximum(inside, y + 0.3 - 0.9 * x.square())
    canvas.paint(beard, look["hair"], show * look["beard"])
    pink = look["skin"] * 0.55 + _constant(drawing, (0.95, 0.35, 0.35)) * 0.45
    canvas.paint(ellipse(x.abs() - 0.4, y + 0.2, 0.13, 0.1), pink, show * look["cheeks"])


def _eyes(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    side, size = x.abs() - look["eye_gap"], look["eye_size"]
    rounding = size * (1 - 0.8 * look["eye_square"])
    white = _constant(drawing, (0.98, 0.98, 0.98))
    canvas.paint(box(side, y - 0.02, size + 0.05, size + 0.05, rounding), white, show)
    canvas.paint(box(side, y - 0.02, size, size, rounding), look["eye"], show)


def _mouth(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    curve = look["mouth_curve"] * x.square()
    canvas.paint(box(x, y + 0.32 - curve, look["mouth_width"], torch.full_like(curve, 0.06), 0.04), look["mouth"], show)
    dark = look["hair"] * 0.5
    lines = torch.minimum((y + 0.12).abs(), (y + 0.26).abs()) - 0.03
    whiskers = torch.maximum(lines, (x.abs() - 0.56).abs() - 0.2)
    canvas.paint(whiskers, dark, show * look["whiskers"])


def _glasses(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["glasses"], drawing.head()
    size = look["glasses_size"]
    lens = box(x.abs() - 0.27, y - 0.02, size, size, size * (1 - look["glasses_square"]))
    bridge = torch.maximum((y - 0.06).abs() - 0.05, x.abs() - 0.56)
    canvas.paint(lens, look["glasses_second"], show * look["glasses_tint"])
    rim = (lens + look["glasses_rim"] / 2).abs() - look["glasses_rim"] / 2
    canvas.paint(torch.minimum(rim, torch.maximum(bridge, -lens)), look["glasses_main"], show)


def _hat(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["hat"], drawing.head()
    y = y - (HAT_BASE - HEAD)
    half = look["hat_height"] / 2
    ball = ellipse(x, y - look["hat_height"] - 0.06, look["hat_ball"].clamp(min=1e-3), look["hat_ball"].clamp(min=1e-3))
    canvas.paint(ball, look["hat_second"], show * (look["hat_ball"] > 0).float(), outline=True)
    crown = box(
        x,
        y - half,
        taper(y - half, look["hat_bottom"], look["hat_top"], half),
        half + 0.06,
        look["hat_round"],
    )
    canvas.paint(crown, look["hat_main"], show, outline=True)
    band = torch.maximum(crown + OUTLINE, y - look["hat_band"])
    canvas.paint(band, look["hat_second"], show * (look["hat_band"] > 0).float())
    brim = box(x - look["hat_brim_shift"], y, look["hat_brim"], torch.full_like(half, 0.1), 0.08)
    canvas.paint(brim, look["hat_second"], show * (look["hat_brim"] > 0).float(), outline=True)


def draw_things(looks: Looks, camera: Camera, height: int, width: int) -> Tensor:
    """Premultiplied RGBA [N, 4, H, W] of N objects, each about two units wide and centred on its camera's
    origin.
    """
    x, y, pixel = camera.grid(height, width)
    canvas = Canvas(len(camera.unit), height, width, pixel)
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
    return canvas.rgba


def draw_backgrounds(looks: Looks, height: int, width: int) -> Tensor:
    """RGB [N, 3, H, W] in 0..1: a sky that pales to the horizon, three shapes of scenery, the ground."""
    device, count = looks["sky"].device, len(looks["sky"])
    aspect = width / height
    camera = Camera(*(torch.full((count,), value, device=device) for value in (width / 2, height / 2, height / 2)))
    x, y, pixel = camera.grid(height, width)
    canvas = Canvas(count, height, width, pixel)
    share = ((y - looks["horizon"]) / (1 - looks["horizon"])).clamp(0, 1).unsqueeze(1)
    sky, haze = looks["sky"][:, :, None, None], looks["haze"][:, :, None, None]
    canvas.rgba[:, :3] = haze + (sky - haze) * share
    for index, colour in enumerate(("far", "near", "near")):
        left, half = y - looks[f"y{index}"], looks[f"height{index}"]
        shape = taper(left, looks[f"bottom{index}"] * aspect, looks[f"top{index}"] * aspect, half)
        shade = looks[colour] if index < 2 else looks["haze"] * 0.4 + looks["near"] * 0.6
        canvas.paint(
            box(x - looks[f"x{index}"] * aspect, left, shape, half, looks[f"round{index}"] * min(aspect, 1.0)),
            shade,
        )
    canvas.paint((y - looks["horizon"]).expand(count, height, width), looks["ground"])
    return canvas.rgba[:, :3]
