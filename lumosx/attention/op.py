"""Relational attention as one PyTorch operator, so that a compiled block holds one node whatever the layout.

Ranges travel as a CPU tensor: as Python numbers inside a compiled block they would make a new graph for every layout.
"""

import torch
from torch import Tensor
from torch.utils.flop_counter import register_flop_formula

from lumosx.attention import flash, flex, magi, sdpa

RECOMPUTED = {"flash": flash.attend, "flex": flex.attend, "magi": magi.attend}


@torch.library.custom_op("lumosx::attend", mutates_args=())
def attend_op(
    q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, backend: str, keep_lse: bool = True
) -> tuple[Tensor, Tensor]:
    """(out [queries, heads, head_dim], log-sum-exp [queries, heads]).

    The log-sum-exp is for the backward pass: empty without `keep_lse` and where the backend recomputes.
    """
    if backend == "sdpa":
        return sdpa.forward(q, k, v, ranges, keep_lse)
    return RECOMPUTED[backend](q, k, v, ranges).contiguous(), q.new_empty(0, dtype=torch.float32)


@attend_op.register_fake
def _(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, backend: str, keep_lse: bool = True) -> tuple[Tensor, Tensor]:
    if backend == "sdpa":
        rows = q.shape[0] if keep_lse else 0  # len(q) would make a graph for every number
        return q.new_empty(q.shape), q.new_empty(rows, q.shape[1], dtype=sdpa.lse_type(q))
    return q.new_empty(q.shape), q.new_empty(0, dtype=torch.float32)


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
    return q.new_empty(q.shape), k.new_empty(k.shape), v.new_empty(v.shape)


def _save(ctx, inputs: tuple, output: tuple[Tensor, Tensor]) -> None:
    q, k, v, ranges, ctx.backend, _ = inputs
    ctx.save_for_backward(q, k, v, *output, ranges)


def _differentiate(ctx, grad: Tensor, grad_lse: Tensor) -> tuple[Tensor | None, ...]:
    q, k, v, out, lse, ranges = ctx.saved_tensors
    return (*attend_backward_op(grad.contiguous(), q, k, v, out, lse, ranges, ctx.backend), None, None, None)


attend_op.register_autograd(_differentiate, setup_context=_save)


def forward_flops(ranges: Tensor, heads: int, head_dim: int) -> int:
    """FLOPs of a forward pass: two matrix products over the pairs of every range, 2 FLOPs a multiplication."""
    return sum(4 * (q1 - q0) * (k1 - k0) for q0, q1, k0, k1 in ranges.tolist()) * heads * head_dim


@register_flop_formula(torch.ops.lumosx.attend, get_raw=True)
def _(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor, *args: object, **kwargs: object) -> int:
    return forward_flops(ranges, q.shape[1], q.shape[2])


@register_flop_formula(torch.ops.lumosx.attend_backward, get_raw=True)
def _(grad: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, ranges: Tensor, *args: object,
      **kwargs: object) -> int:  # fmt: skip
    return forward_flops(ranges, q.shape[1], q.shape[2]) * 5 // 2  # five products, the scores once more
