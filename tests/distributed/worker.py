"""What the processes of a distributed test share: running checks by name, a tiny model, and a few steps on it."""

import json
import os
import socket
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from tiny_transformer import CONFIG
from torch import Tensor
from torch.distributed.checkpoint import CheckpointException
from torch.multiprocessing.spawn import start_processes

from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout
from lumosx.training.config import Config, OptimConfig, ParallelConfig, TrainConfig
from lumosx.training.ema import Ema
from lumosx.training.engines import Engine, make_engine
from lumosx.training.optim import set_rate
from lumosx.training.ranks import Ranks, joined

TEXT = 5
REFERENCES = (2, 0, 3, 1)  # of the four clips of every step
Check = Callable[..., None]
CHECKS: dict[str, Check] = {}


def check(function: Check) -> Check:
    """Makes a function of (ranks, folder, *words) known by its name."""
    CHECKS[function.__name__] = function
    return function


def main() -> None:
    """worker.py FOLDER RESULTS PROCESSES CHECK..., a check as name:word:word.

    Processes are forked, because imports take longer than all checks.
    """
    folder, results, processes, names = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    start_processes(_process, (folder, results, names), nprocs=processes, start_method="fork")


def _process(rank: int, folder: Path, results: Path, names: list[str]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    failures = {}
    with joined(ParallelConfig(engine="ddp", timeout_minutes=3.0)) as ranks:
        for name in names:
            failure = ""
            try:
                function, *words = name.split(":")
                CHECKS[function](ranks, folder, *words)
            except (Exception, CheckpointException):  # the latter is none
                failure = f"{name}, rank {rank}: {traceback.format_exc()}"
                print(failure, flush=True)  # ranks that lost each other never come to gather it
            failures[name] = "\n".join(str(one) for one in ranks.gather(failure) if one)
        if ranks.is_main:
            results.write_text(json.dumps(failures))


ALONE = Ranks(0, 1, torch.device("cpu"))


def tiny_model(**changes: object) -> LumosXTransformer3DModel:
    torch.manual_seed(0)
    return LumosXTransformer3DModel(**{**CONFIG, **changes})


def tiny_config(engine: str, **parallel: object) -> Config:
    """A large rate, so that a wrong gradient shows after one step."""
    config = Config(parallel=ParallelConfig(engine=engine, **parallel))  # pyright: ignore[reportArgumentType]
    config.optim = OptimConfig(lr=1e-3, weight_decay=1e-2, clip=0.5)
    config.train = TrainConfig(ema=0.5)
    return config


def tiny_batch(step: int, clips: range) -> dict:
    """Clips of a step: as many references each as REFERENCES says."""
    made = []
    for clip in clips:
        generator = torch.Generator().manual_seed(100 * step + clip)
        count = REFERENCES[clip]
        made.append(
            {
                "hidden_states": torch.randn(4, 2, 4, 4, generator=generator),
                "encoder_hidden_states": torch.randn(TEXT, 8, generator=generator),
                "references": torch.randn(4, count, 4, 4, generator=generator),
                "timestep": torch.rand((), generator=generator) * 1000,
                "layouts": TokenLayout((2, 2, 2), [Reference("member", 0)] * count, torch.eye(count, TEXT)),
            }
        )
    batch = {key: [one[key] for one in made] for key in made[0]}
    stacked = ("hidden_states", "encoder_hidden_states", "timestep")
    return {key: torch.stack(value) if key in stacked else value for key, value in batch.items()}


def loss_of(engine: Engine, batch: dict) -> Tensor:
    """A mean over the clips, as equation (8) is."""
    velocity = engine.forward(**batch).sample
    return (velocity - batch["hidden_states"].roll(1, dims=2)).square().mean()


@dataclass
class Course:
    """What a few steps gave, whole, on the main rank."""

    losses: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    gradients: dict[str, Tensor] = field(default_factory=dict)  # of the last step, clipped
    weights: dict[str, Tensor] = field(default_factory=dict)
    averages: dict[str, Tensor] = field(default_factory=dict)


def train(engine: Engine, ranks: Ranks, config: Config, ema: Ema, steps: range, micro_batch: int = 4) -> Course:
    """Steps on four clips each, shared out over the ranks, `micro_batch` of them a pass."""
    course = Course()
    for step in steps:
        share = 4 // ranks.size
        mine = range(ranks.rank * share, (ranks.rank + 1) * share)
        parts = [mine[start : start + micro_batch] for start in range(0, share, micro_batch)]
        total = torch.zeros(())
        for part in parts:
            with engine.accumulating(last=part is parts[-1]):
                loss = loss_of(engine, tiny_batch(step, part)) / len(parts)
                engine.backward(loss)
            total += loss.detach()
        course.losses.append(float(ranks.sum(total)) / ranks.size)
        course.norms.append(float(engine.clip(config.optim.clip)))
        set_rate(engine.optimizers, 1 / (1 + step))
        if step == steps[-1] and not engine.name.startswith("zero"):
            course.gradients = engine.whole({n: p.grad for n, p in engine.trained().items() if p.grad is not None})
        engine.step()
        ema.update(step)
    course.weights = engine.whole(engine.trained())
    course.averages = ema.whole()
    return course


def build(ranks: Ranks, config: Config, model: LumosXTransformer3DModel | None = None) -> tuple[Engine, Ema]:
    engine = make_engine(model or tiny_model(), config, ranks)
    return engine, Ema(engine, config.train.ema)


def expect_same(ranks: Ranks, ours: Course, theirs: Course, tolerance: float = 1e-5) -> None:
    """Numbers that every rank has are compared on every rank, whole tensors on the main one."""
    for ours_, theirs_ in zip((*ours.losses, *ours.norms), (*theirs.losses, *theirs.norms), strict=True):
        assert abs(ours_ - theirs_) <= tolerance, (ours.losses, theirs.losses, ours.norms, theirs.norms)
    if ranks.is_main:
        for part in ("gradients", "weights", "averages"):
            mine, wanted = getattr(ours, part), getattr(theirs, part)
            if mine:
                assert list(mine) == list(wanted), part
                for name in wanted:
                    worst = float((mine[name] - wanted[name]).abs().max())
                    assert worst <= tolerance, f"{part}: {name} is {worst} off"
