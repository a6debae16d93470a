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

from lumosx.errors import InputError
from lumosx.training.config import ParallelConfig


@dataclass(frozen=True)
class Ranks:
    """This process among `size`. Neighbouring ranks, `sequence` of them, share each clip's tokens and so its data."""

    rank: int
    size: int
    device: torch.device
    sequence: int = 1

    @property
    def data_rank(self) -> int:
        """Which share of every batch is this rank's."""
        return self.rank // self.sequence

    @property
    def data_size(self) -> int:
        """How many shares there are."""
        return self.size // self.sequence

    @property
    def is_main(self) -> bool:
        """Whether this rank writes what only one may write."""
        return self.rank == 0

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

    def agree(self, problem: str) -> None:
        """To be called by all ranks. One that stopped alone would leave the others waiting for it.

        Raises:
            InputError: there is a problem on any of them; the message tells all.
        """
        problems = dict.fromkeys(str(one) for one in self.gather(problem) if one)
        if problems:
            raise InputError("\n".join(problems))

    def gather(self, value: object) -> list[object]:
        """Every rank's (picklable) value in rank order, on every rank."""
        if self.size == 1:
            return [value]
        values: list[object] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self.size > 1:
            dist.barrier()


@contextmanager
def joined(config: ParallelConfig) -> Iterator[Ranks]:
    """Joins the processes that torchrun started (one alone is a world of its own) and leaves them at the end.

    Raises:
        InputError: the number of processes does not suit `parallel`.
    """
    rank, size, local = (int(os.environ.get(name, default)) for name, default in _NAMES)
    if config.sequence < 1 or size % config.sequence:
        raise InputError(
            f"parallel.sequence={config.sequence}: {size} processes cannot be grouped by it; "
            f"start a multiple of {config.sequence}"
        )
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = ENOUGH_FILES if most == resource.RLIM_INFINITY else min(most, ENOUGH_FILES)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(now, wanted), most))
    device = torch.device("cpu")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # DeepSpeed, where installed, looks for one and tells
    else:
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    alone = size == 1 and config.engine in ("auto", "single")
    if not alone and not dist.is_initialized():
        for name, default in (*_NAMES, ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0")):
            os.environ.setdefault(name, default)  # a world of one needs no torchrun
        # gloo beside nccl: asynchronous checkpoints talk on the CPU
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store = dist.HashStore() if size == 1 else None
        dist.init_process_group(
            backend, store=store, rank=rank if store else -1, world_size=size if store else -1,
            timeout=timedelta(minutes=config.timeout_minutes),
        )  # fmt: skip
    yield Ranks(rank, size, device, config.sequence)
    # not after an error: others may wait in an exchange that will never come, and leaving would wait for them
    if dist.is_initialized():
        dist.destroy_process_group()


ENOUGH_FILES = 65536  # each tensor from a loader's worker takes one
_NAMES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
