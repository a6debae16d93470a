"""The processes of a run: who they are, which data is theirs, and how they agree."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from lumosx import processes
from lumosx.errors import InputError
from lumosx.training.config import ParallelConfig


@dataclass(frozen=True)
class Ranks(processes.Processes):
    """Neighbouring ranks, `sequence` of them, share each clip's tokens and so its data."""

    sequence: int = 1

    @property
    def data_rank(self) -> int:
        """Which share of every batch is this rank's."""
        return self.rank // self.sequence

    @property
    def data_size(self) -> int:
        """How many shares there are."""
        return self.size // self.sequence

    def mesh(self, shard: int | None = None) -> DeviceMesh:
        """Ranks as (copies of the weights, shards of each copy): what `fully_shard` wants."""
        shard = shard or self.size
        return init_device_mesh(self.device.type, (self.size // shard, shard), mesh_dim_names=("copy", "shard"))

    def sequence_group(self) -> dist.ProcessGroup | None:
        """The ranks that share this rank's clips; None where each has its own."""
        if self.sequence == 1:
            return None
        mesh = init_device_mesh(self.device.type, (self.data_size, self.sequence), mesh_dim_names=("data", "sequence"))
        return mesh.get_group("sequence")

    def sum(self, value: Tensor) -> Tensor:
        """The sum over all ranks, on every rank."""
        value = value.to(self.device, copy=True)
        if self.size > 1:
            dist.all_reduce(value)
        return value


@contextmanager
def joined(config: ParallelConfig) -> Iterator[Ranks]:
    """Joins the processes that torchrun started (one alone is a world of its own) and leaves them at the end.

    Raises:
        InputError: the number of processes does not suit `parallel`.
    """
    size = processes.world_size()
    if config.sequence < 1 or size % config.sequence:
        raise InputError(
            f"parallel.sequence={config.sequence}: {size} processes cannot be grouped by it; "
            f"start a multiple of {config.sequence}"
        )
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if most == resource.RLIM_INFINITY else min(most, ENOUGH_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, where installed, looks for one and tells
    always = config.engine not in ("auto", "single")
    with processes.joined(timedelta(minutes=config.timeout_minutes), always) as run:
        yield Ranks(run.rank, run.size, run.device, config.sequence)


ENOUGH_FILES = 65536  # each tensor from a loader's worker takes one
