"""Every backend equals the masked oracle, forward and backward, and a backend that cannot run says why."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lumosx.attention import BACKENDS, attend, choose_backend
from lumosx.attention.dense import Range, dense_mask
from lumosx.errors import InputError

HEADS, HEAD_DIM = 2, 8
CSAM = [(0, 6, 0, 12), (6, 9, 6, 9), (9, 12, 9, 12)]


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Range], int, int, int]:
    """Ranges with disjoint query rows (some covered by none) over overlapping keys; queries, keys, seed."""
    keys = draw(st.integers(1, 20))
    ranges, start = [], 0
    for _ in range(draw(st.integers(0, 5))):
        q0 = start + draw(st.integers(0, 3))
        start = q0 + draw(st.integers(0, 6))
        k0 = draw(st.integers(0, keys - 1))
        ranges.append((q0, start, k0, draw(st.integers(k0 + 1, keys))))
    return draw(st.permutations(ranges)), start + draw(st.integers(1, 3)), keys, draw(st.integers(0, 999))


def tensors(queries: int, keys: int, seed: int, dtype: torch.dtype, device: str = "cpu") -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(n, HEADS, HEAD_DIM, generator=generator, dtype=torch.float64) for n in (queries, keys, keys)]
    return [x.to(device, dtype).requires_grad_() for x in made]


def masked_softmax(q: Tensor, k: Tensor, v: Tensor, ranges: list[Range]) -> Tensor:
    """Row by row, without a mask."""
    out = torch.zeros_like(q)
    for q0, q1, k0, k1 in ranges:
        weights = torch.einsum("qhd,khd->hqk", q[q0:q1], k[k0:k1]).div(q.shape[-1] ** 0.5).softmax(-1)
        out = out.index_copy(0, torch.arange(q0, q1), torch.einsum("hqk,khd->qhd", weights, v[k0:k1]))
    return out


def masked_sdpa(q: Tensor, k: Tensor, v: Tensor, ranges: list[Range]) -> Tensor:
    """PyTorch's own attention under a mask, in the type of its inputs: the error that a backend is measured by."""
    mask = dense_mask(ranges, len(q), len(k)).to(q.device)
    out = F.scaled_dot_product_attention(*(x.transpose(0, 1)[None] for x in (q, k, v)), attn_mask=mask)
    return out[0].transpose(0, 1)


@settings(max_examples=60, deadline=None)
@given(cases())
def test_the_oracle_itself(case: tuple[list[Range], int, int, int]) -> None:
    ranges, queries, keys, seed = case
    q, k, v = tensors(queries, keys, seed, torch.float64)
    torch.testing.assert_close(attend(q, k, v, ranges, "dense"), masked_softmax(q, k, v, ranges))


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_sdpa_is_dense(dtype: torch.dtype, bound: float, case: tuple[list[Range], int, int, int]) -> None:
    ranges, queries, keys, seed = case
    inputs = tensors(queries, keys, seed, dtype)
    ours, expected = (attend(*inputs, ranges, backend) for backend in ("sdpa", "dense"))
    torch.testing.assert_close(ours, expected, rtol=0, atol=bound)
    weight = torch.randn(ours.shape, dtype=dtype)
    gradients = [torch.autograd.grad(out, inputs, weight) for out in (ours, expected)]
    for mine, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=10 * bound)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
@settings(max_examples=15, deadline=None)
@given(case=cases())
def test_flex_is_dense(dtype: torch.dtype, bound: float, case: tuple[list[Range], int, int, int]) -> None:
    """Forward: FlexAttention has no backward pass on a CPU."""
    ranges, queries, keys, seed = case
    inputs = [x.detach() for x in tensors(queries, keys, seed, dtype)]
    ours, expected = (attend(*inputs, ranges, backend) for backend in ("flex", "dense"))
    torch.testing.assert_close(ours, expected, rtol=0, atol=bound)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("backend", ["dense", "sdpa", "flex"])
