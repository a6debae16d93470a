"""The operator itself: its registration, gradients and FLOP formula, and PyTorch's kernels under it."""

import pytest
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from lumosx.attention import attend, sdpa
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
    out, lse = attend_op(q, k, v, RANGES, "sdpa")
    inputs = [x.detach() for x in (torch.randn_like(out), q, k, v, out, lse)]
    torch.library.opcheck(attend_backward_op, (*inputs, RANGES, "sdpa"))


def test_registration_of_strided_inputs() -> None:
    q = torch.randn(HEADS, 12, HEAD_DIM).transpose(0, 1).requires_grad_()
    torch.library.opcheck(attend_op, (q, *tensors()[1:], RANGES, "sdpa"))


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
    out, lse = kernel.forward(q, k, v)
    assert out.shape == q.shape and out.dtype == q.dtype
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
    class Query:
        pass

    query = Query()
    query.device, query.dtype = torch.device(device), dtype
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert sdpa.kernel_for(query) is getattr(sdpa, expected)


def test_ranges_of_one_shape_share_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """CSAM's cost is a handful of kernel calls whatever the number of references."""
    calls = []

    def recording(*inputs: Tensor) -> tuple[Tensor, Tensor]:
        calls.append([tuple(x.shape) for x in inputs])
        return sdpa.CPU_FLASH.forward(*inputs)

    monkeypatch.setattr(sdpa, "kernel_for", lambda q: sdpa.Kernel(recording, sdpa.CPU_FLASH.backward))
    attend(*(x.detach() for x in tensors()), RANGES, "sdpa")
    assert calls == [[(1, 2, 6, 8), (1, 2, 12, 8), (1, 2, 12, 8)], [(2, 2, 3, 8)] * 3]
