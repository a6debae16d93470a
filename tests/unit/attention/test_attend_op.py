"""The operator itself: its registration, gradients and FLOP formula, and PyTorch's kernels under it."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lumosx.attention import attend, sdpa
from lumosx.attention.dense import Range
from lumosx.attention.op import attend_backward_op, attend_op

RANGES = torch.tensor([(0, 6, 0, 12), (6, 9, 6, 9), (9, 12, 9, 12)])
HEADS, HEAD_DIM = 2, 8


def tensors(dtype: torch.dtype = torch.float32, device: str = "cpu") -> tuple[Tensor, Tensor, Tensor]:
    torch.manual_seed(0)
    q, k, v = (torch.randn(12, HEADS, HEAD_DIM, dtype=dtype).to(device).requires_grad_() for _ in range(3))
    return q, k, v


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_registration(dtype: torch.dtype) -> None:
    q, k, v = tensors(dtype)
    torch.library.opcheck(attend_op, (q, k, v, RANGES, "sdpa"))
    torch.library.opcheck(attend_op, (q.detach(), k.detach(), v.detach(), RANGES, "sdpa", False))
    out, lse = attend_op(q, k, v, RANGES, "sdpa")
    inputs = [x.detach() for x in (torch.randn_like(out), q, k, v, out, lse)]
    torch.library.opcheck(attend_backward_op, (*inputs, RANGES, "sdpa"))


@pytest.mark.parametrize(
    "ranges", [RANGES, torch.tensor([(0, 12, 0, 12)]), torch.tensor([(0, 4, 0, 6), (6, 10, 6, 12)])]
)
def test_registration_of_strided_inputs(ranges: Tensor) -> None:
    """Whatever the inputs' strides and the number of parts, what comes out is contiguous and nobody else's."""
    q = torch.randn(HEADS, 12, HEAD_DIM).transpose(0, 1).requires_grad_()
    torch.library.opcheck(attend_op, (q, *tensors()[1:], ranges, "sdpa"))
    out, lse = attend_op(q, *tensors()[1:], ranges, "sdpa")
    gradients = attend_backward_op(out, q, *tensors()[1:], out, lse, ranges, "sdpa")
    assert all(x.is_contiguous() for x in (out, lse, *gradients))


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_fake_of_a_recomputing_backend() -> None:
    real = attend_op(*(x.detach() for x in tensors()), RANGES, "flex")
    fake = attend_op(*(x.detach().to("meta") for x in tensors()), RANGES, "flex")
    assert [(x.shape, x.dtype, x.stride()) for x in real] == [(x.shape, x.dtype, x.stride()) for x in fake]


def test_gradients() -> None:
    inputs = tensors(torch.float64)
    assert torch.autograd.gradcheck(lambda q, k, v: attend(q, k, v, RANGES, "sdpa"), inputs)


def test_flops_are_counted_by_range() -> None:
    q, k, v = tensors()
    pairs = 6 * 12 + 3 * 3 + 3 * 3
    forward = 2 * 2 * pairs * HEADS * HEAD_DIM  # two matrix products, a multiplication and an addition each
    with FlopCounterMode(display=False) as counter:
        out = attend(q, k, v, RANGES, "sdpa")
    assert counter.get_total_flops() == forward
    with FlopCounterMode(display=False) as counter:
        out.sum().backward()
    assert counter.get_total_flops() == forward * 5 // 2  # five products, one of them the recomputed scores


def test_flops_of_a_size_too_large_to_run() -> None:
    video, total = 32760, 39000
    q, k, v = (torch.empty(total, 12, 128, device="meta") for _ in range(3))
    with FlopCounterMode(display=False) as counter:
        attend(q, k, v, torch.tensor([(0, video, 0, total), (video, total, video, total)]), "sdpa")
    assert counter.get_total_flops() == 4 * 1536 * (video * total + (total - video) ** 2)


@pytest.mark.parametrize("name", ["CUDA_FLASH", "CUDNN", "CUDA_EFFICIENT"])
@pytest.mark.parametrize("queries", [5, 32])
def test_cuda_kernels_are_called_as_their_schemas_say(name: str, queries: int) -> None:
    """On meta tensors: names, number, types and shapes of arguments and results, without the arithmetic."""
    kernel = getattr(sdpa, name)
    q, k, v = (
        torch.empty(3, tokens, 2, 64, dtype=torch.bfloat16, device="meta").transpose(1, 2) for tokens in (queries, 9, 9)
    )
    alone, _ = kernel.forward(q, k, v, False)
    out, lse = kernel.forward(q, k, v, True)
    assert alone.shape == out.shape == q.shape and alone.dtype == out.dtype == q.dtype
    assert lse.shape == (3, 2, queries) and lse.dtype == torch.float32
    gradients = kernel.backward(torch.empty_like(out), q, k, v, out, lse)
    assert [g.shape for g in gradients] == [q.shape, k.shape, v.shape]
    assert {g.dtype for g in gradients} == {torch.bfloat16}


@pytest.mark.parametrize(
    ("device", "dtype", "capability", "expected"),
    [
        ("cpu", torch.float32, None, "CPU_FLASH"),
        ("cpu", torch.bfloat16, None, "CPU_FLASH"),
        ("cuda", torch.bfloat16, (9, 0), "CUDNN"),
        ("cuda", torch.bfloat16, (8, 0), "CUDA_FLASH"),
        ("cuda", torch.float16, (8, 9), "CUDA_FLASH"),
        ("cuda", torch.float32, (9, 0), "CUDA_EFFICIENT"),
    ],
)
def test_the_kernel_for_a_device(
    device: str, dtype: torch.dtype, capability: tuple[int, int] | None, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert sdpa.kernel_for(torch.device(device), dtype) is getattr(sdpa, expected)


def recorded(monkeypatch: pytest.MonkeyPatch) -> list[list[Tensor]]:
    """Grows by the inputs of every call of the CPU's kernel."""
    calls: list[list[Tensor]] = []

    def recording(*inputs: Any) -> tuple[Tensor, Tensor]:
        calls.append(list(inputs[:3]))
        return sdpa.CPU_FLASH.forward(*inputs)

    kernel = sdpa.CPU_FLASH._replace(forward=recording)
    monkeypatch.setattr(sdpa, "kernel_for", lambda device, dtype: kernel)
    return calls


