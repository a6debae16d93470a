"""One clip on several GPUs: the branches of guidance on different ranks, the tokens of a branch over several (Ulysses).

Every rank makes the same call and ends with the same clips. In a step it computes the velocities of its own branches,
and only for these it has caches. Velocities are then exchanged, and each rank guides and steps by itself: noise and
velocities are the same numbers everywhere, so latents stay the same to the bit and are never sent. Text and pictures
are encoded and clips decoded on all ranks: the others would only wait for the one that did it for them.

References are sliced as the video is, also while their cache is filled: all of them on every rank would spare their
part of the exchange and cost their part of the arithmetic on each.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.sequence import Group, legal_degrees
from lumosx.pipelines.step_cache import StepCache

T = TypeVar("T")


class Split(NamedTuple):
    """How ranks share a clip: `branches` times `tokens` of them."""

    branches: int  # groups with branches of guidance of their own: one for each branch, or one that has all
    tokens: int  # ranks of a group, which share the tokens


ALONE = Split(1, 1)


@dataclass(frozen=True)
class Share:
    """This rank's part of the branches of guidance; without a group all of them."""

    group: Group = None  # the ranks with the other branches, in the branches' order

    def own(self, branches: Sequence[T]) -> list[T]:
        """Those of this rank."""
        return list(branches) if self.group is None else [branches[self.group.rank()]]

    def gathered(self, velocities: Sequence[Tensor]) -> list[Tensor]:
        """The velocities of all branches, on every rank, from those of its own; all of one shape."""
        if self.group is None:
            return list(velocities)
        (own,) = velocities
        parts = [torch.empty_like(own, memory_format=torch.contiguous_format) for _ in range(self.group.size())]
        dist.all_gather(parts, own.contiguous(), group=self.group)
        return parts


EVERYTHING = Share()


def possible_splits(branches: int, heads: int, video_tokens: int, reference_tokens: int) -> dict[int, Split]:
    """How a clip can be shared, by the number of ranks: branch by branch where that goes, which exchanges least.

    Args:
        branches: of guidance, passes of the transformer in a step.
        heads: of attention.
        video_tokens, reference_tokens: of the video and of one reference. The ranks that share tokens must divide both
            and the heads: 1, 2, 3, 4, 6 or 12 of them for the 1.3B's 12 heads at 832x480.
    """
    degrees = legal_degrees(heads, video_tokens, reference_tokens)
    return {groups * degree: Split(groups, degree) for groups in (1, branches) for degree in degrees}


def split_ranks(ranks: int, branches: int, heads: int, video_tokens: int, reference_tokens: int) -> Split:
    """How `ranks` processes share a clip, described as for `possible_splits`.

    Raises:
        InputError: so many cannot; the message has the nearest two numbers that can.
    """
    possible = possible_splits(branches, heads, video_tokens, reference_tokens)
    if ranks not in possible:
        nearest = sorted(sorted(possible), key=lambda number: abs(number - ranks))[:2]
        passes = f"{branches} passes a step, " if branches > 1 else ""
        raise InputError(
            f"{ranks} processes cannot share a clip of {passes}{heads} heads, {video_tokens} tokens of the video and "
            f"{reference_tokens} of a reference; start {' or '.join(map(str, nearest))} (torchrun --nproc-per-node)"
        )
    return possible[ranks]


def expect_processes(ranks: int) -> None:
    """Raises InputError unless `ranks` processes, this one among them, have joined; one needs no others."""
    joined = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    if ranks not in (1, joined):
        raise InputError(
            f"ranks={ranks}: {joined} process{'es' if joined > 1 else ''} joined; start as many with torchrun, and "
            "call torch.distributed.init_process_group() first"
        )


def expect_same_steps(split: Split, step_cache: StepCache | None) -> None:
    """Raises InputError for a step cache by which ranks that share tokens might skip different steps.

    One would then wait for ever for what another does not send. A cache that counts steps skips the same everywhere.
    """
    if step_cache is not None and step_cache.name == "first-block" and split.tokens > 1:
        raise InputError(
            f"step cache {step_cache} decides by the tokens, of which {split.tokens} processes have different ones in "
            "each pass; take taylorseer or none, or start one process for each pass of a step"
        )


@contextmanager
def sharing(transformer: LumosXTransformer3DModel, split: Split, device: torch.device) -> Iterator[Share]:
    """Lets ranks share every clip that is sampled inside; without a split nothing is touched.

    All ranks of the default process group enter it, and make the same calls inside.
    """
    if split == ALONE:
        yield EVERYTHING
        return
    mesh, before = _mesh(device.type, split, dist.group.WORLD), transformer.sequence_group
    transformer.set_sequence_parallel(mesh.get_group("tokens") if split.tokens > 1 else None)
    try:
        yield Share(mesh.get_group("branches") if split.branches > 1 else None)
    finally:
        transformer.set_sequence_parallel(before)


@cache
def _mesh(device: str, split: Split, world: dist.ProcessGroup) -> DeviceMesh:
    """Kept for a world, because a group of ranks keeps memory on its GPUs."""
    del world
    return init_device_mesh(device, split, mesh_dim_names=("branches", "tokens"))
