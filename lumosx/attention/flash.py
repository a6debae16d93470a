"""Relational attention by variable-length FlashAttention: one launch for all videos, one for all references.

A varlen kernel takes sequences whose keys do not overlap, and a subject's keys are part of its video's. So the ranges are
dealt into waves without overlap, two for CSAM. PyTorch's own kernel serves, or the flash-attn package where installed.
"""

import importlib.util
from itertools import pairwise

import torch
from torch import Tensor

Block = tuple[int, int, int, int]


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
    for blocks in waves(ranges):
        rows = _rows([(q0, q1) for q0, q1, _, _ in blocks], len(q), q.device)
        keys = _rows([(k0, k1) for _, _, k0, k1 in blocks], len(k), k.device)
        part = _varlen(q[rows], k[keys], v[keys], blocks)
        if isinstance(rows, slice) and rows == slice(0, len(q)):
            return part
        out = out.index_put((_index(rows, len(q), q.device),), part)
    return out


def waves(ranges: Tensor) -> list[list[Block]]:
    """Deals ranges into as few lists as a greedy pass needs, so that no two key ranges of a list overlap."""
    result: list[list[Block]] = []
    for block in sorted(tuple(r) for r in ranges.tolist()):
        for wave in result:
            if all(block[3] <= other[2] or other[3] <= block[2] for other in wave):
                wave.append(block)
                break
        else:
            result.append([block])
    return result


def _rows(spans: list[tuple[int, int]], length: int, device: torch.device) -> slice | Tensor:
    if all(stop == start for (_, stop), (start, _) in pairwise(spans)):
        return slice(spans[0][0], spans[-1][1])
    return torch.cat([torch.arange(start, stop, device=device) for start, stop in spans])


def _index(rows: slice | Tensor, length: int, device: torch.device) -> Tensor:
    return torch.arange(length, device=device)[rows] if isinstance(rows, slice) else rows


def _varlen(q: Tensor, k: Tensor, v: Tensor, blocks: list[Block]) -> Tensor:
    query_lengths = [q1 - q0 for q0, q1, _, _ in blocks]
    key_lengths = [k1 - k0 for _, _, k0, k1 in blocks]
    bounds = (_cumulative(query_lengths, q.device), _cumulative(key_lengths, q.device))
    longest = (max(query_lengths), max(key_lengths))
    if importlib.util.find_spec("flash_attn"):
        from flash_attn import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]

        return flash_attn_varlen_func(q, k, v, *bounds, *longest)
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn(q, k, v, *bounds, *longest)  # pyright: ignore[reportReturnType]


def _cumulative(lengths: list[int], device: torch.device) -> Tensor:
    bounds = [0]
    for length in lengths:
        bounds.append(bounds[-1] + length)
    return torch.tensor(bounds, dtype=torch.int32, device=device)
