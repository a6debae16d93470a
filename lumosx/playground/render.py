"""Renders truths: clips, and every entity alone as its reference picture. Batched over clips, frames and
figures.

All figures of all frames are one batch of drawings; only laying them over one another goes figure by figure.
Clips may have any number of subjects, so nothing is padded.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lumosx.playground.camera import Camera
from lumosx.playground.figures import PARTS, Pose, draw_figures
from lumosx.playground.looks import ATTRIBUTES, BARE, FACES, HAT_BASE, HEAD, HIP, SHOULDER, STUDIO, Colour, Look
from lumosx.playground.scenery import draw_backgrounds, draw_things
from lumosx.playground.shapes import Looks
from lumosx.playground.truth import Subject, Thing, Truth

TALL = 3.8  # figure units a frame's height must hold
GROUND = 0.22  # of a unit, from the frame's lower edge to the nearest figures' feet
LIFT = 0.24  # units that the farthest figure stands higher
SHRINK = 0.08  # share by which it is smaller
THING = 0.42  # an object's unit, in figure units
VIEWS = {  # what a reference shows: centre (x, y) and half side, in figure units
    "face": (0.0, HEAD + 0.08, 1.08),
    "hat": (0.0, HAT_BASE + 0.42, 0.96),
    "shirt": (0.0, SHOULDER - 0.42, 1.0),
    "trousers": (0.0, HIP / 2 + 0.06, 0.8),
    "glasses": (0.0, HEAD + 0.02, 0.62),
    "bag": (-0.26, HIP + 0.2, 0.97),
}


@dataclass(frozen=True)
class Stage:
    """How figures stand in a frame: `unit` pixels a figure unit, the nearest feet on row `ground`, slot centres in
    pixels.
    """

    unit: float
    ground: float
    slots: tuple[float, ...]

    @classmethod
    def of(cls, size: tuple[int, int], count: int) -> Stage:
        """The stage of `count` subjects: as large as the slots' width and the frame's height let them be."""
        width, height = size
        unit = min(width / count / 2, height / TALL)
        return cls(unit, height - GROUND * unit, tuple(width * (slot + 0.5) / count for slot in range(count)))

    def track(self, slot: int, goal: int, frames: int) -> Tensor:
        """Centres [frames], in pixels, of one who stands in `slot` first and in `goal` last."""
        time = torch.arange(frames) / max(frames - 1, 1)
        way = time.square() * (3 - 2 * time)
        return self.slots[slot] + (self.slots[goal] - self.slots[slot]) * way

    def scale(self, depth: float) -> float:
        """The unit, in pixels, at a depth."""
        return self.unit * (1 - SHRINK * depth)

    def feet(self, depth: float) -> float:
        """The row of the feet at a depth."""
        return self.ground - LIFT * depth * self.unit


def pack(looks: Sequence[Look], device: torch.device | str) -> Looks:
    """Looks of one kind as tensors: numbers [N, 1, 1], colours [N, 3]."""
    packed = {}
    for name, first in looks[0].items():
        values = torch.tensor([look[name] for look in looks], dtype=torch.float32, device=device)
        packed[name] = values if isinstance(first, tuple) else values[:, None, None]
    return packed


def _filler() -> Look:
    """A look for every field, for what is not seen of a figure; only the bare torso ever shows."""
    look: Look = {}
    for nouns in (FACES, *ATTRIBUTES.values()):
        for name, span in next(iter(nouns.values())).items():
            look[name] = (0.0, 0.0, 0.0) if isinstance(span, Colour) else sum(span) / 2
    return look | BARE


FILLER = _filler()
BARE_PARTS = frozenset({"face", "body", "shadow", "shirt", "trousers"})  # of a figure without any attribute


def figure_look(subject: Subject) -> Look:
    """A subject's face and everything worn as one look, complete for `draw_figures`."""
    look = FILLER | subject.look
    for attribute in subject.attributes:
        look |= attribute.look
    return look


def worn_parts(subject: Subject) -> set[str]:
    """The parts that are seen of a subject in a clip."""
    return {*BARE_PARTS, *(attribute.family for attribute in subject.attributes)}


def shown(parts: Sequence[set[str]], device: torch.device | str) -> dict[str, Tensor]:
    """Opacities [N] for `draw_figures`, from the set of visible parts of each drawing."""
    return {part: torch.tensor([float(part in visible) for visible in parts], device=device) for part in PARTS}


@dataclass(frozen=True)
class Moves:
    """Poses and offsets of figures over time: `pose` fields are [S * F], x and y [S * F] in figure units."""

    pose: Pose
    x: Tensor
    y: Tensor


