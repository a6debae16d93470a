"""Codecs of blocks: stand-ins for a video VAE that cost seconds to fit and next to nothing to run.

Where no GPU is at hand a learned VAE takes hours to get past a blur. `SpaceToDepthCodec` rearranges pixels into
channels and loses nothing; `LinearCodec` keeps the directions in which such blocks differ most. Both have
`AutoencoderKLWan`'s interface and its temporal layout (the first frame is a latent frame of its own, later ones go four
by four), so the pipeline, the trainer and the caches treat all three alike.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.autoencoders.vae import DecoderOutput
from diffusers.models.modeling_outputs import AutoencoderKLOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from einops import rearrange
from torch import Tensor, nn

from lumosx.models.precision import without_autocast


@dataclass(frozen=True)
class ExactLatents:
    """A distribution without variance, with the two methods of diffusers' `DiagonalGaussianDistribution` in use."""

    latents: Tensor

    def mode(self) -> Tensor:
        """The latents."""
        return self.latents

    def sample(self, generator: torch.Generator | None = None) -> Tensor:
        """The latents; `generator` has nothing to draw."""
        del generator
        return self.latents


def to_blocks(video: Tensor, space: int, time: int) -> Tensor:
    """Blocks [B, 3 * time * space^2, 1 + n, H / space, W / space] of videos [B, 3, 1 + n * time, H, W].

    The first frame makes blocks of its own, of `time` copies of itself.

    Raises:
        ValueError: frames, H or W do not divide so.
    """
    frames, height, width = video.shape[2:]
    if (frames - 1) % time or height % space or width % space:
        raise ValueError(
            f"a video of {frames} frames of {width}x{height}: frames must be 1 + a multiple of {time}, "
            f"width and height multiples of {space}"
        )
    padded = torch.cat([video[:, :, :1].expand(-1, -1, time - 1, -1, -1), video], dim=2)
    return rearrange(padded, "b c (f t) (h p) (w q) -> b (c t p q) f h w", t=time, p=space, q=space)


def from_blocks(blocks: Tensor, space: int, time: int) -> Tensor:
    """The videos of `to_blocks`; the first frame is the mean of its copies."""
    padded = rearrange(blocks, "b (c t p q) f h w -> b c (f t) (h p) (w q)", t=time, p=space, q=space)
    first = padded[:, :, :time].mean(dim=2, keepdim=True)
    return torch.cat([first, padded[:, :, time:]], dim=2)


