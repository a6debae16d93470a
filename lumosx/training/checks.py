"""Refuses settings that cannot work, before anything is loaded: all at once, each with its nearest legal value."""

import difflib
from collections.abc import Callable, Iterator
from functools import reduce
from typing import Any

from lumosx.data.batch import Bucket
from lumosx.errors import InputError
from lumosx.flow import sample_sigmas
from lumosx.models.block import CHECKPOINTING
from lumosx.models.grid import Grid
from lumosx.models.sequence import legal_degrees
from lumosx.training.architecture import codec_config, text_encoder_config, transformer_config
from lumosx.training.config import Config
from lumosx.training.engines.choice import engine_name
from lumosx.training.export import expect_settings
from lumosx.training.tracking import TRACKERS

Problems = Iterator[str]

CHOICES = {
    "train.precision": ("fp32", "bf16"),
    "train.checkpointing": tuple(CHECKPOINTING),
    "optim.name": ("adamw", "adamw8bit"),
}
LEAST = {
    "train.steps": 1, "train.batch": 1, "train.micro_batch": 1, "train.checkpoint_every": 1, "train.keep": 1,
    "train.log_every": 1, "train.threads": 1, "model.text_length": 1, "data.noises": 1, "data.variants": 1,
    "data.workers": 0, "data.broken": 0, "optim.warmup": 0, "guard.patience": 1, "parallel.sequence": 1,
    "validation.every": 1, "validation.clips": 1, "validation.samples": 0, "lora.rank": 1,
}  # fmt: skip
POSITIVE = ("optim.lr", "optim.muon_lr", "optim.clip", "guard.spike", "data.fps", "parallel.timeout_minutes")
SHARES = (
    "data.text_dropout",
    "data.reference_dropout",
    "data.entity_dropout",
    "data.placed",
    "optim.decay",
    "train.ema",
)


def check(config: Config, world: int) -> None:
    """Nothing, if a run of `config` on `world` processes can start.

    Raises:
        InputError: every setting that stands against it, a line each.
    """
    parts = (_names, _amounts, _data, _batch, _model)
    problems = [problem for part in parts for problem in part(config, world)]
    if problems:
        raise InputError("\n".join(["this run cannot work:", *(f"  {problem}" for problem in problems)]))


def _names(config: Config, world: int) -> Problems:
    chosen = [(key, _value(config, key), known) for key, known in CHOICES.items()]
    chosen += [("track.to", name, TRACKERS) for name in config.track.to]
    for key, name, known in chosen:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            yield f"{key}={name}: " + (f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}")
    objective = config.objective
    yield from _raised(
        "objective",
        lambda: sample_sigmas(0, objective.distribution, objective.mean, objective.std, objective.shift),  # pyright: ignore[reportArgumentType]
    )
    yield from _raised("", lambda: engine_name(config, world))
    yield from _raised("", lambda: expect_settings(config.model.generation))


def _amounts(config: Config, world: int) -> Problems:
    del world
    for key, least in LEAST.items():
        value = _value(config, key)
        if value is not None and value < least:
            yield f"{key}={value}: the least is {least}"
    for key in POSITIVE:
        value = _value(config, key)
        if value is not None and value <= 0:
            yield f"{key}={value}: give a number above 0"
    for key in SHARES:
        value = _value(config, key)
        if not 0 <= value <= 1:
            yield f"{key}={value}: a share lies between 0 and 1; nearest: {min(max(value, 0), 1)}"
    betas = list(config.optim.betas)
    if len(betas) != 2 or not all(0 <= beta < 1 for beta in betas):
        yield f"optim.betas={betas}: give two numbers from 0 up and below 1, such as [0.9, 0.999]"
    for sigma in config.validation.sigmas:
        if not 0 < sigma <= 1:
            yield f"validation.sigmas holds {sigma}: noise levels lie above 0 and up to 1"


