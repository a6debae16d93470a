"""What the loader hands to the trainer."""

import re
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lumosx.errors import InputError
from lumosx.relations import TokenLayout


@dataclass(frozen=True, order=True)
class Bucket:
    """Size and length that clips are brought to, so that they can share a batch."""

    width: int
    height: int
    frames: int

    @classmethod
    def parse(cls, text: str) -> "Bucket":
        """From "832x480x81".

        Raises:
            InputError: another form.
        """
        match = re.fullmatch(r"(\d+)x(\d+)x(\d+)", text)
        if not match or not all(int(number) for number in match.groups()):
            raise InputError(f"data.buckets: {text!r} is not WIDTHxHEIGHTxFRAMES, such as 832x480x81")
        return cls(*map(int, match.groups()))

    def __str__(self) -> str:
        return f"{self.width}x{self.height}x{self.frames}"


@dataclass(frozen=True)
class Broken:
    """A sample that could not be read; another stands in its place."""

    sample: str
    reason: str


@dataclass(frozen=True)
class Batch:
    """B clips of one bucket as pixels, their references unpadded."""

    samples: list[str]  # ids, the keys of all that is drawn for them
    video: Tensor  # [B, 3, F, H, W], uint8, or float32 in [-1, 1]
    references: list[Tensor]  # B of [R, 3, H, W], float32 in [-1, 1]
    token_ids: Tensor  # int64 [B, text]
    token_mask: Tensor  # int64 [B, text]
    layouts: list[TokenLayout]


@dataclass(frozen=True)
class EncodedBatch:
    """The same as the transformer reads it."""

    samples: list[str]
    latents: Tensor  # [B, C, T, h, w], normalised
    references: list[Tensor]  # B of [C, R, h, w], normalised
    text: Tensor  # [B, text, D], zero behind each last token
    layouts: list[TokenLayout]

    def to(self, device: torch.device) -> "EncodedBatch":
        """The same on another device."""
        references = [latents.to(device) for latents in self.references]
        return replace(self, latents=self.latents.to(device), references=references, text=self.text.to(device))


@dataclass(frozen=True)
class StepData:
    """One rank's share of one training step."""

    batches: list[Batch] | list[EncodedBatch]  # micro-batches
    order: list[str]  # the samples of the whole step, over all ranks
    position: dict[str, Any]  # of the sampler behind this step, for a checkpoint
    broken: list[Broken] = field(default_factory=list)
