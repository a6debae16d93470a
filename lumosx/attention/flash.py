"""Relational attention by variable-length FlashAttention: version 3 where it is installed, else 2, else PyTorch's own.

A varlen kernel takes sequences whose keys do not overlap, and a subject's keys are part of its video's. So the ranges
are dealt into waves without overlap, two for CSAM: one launch for all videos, one for all references. Where no gradient
is needed FlashAttention-3 takes all ranges in one launch: it reads where a sequence's keys start and how many there are
from two tables. (Its backward pass would write the gradients of common keys over one another.)

Version 3 installs from source only (hopper/ of github.com/Dao-AILab/flash-attention) and is for Hopper GPUs; version 2
is lumosx[flash]. None of the kernels runs in the default tests, which have no GPU: these bind the calls to the
signatures of flash-attn 2.8, of version 3's hopper/flash_attn_interface.py and of PyTorch, and let stand-ins answer.
"""

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lumosx.attention.dense import Range
from lumosx.attention.rows import Part, assemble, sorted_ranges

HOPPER = (9, 0)
VERSION_3 = "FlashAttention-3"


class Kernel(NamedTuple):
    """A varlen kernel: `run(q, k, v, query bounds, key bounds, longest query, longest key) -> out`."""

    name: str
    run: Callable[..., Tensor]
    takes_key_lengths: bool  # as `seqused_k`, which lets sequences read common keys


class Call(NamedTuple):
    """Ranges that go to the kernel in one launch, all tables made."""

    queries: slice | Tensor  # rows that it reads and writes
    keys: slice | Tensor
    tables: tuple[Tensor, Tensor, int, int]  # query bounds, key bounds, longest query, longest key
    key_lengths: dict[str, Tensor]  # empty where the bounds say them
    starts: list[int]  # first query row of each range
    lengths: list[int]  # its query rows


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run here, or None."""
    if device.type != "cuda":
        return "it needs a CUDA device"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"its kernels take float16 and bfloat16, not {dtype}"
    return None


def kernel_name(device: torch.device, dtype: torch.dtype) -> str:
    """What runs here, in words."""
    del dtype
    return kernel_for(device).name


def has_version_3(device: torch.device) -> bool:
    """Whether FlashAttention-3 is installed for this device."""
    return kernel_for(device).name == VERSION_3


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> Tensor:
    """Relational attention over [tokens, heads, head_dim]; rows of no range are zero."""
    kernel = kernel_for(q.device)
    needs_gradients = torch.is_grad_enabled() and q.requires_grad
    one_launch = kernel.takes_key_lengths and not needs_gradients
    parts: list[Part] = []
    for call in _plan(sorted_ranges(ranges), q.device, one_launch):
        out = kernel.run(q[call.queries], k[call.keys], v[call.keys], *call.tables, **call.key_lengths)
        if isinstance(call.queries, slice):
            parts.append((call.queries.start, out))
        else:
            parts += zip(call.starts, out.split(call.lengths), strict=True)
    return assemble(parts, len(q), q)


def waves(ranges: tuple[Range, ...]) -> list[list[Range]]:
    """Deals ranges into as few lists as a greedy pass needs, so that no two key ranges of a list overlap."""
    result: list[list[Range]] = []
    for block in sorted(ranges):
        for wave in result:
            if all(block[3] <= other[2] or other[3] <= block[2] for other in wave):
                wave.append(block)
                break
        else:
            result.append([block])
    return result


@lru_cache(maxsize=32)  # all layers of a step share it: nothing is copied to the device inside the network
@torch.inference_mode(False)  # what is cached may be used in training later
def _plan(ranges: tuple[Range, ...], device: torch.device, one_launch: bool) -> list[Call]:
    if one_launch:
        return [_overlapping_call(ranges, device)] if ranges else []
    return [_disjoint_call(blocks, device) for blocks in waves(ranges)]


def _disjoint_call(blocks: list[Range], device: torch.device) -> Call:
    queries, keys = [(q0, q1) for q0, q1, _, _ in blocks], [(k0, k1) for _, _, k0, k1 in blocks]
    tables = (_bounds(queries, device), _bounds(keys, device), _longest(queries), _longest(keys))
    return Call(_rows(queries, device), _rows(keys, device), tables, {}, *_starts_and_lengths(queries))


def _overlapping_call(blocks: tuple[Range, ...], device: torch.device) -> Call:
    """All keys go in whole. A sequence's entry of the key bounds is where its keys start; its length is given too."""
    queries, keys = [(q0, q1) for q0, q1, _, _ in blocks], [(k0, k1) for _, _, k0, k1 in blocks]
    starts = torch.tensor([k0 for k0, _ in keys] + [keys[-1][1]], dtype=torch.int32).to(device)
    lengths = torch.tensor([k1 - k0 for k0, k1 in keys], dtype=torch.int32).to(device)
    tables = (_bounds(queries, device), starts, _longest(queries), _longest(keys))
    return Call(_rows(queries, device), slice(None), tables, {"seqused_k": lengths}, *_starts_and_lengths(queries))


def _rows(spans: list[tuple[int, int]], device: torch.device) -> slice | Tensor:
    if all(stop == start for (_, stop), (start, _) in pairwise(spans)):
        return slice(spans[0][0], spans[-1][1])
    return torch.cat([torch.arange(start, stop, device=device) for start, stop in spans])


def _bounds(spans: list[tuple[int, int]], device: torch.device) -> Tensor:
    lengths = torch.tensor([0] + [stop - start for start, stop in spans])
    return lengths.cumsum(0).to(device=device, dtype=torch.int32)


def _longest(spans: list[tuple[int, int]]) -> int:
    return max(stop - start for start, stop in spans)


def _starts_and_lengths(spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    return [start for start, _ in spans], [stop - start for start, stop in spans]


@lru_cache
def kernel_for(device: torch.device) -> Kernel:
    """The fastest of the kernels that are installed."""
    hopper = device.type == "cuda" and torch.cuda.get_device_capability(device) == HOPPER
    if hopper and importlib.util.find_spec("flash_attn_interface"):
        from flash_attn_interface import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]

        return Kernel(VERSION_3, flash_attn_varlen_func, takes_key_lengths=True)
    if importlib.util.find_spec("flash_attn"):
        from flash_attn import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]

        return Kernel("FlashAttention-2 of flash-attn", flash_attn_varlen_func, takes_key_lengths=False)
    from torch.nn.attention.varlen import varlen_attn

    return Kernel("FlashAttention-2 of PyTorch", varlen_attn, takes_key_lengths=False)  # pyright: ignore
