"""The oracle: one masked attention in full precision. Slow, quadratic in memory, obviously right; for tests."""

import torch
from torch import Tensor


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> Tensor:
    """Masked softmax attention over [tokens, heads, head_dim], in at least float32; rows of no range are zero."""
    mask = torch.zeros(len(q), len(k), dtype=torch.bool, device=q.device)
    for q0, q1, k0, k1 in ranges.tolist():
        mask[q0:q1, k0:k1] = True
    precise = torch.promote_types(q.dtype, torch.float32)
    scores = torch.einsum("qhd,khd->hqk", q.to(precise), k.to(precise)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(~mask, float("-inf")).softmax(dim=-1).nan_to_num(0.0)
    return torch.einsum("hqk,khd->qhd", weights, v.to(precise)).to(q.dtype)