def move(subjects: Sequence[Subject], frames: int, device: torch.device | str) -> Moves:
    """Let every subject wave, nod or walk on the spot for `frames` frames, one turn of the motion."""

    def column(values: list[float]) -> Tensor:
        return torch.tensor(values, device=device)[:, None]

    motions = [subject.motion for subject in subjects]
    verb = {name: column([float(motion.verb == name) for motion in motions]) for name in ("wave", "nod", "walk")}
    side = column([float(motion.side) for motion in motions])
    time = torch.arange(frames, device=device)[None] / max(frames - 1, 1)
    angle = 2 * math.pi * (time + column([motion.phase for motion in motions]))
    swing = torch.sin(angle)
    wave_x, wave_y = 0.86 + 0.1 * swing, 1.78 + 0.18 * torch.cos(angle)

    def hand(sign: float) -> tuple[Tensor, Tensor]:
        waving = verb["wave"] * (side == sign)
        rest = 0.82 + 0.06 * sign * verb["walk"] * swing
        x, y = 0.78 + waving * (wave_x - 0.78), rest + waving * (wave_y - rest)
        return (sign * x).flatten(), y.flatten()

    nod = -0.09 * verb["nod"] * (1 + swing)
    stays = column([float(subject.goal == subject.slot) for subject in subjects])
    sway = verb["walk"] * stays * side * 0.14 * swing + column([subject.shift for subject in subjects])
    bob = 0.04 * verb["walk"] * torch.cos(2 * angle).abs() + 0.01 * swing
    pose = Pose(hand(-1.0), hand(1.0), nod.flatten(), (0.22 * verb["walk"] * torch.cos(angle)).flatten())
    return Moves(pose, sway.flatten(), bob.flatten())


@dataclass(frozen=True)
class Cast:
    """The figures of all clips, the farthest first in each: (clip, subject), and their paths over all frames."""

    members: list[tuple[int, Subject]]
    frames: int
    moves: Moves
    camera: Camera

    @classmethod
    def of(cls, truths: Sequence[Truth], device: torch.device | str) -> Cast:
        """Everybody of `truths`, in motion."""
        frames = truths[0].frames
        members = [(b, subject) for b, truth in enumerate(truths) for subject in truth.subjects]
        members.sort(key=lambda member: (member[0], -member[1].depth))
        moves = move([subject for _, subject in members], frames, device)
        stages = [Stage.of(truths[b].size, len(truths[b].subjects)) for b, _ in members]

        def per_frame(values: list[float]) -> Tensor:
            return torch.tensor(values, device=device).repeat_interleave(frames)

        staged = [(stage, subject) for stage, (_, subject) in zip(stages, members, strict=True)]
        unit = per_frame([stage.scale(subject.depth) for stage, subject in staged])
        x = torch.cat([stage.track(subject.slot, subject.goal, frames) for stage, subject in staged]).to(device)
        y = per_frame([stage.feet(subject.depth) for stage, subject in staged])
        return cls(members, frames, moves, Camera(x + moves.x * unit, y - moves.y * unit, unit))

    def draw(self, height: int, width: int) -> Tensor:
        """Layers [S, F, 4, H, W] of all figures."""
        device, subjects = self.camera.unit.device, [subject for _, subject in self.members]
        looks = _every_frame(pack([figure_look(subject) for subject in subjects], device), self.frames)
        show = _every_frame(shown([worn_parts(subject) for subject in subjects], device), self.frames)
        layers = draw_figures(looks, self.moves.pose, self.camera, show, height, width)
        return layers.unflatten(0, (len(subjects), self.frames))

    def free_hand(self, clip: int, subject: Subject) -> tuple[Tensor, Tensor]:
        """Where, in pixels, a subject holds something: the path [F] of the hand that does not wave."""
        row = next(i for i, (b, member) in enumerate(self.members) if b == clip and member is subject)
        steps = slice(row * self.frames, (row + 1) * self.frames)
        x, y = self.moves.pose.left if subject.motion.side > 0 else self.moves.pose.right
        unit = self.camera.unit[steps]
        return self.camera.centre[steps] + 0.85 * x[steps] * unit, self.camera.ground[steps] - (y[steps] - 0.08) * unit


def render_clips(truths: Sequence[Truth], device: torch.device | str = "cpu") -> Tensor:
    """Video [B, 3, F, H, W] in [-1, 1] of truths that share one size and one number of frames."""
    width, height = truths[0].size
    cast = Cast.of(truths, device)
    clip = render_backdrops(truths, height, width, device).unsqueeze(1)
    clip = clip.repeat(1, cast.frames, 1, 1, 1)  # [B, F, 3, H, W] while painting
    layers = cast.draw(height, width)
    clips = [b for b, _ in cast.members]
    turns = [clips[:row].count(b) for row, b in enumerate(clips)]  # from the farthest to the nearest in each clip
    for turn in range(max(turns) + 1):
        rows = [row for row, its in enumerate(turns) if its == turn]
        _lay_over(clip, [clips[row] for row in rows], layers[rows])
    _lay_things(clip, truths, cast)
    return clip.transpose(1, 2) * 2 - 1


