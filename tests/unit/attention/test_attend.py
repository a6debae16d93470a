"""Every backend equals the masked oracle, forward and backward, and a backend that cannot run says why."""

import re
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from types import ModuleType

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from lumosx.attention import BACKENDS, attend, choose_backend, flash
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


@pytest.mark.parametrize(("dtype", "bound", "gradients"), [(torch.float64, 1e-12, 1e-12), (torch.float32, 1e-5, 1e-4)])
@settings(max_examples=60, deadline=None)
@given(case=cases())
def test_sdpa_is_dense(
    dtype: torch.dtype, bound: float, gradients: float, case: tuple[list[Range], int, int, int]
) -> None:
    ranges, queries, keys, seed = case
    inputs = tensors(queries, keys, seed, dtype)
    ours, expected = (attend(*inputs, ranges, backend) for backend in ("sdpa", "dense"))
    torch.testing.assert_close(ours, expected, rtol=0, atol=bound)
    weight = torch.randn(ours.shape, dtype=dtype)
    found = [torch.autograd.grad(out, inputs, weight) for out in (ours, expected)]
    for mine, theirs in zip(*found, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=gradients)


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


# Layouts that sdpa treats differently: a kernel's result as it is, views of equally spaced rows, copies, filled rows.
LAYOUTS = {
    "one range": ([(0, 40, 0, 56)], 40, 56),
    "CSAM": ([(0, 32, 0, 56), (32, 40, 32, 40), (40, 56, 40, 56)], 56, 56),
    "two branches": (
        [(0, 32, 0, 48), (32, 64, 48, 96), (64, 72, 32, 40), (72, 80, 40, 48), (80, 88, 80, 88), (88, 96, 88, 96)],
        96,
        96,
    ),
    "two branches, references cached": ([(0, 32, 0, 48), (32, 64, 48, 96)], 64, 96),
    "equally spaced, common keys": ([(0, 8, 0, 24), (8, 16, 8, 32), (16, 24, 16, 40)], 24, 40),
    "the same keys": ([(0, 8, 3, 24), (8, 16, 3, 24)], 16, 24),
    "keys from the last to the first": ([(0, 8, 16, 24), (8, 16, 8, 16), (16, 24, 0, 8)], 24, 24),
    "unequally spaced": ([(0, 8, 0, 16), (8, 16, 20, 36), (20, 28, 24, 40)], 28, 40),
    "rows of no range": ([(3, 9, 2, 20), (15, 21, 4, 22)], 30, 30),
}


def errors(dtype: torch.dtype, attention: Callable[[Tensor, Tensor, Tensor], Tensor], name: str) -> list[Tensor]:
    """Of the output and the gradients of q, k and v, in `dtype`, against float64 on the same numbers."""
    ranges, queries, keys = LAYOUTS[name]
    inputs = tensors(queries, keys, 0, dtype)
    weight = torch.randn(queries, HEADS, HEAD_DIM, generator=torch.Generator().manual_seed(1)).to(dtype)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    out, expected = attention(*inputs), attend(*exact, ranges, "dense")
    ours = (out, *torch.autograd.grad(out, inputs, weight))
    theirs = (expected, *torch.autograd.grad(expected, exact, weight.double()))
    assert all(x.dtype == dtype for x in ours)
    return [mine.double() - true for mine, true in zip(ours, theirs, strict=True)]


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_in_double_precision(name: str) -> None:
    for error in errors(torch.float64, lambda q, k, v: attend(q, k, v, LAYOUTS[name][0]), name):
        assert error.abs().max() <= 1e-12


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts_in_half_precision_are_as_exact_as_masked_attention(name: str) -> None:
    ranges = LAYOUTS[name][0]
    ours = errors(torch.bfloat16, lambda q, k, v: attend(q, k, v, ranges), name)
    masked = errors(torch.bfloat16, lambda q, k, v: masked_sdpa(q, k, v, ranges), name)
    # The gradient of a key that two ranges see is rounded three times: in each kernel and when they are added.
    for error, allowed, bound in zip(ours, masked, (1.1, 1.1, 1.5, 1.5), strict=True):
        assert error.norm() <= bound * allowed.norm()


def test_without_gradients_the_result_is_the_same() -> None:
    inputs = tensors(56, 56, 0, torch.float32)
    with torch.no_grad():
        alone = attend(*inputs, LAYOUTS["CSAM"][0])
    assert torch.equal(alone, attend(*inputs, LAYOUTS["CSAM"][0]))


def test_auto_runs_and_says_why() -> None:
    backend, reason = choose_backend(torch.device("cpu"), torch.float32)
    assert backend == "sdpa" and "CPU flash attention of PyTorch" in reason
    inputs = tensors(12, 12, 0, torch.float32)
    assert torch.equal(attend(*inputs, CSAM, "auto"), attend(*inputs, CSAM, "sdpa"))
    compiled = torch.compile(attend, fullgraph=True, backend="eager")
    assert torch.equal(compiled(*inputs, torch.tensor(CSAM), "auto"), attend(*inputs, CSAM, "sdpa"))


@pytest.mark.parametrize(
    ("capability", "installed", "dtype", "gradients", "expected"),
    [
        ((9, 0), True, torch.bfloat16, False, ("flash", "FlashAttention-3: .*690-700 .* sdpa with cuDNN attention")),
        ((9, 0), True, torch.bfloat16, True, ("sdpa", "exact, nothing to build, cuDNN attention of PyTorch")),
        ((9, 0), True, torch.float32, False, ("sdpa", "exact, nothing to build, memory-efficient attention of")),
        ((9, 0), False, torch.bfloat16, False, ("sdpa", "exact, nothing to build, cuDNN attention of PyTorch")),
        ((10, 0), True, torch.bfloat16, False, ("sdpa", "exact, nothing to build, cuDNN attention of PyTorch")),
        ((8, 0), True, torch.float16, False, ("sdpa", "exact, nothing to build, FlashAttention-2 of PyTorch")),
    ],
)
def test_what_auto_takes_on_a_gpu(
    capability: tuple[int, int],
    installed: bool,
    dtype: torch.dtype,
    gradients: bool,
    expected: tuple[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    module = ModuleType("flash_attn_interface")
    module.__spec__ = ModuleSpec("flash_attn_interface", None)
    module.flash_attn_varlen_func = None
    monkeypatch.setitem(sys.modules, "flash_attn_interface", module if installed else None)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(flash, "kernel_for", flash.kernel_for.__wrapped__)
    backend, reason = choose_backend(torch.device("cuda"), dtype, gradients=gradients)
    assert backend == expected[0] and re.match(expected[1], reason), reason


def test_auto_is_told_whether_gradients_are_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    told = []

    def choosing(*_: object, gradients: bool) -> tuple[str, str]:
        told.append(gradients)
        return "sdpa", ""

    monkeypatch.setattr("lumosx.attention.choose_backend", choosing)
    inputs = tensors(12, 12, 0, torch.float32)
    attend(*inputs, CSAM, "auto")
    with torch.no_grad():
        attend(*inputs, CSAM, "auto")
    assert told == [True, False]


def test_a_choice_is_named_with_its_kernel() -> None:
    assert choose_backend(torch.device("cpu"), torch.bfloat16, "dense") == ("dense", "as asked for, masked float32")
    assert choose_backend(torch.device("cpu"), torch.float64, "dense") == ("dense", "as asked for, masked float64")


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