class SpaceToDepthCodec(ModelMixin, ConfigMixin):
    """Videos [B, 3, 1 + 4 n, H, W] in [-1, 1] to latents [B, z_dim, 1 + n, H / s, W / s] and back, losslessly.

    Args:
        scale_factor_spatial: s.
        scale_factor_temporal: frames of one latent frame; the first frame fills its latent alone, repeated.
        z_dim: channels of the latents; follows from the two factors, stated because pipelines read it.
        latents_mean, latents_std: per channel, as in `AutoencoderKLWan`; None for 0 and 1.
    """

    config: Any  # diffusers types it as a plain dict

    @register_to_config
    def __init__(
        self,
        scale_factor_spatial: int = 4,
        scale_factor_temporal: int = 4,
        z_dim: int = 192,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ) -> None:
        super().__init__()
        channels = 3 * scale_factor_temporal * scale_factor_spatial**2
        if z_dim != channels:
            raise ValueError(f"z_dim must be 3 * {scale_factor_temporal} * {scale_factor_spatial}^2 = {channels}")
        self.register_to_config(
            latents_mean=latents_mean or [0.0] * channels, latents_std=latents_std or [1.0] * channels
        )
        # ModelMixin reads device and type off a parameter; this one is saved with the folder.
        self.anchor = nn.Parameter(torch.zeros(()), requires_grad=False)

    @apply_forward_hook
    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Latents of a video [B, 3, F, H, W] as `.latent_dist.mode()`.

        Raises:
            ValueError: F is not 1 + n * scale_factor_temporal, or H or W not a multiple of scale_factor_spatial.
        """
        latents = to_blocks(x, self.config.scale_factor_spatial, self.config.scale_factor_temporal)
        return AutoencoderKLOutput(latent_dist=ExactLatents(latents))  # pyright: ignore[reportArgumentType]

    @apply_forward_hook
    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """The video [B, 3, F, H, W] of latents; the first frame is the mean of its copies."""
        video = from_blocks(z, self.config.scale_factor_spatial, self.config.scale_factor_temporal)
        return DecoderOutput(sample=video) if return_dict else (video,)


class LinearCodec(ModelMixin, ConfigMixin):
    """Videos [B, 3, 1 + 4 n, H, W] in [-1, 1] to latents [B, z_dim, 1 + n, H / s, W / s], by an orthonormal map.

    A latent is where a block lies along `basis` from the block `mean`. With the principal components of blocks, which
    `lumosx train experiment=tiny_codec` finds, no linear codec of as many channels comes closer. Channels keep their
    scale: equalised, the coarse ones would drown in the same noise as the fine ones.

    Args:
        scale_factor_spatial: s.
        scale_factor_temporal: frames of one latent frame; the first frame fills its latent alone, repeated.
        z_dim: channels of the latents, at most the numbers of a block.
        latents_mean, latents_std: per channel, as in `AutoencoderKLWan`; None for 0 and 1.
    """

    config: Any  # diffusers types it as a plain dict
    basis: Tensor
    mean: Tensor

    @register_to_config
    def __init__(
        self,
        scale_factor_spatial: int = 8,
        scale_factor_temporal: int = 4,
        z_dim: int = 64,
        latents_mean: list[float] | None = None,
        latents_std: list[float] | None = None,
    ) -> None:
        super().__init__()
        numbers = 3 * scale_factor_temporal * scale_factor_spatial**2
        if not 1 <= z_dim <= numbers:
            raise ValueError(
                f"z_dim must be from 1 to 3 * {scale_factor_temporal} * {scale_factor_spatial}^2 = {numbers}"
            )
        self.register_to_config(latents_mean=latents_mean or [0.0] * z_dim, latents_std=latents_std or [1.0] * z_dim)
        self.register_buffer("basis", torch.eye(numbers)[:z_dim].clone())  # orthonormal rows [z_dim, numbers]
        self.register_buffer("mean", torch.zeros(numbers))

    @apply_forward_hook
    def encode(self, x: Tensor) -> AutoencoderKLOutput:
        """Latents of a video [B, 3, F, H, W] as `.latent_dist.mode()`.

        Raises:
            ValueError: F is not 1 + n * scale_factor_temporal, or H or W not a multiple of scale_factor_spatial.
        """
        blocks = to_blocks(x, self.config.scale_factor_spatial, self.config.scale_factor_temporal)
        latents = torch.einsum("zn,bnfhw->bzfhw", self.basis, blocks - self.mean.view(1, -1, 1, 1, 1))
        return AutoencoderKLOutput(latent_dist=ExactLatents(latents))  # pyright: ignore[reportArgumentType]

    @apply_forward_hook
    def decode(self, z: Tensor, return_dict: bool = True) -> DecoderOutput | tuple[Tensor]:
        """The video [B, 3, F, H, W] of latents, not clamped; the first frame is the mean of its copies."""
        blocks = torch.einsum("zn,bzfhw->bnfhw", self.basis, z) + self.mean.view(1, -1, 1, 1, 1)
        video = from_blocks(blocks, self.config.scale_factor_spatial, self.config.scale_factor_temporal)
        return DecoderOutput(sample=video) if return_dict else (video,)


Codec = AutoencoderKLWan | SpaceToDepthCodec | LinearCodec
CODECS: dict[str, type[Codec]] = {kind.__name__: kind for kind in (AutoencoderKLWan, SpaceToDepthCodec, LinearCodec)}


def encode_latents(codec: Codec, video: Tensor) -> Tensor:
    """Normalised latents of videos, as the transformer knows them, in the codec's own type whatever autocast says.

    Args:
        codec: on the video's device.
        video: [B, 3, F, H, W] in [-1, 1]; a picture is a video of one frame.

    Returns:
        float32 [B, C, T, h, w].
    """
    mean, std = _statistics(codec, video.device)
    with without_autocast(video.device):  # Wan's codec loses detail in half precision
        latents: Any = codec.encode(video.to(codec.dtype))
    return (latents.latent_dist.mode().float() - mean) / std


def decode_latents(codec: Codec, latents: Tensor) -> Tensor:
    """Videos float32 [B, 3, F, H, W], not clamped, of normalised latents [B, C, T, h, w]."""
    mean, std = _statistics(codec, latents.device)
    with without_autocast(latents.device):
        decoded: Any = codec.decode((latents * std + mean).to(codec.dtype))
    return decoded.sample.float()


def _statistics(codec: Codec, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each latent channel, [1, C, 1, 1, 1]."""
    config: Any = codec.config
    mean, std = (torch.tensor(config[key], device=device) for key in ("latents_mean", "latents_std"))
    return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)
