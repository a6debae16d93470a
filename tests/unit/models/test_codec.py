"""The codecs of blocks have AutoencoderKLWan's interface and temporal layout; one loses nothing, one projects."""

from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import AutoencoderKLWan
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

from lumosx.data.encoder import Encoder
from lumosx.errors import InputError
from lumosx.models import LinearCodec, SpaceToDepthCodec
from lumosx.models.codec import decode_latents, encode_latents, from_blocks, to_blocks

BLOCK = 3 * 4 * 4**2  # numbers of a block of the small codecs below


def linear(channels: int, **config: list[float]) -> LinearCodec:
    """Of 4x4x4 blocks, with a random orthonormal basis and mean."""
    codec, generator = LinearCodec(4, 4, channels, **config), torch.Generator().manual_seed(0)
    codec.basis.copy_(torch.linalg.qr(torch.randn(BLOCK, BLOCK, generator=generator)).Q[:channels])
    codec.mean.copy_(torch.rand(BLOCK, generator=generator))
    return codec


def encoded(codec: Any, video: Tensor) -> Tensor:
    return codec.encode(video).latent_dist.mode()


def decoded(codec: Any, latents: Tensor) -> Tensor:
    return codec.decode(latents).sample


def video(frames: int = 9, height: int = 8, width: int = 12) -> Tensor:
    return torch.rand(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1)) * 2 - 1


@given(
    latent_frames=st.integers(1, 4),
    rows=st.integers(1, 3),
    columns=st.integers(1, 3),
    space=st.sampled_from([2, 4]),
    time=st.sampled_from([2, 4]),
)
def test_round_trip_is_exact(latent_frames: int, rows: int, columns: int, space: int, time: int) -> None:
    codec = SpaceToDepthCodec(scale_factor_spatial=space, scale_factor_temporal=time, z_dim=3 * time * space**2)
    video = torch.randint(0, 256, (2, 3, 1 + time * (latent_frames - 1), rows * space, columns * space)) / 127.5 - 1
    latents = encoded(codec, video)
    assert latents.shape == (2, codec.config.z_dim, latent_frames, rows, columns)
    torch.testing.assert_close(decoded(codec, latents), video, atol=1e-6, rtol=0)


def test_a_linear_codec_with_every_channel_loses_nothing() -> None:
    codec = linear(BLOCK)
    torch.testing.assert_close(decoded(codec, encoded(codec, video())), video())


def test_a_linear_codec_projects_blocks_orthogonally() -> None:
    """What it drops lies across what it keeps: no other latents of this basis come closer."""
    codec, blocks = linear(24), to_blocks(video(), 4, 4)
    latents = encoded(codec, video())
    assert latents.shape == (2, 24, *blocks.shape[2:])
    kept = torch.einsum("zn,bzfhw->bnfhw", codec.basis, latents) + codec.mean.view(1, -1, 1, 1, 1)
    dropped = torch.einsum("zn,bnfhw->bzfhw", codec.basis, blocks - kept)
    torch.testing.assert_close(dropped, torch.zeros_like(dropped), atol=1e-5, rtol=0)
    torch.testing.assert_close(decoded(codec, latents), from_blocks(kept, 4, 4))


def test_the_mean_block_is_latent_zero() -> None:
    codec = linear(24)
    grey = from_blocks(codec.mean.view(1, -1, 1, 1, 1).expand(1, -1, 3, 2, 2), 4, 4)
    torch.testing.assert_close(decoded(codec, torch.zeros(1, 24, 3, 2, 2)), grey)
    later = encoded(codec, grey)[:, :, 1:]  # the first frame is the mean of four that differ
    torch.testing.assert_close(later, torch.zeros_like(later), atol=1e-5, rtol=0)


@pytest.mark.parametrize("codec", [SpaceToDepthCodec(), linear(24)], ids=["space to depth", "linear"])
def test_the_first_frame_is_a_latent_frame_of_its_own(codec: Any) -> None:
    alone = encoded(codec, video()[:, :, :1])
    torch.testing.assert_close(encoded(codec, video())[:, :, :1], alone)


