"""Draws figures from their looks, N at a time.

A figure is layers of shapes at fixed anchors (hat base, eye line, shoulders), so that every hat fits every
head and the measure can try any part on any figure. What is visible is an opacity per part: a reference is
the same drawing with one part shown, which keeps references and clips of one make. Body and head are drawn in
windows of their own, because most of a frame is neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from lumosx.playground.camera import Camera, Window
from lumosx.playground.looks import HAT_BASE, HEAD, HIP, RGB, SHADOW, SHOES, SHOULDER
from lumosx.playground.shapes import OUTLINE, Canvas, Looks, box, capsule, ellipse, lit, stripes, taper

PARTS = ("face", "hat", "shirt", "trousers", "glasses", "bag", "body", "shadow")
BODY_WINDOW = (-1.16, 1.42, -0.3, 2.14)  # left, right, lower, upper edge, in figure units: nothing reaches beyond
HEAD_WINDOW = (-1.1, 1.1, 1.18, 3.54)
CHUNK = 128  # figures drawn at a time: more would leave the processor's caches


@dataclass(frozen=True)
class Pose:
    """Where the moving points are; all [N], in figure units. Hands are (x, y), left and right."""

    left: tuple[Tensor, Tensor]
    right: tuple[Tensor, Tensor]
    nod: Tensor
    stride: Tensor

    def __getitem__(self, rows: slice) -> Pose:
        left, right = ((x[rows], y[rows]) for x, y in (self.left, self.right))
        return Pose(left, right, self.nod[rows], self.stride[rows])

    @classmethod
    def standing(cls, count: int, device: torch.device | str = "cpu") -> Pose:
        """Arms down, head up."""
        zero = torch.zeros(count, device=device)
        return cls((zero - 0.78, zero + 0.82), (zero + 0.78, zero + 0.82), zero, zero)


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

    def constant(self, colour: RGB) -> Tensor:
        """One colour for all figures, [N, 3]."""
        return torch.tensor(colour, device=self.x.device).expand(len(self.looks["skin"]), 3)


def draw_figures(looks: Looks, pose: Pose, camera: Camera, show: dict[str, Tensor], height: int, width: int) -> Tensor:
    """Premultiplied RGBA [N, 4, H, W] of N figures. `show` gives each of PARTS an opacity [N]."""
    largest = float(camera.unit.max()) if camera.unit.device.type != "meta" else min(height, width)
    pieces = []
    for start in range(0, len(camera.unit), CHUNK):
        rows = slice(start, start + CHUNK)
        their_looks, their_show = ({name: value[rows] for name, value in fields.items()} for fields in (looks, show))
        pieces.append(_draw_chunk(their_looks, their_show, pose[rows], camera[rows], largest, (height, width)))
    return torch.cat(pieces).permute(0, 3, 1, 2)


def _draw_chunk(
    looks: Looks, show: dict[str, Tensor], pose: Pose, camera: Camera, largest: float, size: tuple[int, int]
) -> Tensor:
    """RGBA [N, H, W, 4]."""
    pictures = torch.zeros(len(camera.unit), *size, 4, device=camera.unit.device)
    opacity = {part: show[part][:, None, None] for part in PARTS}
    for edges, middle, layers in (
        (BODY_WINDOW, HIP, (_shadow, _legs, _torso, _strap, _arms, _bag)),
        (HEAD_WINDOW, HEAD, (_back_hair, _ears, _face, _eyes, _mouth, _glasses, _hat)),
    ):
        window = Window.of(edges, camera, largest, size)
        x, y, pixel = window.grid(camera)
        canvas = Canvas(pixel, window.rows.shape[1], window.columns.shape[1])
        drawing = Drawing(canvas, looks, opacity, x, y, pose)
        for layer in layers:
            layer(drawing)
        window.lay_over(pictures, lit(canvas.rgba(), x, y - middle))
    return pictures


def _shadow(drawing: Drawing) -> None:
    distance = ellipse(drawing.x - 0.12, drawing.y - 0.02, 0.72, 0.15)
    drawing.canvas.paint(distance, drawing.constant(SHADOW), 0.4 * drawing.show["shadow"], soft=0.1)


def _legs(drawing: Drawing) -> None:
    look, canvas, show, x, y = drawing.looks, drawing.canvas, drawing.show, drawing.x, drawing.y
    stride = drawing.pose.stride[:, None, None]
    swing = torch.where(x > 0, stride, -stride)
    side, lift = x.abs() - 0.27 - 0.5 * swing * (HIP - y).clamp(min=0), 0.6 * swing.clamp(min=0)
    canvas.paint(box(side, y - 0.4 - lift, 0.15, 0.36, 0.06), look["skin"], show["body"])
    shoes = box(side - 0.04, y - 0.09 - lift, 0.21, 0.1, 0.08)
    canvas.paint(shoes, drawing.constant(SHOES), show["body"])
    reach = look["trousers_length"] * HIP / 2
    below = y - (HIP + 0.04 - reach)
    cloth = torch.minimum(
        box(side, below - lift, 0.2, reach, 0.05), box(x, y - HIP + 0.1, 0.46, torch.full_like(reach, 0.14), 0.05)
    )
    flared = (look["trousers_flare"] > 0).float()
    skirt = box(x, below, taper(below, 0.46 + look["trousers_flare"], 0.44, reach), reach, 0.04)
    cloth = cloth + (skirt - cloth) * flared
    canvas.paint(cloth, look["trousers_main"], show["trousers"], outline=True)
    inside = cloth + OUTLINE
    stripe = torch.maximum(inside, side.abs() - look["trousers_stripe"] / 2)
    hem = torch.maximum(inside, below - lift * (1 - flared) + reach - look["trousers_hem"])
    second = torch.where(look["trousers_stripe"] > 0, stripe, hem)
    canvas.paint(second, look["trousers_second"], show["trousers"])


def _torso(drawing: Drawing) -> None:
    look, canvas, show, x = drawing.looks, drawing.canvas, drawing.show["shirt"], drawing.x
    half = (SHOULDER + 0.1 - HIP + 0.06) / 2
    y = drawing.y - HIP + 0.06 - half
    width = taper(y, look["shirt_hem"], 0.5, half)
    distance = box(x, y, width, half, 0.14)
    canvas.paint(distance, look["shirt_main"], show, outline=True)
    inside = distance + OUTLINE
    bands = stripes(x, y, look["shirt_angle"], look["shirt_period"], look["shirt_share"])
    banded = (look["shirt_share"] > 0).float() * show
    canvas.paint(torch.maximum(inside, bands), look["shirt_second"], banded)
    cells = ellipse(x - (x / 0.34).round() * 0.34, y - (y / 0.34).round() * 0.34, 1.0, 1.0) + 1 - look["shirt_dots"]
    canvas.paint(torch.maximum(inside, cells), look["shirt_second"], (look["shirt_dots"] > 0).float() * show)
    opened = (look["shirt_open"] > 0).float() * show
    seam = x.abs() - look["shirt_open"] * (1 + 0.8 * y)
    canvas.paint(torch.maximum(inside, seam), look["shirt_second"], opened)
    collared = (look["shirt_collar"] > 0).float() * show
    collar = box(x, y - half + 0.02, 0.34, look["shirt_collar"], 0.08)
    canvas.paint(collar, look["shirt_second"], collared, outline=True)


def _strap(drawing: Drawing) -> None:
    look, x, y = drawing.looks, drawing.x, drawing.y
    across = ((x - 0.45) * 0.58 - (y - SHOULDER) * 0.81 + 0.02).abs() - 0.07
    strap = torch.maximum(across, torch.maximum(x.abs() - 0.56, (y - 1.2).abs() - 0.46))
    drawing.canvas.paint(strap, look["bag_second"], drawing.show["bag"] * look["bag_strap"])


def _arms(drawing: Drawing) -> None:
    look, canvas, show = drawing.looks, drawing.canvas, drawing.show
    limbs, hands, sleeves = [], [], []
    for side, hand in ((-1.0, drawing.pose.left), (1.0, drawing.pose.right)):
        hand_x, hand_y = (value[:, None, None] for value in hand)
        shoulder_x, shoulder_y = torch.full_like(hand_x, 0.5 * side), torch.full_like(hand_y, SHOULDER - 0.12)
        reach = look["shirt_sleeve"]
        cuff = (shoulder_x + reach * (hand_x - shoulder_x), shoulder_y + reach * (hand_y - shoulder_y))
        limbs.append(capsule(drawing.x, drawing.y, (shoulder_x, shoulder_y), (hand_x, hand_y), 0.1))
        sleeves.append(capsule(drawing.x, drawing.y, (shoulder_x, shoulder_y), cuff, 0.15))
        hands.append(ellipse(drawing.x - hand_x, drawing.y - hand_y, 0.14, 0.14))
    canvas.paint(torch.minimum(torch.minimum(*limbs), torch.minimum(*hands)), look["skin"], show["body"], outline=True)
    canvas.paint(torch.minimum(*sleeves), look["shirt_main"], show["shirt"], outline=True)


def _bag(drawing: Drawing) -> None:
    look, canvas, show = drawing.looks, drawing.canvas, drawing.show["bag"]
    x, y = drawing.x + 0.76, drawing.y - look["bag_y"]
    half = look["bag_height"]
    handle = (ellipse(x, y - half, look["bag_handle"] + 0.05, look["bag_handle"] + 0.08)).abs() - 0.05
    canvas.paint(handle, look["bag_second"], show * (look["bag_handle"] > 0).float())
    body = box(x, y, taper(y, look["bag_width"], look["bag_width"] * 0.9, half), half, 0.07)
    canvas.paint(body, look["bag_main"], show, outline=True)
    flap = torch.maximum(body + OUTLINE, half * (1 - 2 * look["bag_flap"]) - y)
    canvas.paint(flap, look["bag_second"], show)


def _back_hair(drawing: Drawing) -> None:
    look, (x, y) = drawing.looks, drawing.head()
    top = look["head_height"]
    bottom = look["hair_bottom"] - HEAD
    half = (top - bottom) / 2
    distance = box(x, y - (top + bottom) / 2, look["head_width"] * 0.93 + look["hair_width"], half + 0.06, 0.3)
    drawing.canvas.paint(distance, look["hair"], drawing.show["face"], outline=True)


def _ears(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    side, size, half = x.abs(), look["ear_width"], look["ear_height"].clamp(min=1e-3)
    out, up = side - look["head_width"] * look["ear_out"], y - look["head_height"] * look["ear_up"]
    ear = box(out, up, taper(up, size, size * look["ear_top"], half), half, look["ear_round"])
    shown = show * (size > 0).float()
    canvas.paint(ear, look["hair"], shown, outline=True)
    canvas.paint(ear + 0.5 * size, look["skin"], shown)
    length = look["antenna"].clamp(min=1e-3)
    stop = (look["head_width"] + length * 0.6, 0.2 + length)
    rod = capsule(side, y, (look["head_width"] - 0.1, torch.full_like(length, 0.1)), stop, 0.06)
    tip = ellipse(side - stop[0], y - stop[1], 0.13, 0.13)
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
    muzzle = ellipse(x, y + 0.24, look["muzzle"].clamp(min=1e-3), look["muzzle"].clamp(min=1e-3) * 0.75)
    canvas.paint(torch.maximum(muzzle, inside), look["hair"], show * (look["muzzle"] > 0).float())
    pink = look["skin"] * 0.55 + drawing.constant((0.95, 0.35, 0.35)) * 0.45
    canvas.paint(ellipse(x.abs() - 0.4, y + 0.2, 0.13, 0.1), pink, show * look["cheeks"])


def _eyes(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    side, size = x.abs() - look["eye_gap"], look["eye_size"]
    tall, rounding = size * look["eye_tall"], size * (1 - 0.8 * look["eye_square"])
    canvas.paint(box(side, y - 0.02, size + 0.05, tall + 0.05, rounding), drawing.constant((0.98, 0.98, 0.98)), show)
    canvas.paint(box(side, y - 0.02, size, tall, rounding), look["eye"], show)


def _mouth(drawing: Drawing) -> None:
    look, canvas, show, (x, y) = drawing.looks, drawing.canvas, drawing.show["face"], drawing.head()
    curve = look["mouth_curve"] * x.square()
    canvas.paint(box(x, y + 0.32 - curve, look["mouth_width"], torch.full_like(curve, 0.05), 0.04), look["mouth"], show)
    nose = ellipse(x, y + 0.13, look["nose"].clamp(min=1e-3), look["nose"].clamp(min=1e-3) * 0.75)
    canvas.paint(nose, drawing.constant((0.1, 0.08, 0.1)), show * (look["nose"] > 0).float())
    lines = torch.minimum((y + 0.12).abs(), (y + 0.26).abs()) - 0.03
    whiskers = torch.maximum(lines, (x.abs() - 0.56).abs() - 0.2)
    canvas.paint(whiskers, look["hair"] * 0.5, show * look["whiskers"])


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
