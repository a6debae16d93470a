"""Which codec the tiny model should have: all candidates on the same clips that none of them has seen.

    .venv/bin/python scripts/codec_benchmark.py                     # lossless and linear: some minutes on one core
    .venv/bin/python scripts/codec_benchmark.py --wan-minutes 15    # and a small AutoencoderKLWan, trained that long

Prints a Markdown table. PSNR is of 8-bit values; a token is 16x16 pixels of 4 frames; times are one clip's on the CPU.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from lumosx.data.batch import Bucket
from lumosx.models import SpaceToDepthCodec
from lumosx.models.codec import Codec, decode_latents, encode_latents
from lumosx.playground import Clips
from lumosx.training.codec import accuracy, fit_codec, moments, rendered, stills
from lumosx.training.config import CodecConfig

BUCKET = Bucket(64, 64, 17)
TOKEN = 16  # pixels across
LINEAR = {(8, 4): (32, 48, 64, 96, 128), (16, 4): (256,)}  # channels by pixels across a block and its frames
WAN = {"base_dim": 8, "z_dim": 16, "dim_mult": [1, 2, 4, 4], "num_res_blocks": 1}
WAN_LR = 2e-3  # falls to 0 over the time
TIMED = 5  # runs of which the fastest is told


@dataclass(frozen=True)
class Result:
    """A line of the table."""

    name: str
    psnr_clips: float  # dB
    psnr_references: float
    numbers: int  # of a token
    size: int  # bytes on disk
    encode: float  # seconds of a clip
    decode: float


def candidates(clips: int, wan_minutes: float) -> Iterator[tuple[str, Codec]]:
    """Every codec, fitted or trained on `clips` clips."""
    yield "SpaceToDepthCodec 8x8x4, lossless", SpaceToDepthCodec(8, 4, 768)
    for (space, frames), all_channels in LINEAR.items():
        seen = moments(rendered("train", [BUCKET], clips), space, frames)
        for channels in all_channels:
            settings = CodecConfig(channels, space, frames)
            yield f"LinearCodec {space}x{space}x{frames}, {channels} components", fit_codec(settings, *seen)
    if wan_minutes:
        codec, steps = train_wan(wan_minutes)
        size = sum(p.numel() for p in codec.parameters()) / 1e6
        yield f"AutoencoderKLWan, {size:.2f} M parameters, {steps} steps in {wan_minutes:g} min", codec


def train_wan(minutes: float) -> tuple[AutoencoderKLWan, int]:
    """A small one from scratch by squared error, on clips and pictures that come once each; and its number of steps.

    Minutes are the processor's, so that other work on the machine takes nothing away.
    """
    torch.manual_seed(0)
    codec: Any = AutoencoderKLWan(**WAN)
    optimizer = torch.optim.AdamW(codec.parameters(), lr=WAN_LR)
    started, steps = time.process_time(), 0
    for batch in rendered("train", [BUCKET], 10**6):
        for clip, pictures in zip(batch.video.split(1), batch.references, strict=True):
            spent = (time.process_time() - started) / 60 / minutes
            if spent >= 1:
                return codec.eval(), steps
            optimizer.param_groups[0]["lr"] = WAN_LR * (1 - spent)
            for videos in (clip, pictures.unsqueeze(2)):
                restored = codec.decode(codec.encode(videos).latent_dist.mode()).sample
                (restored - videos).square().mean().backward()
            torch.nn.utils.clip_grad_norm_(codec.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            steps += 1
    raise AssertionError("a million clips take longer")


@torch.no_grad()
def measure(name: str, codec: Codec, unseen: list[Clips]) -> Result:
    """A candidate's figures."""
    config: Any = codec.config
    latents = encode_latents(codec, unseen[0].video[:1])
    with tempfile.TemporaryDirectory() as folder:
        codec.save_pretrained(folder)
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
    return Result(
        name,
        **accuracy(codec, unseen),
        numbers=config.z_dim * (TOKEN // config.scale_factor_spatial) ** 2,
        size=size,
        encode=seconds(lambda: encode_latents(codec, unseen[0].video[:1])),
        decode=seconds(lambda: decode_latents(codec, latents)),
    )


def seconds(action: Callable[[], Tensor]) -> float:
    """Of the fastest of some runs, which other work on the machine disturbed least."""
    times = []
    for _ in range(TIMED):
        started = time.perf_counter()
        action()
        times.append(time.perf_counter() - started)
    return min(times)


def row(result: Result) -> str:
    """Markdown."""
    cells = [
        result.name,
        f"{result.psnr_clips:.1f}",
        f"{result.psnr_references:.1f}",
        f"{result.numbers:,}",
        f"{result.size / 1e3:,.0f}",
        f"{result.encode * 1e3:.1f}",
        f"{result.decode * 1e3:.1f}",
    ]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--clips", type=int, default=512, help="that linear codecs are fitted to (default: %(default)s)"
    )
    parser.add_argument("--unseen", type=int, default=64, help="that all are measured on (default: %(default)s)")
    parser.add_argument("--wan-minutes", type=float, default=0.0, help="of one core (default: none)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    unseen = [*rendered("validation", [BUCKET], options.unseen)]
    pictures = sum(len(stills(batch)) for batch in unseen)
    print(f"{options.unseen} unseen clips of {BUCKET}, {pictures} reference pictures, one thread\n")
    print("| codec | clips, dB | pictures, dB | numbers a token | kB on disk | encode, ms | decode, ms |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    for name, codec in candidates(options.clips, options.wan_minutes):
        print(row(measure(name, codec, unseen)), flush=True)


if __name__ == "__main__":
    main()
