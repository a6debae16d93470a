"""How many parameters one GPU holds of a run, counted in the model itself: built without memory, spread for real."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import Config
from lumosx.training.engines.choice import engine_name
from lumosx.training.engines.fsdp2 import Fsdp2Engine
from lumosx.training.lora import add_lora
from lumosx.training.ranks import Ranks


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters of which one GPU holds ..."""

    weights: int
    gradients: int  # between two micro-batches
    trained: int  # the optimiser's state
    muon: int  # of these, one number of state (Muon) instead of two
    masters: int  # a second copy of the weight (DeepSpeed)
    averages: int
    gathered: int  # what belongs to other GPUs, while it is in use


def build_without_memory(config: Config, transformer: dict[str, Any]) -> LumosXTransformer3DModel:
    """The model as it is trained, on the meta device.

    Raises:
        InputError: `model.transformer` or `lora` do not describe one.
    """
    try:
        with torch.device("meta"):
            model = LumosXTransformer3DModel(**transformer)
            if config.lora is not None:
                add_lora(model, config.lora)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.transformer: {error}") from error
    return model


def count_parameters(model: LumosXTransformer3DModel, config: Config, world: int) -> Parameters:
    """Counts what is left on the first of `world` GPUs. FSDP2 spreads the model for it."""
    engine, parameters = engine_name(config, world), dict(model.named_parameters())
    whole = {name: p.numel() for name, p in parameters.items()}
    trained = [name for name, p in parameters.items() if p.requires_grad]
    muon = [name for name in trained if name.startswith("blocks.") and parameters[name].ndim == 2]
    block = sum(p.numel() for p in model.blocks[0].parameters())
    outside = sum(whole.values()) - block * len(model.blocks)
    own = _own(engine, whole, model, config, world)

    share = config.train.batch * config.parallel.sequence // world
    accumulates = (config.train.micro_batch or share) < share
    return Parameters(
        weights=sum((own if engine in ("fsdp2", "zero3") else whole).values()),
        # FSDP2 exchanges gradients with the last micro-batch; before, every GPU has all of them
        gradients=sum((whole if engine == "fsdp2" and accumulates else own)[name] for name in trained),
        trained=sum(own[name] for name in trained),
        muon=0 if config.optim.muon_lr is None else sum(own[name] for name in muon),
        masters=sum(own[name] for name in trained) if engine in ("zero2", "zero3") else 0,
        averages=sum((whole if engine == "zero2" else own)[name] for name in trained),
        # a block in use, its gradient, and the next block
        gathered=outside + 3 * block if engine in ("fsdp2", "zero3") else 0,
    )


def _own(
    engine: str, whole: dict[str, int], model: LumosXTransformer3DModel, config: Config, world: int
) -> dict[str, int]:
    """How much of each parameter is the first GPU's own, to update."""
    if engine == "fsdp2":
        with _fake_world(config, world) as ranks:
            Fsdp2Engine(model, config, ranks)
            return {name: _local(p).numel() for name, p in model.named_parameters()}
    return {name: -(-number // world) for name, number in whole.items()} if engine.startswith("zero") else whole


def _local(parameter: torch.Tensor) -> torch.Tensor:
    assert isinstance(parameter, DTensor)
    return parameter.to_local()


@contextmanager
def _fake_world(config: Config, world: int) -> Iterator[Ranks]:
    """A process group of which only the first rank exists; what it sends is lost."""
    dist.init_process_group("fake", rank=0, world_size=world, store=FakeStore())
    try:
        yield Ranks(0, world, torch.device("cpu"), config.parallel.sequence)
    finally:
        dist.destroy_process_group()
