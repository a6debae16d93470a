"""What text encoder and codec take, counted without running them: against whole runs and PyTorch's own tracker."""

from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import nn
from torch.distributed._tools.mem_tracker import MemTracker
from torch.utils.flop_counter import FlopCounterMode

from lumosx.models import LinearCodec, SpaceToDepthCodec, counting
from lumosx.models.configs import WAN
from lumosx.models.counting import LiveBytes

SMALL = {"base_dim": 8, "z_dim": 4, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1,
         "latents_mean": [0.0] * 4, "latents_std": [1.0] * 4}  # fmt: skip


def on_meta(kind: Any, **options: Any) -> Any:
    with torch.device("meta"):
        return kind(**options).eval()


def taken(codec: Any, run: Any, *shape: int) -> counting.Cost:
    x = torch.zeros(*shape, device="meta")
    old = (*codec.parameters(), *codec.buffers(), x)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, LiveBytes(old) as live:
        run(x)
    return counting.Cost(counter.get_total_flops(), live.peak)


@pytest.mark.parametrize("frames", [1, 3, 4, 7])
@pytest.mark.parametrize("make", [lambda: on_meta(AutoencoderKLWan, **SMALL), lambda: on_meta(LinearCodec)])
def test_decoding_is_that_of_the_whole_clip(make: Any, frames: int) -> None:
    codec = make()
    whole, _ = counting.decoding(codec, (frames, 12, 20))
    expected = taken(codec, codec.decode, 1, codec.config.z_dim, frames, 12, 20)
    assert whole.flops == expected.flops
    assert whole.memory == pytest.approx(expected.memory, rel=0.01)


def test_tiles_take_what_a_run_in_tiles_takes() -> None:
    codec = on_meta(AutoencoderKLWan, **SMALL)
    _, tiled = counting.decoding(codec, (2, 36, 40))
    _, picture = counting.picture_encoding(codec, 320, 288)
    codec.enable_tiling()
    expected = taken(codec, codec.decode, 1, 4, 2, 36, 40)
    assert tiled.flops == pytest.approx(expected.flops, rel=0.03)  # attention does not go by area
    assert tiled.memory == pytest.approx(expected.memory, rel=0.1)
    expected = taken(codec, codec.encode, 1, 3, 1, 288, 320)
    assert picture.flops == pytest.approx(expected.flops, rel=0.07)
    assert picture.memory == pytest.approx(expected.memory, rel=0.1)


def test_what_is_smaller_than_a_tile_and_codecs_without_tiles_stay_whole() -> None:
    small, blocks = on_meta(AutoencoderKLWan, **SMALL), on_meta(SpaceToDepthCodec)
    assert counting.has_tiles(small) and not counting.has_tiles(blocks)
    whole, tiled = counting.decoding(small, (3, 32, 32))
    assert whole == tiled
    whole, tiled = counting.decoding(blocks, (3, 100, 100))
    assert whole == tiled


def test_wans_codec_and_text_encoder_are_as_large_as_published() -> None:
    encoder = counting.build_text_encoder(WAN["text_encoder"])
    assert counting.numbers(encoder) == 5_680_910_336
    assert counting.numbers(counting.build_codec(WAN["vae"])) == 126_892_531
    tokens, dim, inner, layers = 2 * 512, 4096, 10240, 24
    products = layers * 2 * tokens * (4 * dim**2 + 3 * dim * inner)
    scores = layers * 2 * 2 * tokens * 512 * dim
    assert counting.text_encoding(encoder, 2, 512).flops == products + scores


def test_live_bytes_are_those_of_pytorchs_tracker() -> None:
    model, x = nn.Sequential(nn.Linear(64, 512), nn.GELU(), nn.Linear(512, 64)), torch.randn(1000, 64)
    tracker = MemTracker()
    tracker.track_external(model, x)
    with torch.no_grad(), tracker:
        model(x)
    before = sum(p.nbytes for p in model.parameters()) + x.nbytes
    peak = tracker.get_tracker_snapshot("peak")[torch.device("cpu")]["Total"]
    with torch.no_grad(), LiveBytes([*model.parameters(), x]) as live:
        model(x)
    assert live.peak == pytest.approx(peak - before, rel=0.01)