def _every_frame(values: dict[str, Tensor], frames: int) -> dict[str, Tensor]:
    return {name: value.repeat_interleave(frames, dim=0) for name, value in values.items()}


def _lay_over(clip: Tensor, rows: list[int], layers: Tensor) -> None:
    clip[rows] = clip[rows] * (1 - layers[:, :, 3:]) + layers[:, :, :3]


def _lay_things(clip: Tensor, truths: Sequence[Truth], cast: Cast) -> None:
    """Objects over figures: standing on the ground, or in a hand."""
    things = [(b, thing) for b, truth in enumerate(truths) if (thing := truth.object) is not None]
    if not things:
        return
    (width, height), frames = truths[0].size, cast.frames
    units, xs, ys = [], [], []
    for b, thing in things:
        stage = Stage.of(truths[b].size, len(truths[b].subjects))
        if thing.holder is None:
            x = clip.new_full((frames,), width * (1 + thing.x) / 2)
            y = clip.new_full((frames,), stage.ground - thing_height(thing) * THING * stage.unit)
        else:
            x, y = cast.free_hand(b, truths[b].subjects[thing.holder])
        xs.append(x)
        ys.append(y)
        units.append(clip.new_full((frames,), stage.unit * THING))
    looks = _every_frame(pack([thing.look for _, thing in things], clip.device), frames)
    layers = draw_things(looks, Camera(torch.cat(xs), torch.cat(ys), torch.cat(units)), height, width)
    _lay_over(clip, [b for b, _ in things], layers.unflatten(0, (len(things), frames)))


def thing_height(thing: Thing) -> float:
    """From an object's centre to its foot, in its own units."""
    height = thing.look["height"]
    assert isinstance(height, float)
    return 0.97 if thing.look["pole"] else height


def render_backdrops(truths: Sequence[Truth], height: int, width: int, device: torch.device | str) -> Tensor:
    """Backgrounds alone, RGB [B, 3, height, width] in 0..1; a plain studio where a clip has none."""
    pictures = torch.tensor(STUDIO, device=device)[None, :, None, None].repeat(len(truths), 1, height, width)
    rows = [b for b, truth in enumerate(truths) if truth.background is not None]
    if rows:
        looks = pack([backdrop.look for b in rows if (backdrop := truths[b].background) is not None], device)
        pictures[rows] = draw_backgrounds(looks, height, width)
    return pictures


def render_references(
    truths: Sequence[Truth], height: int, width: int, device: torch.device | str = "cpu"
) -> list[Tensor]:
    """Per clip [R, 3, height, width] in [-1, 1]: background, object, then each subject's face and attributes.

    Everything but the background stands alone on white in a centred square of the picture's short side.
    """
    figures = [(b, s, part) for b, truth in enumerate(truths) for s in truth.subjects for part in members_of(s)]
    side = min(height, width)

    def square(views: list[tuple[float, float, float]]) -> Camera:
        x, y, half = torch.tensor(views, device=device).unbind(1)
        unit = side / 2 / half
        return Camera(width / 2 - x * unit, height / 2 + y * unit, unit)

    camera = square([VIEWS[part] for _, _, part in figures])
    looks = pack([figure_look(subject) for _, subject, _ in figures], device)
    show = shown([{part} for _, _, part in figures], device)
    members = _on_white(draw_figures(looks, Pose.standing(len(figures), device), camera, show, height, width))
    with_thing = [(b, thing) for b, truth in enumerate(truths) if (thing := truth.object) is not None]
    pieces: list[list[Tensor]] = [[] for _ in truths]
    backdrops = render_backdrops(truths, height, width, device)
    for b, truth in enumerate(truths):
        if truth.background is not None:
            pieces[b].append(backdrops[b])
    if with_thing:
        camera = square([(0.0, 0.0, 1.12)] * len(with_thing))
        drawn = _on_white(draw_things(pack([thing.look for _, thing in with_thing], device), camera, height, width))
        for (b, _), picture in zip(with_thing, drawn, strict=True):
            pieces[b].append(picture)
    for (b, _, _), picture in zip(figures, members, strict=True):
        pieces[b].append(picture)
    return [torch.stack(parts) * 2 - 1 for parts in pieces]


def members_of(subject: Subject) -> list[str]:
    """A subject's references by part, in token order."""
    return ["face", *(attribute.family for attribute in subject.attributes)]


def _on_white(layers: Tensor) -> Tensor:
    return layers[:, :3] + 1 - layers[:, 3:]
