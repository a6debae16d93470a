"""Relational attention as one PyTorch operator, so that a compiled block holds one node whatever the layout.

Ranges travel as a CPU tensor: as Python numbers inside a compiled block they would make a new graph for every layout.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lumosx.attention import flash, flex, magi, sdpa

RECOMPUTED = {"flash": flash.attend, "flex": flex.attend, "magi": magi.attend}


@torch.library.custom_op("lumosx::attend", mutates_args=())
def attend_op(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    """(out [queries, heads, head_dim], log-sum-exp [heads, queries] or empty where the backend recomputes)."""
    if backend == "sdpa":
        return sdpa.forward(q, k, v, ranges)
    return RECOMPUTED[backend](q, k, v, ranges).contiguous(), q.new_empty(0, dtype=torch.float32)


@attend_op.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, backend: str) -> tuple[Tensor, Tensor]:
    if backend == "sdpa":
        return torch.empty_like(q), q.new_empty(q.shape[1], q.shape[0], dtype=sdpa.lse_type(q))
    return torch.empty_like(q), q.new_empty(0, dtype=torch.float32)


@torch.library.custom_op("lumosx::attend_backward", mutates_args=())
def attend_backward_op(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, ranges: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of q, k and v."""
    if backend == "sdpa":
        return sdpa.backward(grad, q, k, v, out, lse, ranges)
    q, k, v = (x.detach().requires_grad_() for x in (q, k, v))
    # An operator's inside runs below autograd, which a kernel with a backward pass of its own needs.
    autograd = torch._C._SetExcludeDispatchKeyGuard(torch._C.DispatchKey.AutogradFunctionality, False)
    with torch.enable_grad(), autograd:
        dq, dk, dv = torch.autograd.grad(RECOMPUTED[backend](q, k, v, ranges), (q, k, v), grad)
    return dq.contiguous(), dk.contiguous(), dv.contiguous()


@attend_backward_op.register_fake
def _(
    grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, ranges: Tensor, backend: str
) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(q), torch.empty_like(k), torch.empty_like(v)


def _save(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ranges, ctx.backend = inputs
    ctx.save_for_backward(q, k, v, *output, ranges)


def _differentiate(ctx, grad: Tensor, grad_lse: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, ranges = ctx.saved_tensors
    return (*attend_backward_op(grad.contiguous(), q, k, v, out, lse, ranges, ctx.backend), None, None)


attend_op.register_autograd(_differentiate, setup_context=_save)


def _flops(ranges: Tensor, heads: int, head_dim: int) -> int:
    return sum(4 * (q1 - q0) * (k1 - k0) for q0, q1, k0, k1 in ranges.tolist()) * heads * head_dim


@register_flop_formula(torch.ops.lumosx.attend, get_raw=True)
def _(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, *args: object, **kwargs: object) -> int:
    return _flops(ranges, q.shape[1], q.shape[2])


@register_flop_formula(torch.ops.lumosx.attend_backward, get_raw=True)
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, ranges: Tensor, *args: object,
      **kwargs: object) -> int:  # fmt: skip
    return _flops(ranges, q.shape[1], q.shape[2]) * 5 // 2
