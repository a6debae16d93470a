"""Reads what nobody wears: the object, and the background where figures leave it free."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.playground.camera import Camera
from lumosx.playground.figures import Pose, draw_figures
from lumosx.playground.matching import Matcher, Track, blur, distances
from lumosx.playground.render import THING, figure_look, pack, shown, thing_height, worn_parts
from lumosx.playground.scenery import draw_things
from lumosx.playground.truth import Thing

ABSENT = 0.12  # RMS colour difference (0..1) above which an object is not seen
HAND = (0.66, 0.74)  # where an object is held, in figure units to either side and above the feet


@dataclass(frozen=True)
class Found:
    """Whether the object is seen, and what it would cover where it fits best: [F, H, W] of 0 and 1."""

    seen: bool
    covered: Tensor


def find_thing(matcher: Matcher, thing: Thing, holder: Track | None) -> Found:
    """Look for an object in the hands of whoever should hold it, or anywhere on the ground if nobody should.

    It is drawn alone, so a place beside it costs what is really there.
    """
    unit = matcher.stage.unit * THING
    half = math.ceil(unit * 1.2)
    camera = Camera(*(torch.tensor([value]) for value in (float(half), float(half), unit)))
    layers = draw_things(pack([thing.look], "cpu"), camera, 2 * half, 2 * half)
    around = matcher.frames.mean((0, 2, 3))[:, None, None]
    pictures = blur(around * (1 - layers[:, 3:]) + layers[:, :3])[None]
    opacity = blur(layers[:, 3:].expand(-1, 3, -1, -1))[:, 0]
    solid = opacity**4  # the edge shows what is behind
    costs, corners = [], []
    for centres, row, reach in _places(matcher, thing, holder):
        left, top = (centres - half).round().long(), round(row - half)
        tried = distances(matcher.windows(left, top, 2 * half, reach), pictures, solid)
        cost, offset = tried[..., 0].min(1)
        down, across = offset // (2 * reach[0] + 1) - reach[1], offset % (2 * reach[0] + 1) - reach[0]
        costs.append(cost)
        corners.append(torch.stack([top + down, left + across], 1))
    cost, place = torch.stack(costs).min(0)
    corner = torch.stack(corners)[place, torch.arange(len(place))]
    return Found(float(cost.median()) < ABSENT, _stamp(matcher, opacity[0] > 0.02, corner))


def _places(matcher: Matcher, thing: Thing, holder: Track | None) -> list[tuple[Tensor, float, tuple[int, int]]]:
    """Where an object's centre may be: (columns [F], row, reach in x and y), in pixels."""
    if holder is None:
        width, stage = matcher.truth.size[0], matcher.stage
        row = stage.ground - thing_height(thing) * THING * stage.unit
        return [(torch.full((len(matcher.steps),), width / 2), row, (round(width * 0.4), matcher.reach))]
    row, aside = holder.ground - HAND[1] * holder.unit, HAND[0] * holder.unit
    return [(holder.centres + side * aside, row, (matcher.reach, matcher.reach)) for side in (-1, 1)]


def _stamp(matcher: Matcher, shape: Tensor, corners: Tensor) -> Tensor:
    """[F, H, W] with a square shape [s, s] at corners [F, 2] (row, column), as far as it lies in the frame."""
    side = len(shape)
    covered = F.pad(torch.zeros_like(matcher.frames[:, 0]), (side,) * 4)
    for picture, (row, column) in zip(covered, (corners + side).tolist(), strict=True):
        picture[row : row + side, column : column + side] = shape
    return covered[:, side:-side, side:-side]


def free_background(matcher: Matcher, tracks: Sequence[Track]) -> Tensor:
    """[H, W]: what no figure on its way covers and no object may."""
    truth, steps = matcher.truth, len(matcher.steps)
    dressed = [subject for subject in truth.subjects for _ in range(steps)]
    looks = pack([figure_look(subject) for subject in dressed], "cpu")
    show = shown([worn_parts(subject) for subject in dressed], "cpu")
    centres = torch.cat([tracks[subject.slot].centres for subject in truth.subjects])
    ground = torch.tensor([tracks[subject.slot].ground for subject in dressed])
    camera = Camera(centres, ground, torch.tensor([tracks[subject.slot].unit for subject in dressed]))
    width, height = truth.size
    covered = draw_figures(looks, Pose.standing(len(dressed)), camera, show, height, width)[:, 3].amax(0)
    margin = matcher.reach // 2
    free = F.max_pool2d(covered[None], 2 * margin + 1, 1, margin)[0] < 0.01
    if truth.object is not None:
        free[round(matcher.stage.ground - matcher.stage.unit) :] = False
    return free


def background_difference(matcher: Matcher, free: Tensor) -> float:
    """RMS colour difference of the background in the median frame over free [H, W]."""
    difference = matcher.frames.median(0).values - blur(matcher.backdrop)[0]
    return float(difference[:, free].square().mean().sqrt())
