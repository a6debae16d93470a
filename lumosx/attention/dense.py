"""The oracle: one masked attention in full precision. Slow, quadratic in memory, obviously right; for tests."""

from collections.abc import Iterable

import torch
from torch import Tensor

Range = tuple[int, int, int, int]  # (q0, q1, k0, k1): query rows [q0, q1) see key rows [k0, k1)


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run here, or None: it always can."""
    del device, dtype


def kernel_name(device: torch.device, dtype: torch.dtype) -> str:
    """What runs here, in words."""
    del device
    return "masked " + str(torch.promote_types(dtype, torch.float32)).removeprefix("torch.")


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> Tensor:
    """Masked softmax attention over [tokens, heads, head_dim], in at least float32; rows of no range are zero."""
    mask = dense_mask(ranges.tolist(), len(q), len(k)).to(q.device)
    precise = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("qhd,khd->hqk", q.to(precise), k.to(precise)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).nan_to_num(0.0)
    return torch.einsum("hqk,khd->qhd", weights, v.to(precise)).to(q.dtype)


def dense_mask(ranges: Iterable[Range], queries: int, keys: int) -> Tensor:
    """The boolean mask [queries, keys] that `ranges` stand for."""
    mask = torch.zeros(queries, keys, dtype=torch.bool)
    for q0, q1, k0, k1 in ranges:
        mask[q0:q1, k0:k1] = True
    return mask
