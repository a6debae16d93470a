"""Relational attention as a few dense calls of PyTorch's fused kernels: exact, and at their full speed.

Query rows of the ranges are disjoint, so every range is an attention of its own. Ranges of equal shape go to the kernel
together; where their rows are equally spaced (the branches of guidance, the seeds of a scene) it reads them where they
are. Forward and backward are written out (the kernels' log-sum-exp is kept) because they are the two halves of one
operator: a compiled block then holds a single node whatever the layout.

The CUDA kernels' calls are tested against their schemas on meta tensors; the arithmetic is tested on a CPU.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.attention.rows import Part, add_up, assemble, sorted_ranges

aten = torch.ops.aten


class Kernel(NamedTuple):
    """A fused attention over [n, heads, tokens, head_dim].

    `forward(q, k, v, keep_lse)` gives the output and the log-sum-exp [n, heads, tokens], which means nothing unless
    kept. `backward(grad, q, k, v, out, lse)` gives the gradients of q, k and v.
    """

    name: str
    forward: Callable[[Tensor, Tensor, Tensor, bool], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


class Group(NamedTuple):
    """Ranges of one shape."""

    queries: list[int]  # the first query row of each range
    keys: list[int]
    rows: int  # how many query rows a range has
    columns: int  # how many key rows


def forward(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, keep_lse: bool = True) -> tuple[Tensor, Tensor]:
    """Attention output [queries, heads, head_dim] and log-sum-exp [queries, heads]; rows of no range are zero.

    Args:
        keep_lse: False leaves out the log-sum-exp (empty), which only the backward pass reads.
    """
    kernel = kernel_for(q.device, q.dtype)
    outs, lses = [], []
    for group in _groups(ranges):
        out, lse = kernel.forward(*_inputs(group, q, k, v), keep_lse)
        outs += _parts(group.queries, out)
        lses += _parts(group.queries, lse) if keep_lse else []
    no_lse = q.new_empty(0, q.shape[1], dtype=lse_type(q))
    return assemble(outs, len(q), q), assemble(lses, len(q), no_lse) if keep_lse else no_lse


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, ranges: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v. Key ranges overlap (video and subject read the same keys), so theirs are summed."""
    kernel = kernel_for(q.device, q.dtype)
    dq, dk, dv = [], [], []
    for group in _groups(ranges):
        part_grad, part_out, part_lse = (_blocks(x, group.queries, group.rows) for x in (grad, out, lse))
        gradients = kernel.backward(part_grad, *_inputs(group, q, k, v), part_out, part_lse.contiguous())
        dq += _parts(group.queries, gradients[0])
        dk += _parts(group.keys, gradients[1])
        dv += _parts(group.keys, gradients[2])
    return assemble(dq, len(q), q), add_up(dk, k), add_up(dv, v)


def lse_type(q: Tensor) -> torch.dtype:
    """The log-sum-exp's type: the kernels keep it in float32, in float64 for float64."""
    return torch.promote_types(q.dtype, torch.float32)


def _groups(ranges: Tensor) -> list[Group]:
    found: dict[tuple[int, int], Group] = {}
    for q0, q1, k0, k1 in sorted_ranges(ranges):
        group = found.setdefault((q1 - q0, k1 - k0), Group([], [], q1 - q0, k1 - k0))
        group.queries.append(q0)
        group.keys.append(k0)
    return list(found.values())