def _data(config: Config, world: int) -> Problems:
    del world
    data = config.data
    if not data.subjects or min(data.subjects) < 0 or sum(data.subjects) <= 0:
        yield f"data.subjects={data.subjects}: give the shares of clips with 1, 2 ... people, such as [0.7, 0.2, 0.1]"
    if data.cache is not None and data.variants is None:
        yield "data.cache needs data.variants, the draws of each clip that it holds; the least is data.variants=1"
    if data.cache is not None and data.path is None:
        yield "data.cache is of clips at data.path; the playground makes new ones"
    if not data.buckets:
        yield "data.buckets names none; give WIDTHxHEIGHTxFRAMES, such as 832x480x81"
    for twice in sorted({bucket for bucket in data.buckets if data.buckets.count(bucket) > 1}):
        yield f"data.buckets names {twice} twice"
    for bucket in data.buckets:
        yield from _raised("", lambda bucket=bucket: Bucket.parse(bucket))


def _batch(config: Config, world: int) -> Problems:
    """The batch splits evenly over the ranks that have data of their own, and each share over its micro-batches."""
    sequence, batch, micro = config.parallel.sequence, config.train.batch, config.train.micro_batch
    if sequence < 1 or batch < 1:
        return
    if world % sequence:
        yield (
            f"parallel.sequence={sequence} does not divide {world} processes; nearest: {_divisor(world, sequence)}, or "
            f"{_multiple(world, sequence)} processes"
        )
        return
    ranks = world // sequence
    if batch % ranks:
        yield f"train.batch={batch} cannot be shared out evenly over {ranks} ranks; nearest: {_multiple(batch, ranks)}"
    elif micro is not None and micro > 0 and batch // ranks % micro:
        share = batch // ranks
        yield f"train.micro_batch={micro} does not divide a rank's {share} clips; nearest: {_divisor(share, micro)}"


def _model(config: Config, world: int) -> Problems:
    """The parts fit each other, and the sizes of clips fit them."""
    del world
    if config.lora is not None and config.model.init_from is None:
        yield "lora adapts a trained model: name one in model.init_from"
    parts = []
    for read in (transformer_config, codec_config, text_encoder_config):
        try:
            parts.append(read(config))
        except InputError as error:
            yield str(error)
    if len(parts) < 3:
        return
    transformer, codec, text = parts
    if transformer["in_channels"] != codec["z_dim"]:
        yield (
            f"model.transformer.in_channels={transformer['in_channels']}, but latents of model.codec have "
            f"{codec['z_dim']} channels"
        )
    if transformer["text_dim"] != text["d_model"]:
        yield (
            f"model.transformer.text_dim={transformer['text_dim']}, but embeddings of model.text_encoder have "
            f"{text['d_model']} channels"
        )
    grid = Grid(codec["scale_factor_spatial"], codec["scale_factor_temporal"], tuple(transformer["patch_size"]))
    yield from _sizes(config, grid, transformer["num_attention_heads"])


def _sizes(config: Config, grid: Grid, heads: int) -> Problems:
    sequence = config.parallel.sequence
    for text in config.data.buckets:
        try:
            bucket = Bucket.parse(text)
        except InputError:
            continue  # told already
        problems = list(_raised(f"data.buckets, {text}", lambda bucket=bucket: grid.check(bucket)))
        yield from problems
        frames, height, width = grid.tokens(bucket)
        legal = legal_degrees(heads, frames * height * width, height * width)
        if not problems and sequence > 0 and sequence not in legal:
            yield (
                f"parallel.sequence={sequence} does not divide {heads} heads and the {height} x {width} tokens of a "
                f"picture of {text}; nearest: {_nearest(legal, sequence)}, of {legal}"
            )


def _raised(where: str, attempt: Callable[[], object]) -> Problems:
    """What an attempt finds wrong."""
    try:
        attempt()
    except InputError as error:
        yield f"{where}: {error}" if where else str(error)


def _value(config: Config, key: str) -> Any:
    """Of a dotted key; None where a part of the configuration is not there."""
    return reduce(lambda node, name: getattr(node, name, None), key.split("."), config)


def _multiple(value: int, unit: int) -> str:
    lower = value // unit * unit
    return f"{lower} or {lower + unit}" if lower else str(unit)


def _divisor(number: int, wanted: int) -> int:
    return _nearest([n for n in range(1, number + 1) if number % n == 0], wanted)


def _nearest(legal: list[int], wanted: int) -> int:
    return min(legal, key=lambda number: abs(number - wanted))
