"""The processes that torchrun started: who they are, and how they agree."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from lumosx.errors import InputError


@dataclass(frozen=True)
class Processes:
    """All processes of a run, `size` of them, seen from number `rank`."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this rank writes what only one may write."""
        return self.rank == 0

    def agree(self, problem: str) -> None:
        """To be called by all ranks. One that stopped alone would leave the others waiting for it.

        Raises:
            InputError: there is a problem on any of them; the message tells all.
        """
        problems = dict.fromkeys(str(one) for one in self.gather(problem) if one)
        if problems:
            raise InputError("\n".join(problems))

    @contextmanager
    def agreeing(self) -> Iterator[None]:
        """Around what all ranks do, without exchanging anything: wrong input that one meets stops all of them.

        Raises:
            InputError: as `agree`, the same on all ranks.
        """
        problem = ""
        try:
            yield
        except InputError as error:
            problem = str(error)
        self.agree(problem)

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


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(timeout: timedelta = timedelta(minutes=30), always: bool = False) -> Iterator[Processes]:
    """Joins the processes that torchrun started and leaves them at the end. Each has the GPU of its local rank.

    Args:
        timeout: how long one may let the others wait.
        always: one process alone joins a world of its own too, rather than none.

    Raises:
        InputError: more processes on this machine than GPUs.
    """
    rank, size, local = (int(os.environ.get(name, default)) for name, default in _NAMES)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        started, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", local + 1)), torch.cuda.device_count()
        if started > gpus:
            raise InputError(
                f"{started} processes on a machine with {gpus} GPUs; start it with --nproc-per-node {gpus}"
            )
        device = torch.device("cuda", local)
        torch.cuda.set_device(device)
    if (size > 1 or always) and not dist.is_initialized():
        for name, default in (*_NAMES, ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", "0")):
            os.environ.setdefault(name, default)  # a world of one needs no torchrun
        # gloo beside nccl: Python objects and asynchronous checkpoints are sent from the CPU
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        store = dist.HashStore() if size == 1 else None
        dist.init_process_group(
            backend, store=store, rank=rank if store else -1, world_size=size if store else -1, timeout=timeout
        )
    yield Processes(rank, size, device)
    # not after an error: others may wait in an exchange that will never come, and leaving would wait for them
    if dist.is_initialized():
        dist.destroy_process_group()


_NAMES = (("RANK", "0"), ("WORLD_SIZE", "1"), ("LOCAL_RANK", "0"))
