"""What a run will take on a number of GPUs: tokens, memory, FLOPs, time. Counted where it can be, else calculated.

Which clips and how many references come is up to the data. A plan assumes that buckets are equally common, and of each
person a face and two attributes, before one background.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from lumosx.data.batch import Bucket
from lumosx.models.cost import FLOAT32, Flops, activations, flops_by_part, hardware_flops
from lumosx.models.counting import build_codec, build_text_encoder, numbers
from lumosx.models.gpus import LAUNCH, Gpu, find_gpu
from lumosx.models.grid import Grid
from lumosx.relations import TokenLayout
from lumosx.relations.typical import PARTS_OF_A_PERSON, typical_layout
from lumosx.training.architecture import codec_config, text_encoder_config, transformer_config
from lumosx.training.checks import check
from lumosx.training.config import Config
from lumosx.training.engines.choice import engine_name
from lumosx.training.held import Parameters, build_without_memory, count_parameters

DRAWS = 200  # steps that the wait for the slowest rank is averaged over
KERNELS = 530  # that a block starts in a forward and a backward pass, counted


@dataclass(frozen=True)
class Case:
    """Clips of one bucket with one number of people."""

    bucket: Bucket
    people: int
    share: float  # of the bucket's clips
    layout: TokenLayout
    flops: Flops  # of a forward pass of one clip, with all its noises


@dataclass(frozen=True)
class Plan:
    """A run of `config` on `world` GPUs."""

    config: Config
    gpu: Gpu
    world: int
    engine: str
    transformer: dict[str, Any]
    cases: list[Case]
    trained: int  # parameters, on all GPUs together
    parameters: Parameters  # on one GPU
    frozen: dict[str, int]  # bytes of the parts that encode

    @property
    def ranks(self) -> int:
        """Those with clips of their own."""
        return self.world // self.config.parallel.sequence

    @property
    def clips(self) -> int:
        """Of one rank in a step."""
        return self.config.train.batch // self.ranks

    @property
    def micro_batch(self) -> int:
        """Clips of one pass."""
        return self.config.train.micro_batch or self.clips

    @property
    def heaviest(self) -> Case:
        """The clips with most tokens."""
        return max(self.cases, key=lambda case: len(case.layout))

    @property
    def peak(self) -> float:
        """FLOP/s of one GPU in the run's precision."""
        return self.gpu.peak if self.config.train.precision == "bf16" else self.gpu.peak_fp32

    @property
    def forward(self) -> Flops:
        """FLOPs of one clip's forward pass, on average."""
        shares = [case.share / len(self.config.data.buckets) for case in self.cases]
        return Flops(*(round(np.dot(shares, part)) for part in zip(*(case.flops for case in self.cases), strict=True)))

    def memory(self, checkpointing: str) -> dict[str, int]:
        """Bytes on one GPU at the peak, part by part; `checkpointing` instead of the configuration's."""
        count, optim = self.parameters, self.config.optim
        moments = 2 * (1 if optim.name == "adamw8bit" else FLOAT32)  # of AdamW; Muon has one
        optimiser = (count.trained - count.muon) * moments + (count.muon + count.masters) * FLOAT32
        layouts, copies = _passes(self.config, self.transformer, [self.heaviest.layout] * self.micro_batch)
        passed = activations(self.transformer, layouts, copies, checkpointing, self.config.train.precision)
        return {
            "weights": count.weights * FLOAT32,
            "gradients": count.gradients * FLOAT32,
            f"optimiser ({optim.name})": optimiser,
            "averaged weights": count.averages * FLOAT32,
            "blocks gathered from other GPUs": count.gathered * FLOAT32,
            f"activations, {checkpointing} checkpointing": passed.total // self.config.parallel.sequence,
            **{f"{part}, frozen": size for part, size in self.frozen.items()},
        }

    def seconds(self, checkpointing: str) -> float:
        """Of one step: those of the slowest rank, averaged over buckets and draws of clips."""
        frozen = self.config.lora is not None
        rng = np.random.default_rng(0)
        means = []
        for bucket in dict.fromkeys(case.bucket for case in self.cases):
            cases = [case for case in self.cases if case.bucket == bucket]
            costs = np.array([hardware_flops(case.flops, checkpointing, frozen) for case in cases], dtype=np.float64)
            draws = rng.choice(len(cases), size=(DRAWS, self.ranks, self.clips), p=[case.share for case in cases])
            means.append(costs[draws].sum(axis=-1).max(axis=-1).mean())
        arithmetic = float(np.mean(means)) / self.config.parallel.sequence / (self.peak * self.gpu.efficiency)
        passes = self.clips // self.micro_batch
        return max(arithmetic, passes * self.transformer["num_layers"] * KERNELS * LAUNCH)


def make_plan(config: Config, gpu: str, world: int) -> Plan:
    """Plans a run.

    Raises:
        InputError: settings that cannot work, or a GPU that is not known.
    """
    found = find_gpu(gpu)
    check(config, world)
    transformer = transformer_config(config)
    model = build_without_memory(config, transformer)
    return Plan(
        config=config,
        gpu=found,
        world=world,
        engine=engine_name(config, world),
        transformer=transformer,
        cases=list(_cases(config, transformer)),
        trained=sum(p.numel() for p in model.parameters() if p.requires_grad),
        parameters=count_parameters(model, config, world),
        frozen=_frozen_bytes(config),
    )


def _typical_layout(grid: tuple[int, int, int], people: int, config: Config) -> TokenLayout:
    """Of a clip of `people` persons, each with a face and two attributes, before a background."""
    model = config.model
    references = 1 + PARTS_OF_A_PERSON * people
    return typical_layout(grid, references, model.text_length, r2pe=model.r2pe, csam=model.csam)


def _cases(config: Config, transformer: dict[str, Any]) -> Iterator[Case]:
    codec, data = codec_config(config), config.data
    grid = Grid(codec["scale_factor_spatial"], codec["scale_factor_temporal"], tuple(transformer["patch_size"]))
    for bucket in map(Bucket.parse, data.buckets):
        for people, share in enumerate(data.subjects, 1):
            if share > 0:
                layout = _typical_layout(grid.tokens(bucket), people, config)
                layouts, copies = _passes(config, transformer, [layout])
                flops = flops_by_part(transformer, layouts, copies)
                yield Case(bucket, people, share / sum(data.subjects), layout, flops)


def _passes(config: Config, transformer: dict[str, Any], layouts: list[TokenLayout]) -> tuple[list[TokenLayout], int]:
    """Layouts and copies as the network sees them: noises share a clip's references only where these are the same."""
    if config.model.csam and transformer["reference_timestep"] == "zero":
        return layouts, config.data.noises
    return layouts * config.data.noises, 1


def _frozen_bytes(config: Config) -> dict[str, int]:
    """Of text encoder and codec, built without memory, in the precision that they run in."""
    text_encoder, codec = build_text_encoder(text_encoder_config(config)), build_codec(codec_config(config))
    size = 2 if config.train.precision == "bf16" else FLOAT32
    return {"text encoder": numbers(text_encoder) * size, "codec": numbers(codec) * FLOAT32}
