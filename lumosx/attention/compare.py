"""Measures every backend on this machine: time, rate and error on the same random tensors, beside plain attention."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.benchmark import Timer

from lumosx.attention import MODULES, attend, dense
from lumosx.attention.dense import Range
from lumosx.attention.op import forward_flops

PLAIN = "plain"
CHECKED_ROWS = 16  # of each range, against the oracle: it holds their scores with all keys
LARGEST_TABLE = 2**30  # bytes; what a backend may hold that keeps the scores of all pairs of tokens

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Row:
    """What was measured of one backend.

    forward, backward: median seconds, None where it has no such pass or `problem` says why there is no measurement.
        A backend that keeps nothing for its backward pass computes the forward pass again in it.
    error: largest difference from the masked oracle in float32, forward.
    """

    backend: str
    kernel: str
    flops: int  # of a forward pass
    forward: float | None = None
    backward: float | None = None
    error: float | None = None
    problem: str | None = None

    @property
    def rate(self) -> float | None:
        """FLOP/s of the forward pass."""
        return self.flops / self.forward if self.forward else None


def compare(
    ranges: Sequence[Range], heads: int, head_dim: int, device: torch.device, dtype: torch.dtype, seconds: float = 1.0
) -> Iterator[Row]:
    """Plain attention of all tokens to all tokens (what relational attention replaces), then every backend.

    Args:
        ranges: (q0, q1, k0, k1), such as `TokenLayout.attention_ranges`.
        seconds: how long each median is taken over, at least.
    """
    tokens = max(max(q1, k1) for _, q1, _, k1 in ranges)
    generator = torch.Generator().manual_seed(0)
    made = [torch.randn(tokens, heads, head_dim, generator=generator).to(device, dtype) for _ in range(4)]

    whole = torch.tensor([(0, tokens, 0, tokens)])
    plain = Row(PLAIN, "PyTorch's choice", forward_flops(whole, heads, head_dim))
    yield _measured(plain, plain_attention, made, whole, seconds)

    table = torch.tensor(ranges, dtype=torch.int64)
    for backend in MODULES:
        row = _row(backend, made[0], table)
        yield row if row.problem else _measured(row, _attention(backend, table), made, table, seconds)


def plain_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's attention of all to all, [tokens, heads, head_dim]."""
    query, key, value = (x.transpose(0, 1)[None] for x in (q, k, v))
    return F.scaled_dot_product_attention(query, key, value)[0].transpose(0, 1)


def _attention(backend: str, ranges: Tensor) -> Attention:
    return lambda q, k, v: attend(q, k, v, ranges, backend)


def _row(backend: str, q: Tensor, ranges: Tensor) -> Row:
    """Names what would run, with a problem where it cannot or should not."""
    module, flops = MODULES[backend], forward_flops(ranges, *q.shape[1:])
    problem = module.unavailable(q.device, q.dtype)
    if problem:
        return Row(backend, "-", flops, problem=f"cannot run here: {problem}")
    size = q.shape[1] * len(q) ** 2 * torch.float32.itemsize
    if size > LARGEST_TABLE and (backend == "dense" or (backend == "flex" and q.device.type == "cpu")):
        problem = f"was not run: it would hold the scores of all pairs of tokens, {size / 2**30:.1f} GiB"
    return Row(backend, module.kernel_name(q.device, q.dtype), flops, problem=problem)


def _measured(row: Row, attention: Attention, tensors: list[Tensor], ranges: Tensor, seconds: float) -> Row:
    q, k, v, weight = tensors
    try:
        with torch.no_grad():
            forward = _median(lambda: attention(q, k, v), seconds)
            error = _error(attention(q, k, v), q, k, v, ranges)
        return replace(row, forward=forward, error=error, backward=_backward(attention, [q, k, v], weight, seconds))
    except Exception as error:  # of this backend, whatever it is: the others go on
        return replace(row, problem=" ".join(f"failed: {type(error).__name__}: {error}".split())[:200])


def _backward(attention: Attention, inputs: list[Tensor], weight: Tensor, seconds: float) -> float | None:
    leaves = [x.detach().requires_grad_() for x in inputs]
    try:
        out = attention(*leaves)
        return _median(lambda: torch.autograd.grad(out, leaves, weight, retain_graph=True), seconds)
    except NotImplementedError:  # FlexAttention on a CPU
        return None


def _median(run: Callable[[], object], seconds: float) -> float:
    run()  # what is made once, compiled or planned
    timer = Timer("run()", globals={"run": run}, num_threads=torch.get_num_threads())
    return timer.blocked_autorange(min_run_time=seconds).median


def _error(out: Tensor, q: Tensor, k: Tensor, v: Tensor, ranges: Tensor) -> float:
    """Largest difference from the oracle over some rows of every range: all rows would be too large to hold."""
    rows, few = [], []
    for q0, q1, k0, k1 in ranges.tolist():
        chosen = torch.linspace(q0, q1 - 1, min(CHECKED_ROWS, q1 - q0)).long()
        few.append((len(rows), len(rows) + len(chosen), k0, k1))
        rows += chosen.tolist()
    index = torch.tensor(rows, device=q.device)
    exact = dense.attend(q[index].float(), k.float(), v.float(), torch.tensor(few))
    return (out[index].float() - exact).abs().max().item()