def _inputs(group: Group, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    key, value = (_blocks(x, group.keys, group.columns) for x in (k, v))
    return _blocks(q, group.queries, group.rows), key, value


def _blocks(x: Tensor, starts: list[int], length: int) -> Tensor:
    """Rows [start, start + length) for every start, [n, heads, length, ...]: a view if equally spaced, else a copy."""
    step = _step(starts, length)
    if step is None:
        return torch.stack([x[start : start + length] for start in starts]).transpose(1, 2)
    return x[starts[0] : starts[-1] + length].unfold(0, length, step).movedim(-1, 2)


def _parts(starts: list[int], blocks: Tensor) -> list[Part]:
    """The rows of [n, heads, length, ...]; blocks that follow one another are one part."""
    rows = blocks.transpose(1, 2)
    if _step(starts, rows.shape[1]) == rows.shape[1]:
        return [(starts[0], rows.flatten(0, 1))]
    return list(zip(starts, rows, strict=True))


def _step(starts: list[int], length: int) -> int | None:
    """By how many rows one block starts after another, where it is always the same and none overlap."""
    steps = {after - before for before, after in pairwise(starts)} or {length}
    step = steps.pop()
    return step if step >= length and not steps else None


def kernel_for(device: torch.device, dtype: torch.dtype) -> Kernel:
    """The fused kernel for a device and a type."""
    if device.type == "cpu":
        return CPU_FLASH
    if dtype not in (torch.float16, torch.bfloat16):
        return CUDA_EFFICIENT
    return CUDNN if _prefers_cudnn(device) else CUDA_FLASH


def unavailable(device: torch.device, dtype: torch.dtype) -> str | None:
    """Why this backend cannot run here, or None: PyTorch has a kernel for every CPU and CUDA device."""
    del device, dtype


def kernel_name(device: torch.device, dtype: torch.dtype) -> str:
    """What runs here, in words."""
    return kernel_for(device, dtype).name


def _prefers_cudnn(device: torch.device) -> bool:
    """cuDNN's kernel is the fastest that ships with PyTorch on Hopper and later, FlashAttention-2 before."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 9


def _cpu_forward(q: Tensor, k: Tensor, v: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    del keep_lse  # the kernel makes it in any case
    return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)


def _cpu_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, lse, 0.0, False)


def _flash_forward(q: Tensor, k: Tensor, v: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    del keep_lse  # the kernel makes it in any case
    return aten._scaled_dot_product_flash_attention(q, k, v)[:2]


def _flash_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    seed, offset = _no_dropout(q)
    return aten._scaled_dot_product_flash_attention_backward(
        grad, q, k, v, out, lse, None, None, q.shape[2], k.shape[2], 0.0, False, seed, offset
    )


def _cudnn_forward(q: Tensor, k: Tensor, v: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    out, lse, *_ = aten._scaled_dot_product_cudnn_attention(q, k, v, None, keep_lse)
    return out, lse.reshape(*q.shape[:3]) if keep_lse else lse


def _cudnn_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    seed, offset = _no_dropout(q)
    return aten._scaled_dot_product_cudnn_attention_backward(
        grad, q, k, v, out, lse.unsqueeze(-1), seed, offset, None, None, None, q.shape[2], k.shape[2], 0.0, False
    )


def _efficient_forward(q: Tensor, k: Tensor, v: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
    out, lse, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, keep_lse)
    return out, lse[..., : q.shape[2]]  # the kernel pads its rows to a multiple of 32


def _efficient_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    seed, offset = _no_dropout(q)
    padded = F.pad(lse, (0, -lse.shape[-1] % 32), value=float("inf"))
    wanted = [True, True, True, False]
    gradients = aten._scaled_dot_product_efficient_attention_backward(
        grad, q, k, v, None, out, padded, seed, offset, 0.0, wanted, False
    )
    return gradients[0], gradients[1], gradients[2]


def _no_dropout(q: Tensor) -> tuple[Tensor, Tensor]:
    zero = torch.zeros((), dtype=torch.int64, device=q.device)
    return zero, zero


CPU_FLASH = Kernel("CPU flash attention", _cpu_forward, _cpu_backward)
CUDA_FLASH = Kernel("FlashAttention-2", _flash_forward, _flash_backward)
CUDNN = Kernel("cuDNN attention", _cudnn_forward, _cudnn_backward)
CUDA_EFFICIENT = Kernel("memory-efficient attention", _efficient_forward, _efficient_backward)
