"""The space-to-depth codec is lossless and has AutoencoderKLWan's interface and temporal layout."""

from pathlib import Path

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import AutoencoderKLWan
from hypothesis import given
from hypothesis import strategies as st

from lumosx.models import SpaceToDepthCodec


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
    latents = codec.encode(video).latent_dist.mode()
    assert latents.shape == (2, codec.config.z_dim, latent_frames, rows, columns)
    torch.testing.assert_close(codec.decode(latents).sample, video, atol=1e-6, rtol=0)


def test_the_first_frame_is_a_latent_frame_of_its_own() -> None:
    codec, video = SpaceToDepthCodec(), torch.rand(1, 3, 9, 8, 8)
    alone = codec.encode(video[:, :, :1]).latent_dist.mode()
    assert torch.equal(codec.encode(video).latent_dist.mode()[:, :, :1], alone)


def test_shapes_are_those_of_wans_vae() -> None:
    """Same factors in, same shapes out, as diffusers' own class of 8x compression."""
    vae = AutoencoderKLWan(base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1).eval()
    codec = SpaceToDepthCodec(scale_factor_spatial=8, z_dim=768)
    video = torch.rand(1, 3, 9, 16, 24)
    with torch.no_grad():
        theirs = vae.encode(video).latent_dist.mode()
    ours = codec.encode(video).latent_dist.mode()
    assert ours.shape[2:] == theirs.shape[2:]
    for key in ("z_dim", "latents_mean", "latents_std", "scale_factor_spatial", "scale_factor_temporal"):
        assert hasattr(vae.config, key) and hasattr(codec.config, key)
    assert len(codec.config.latents_mean) == len(codec.config.latents_std) == codec.config.z_dim


@pytest.mark.parametrize("shape", [(8, 16, 16), (9, 18, 16), (9, 16, 18)])
def test_sizes_that_do_not_fit_are_named(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=r"1 \+ a multiple of 4.*multiples of 4"):
        SpaceToDepthCodec().encode(torch.zeros(1, 3, *shape))


def test_a_wrong_z_dim_is_an_error() -> None:
    with pytest.raises(ValueError, match="= 192"):
        SpaceToDepthCodec(z_dim=16)


def test_save_and_load(tmp_path: Path) -> None:
    SpaceToDepthCodec(latents_std=[0.5] * 192).save_pretrained(tmp_path)
    loaded = SpaceToDepthCodec.from_pretrained(tmp_path)
    assert loaded.config.latents_std == [0.5] * 192


def test_offloading_brings_the_codec_back() -> None:
    """`enable_model_cpu_offload` moves a model in this hook."""
    moved = []

    class Moving(ModelHook):
        def pre_forward(self, module: torch.nn.Module, *args: object, **kwargs: object) -> tuple:
            moved.append(module)
            return args, kwargs

    codec = SpaceToDepthCodec()
    add_hook_to_module(codec, Moving())
    latents = codec.encode(torch.zeros(1, 3, 1, 4, 4)).latent_dist.mode()
    assert moved == [codec]
    codec.decode(latents)
    assert moved == [codec, codec]