@pytest.mark.parametrize("codec", [SpaceToDepthCodec(8, 4, 768), LinearCodec()], ids=["space to depth", "linear"])
def test_shapes_are_those_of_wans_vae(codec: Any) -> None:
    """Same factors in, same shapes out, as diffusers' own class of 8x compression."""
    vae = AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    with torch.no_grad():
        theirs = encoded(vae, video(9, 16, 24))
    ours = encoded(codec, video(9, 16, 24))
    assert ours.shape[2:] == theirs.shape[2:]
    for key in ("z_dim", "latents_mean", "latents_std", "scale_factor_spatial", "scale_factor_temporal"):
        assert hasattr(vae.config, key) and hasattr(codec.config, key)
    assert len(codec.config.latents_mean) == len(codec.config.latents_std) == codec.config.z_dim


@pytest.mark.parametrize("codec", [SpaceToDepthCodec(), linear(24)], ids=["space to depth", "linear"])
@pytest.mark.parametrize("shape", [(8, 16, 16), (9, 18, 16), (9, 16, 18)])
def test_sizes_that_do_not_fit_are_named(codec: Any, shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"1 \+ a multiple of 4.*multiples of 4"):
        codec.encode(torch.zeros(1, 3, *shape))


def test_a_wrong_z_dim_is_an_error() -> None:
    with pytest.raises(ValueError, match="= 192"):
        SpaceToDepthCodec(z_dim=16)
    for channels in (0, 193):
        with pytest.raises(ValueError, match=r"from 1 to .* = 192"):
            LinearCodec(4, 4, channels)


def test_save_and_load(tmp_path: Path) -> None:
    SpaceToDepthCodec(latents_std=[0.5] * 192).save_pretrained(tmp_path)
    loaded = SpaceToDepthCodec.from_pretrained(tmp_path)
    assert loaded.config.latents_std == [0.5] * 192


def test_a_linear_codec_is_saved_with_its_basis(tmp_path: Path) -> None:
    codec = linear(24, latents_mean=[0.1] * 24, latents_std=[0.5] * 24)
    codec.save_pretrained(tmp_path)
    loaded = LinearCodec.from_pretrained(tmp_path)
    assert torch.equal(loaded.basis, codec.basis) and torch.equal(loaded.mean, codec.mean)
    assert torch.equal(encode_latents(loaded, video()), encode_latents(codec, video()))
    assert (loaded.dtype, loaded.device) == (torch.float32, torch.device("cpu"))


def test_a_linear_codec_without_its_basis_is_refused(tmp_path: Path) -> None:
    linear(24).save_pretrained(tmp_path / "vae")
    save_file({"mean": torch.zeros(BLOCK)}, tmp_path / "vae" / "diffusion_pytorch_model.safetensors")
    with pytest.raises(InputError, match="lacks 1 tensors of LinearCodec: basis"):
        Encoder.open("checkpoints/lumosx-tiny", str(tmp_path), torch.device("cpu"))


def test_normalised_latents_decode_to_the_same_video() -> None:
    plain, scaled = linear(24), linear(24, latents_mean=[0.7] * 24, latents_std=[0.5] * 24)
    latents, other = encode_latents(plain, video()), encode_latents(scaled, video())
    torch.testing.assert_close(other, (latents - 0.7) / 0.5)
    torch.testing.assert_close(decode_latents(scaled, other), decode_latents(plain, latents))


@pytest.mark.parametrize("codec", [SpaceToDepthCodec(), linear(24)], ids=["space to depth", "linear"])
def test_offloading_brings_the_codec_back(codec: Any) -> None:
    """`enable_model_cpu_offload` moves a model in this hook."""
    moved = []

    class Moving(ModelHook):
        def pre_forward(self, module: torch.nn.Module, *args: object, **kwargs: object) -> tuple:
            moved.append(module)
            return args, kwargs

    add_hook_to_module(codec, Moving())
    latents = encoded(codec, torch.zeros(1, 3, 1, 4, 4))
    assert moved == [codec]
    codec.decode(latents)
    assert moved == [codec, codec]
