"""Which engine runs, and whether it can."""

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import Config, OptimConfig
from lumosx.training.engines.base import Engine
from lumosx.training.engines.single import SingleEngine, on_device
from lumosx.training.ranks import Ranks

ENGINES = ("single", "ddp", "fsdp2", "zero2", "zero3")


def make_engine(model: LumosXTransformer3DModel, config: Config, ranks: Ranks) -> Engine:
    """Spreads `model` over the ranks as `parallel.engine` says, with its optimisers.

    Args:
        model: float32, the same on every rank; frozen parameters have `requires_grad` False already.

    Raises:
        InputError: the engine is unknown, or does not suit the number of processes or the optimiser.
    """
    name = engine_name(config, ranks.size)
    model = on_device(model, ranks.device)
    if name == "single":
        return SingleEngine(model, config, ranks)
    if name == "fsdp2":
        from lumosx.training.engines.fsdp2 import Fsdp2Engine

        return Fsdp2Engine(model, config, ranks)
    if name == "ddp":
        from lumosx.training.engines.ddp import DdpEngine

        return DdpEngine(model, config, ranks)
    from lumosx.training.engines.zero import ZeroEngine

    return ZeroEngine(model, config, ranks, stage=int(name[-1]))


def engine_name(config: Config, size: int) -> str:
    """The engine that `config` means for `size` processes; "auto" is resolved.

    Raises:
        InputError: as for `make_engine`.
    """
    parallel, name = config.parallel, config.parallel.engine
    if name == "auto":
        name = "single" if size == 1 else "ddp"
    if name not in ENGINES:
        raise InputError(f"parallel.engine={name} is not known; it is auto or one of {', '.join(ENGINES)}")
    if name == "single" and size > 1:
        raise InputError(
            f"parallel.engine=single is for one process, but {size} were started; "
            "start one, or take parallel.engine=ddp or fsdp2"
        )
    if parallel.shard is not None and name != "fsdp2":
        raise InputError(f"parallel.shard is of parallel.engine=fsdp2, not of {name}; leave it out")
    if parallel.shard is not None and (parallel.shard < 1 or size % parallel.shard):
        raise InputError(
            f"parallel.shard={parallel.shard} does not divide the {size} processes; "
            f"take one of {', '.join(str(n) for n in range(1, size + 1) if size % n == 0)}"
        )
    _check_optimizer(config.optim, name)
    return name


def _check_optimizer(optim: OptimConfig, name: str) -> None:
    if name.startswith("zero") and optim.muon_lr is not None:
        raise InputError(
            f"optim.muon_lr: Muon needs whole matrices, which parallel.engine={name} cuts; "
            "take parallel.engine=ddp or fsdp2, or leave muon_lr out"
        )
    if name in ("fsdp2", "zero2", "zero3") and optim.name == "adamw8bit":
        raise InputError(
            f"optim.name=adamw8bit: its blocks of 8-bit numbers cannot be cut, as parallel.engine={name} cuts the "
            "optimiser's state over the ranks; take optim.name=adamw, or parallel.engine=ddp"
        )
