"""Relational attention as a few dense calls of PyTorch's fused kernels: exact, and at their full speed.

Query rows of the ranges are disjoint, so every range is an attention of its own. Ranges of equal shape go to the kernel
together. Forward and backward are written out (the kernels' log-sum-exp is kept) because they are the two halves of one
operator: a compiled block then holds a single node whatever the layout.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.attention.dense import Range

aten = torch.ops.aten


class Kernel(NamedTuple):
    """A fused attention over [n, heads, tokens, head_dim]. `forward` gives (out, log-sum-exp [n, heads, tokens])."""

    forward: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    backward: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]


def forward(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> tuple[Tensor, Tensor]:
    """Attention output [queries, heads, head_dim] and log-sum-exp [heads, queries]; rows of no range are zero."""
    kernel = kernel_for(q)
    out = torch.zeros_like(q)
    lse = q.new_zeros(q.shape[1], q.shape[0], dtype=lse_type(q))
    for blocks in _equal_shapes(ranges):
        part, part_lse = kernel.forward(*_gather(blocks, q, k, v))
        for index, (q0, q1, _, _) in enumerate(blocks):
            out[q0:q1] = part[index].transpose(0, 1)
            lse[:, q0:q1] = part_lse[index]
    return out, lse


def backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, ranges: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k, v. Key ranges overlap (video and subject read the same keys), so theirs are summed."""
    kernel = kernel_for(q)
    dq, dk, dv = torch.zeros_like(q), torch.zeros_like(k), torch.zeros_like(v)
    for blocks in _equal_shapes(ranges):
        rows = [(q0, q1) for q0, q1, _, _ in blocks]
        part_grad, part_out = (_stack(x, rows) for x in (grad, out))
        part_lse = torch.stack([lse[:, q0:q1] for q0, q1 in rows])
        gradients = kernel.backward(part_grad, *_gather(blocks, q, k, v), part_out, part_lse)
        for index, (q0, q1, k0, k1) in enumerate(blocks):
            dq[q0:q1] = gradients[0][index].transpose(0, 1)
            dk[k0:k1] += gradients[1][index].transpose(0, 1)
            dv[k0:k1] += gradients[2][index].transpose(0, 1)
    return dq, dk, dv


def lse_type(q: Tensor) -> torch.dtype:
    """The log-sum-exp's type: the kernels keep it in float32, in float64 for float64."""
    return torch.promote_types(q.dtype, torch.float32)


def _equal_shapes(ranges: Tensor) -> Iterator[list[Range]]:
    buckets: dict[tuple[int, int], list[Range]] = defaultdict(list)
    for q0, q1, k0, k1 in ranges.tolist():
        if q1 > q0 and k1 > k0:
            buckets[q1 - q0, k1 - k0].append((q0, q1, k0, k1))
    return iter(buckets.values())


def _stack(x: Tensor, rows: list[tuple[int, int]]) -> Tensor:
    if len(rows) == 1:
        return x[rows[0][0] : rows[0][1]].unsqueeze(0).transpose(1, 2)
    return torch.stack([x[start:stop] for start, stop in rows]).transpose(1, 2)


def _gather(blocks: list[Range], q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    keys = [(k0, k1) for _, _, k0, k1 in blocks]
    return _stack(q, [(q0, q1) for q0, q1, _, _ in blocks]), _stack(k, keys), _stack(v, keys)


def kernel_for(q: Tensor) -> Kernel:
    """The fused kernel for this tensor's device and type."""
    if q.device.type == "cpu":
        return CPU_FLASH
    if q.dtype not in (torch.float16, torch.bfloat16):
        return CUDA_EFFICIENT
    return CUDNN if _prefers_cudnn(q.device) else CUDA_FLASH


def _prefers_cudnn(device: torch.device) -> bool:
    """cuDNN's kernel is the fastest that ships with PyTorch on Hopper and later, FlashAttention-2 before."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device)[0] >= 9


def _cpu_forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)


def _cpu_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    return aten._scaled_dot_product_flash_attention_for_cpu_backward(grad, q, k, v, out, lse, 0.0, False)


def _flash_forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return aten._scaled_dot_product_flash_attention(q, k, v)[:2]


def _flash_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    seed, offset = _no_dropout(q)
    return aten._scaled_dot_product_flash_attention_backward(
        grad, q, k, v, out, lse, None, None, q.shape[2], k.shape[2], 0.0, False, seed, offset
    )


def _cudnn_forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    out, lse, *_ = aten._scaled_dot_product_cudnn_attention(q, k, v, None, True)
    return out, lse.reshape(*q.shape[:3])


def _cudnn_backward(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    seed, offset = _no_dropout(q)
    return aten._scaled_dot_product_cudnn_attention_backward(
        grad, q, k, v, out, lse.unsqueeze(-1), seed, offset, None, None, None, q.shape[2], k.shape[2], 0.0, False
    )


def _efficient_forward(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    out, lse, *_ = aten._scaled_dot_product_efficient_attention(q, k, v, None, True)
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


CPU_FLASH = Kernel(_cpu_forward, _cpu_backward)
CUDA_FLASH = Kernel(_flash_forward, _flash_backward)
CUDNN = Kernel(_cudnn_forward, _cudnn_backward)
CUDA_EFFICIENT = Kernel(_efficient_forward, _efficient_backward)
