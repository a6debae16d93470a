"""Relational attention: attention over ranges, behind one function with several backends that agree.

`dense` is the masked fp32 oracle, `sdpa` the default on every device, `flash`, `flex` and `magi` are optional kernels.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from lumosx.attention import dense, flash, flex, magi, sdpa
from lumosx.attention.dense import Range
from lumosx.attention.op import attend_op
from lumosx.errors import InputError

MODULES = {"dense": dense, "sdpa": sdpa, "flash": flash, "flex": flex, "magi": magi}
BACKENDS = ("auto", *MODULES)


def attend(q: Tensor, k: Tensor, v: Tensor, ranges: Tensor | Sequence[Range], backend: str = "sdpa") -> Tensor:
    """Softmax attention in which query rows [q0, q1) see key rows [k0, k1), for every range (equation 2).

    Args:
        q: [queries, heads, head_dim]; k, v: [keys, heads, head_dim].
        ranges: int64 [n, 4] on the CPU, or a list; (q0, q1, k0, k1), half-open, query rows disjoint.
        backend: one of `BACKENDS`.

    Returns:
        [queries, heads, head_dim]; rows that no range covers are zero.

    Raises:
        InputError: the backend does not exist or cannot run here.
        ValueError: a list of ranges whose query rows overlap, or that go beyond the tensors.
    """
    if not isinstance(ranges, Tensor):
        ranges = _checked(ranges, len(q), len(k))
    if backend == "auto" or not (backend == "sdpa" or torch.compiler.is_compiling()):
        backend, _ = choose_backend(q.device, q.dtype, backend, gradients=torch.is_grad_enabled())
    if backend == "dense":
        return dense.attend(q, k, v, ranges)
    return attend_op(q.contiguous(), k.contiguous(), v.contiguous(), ranges, backend, torch.is_grad_enabled())[0]


def choose_backend(
    device: torch.device, dtype: torch.dtype, wanted: str = "auto", *, gradients: bool = False
) -> tuple[str, str]:
    """The backend to run and why. An explicit choice that cannot run here is an error, never a silent fallback.

    `auto` takes `sdpa`: CSAM is a few dense calls, and PyTorch's kernels run those at least as fast as masked or range
    kernels do by all published figures. The one exception is `flash` where FlashAttention-3 is installed on a Hopper
    GPU and no `gradients` are needed: `flash` would compute the forward pass again for them.
    """
    if wanted not in BACKENDS:
        raise InputError(f"attention backend {wanted!r} does not exist: choose one of {', '.join(BACKENDS)}")
    if wanted == "auto":
        return _fastest(device, dtype, gradients)
    module = MODULES[wanted]
    reason = module.unavailable(device, dtype)
    if reason:
        raise InputError(f"attention backend '{wanted}' cannot run here: {reason}")
    return wanted, f"as asked for, {module.kernel_name(device, dtype)}"


@torch.compiler.assume_constant_result  # a compiled caller of `auto` need not trace the search for packages
def _fastest(device: torch.device, dtype: torch.dtype, gradients: bool) -> tuple[str, str]:
    fused = f"{sdpa.kernel_name(device, dtype)} of PyTorch {torch.__version__}"
    if gradients or flash.unavailable(device, dtype) or not flash.has_version_3(device):
        return "sdpa", f"exact, nothing to build, {fused}"
    published = "on an H100 690-700 TFLOP/s are published for it, 575-618 for cuDNN's kernel"
    return "flash", f"{flash.kernel_name(device, dtype)}: {published}; where gradients are needed sdpa with {fused}"


def _checked(ranges: Sequence[Range], queries: int, keys: int) -> Tensor:
    rows = sorted((q0, q1) for q0, q1, _, _ in ranges)
    if any(stop > start for (_, stop), (start, _) in pairwise(rows)):
        raise ValueError(f"query rows of ranges must be disjoint: {list(ranges)}")
    if not all(0 <= q0 <= q1 <= queries and 0 <= k0 <= k1 <= keys for q0, q1, k0, k1 in ranges):
        raise ValueError(f"ranges go beyond {queries} queries and {keys} keys: {list(ranges)}")
    return torch.tensor(ranges, dtype=torch.int64).view(-1, 4)


__all__ = ["BACKENDS", "attend", "choose_backend"]