def test_ranges_of_one_shape_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """CSAM's cost is a handful of kernel calls whatever the number of references."""
    calls = recorded(monkeypatch)
    attend(*(x.detach() for x in tensors()), RANGES, "sdpa")
    shapes = [[tuple(x.shape) for x in call] for call in calls]
    assert shapes == [[(1, 2, 6, 8), (1, 2, 12, 8), (1, 2, 12, 8)], [(2, 2, 3, 8)] * 3]


def test_equally_spaced_ranges_are_read_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The branches of guidance, their references cached: keys of 39,000 tokens each would else be copied."""
    calls = recorded(monkeypatch)
    q, k, v = torch.randn(8, HEADS, HEAD_DIM), *torch.randn(2, 12, HEADS, HEAD_DIM)
    attend(q, k, v, [(0, 4, 0, 6), (4, 8, 6, 12)])
    assert [[x.untyped_storage().data_ptr() for x in call] for call in calls] == [
        [x.untyped_storage().data_ptr() for x in (q, k, v)]
    ]
    assert torch.equal(calls[0][1], torch.stack([k[:6], k[6:]]).transpose(1, 2))


class Written(TorchDispatchMode):
    """Notes the operators that write rows of heads, other than attention itself."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        views = [r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns]
        name = func.overloadpacket.__name__
        if isinstance(out, Tensor) and out.shape[-1] == HEAD_DIM and not all(views) and "attention" not in name:
            self.names.append(name)
        return out


@pytest.mark.parametrize(
    ("ranges", "forward", "backward"),
    [
        ([(0, 10, 0, 12)], [], []),
        ([(0, 5, 0, 6), (5, 10, 6, 12)], [], []),
        ([(0, 4, 0, 12), (4, 7, 4, 7), (7, 10, 7, 10)], ["cat"], ["cat", "add_", "add_"]),
        ([(0, 4, 0, 12), (4, 7, 2, 6), (7, 10, 7, 9)], ["cat"], ["cat"] + ["add_"] * 4),
        ([(0, 4, 0, 12), (4, 6, 4, 6)], ["new_zeros", "cat"], ["new_zeros", "cat", "add_", "add_"]),
    ],
    ids=["one range", "branches", "CSAM", "CSAM of two shapes", "rows of no range"],
)
def test_nothing_is_written_in_vain(ranges: list[Range], forward: list[str], backward: list[str]) -> None:
    """Rows are written once, by the kernel or by one `cat`; only rows of no range are filled."""
    q, k, v = torch.randn(10, HEADS, HEAD_DIM), *torch.randn(2, 12, HEADS, HEAD_DIM)
    table = torch.tensor(ranges)
    with Written() as written:
        out, lse = sdpa.forward(q, k, v, table)
    assert written.names == forward
    grad = torch.randn_like(out)
    with Written() as written:
        sdpa.backward(grad, q, k, v, out, lse, table)
    assert written.names == backward


def test_the_log_sum_exp_is_kept_for_gradients_only(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: list[bool] = []

    def recording(*inputs: Any) -> tuple[Tensor, Tensor]:
        kept.append(inputs[5])
        return attend_op(*inputs)

    monkeypatch.setattr("lumosx.attention.attend_op", recording)
    attend(*tensors(), RANGES)
    with torch.no_grad():
        attend(*tensors(), RANGES)
    assert kept == [True, False]
    assert attend_op(*tensors(), RANGES, "sdpa", False)[1].numel() == 0


@pytest.mark.parametrize("gradients", [True, False])
def test_one_graph_serves_all_sizes_and_ranges(gradients: bool) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(attend, backend=counter, dynamic=True, fullgraph=True)
    for queries, keys in ((10, 12), (14, 30), (9, 21)):
        inputs = [torch.randn(n, HEADS, HEAD_DIM, requires_grad=gradients) for n in (queries, keys, keys)]
        ranges = torch.tensor([(0, 4, 0, keys), *((row, row + 1, row, keys) for row in range(4, queries))])
        torch.testing.assert_close(compiled(*inputs, ranges, "sdpa"), attend(*inputs, ranges, "dense"))
    assert counter.frame_count == 1
