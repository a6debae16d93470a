"""Relational attention by MagiAttention's flex-flash-attention, which takes the ranges as they are.

It installs from source only (github.com/SandAI-org/MagiAttention; the package of that name on the index is another one)
and its kernel runs on Hopper. Never run by the default tests: they check the call against version 1.1's signature.
"""

import importlib.util
from functools import lru_cache

import torch
from torch import Tensor

from lumosx.attention.dense import Range
from lumosx.attention.rows import sorted_ranges


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run here, or None."""
    if importlib.util.find_spec("magi_attention") is None:
        return "MagiAttention is not installed (from source: https://github.com/SandAI-org/MagiAttention, version 1.1)"
    if device.type != "cuda" or torch.cuda.get_device_capability(device) != (9, 0):
        return "its kernel needs a Hopper GPU (compute capability 9.0)"
    if dtype not in (torch.float16, torch.bfloat16):
        return f"its kernel takes float16 and bfloat16, not {dtype}"
    return None


def kernel_name(device: torch.device, dtype: torch.dtype) -> str:
    """What runs here, in words."""
    del device, dtype
    return "flex-flash-attention"


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> Tensor:
    """Relational attention over [tokens, heads, head_dim]; rows of no range are zero."""
    from magi_attention.functional import flex_flash_attn_func  # pyright: ignore[reportMissingImports]

    q_ranges, k_ranges = _on_device(sorted_ranges(ranges), q.device)
    # Query ranges are disjoint; key ranges overlap, so the backward pass keeps its atomic reduction.
    out, _ = flex_flash_attn_func(q, k, v, q_ranges, k_ranges, disable_fwd_atomic_reduction=True)
    return out


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is cached may be used in training later
def _on_device(ranges: tuple[Range, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    table = torch.tensor(ranges, dtype=torch.int32).to(device)
    return table[:, :2].contiguous(), table[:, 2:].contiguous()
