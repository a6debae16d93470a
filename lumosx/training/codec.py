"""The tiny checkpoint's codec: fitted to rendered clips and their reference pictures, then frozen, as Wan's is.

The best linear codec of blocks has a closed form, their principal components. So one look at some hundred clips is all
the training there is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import reduce
from pathlib import Path

import torch
from torch import Tensor

from lumosx.data.batch import Bucket
from lumosx.data.config import DataConfig
from lumosx.errors import InputError
from lumosx.files import atomic, write_json
from lumosx.models import LinearCodec
from lumosx.models.codec import Codec, decode_latents, encode_latents, to_blocks
from lumosx.playground import Clips, World
from lumosx.playground.world import to_uint8
from lumosx.training.config import CodecConfig, Config, TrainConfig
from lumosx.training.parts import already_trained, expect_no_more
from lumosx.training.run import write_facts

RENDERED = 16  # clips at a time
UNSEEN = 64  # clips that the codec is measured on


@dataclass(frozen=True)
class Moments:
    """Of `count` blocks of n numbers: their sum [n] and the sum of their outer products [n, n], float64."""

    count: int
    total: Tensor
    products: Tensor

    @classmethod
    def of(cls, blocks: Tensor) -> "Moments":
        """Of blocks [B, n, F, h, w]."""
        rows = blocks.movedim(1, -1).flatten(0, -2).double()
        return cls(len(rows), rows.sum(0), rows.T @ rows)

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(self.count + other.count, self.total + other.total, self.products + other.products)

    @property
    def mean(self) -> Tensor:
        return self.total / self.count

    @property
    def covariance(self) -> Tensor:
        return self.products / self.count - self.mean.outer(self.mean)


def train_codec(config: Config) -> Path:
    """Fits a `LinearCodec` and writes it to RUN/export (vae/), its PSNR to RUN/accuracy.json. Returns RUN/export.

    Of the configuration it reads `codec`, `run`, `data.buckets` (sizes and lengths of the clips) and `train.threads`.

    Raises:
        InputError: the export was made with another configuration, a value is set that nothing here reads, or clips
            cannot be cut into such blocks.
    """
    settings, buckets = _only_codec(config), [Bucket.parse(text) for text in config.data.buckets]
    _expect_fitting(settings, buckets)
    if (config.folder / "export").is_dir():
        return already_trained(config)
    if config.train.threads:
        torch.set_num_threads(config.train.threads)
    write_facts(config, torch.device("cpu"))
    seen = rendered("train", buckets, settings.clips, config.run.seed)
    codec = fit_codec(settings, *moments(seen, settings.spatial, settings.temporal))
    return _export(config.folder, codec, accuracy(codec, [*rendered("validation", buckets, UNSEEN)]))


def _only_codec(config: Config) -> CodecConfig:
    if config.codec is None:
        raise InputError("this configuration has no `codec`: take experiment=tiny_codec")
    data, train = DataConfig(buckets=config.data.buckets), TrainConfig(steps=1, threads=config.train.threads)
    read = Config(config.run, codec=config.codec, data=data, train=train)
    expect_no_more(config, read, "the fit of a codec")
    return config.codec


def _expect_fitting(settings: CodecConfig, buckets: list[Bucket]) -> None:
    if settings.clips < 1:
        raise InputError(f"codec.clips={settings.clips}: the least is 1")
    try:
        codec = LinearCodec(settings.spatial, settings.temporal, settings.channels)
        for bucket in buckets:
            codec.encode(torch.zeros(1, 3, bucket.frames, bucket.height, bucket.width))
    except ValueError as error:
        raise InputError(f"codec.channels, codec.spatial and codec.temporal: {error}") from error


def rendered(split: str, buckets: list[Bucket], clips: int, seed: int = 0) -> Iterator[Clips]:
    """`clips` clips of each bucket, some at a time. The seed moves runs to clips of their own."""
    first = seed * 10**9
    for bucket in buckets:
        world = World((bucket.width, bucket.height), bucket.frames)
        for start in range(first, first + clips, RENDERED):
            yield world.render(range(start, min(start + RENDERED, first + clips)), split=split)


@torch.no_grad()
def fit_codec(settings: CodecConfig, clips: Moments, pictures: Moments) -> LinearCodec:
    """The linear codec that loses least of these clips and reference pictures, blocks of both counted alike.

    Normalised latents of these clips, which is what noise is added to, have mean 0 and mean square 1.
    """
    both = clips + pictures
    basis = principal_components(both.covariance, settings.channels)
    mean = basis @ (clips.mean - both.mean)
    variance = (basis @ clips.covariance @ basis.T).trace() / settings.channels
    std = [variance.sqrt().item()] * settings.channels  # one for all, so that coarse channels stay the strong ones
    codec = LinearCodec(settings.spatial, settings.temporal, settings.channels, mean.tolist(), std)
    codec.basis.copy_(basis)
    codec.mean.copy_(both.mean)
    return codec


def moments(batches: Iterable[Clips], space: int, time: int) -> tuple[Moments, Moments]:
    """Of the blocks of clips, and of those of their reference pictures."""
    found = (
        [Moments.of(to_blocks(videos, space, time)) for videos in (batch.video, stills(batch))] for batch in batches
    )
    clips, pictures = reduce(lambda sums, new: [a + b for a, b in zip(sums, new, strict=True)], found)
    return clips, pictures


def stills(clips: Clips) -> Tensor:
    """All reference pictures as videos of one frame, [R, 3, 1, H, W]."""
    return torch.cat(clips.references).unsqueeze(2)


def principal_components(covariance: Tensor, count: int) -> Tensor:
    """Rows [count, n], the most telling first, each with its largest number positive, so that none comes out turned."""
    vectors = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:count]
    largest = vectors.gather(1, vectors.abs().argmax(dim=1, keepdim=True))
    return vectors * largest.sign()


@torch.no_grad()
def psnr(codec: Codec, videos: Iterable[Tensor]) -> float:
    """In dB, over all values as 8-bit numbers, of videos [B, 3, F, H, W] in [-1, 1]; infinite if nothing is lost."""
    error, count = torch.zeros((), dtype=torch.float64), 0
    for video in videos:
        pixels = to_uint8(video)
        decoded = to_uint8(decode_latents(codec, encode_latents(codec, pixels / 127.5 - 1)))
        error += (decoded.double() - pixels.double()).square().sum()
        count += pixels.numel()
    return (10 * torch.log10(255**2 * count / error)).item()


def accuracy(codec: Codec, unseen: list[Clips]) -> dict[str, float]:
    """`psnr` of clips, and of their reference pictures."""
    return {
        "psnr_clips": psnr(codec, (batch.video for batch in unseen)),
        "psnr_references": psnr(codec, map(stills, unseen)),
    }


def _export(folder: Path, codec: LinearCodec, measured: dict[str, float]) -> Path:
    print(f"{UNSEEN} unseen clips, dB:", {name: round(value, 2) for name, value in measured.items()})
    write_json(measured, folder / "accuracy.json")
    with atomic(folder / "export") as beside:
        codec.save_pretrained(beside / "vae")
    return folder / "export"
