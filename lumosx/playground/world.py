"""The procedural world: seeds in, clips with their references, captions and exact truth out.

Made for training and measuring binding where nothing can be downloaded: because the world draws every look
and every owner, what a model must not know is never in the text, and what it made can be read back
(`measure.py`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lumosx.errors import InputError
from lumosx.playground.render import render_backdrops, render_clips, render_references
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.playground.truth import Subject, Truth


@dataclass(frozen=True)
class Clips:
    """A batch of rendered clips.

    video: float32 [B, 3, F, H, W] in [-1, 1].
    references: per clip float32 [R_b, 3, H, W] in [-1, 1]: background, object, then each subject's face and
    attributes.
    truth: per clip everything that is true of it.
    """

    video: Tensor
    references: list[Tensor]
    truth: list[Truth] = field(repr=False)

    def __len__(self) -> int:
        return len(self.truth)

    def frames(self, index: int) -> np.ndarray:
        """Clip `index` as uint8 [F, H, W, 3], as `read_clip` takes it."""
        return to_uint8(self.video[index]).permute(1, 2, 3, 0).cpu().numpy()

    @cached_property
    def scenes(self) -> list[dict[str, Any]]:
        """Every clip as a dict in the scene format, pictures as high as the clip."""
        width, height = self.truth[0].size
        pictures = self.references if width == height else render_references(self.truth, height, height)
        return [
            _scene(truth, _pictures(truth, items, height)) for truth, items in zip(self.truth, pictures, strict=True)
        ]

    def scene(self, index: int, picture_size: int = 128) -> dict[str, Any]:
        """Clip `index` as a dict in the scene format; `image` values are PIL pictures `picture_size` high."""
        truth = self.truth[index]
        references = render_references([truth], picture_size, picture_size)[0]
        return _scene(truth, _pictures(truth, references, picture_size))


@dataclass(frozen=True)
class World:
    """Clips of `size` (width, height) pixels and `frames` frames."""

    size: tuple[int, int] = (64, 64)
    frames: int = 17

    def render(
        self,
        seeds: Sequence[int],
        *,
        split: str = "train",
        subjects: int | None = None,
        placed: bool | None = None,
        same_noun: bool | None = None,
        background: bool | None = None,
        device: torch.device | str = "cpu",
    ) -> Clips:
        """One clip a seed (0 or more); the same arguments give the same bytes, and splits never share a draw.

        `subjects`, `placed` (the caption says where they stand), `same_noun` (two share their noun) and
        `background` are drawn per clip where they are None. Raises InputError for values that no clip can
        have.
        """
        wishes = Wishes(subjects, placed, same_noun, background)
        truths = [sample_truth(seed, split, self.size, self.frames, wishes) for seed in seeds]
        return self.draw(truths, device=device)

    def draw(self, truths: Sequence[Truth], *, device: torch.device | str = "cpu") -> Clips:
        """Render given truths, edited ones too. Raises InputError if one has another size or length."""
        wrong = {(truth.size, truth.frames) for truth in truths} - {(self.size, self.frames)}
        if wrong or not truths:
            raise InputError(f"this world draws {self.size} x {self.frames}; got {sorted(wrong) or 'no truth at all'}")
        width, height = self.size
        with torch.no_grad():
            video = render_clips(truths, device)
            return Clips(video, render_references(truths, height, width, device), list(truths))


def to_uint8(pixels: Tensor) -> Tensor:
    """Values in [-1, 1] as bytes."""
    return pixels.add(1).mul(127.5).round().clamp(0, 255).byte()


def _pictures(truth: Truth, references: Tensor, height: int) -> list[Image.Image]:
    """PIL pictures of a clip's references; the background in the clip's aspect, everything else square."""
    pictures = [_picture(reference) for reference in references]
    width, full = truth.size
    if truth.background is not None and width != full:
        wide = render_backdrops([truth], height, round(height * width / full), "cpu")[0]
        pictures[0] = _picture(wide * 2 - 1)
    return pictures


def _picture(pixels: Tensor) -> Image.Image:
    return Image.fromarray(to_uint8(pixels).permute(1, 2, 0).cpu().numpy())


def _scene(truth: Truth, pictures: list[Image.Image]) -> dict[str, Any]:
    images = iter(pictures)
    scene: dict[str, Any] = {"lumosx": 1, "id": f"{truth.split}_{truth.seed:06d}", "prompt": truth.prompt}
    if truth.background is not None:
        scene["background"] = {"word": truth.background.word, "image": next(images)}
    if truth.object is not None:
        scene["objects"] = [{"word": truth.object.word, "image": next(images)}]
    scene["subjects"] = [_subject(subject, images) for subject in truth.subjects]
    width, height = truth.size
    scene["generation"] = {"size": f"{width}x{height}", "frames": truth.frames}
    return scene


def _subject(subject: Subject, images: Iterator[Image.Image]) -> dict[str, Any]:
    entry: dict[str, Any] = {"id": subject.id, "word": subject.word, "face": next(images), "attributes": []}
    for attribute in subject.attributes:
        item: dict[str, Any] = {"word": attribute.word, "image": next(images)}
        if attribute.occurrence is not None:
            item["occurrence"] = list(attribute.occurrence)
        entry["attributes"].append(item)
    return entry
