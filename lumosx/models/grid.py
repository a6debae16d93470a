"""How a model cuts a clip up into latents and tokens, and which sizes it can therefore make."""

from dataclasses import dataclass
from typing import Any, Protocol

from lumosx.errors import InputError


class Sized(Protocol):
    """Anything that has the size of a clip: settings of the sampling, a bucket of the training."""

    @property
    def width(self) -> int:
        """Pixels."""
        ...

    @property
    def height(self) -> int:
        """Pixels."""
        ...

    @property
    def frames(self) -> int:
        """Frames in all."""
        ...


@dataclass(frozen=True)
class Grid:
    """Pixels and frames of a latent cell, and latent cells of a token (t, h, w)."""

    spatial: int
    temporal: int
    patch: tuple[int, int, int]

    @classmethod
    def of(cls, codec: Any, patch: tuple[int, int, int]) -> "Grid":
        """Of a codec's configuration and a transformer's `patch_size`."""
        return cls(codec.scale_factor_spatial, codec.scale_factor_temporal, patch)

    def check(self, clip: Sized) -> None:
        """Raises InputError naming the nearest legal values if the model cannot make a clip of this size."""
        problems = []
        for name, value, patch in (("width", clip.width, self.patch[2]), ("height", clip.height, self.patch[1])):
            if value < 1 or value % (unit := self.spatial * patch):
                problems.append(f"{name} {value} is not a multiple of {unit}; nearest: {_nearest(value, unit, 0)}")
        if clip.frames < 1 or (clip.frames - 1) % self.temporal:
            near = _nearest(clip.frames, self.temporal, 1)
            problems.append(f"frames {clip.frames} is not 1 + a multiple of {self.temporal}; nearest: {near}")
        if problems:
            raise InputError("this model cannot make a clip of that size: " + "; ".join(problems))

    def latents(self, clip: Sized) -> tuple[int, int, int]:
        """Latent (T, h, w) of a clip."""
        time = 1 + (clip.frames - 1) // self.temporal
        return time, clip.height // self.spatial, clip.width // self.spatial

    def tokens(self, clip: Sized) -> tuple[int, int, int]:
        """Tokens (T, H, W) of a clip."""
        time, height, width = (-(-n // p) for n, p in zip(self.latents(clip), self.patch, strict=True))
        return time, height, width


def _nearest(value: int, unit: int, offset: int) -> str:
    lower = max((value - offset) // unit * unit + offset, offset or unit)
    return f"{lower} or {lower + unit}"