def test_rows_of_no_range_are_zero(backend: str) -> None:
    q, k, v = (x.detach() for x in tensors(12, 12, 0, torch.float32))
    out = attend(q, k, v, [(2, 5, 0, 12), (9, 11, 3, 4)], backend)
    covered = torch.zeros(12, dtype=torch.bool)
    covered[2:5] = covered[9:11] = True
    assert not out[~covered].any() and out[covered].flatten(1).any(1).all()
    assert not attend(q, k, v, [], backend).any()


def test_half_precision_is_as_exact_as_plain_attention() -> None:
    q, k, v = (x.detach() for x in tensors(12, 12, 0, torch.float64))
    exact = attend(q, k, v, CSAM, "dense")
    half = [x.bfloat16() for x in (q, k, v)]
    ours = attend(*half, CSAM, "sdpa")
    assert ours.dtype == torch.bfloat16
    error, allowed = (ours.double() - exact).norm(), (masked_sdpa(*half, CSAM).double() - exact).norm()
    assert error < 1.1 * allowed < 0.1


def test_auto_runs_and_says_why() -> None:
    backend, reason = choose_backend(torch.device("cpu"), torch.float32)
    assert backend == "sdpa" and "PyTorch" in reason
    inputs = tensors(12, 12, 0, torch.float32)
    assert torch.equal(attend(*inputs, CSAM, "auto"), attend(*inputs, CSAM, "sdpa"))
    compiled = torch.compile(attend, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*inputs, torch.tensor(CSAM), "auto"), attend(*inputs, CSAM, "sdpa"))


@pytest.mark.parametrize(
    ("backend", "message"),
    [
        ("flash", "'flash' cannot run here: it needs a CUDA device"),
        ("magi", "'magi' cannot run here: MagiAttention is not installed .from source"),
        ("fused", "'fused' does not exist: choose one of auto, dense, sdpa, flash, flex, magi"),
    ],
)
def test_a_backend_that_cannot_run_is_an_error(backend: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        attend(*tensors(12, 12, 0, torch.float32), CSAM, backend)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ([(0, 6, 0, 12), (5, 9, 0, 3)], "query rows of ranges must be disjoint"),
        ([(0, 13, 0, 12)], "ranges go beyond 12 queries and 12 keys"),
        ([(0, 12, 0, 13)], "ranges go beyond 12 queries and 12 keys"),
        ([(0, 3, 4, 2)], "ranges go beyond"),
    ],
)
def test_wrong_ranges(ranges: list[Range], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attend(*tensors(12, 12, 0, torch.float32), ranges)


@pytest.mark.gpu
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "dense"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_on_a_gpu(backend: str, dtype: torch.dtype) -> None:
    """Errors against float64, forward and backward, at most 1.5 times those of PyTorch's masked attention."""
    device = torch.device("cuda")
    try:
        choose_backend(device, dtype, backend)
    except InputError as error:
        pytest.skip(str(error))
    ranges = [(0, 700, 0, 1100), (700, 800, 700, 800), (800, 1100, 800, 1100)]
    generator = torch.Generator().manual_seed(0)
    exact = [torch.randn(1100, 4, 64, generator=generator, dtype=torch.float64).to(device) for _ in range(4)]

    def run(dtype: torch.dtype, attention: Callable[[Tensor, Tensor, Tensor], Tensor]) -> list[Tensor]:
        *inputs, weight = (x.to(dtype) for x in exact)
        inputs = [x.requires_grad_() for x in inputs]
        out = attention(*inputs)
        return [x.double() for x in (out, *torch.autograd.grad(out, inputs, weight))]

    references = run(torch.float64, lambda q, k, v: attend(q, k, v, ranges, "dense"))
    ours = run(dtype, lambda q, k, v: attend(q, k, v, ranges, backend))
    plain = run(dtype, lambda q, k, v: masked_sdpa(q, k, v, ranges))
    for mine, allowed, reference in zip(ours, plain, references, strict=True):
        assert (mine - reference).norm() <= 1.5 * (allowed - reference).norm() + 1e-7 * reference.norm()
