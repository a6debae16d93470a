"""Relational attention by variable-length FlashAttention: one launch for all videos, one for all references.

A varlen kernel takes sequences whose keys do not overlap, and a subject's keys are part of its video's. So the ranges
are dealt into waves without overlap, two for CSAM. The flash-attn package serves where installed, else PyTorch's own
kernel.
"""

import importlib.util
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from lumosx.attention.dense import Range


class Wave(NamedTuple):
    """Ranges without common keys, as one call of a varlen kernel takes them."""

    queries: slice | Tensor  # rows that it reads and writes
    keys: slice | Tensor
    query_bounds: Tensor  # int32 [n + 1], cumulative lengths
    key_bounds: Tensor
    longest_query: int
    longest_key: int


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run here, or None."""
    if device.type != "cuda":
        return "it needs a CUDA device"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"its kernels take float16 and bfloat16, not {dtype}"
    return None


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> Tensor:
    """Relational attention over [tokens, heads, head_dim]; rows of no range are zero."""
    out = torch.zeros_like(q)
    for wave in _plan(tuple(map(tuple, ranges.tolist())), q.device):
        out[wave.queries] = _varlen(q[wave.queries], k[wave.keys], v[wave.keys], *wave[2:])
    return out


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
def _plan(ranges: tuple[Range, ...], device: torch.device) -> list[Wave]:
    plan = []
    for blocks in waves(ranges):
        queries, keys = [(q0, q1) for q0, q1, _, _ in blocks], [(k0, k1) for _, _, k0, k1 in blocks]
        rows = _rows(queries, device), _rows(keys, device)
        bounds = _bounds(queries, device), _bounds(keys, device)
        longest = (max(stop - start for start, stop in spans) for spans in (queries, keys))
        plan.append(Wave(*rows, *bounds, *longest))
    return plan


def _rows(spans: list[tuple[int, int]], device: torch.device) -> slice | Tensor:
    if all(stop == start for (_, stop), (start, _) in pairwise(spans)):
        return slice(spans[0][0], spans[-1][1])
    return torch.cat([torch.arange(start, stop, device=device) for start, stop in spans])


def _bounds(spans: list[tuple[int, int]], device: torch.device) -> Tensor:
    lengths = torch.tensor([0] + [stop - start for start, stop in spans])
    return lengths.cumsum(0).to(device=device, dtype=torch.int32)


def _varlen(q: Tensor, k: Tensor, v: Tensor, *bounds_and_longest: Tensor | int) -> Tensor:
    if importlib.util.find_spec("flash_attn"):
        from flash_attn import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]

        return flash_attn_varlen_func(q, k, v, *bounds_and_longest)
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(q, k, v, *bounds_and_longest)  # pyright: ignore
