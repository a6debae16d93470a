"""Relational attention by FlexAttention, with a BlockMask built from the ranges.

`create_block_mask` would evaluate the mask for every pair of tokens (34 s and 18 GB at 480p x 81 frames); the ranges
say directly which blocks are full, partial or empty.
"""

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from lumosx.attention.dense import Range
from lumosx.attention.rows import sorted_ranges

BLOCK = 128


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run here, or None. On a CPU it has no backward pass."""
    del dtype
    return None if device.type in ("cuda", "cpu") else f"FlexAttention does not run on {device.type}"


def kernel_name(device: torch.device, dtype: torch.dtype) -> str:
    """What runs here, in words."""
    del dtype
    return "unfused, forward only" if device.type == "cpu" else "compiled to Triton"


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> Tensor:
    """Relational attention over [tokens, heads, head_dim]; rows of no range are zero."""
    mask = block_mask(sorted_ranges(ranges), len(q), len(k), q.device)
    kernel = flex_attention if q.device.type == "cpu" else _compiled()
    q, k, v = (x.transpose(0, 1).unsqueeze(0) for x in (q, k, v))
    out = kernel(q, k, v, block_mask=mask)
    return out.squeeze(0).transpose(0, 1)  # pyright: ignore[reportAttributeAccessIssue]


@lru_cache(maxsize=1)
def _compiled():
    return torch.compile(flex_attention, dynamic=True)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is cached may be used in training later
def block_mask(ranges: tuple[Range, ...], queries: int, keys: int, device: torch.device) -> BlockMask:
    """The ranges as a BlockMask: per block of queries, the indices of partly and of wholly visible blocks of keys."""
    seen = torch.zeros(-(-queries // BLOCK), -(-keys // BLOCK))
    first, last = torch.zeros(queries, dtype=torch.int64), torch.zeros(queries, dtype=torch.int64)
    for q0, q1, k0, k1 in ranges:
        first[q0:q1], last[q0:q1] = k0, k1
        seen += _overlap(q0, q1, len(seen))[:, None] * _overlap(k0, k1, seen.shape[1])[None, :]
    full = seen == BLOCK**2
    partial = (seen > 0) & ~full
    first, last = first.to(device), last.to(device)

    def visible(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key >= first[query]) & (key < last[query])

    return BlockMask.from_kv_blocks(
        *_sorted_blocks(partial, device),
        *_sorted_blocks(full, device),
        BLOCK_SIZE=BLOCK,
        mask_mod=visible,
        seq_lengths=(queries, keys),
    )


def _overlap(start: int, stop: int, blocks: int) -> Tensor:
    """How many positions of [start, stop) fall into each block."""
    edges = torch.arange(blocks + 1) * BLOCK
    return (edges[1:].clamp(max=stop) - edges[:-1].clamp(min=start)).clamp(min=0).float()


def _sorted_blocks(table: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    counts = table.sum(dim=1).to(torch.int32)
    indices = table.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return counts[None, None].to(device), indices[None, None].to(device)
