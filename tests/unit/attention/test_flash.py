"""The varlen backend's calls, bound to the kernels' signatures and answered by a stand-in that computes densely."""

import importlib.machinery
import inspect
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import varlen

from lumosx.attention import attend, flash
from lumosx.attention.op import attend_op

# Two videos of 5 and 4 tokens; their references are packed behind the videos among the queries (0-8, then 9-17) and
# behind their own video among the keys. The second video has two subjects.
RANGES = [(0, 5, 0, 8), (5, 9, 8, 18), (9, 12, 5, 8), (12, 16, 12, 16), (16, 18, 16, 18)]


def flash_attn_varlen_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    dropout_p: float = 0.0,
    softmax_scale: float | None = None,
    causal: bool = False,
    window_size: tuple[int, int] = (-1, -1),
    softcap: float = 0.0,
    alibi_slopes: Tensor | None = None,
    deterministic: bool = False,
    return_attn_probs: bool = False,
    block_table: Tensor | None = None,
) -> None:
    """flash-attn 2.8's signature."""


def version_3_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    cu_seqlens_q: Tensor,
    cu_seqlens_k: Tensor,
    max_seqlen_q: int,
    max_seqlen_k: int,
    seqused_q: Tensor | None = None,
    seqused_k: Tensor | None = None,
    softmax_scale: float | None = None,
    causal: bool = False,
    qv: Tensor | None = None,
    q_descale: Tensor | None = None,
    k_descale: Tensor | None = None,
    v_descale: Tensor | None = None,
    window_size: tuple[int, int] = (-1, -1),
    attention_chunk: int = 0,
    softcap: float = 0.0,
    num_splits: int = 1,
    pack_gqa: bool | None = None,
    deterministic: bool = False,
    sm_margin: int = 0,
    return_attn_probs: bool = False,
) -> None:
    """FlashAttention-3's `flash_attn_varlen_func`, of hopper/flash_attn_interface.py."""


class Recorder:
    """Takes the place of a varlen kernel: checks a call against a signature, keeps it, computes it one by one."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature
        self.calls: list[list[Any]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        given = self.signature.bind(*args, **kwargs).arguments
        used = given.pop("seqused_k", None)
        q, k, v, query_bounds, key_bounds, longest_query, longest_key = given.values()
        assert all(table.dtype == torch.int32 and table.is_contiguous() for table in (query_bounds, key_bounds))
        queries, starts = query_bounds.diff().tolist(), key_bounds[:-1].tolist()
        keys = key_bounds.diff().tolist() if used is None else used.tolist()
        assert query_bounds[0] == 0 and query_bounds[-1] == len(q)
        assert longest_query == max(queries) and longest_key == max(keys)
        if used is None:
            assert key_bounds[0] == 0 and key_bounds[-1] == len(k)
        else:
            assert used.dtype == torch.int32 and not (torch.is_grad_enabled() and q.requires_grad)
        self.calls.append([queries, starts, keys])
        parts = (
            attend(rows, k[start : start + n], v[start : start + n], [(0, len(rows), 0, n)], "dense")
            for rows, start, n in zip(q.split(queries), starts, keys, strict=True)
        )
        return torch.cat(list(parts))


def install(monkeypatch: pytest.MonkeyPatch, name: str, function: Any) -> None:
    module = ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.flash_attn_varlen_func = function
    monkeypatch.setitem(sys.modules, name, module)


@pytest.fixture(params=["version 3", "flash-attn", "PyTorch"])
def recorder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    """Each kernel in turn, with those below it installed."""
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    monkeypatch.setitem(sys.modules, "flash_attn_interface", None)
    made = Recorder(inspect.signature(varlen.varlen_attn))
    monkeypatch.setattr(varlen, "varlen_attn", made)
    if request.param != "PyTorch":
        made = Recorder(inspect.signature(flash_attn_varlen_func))
        install(monkeypatch, "flash_attn", made)
    if request.param == "version 3":
        made = Recorder(inspect.signature(version_3_func))
        install(monkeypatch, "flash_attn_interface", made)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    kernel = flash.kernel_for.__wrapped__(torch.device("cuda"))
    monkeypatch.setattr(flash, "kernel_for", lambda device: kernel)
    return made


def test_csam_is_one_call_or_two_and_dense(recorder: Recorder) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(18, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    ours, _ = attend_op(q, k, v, torch.tensor(RANGES), "flash")
    waves = [[[5, 4], [0, 8], [8, 10]], [[3, 4, 2], [0, 3, 7], [3, 4, 2]]]
    one_launch = [[[5, 4, 3, 4, 2], [0, 8, 5, 12, 16], [8, 10, 3, 4, 2]]]
    assert recorder.calls == (one_launch if flash.has_version_3(q.device) else waves)
    expected = attend(q, k, v, RANGES, "dense")
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(ours)
    recorder.calls.clear()
    mine = torch.autograd.grad(ours, (q, k, v), weight)
    assert recorder.calls == waves  # gradients of common keys must not overwrite one another
    for x, y in zip(mine, torch.autograd.grad(expected, (q, k, v), weight), strict=True):
        torch.testing.assert_close(x, y)


def test_rows_of_no_range_are_zero(recorder: Recorder) -> None:
    q, k, v = torch.randn(3, 18, 2, 8).unbind()
    out, _ = attend_op(q, k, v, torch.tensor(RANGES[1:]), "flash")
    assert recorder.calls and not out[:5].any() and out[5:].flatten(1).any(1).all()


def test_a_plan_made_for_inference_serves_training(recorder: Recorder) -> None:
    ranges = torch.tensor([(0, 2, 0, 3), (5, 9, 1, 4)])
    with torch.inference_mode():
        attend_op(*torch.randn(3, 9, 1, 4).unbind(), ranges, "flash")
    inputs = [torch.randn(9, 1, 4, requires_grad=True) for _ in range(3)]
    attend_op(*inputs, ranges, "flash")[0].sum().backward()
    calls = 1 + 1 + 2 if flash.has_version_3(inputs[0].device) else 2 + 2 + 2
    assert len(recorder.calls) == calls and inputs[1].grad is not None


def test_no_ranges_are_no_calls(recorder: Recorder) -> None:
    assert not attend_op(*torch.randn(3, 9, 1, 4).unbind(), torch.empty(0, 4, dtype=torch.int64), "flash")[0].any()
    assert not recorder.calls


@pytest.mark.parametrize("capability", [(8, 0), (10, 0)])
def test_version_3_is_for_hopper(capability: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    install(monkeypatch, "flash_attn_interface", None)
    monkeypatch.setitem(sys.modules, "flash_attn", None)
    assert flash.kernel_for.__wrapped__(torch.device("cuda")).name == "FlashAttention-2 of PyTorch"


def test_waves_share_no_keys() -> None:
    waves = flash.waves(((0, 4, 0, 9), (4, 6, 4, 6), (6, 9, 6, 9), (9, 10, 5, 7)))
    assert waves == [[(0, 4, 0, 9)], [(4, 6, 4, 6), (6, 9, 6, 9)], [(9, 10, 5, 7)]]


def test_what_it_needs() -> None:
    cuda = SimpleNamespace(type="cuda")
    assert flash.unavailable(torch.device("cpu"), torch.bfloat16) == "it needs a CUDA device"
    assert flash.unavailable(cuda, torch.float32) == "its kernels take float16 and bfloat16, not torch.float32"
    assert flash.unavailable(cuda, torch.bfloat16) is None
