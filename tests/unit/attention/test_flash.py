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


class Recorder:
    """Takes the place of a varlen kernel: checks a call against a signature, keeps it, computes it one by one."""

    def __init__(self, signature: inspect.Signature) -> None:
        self.signature = signature
        self.calls: list[list[Any]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        q, k, v, query_bounds, key_bounds, longest_query, longest_key = self.signature.bind(*args, **kwargs).args
        for bounds, tokens, longest in ((query_bounds, q, longest_query), (key_bounds, k, longest_key)):
            assert bounds.dtype == torch.int32 and bounds.is_contiguous()
            assert bounds[0] == 0 and bounds[-1] == len(tokens) and bounds.diff().max() == longest
        self.calls.append([query_bounds.tolist(), key_bounds.tolist()])
        pairs = zip(query_bounds.diff().tolist(), key_bounds.diff().tolist(), strict=True)
        queries, keys = zip(*pairs, strict=True)
        parts = zip(q.split(queries), k.split(keys), v.split(keys), strict=True)
        return torch.cat([attend(*part, [(0, len(part[0]), 0, len(part[1]))], "dense") for part in parts])


@pytest.fixture(params=["flash-attn", "PyTorch"])
def recorder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    if request.param == "PyTorch":
        monkeypatch.setitem(sys.modules, "flash_attn", None)
        made = Recorder(inspect.signature(varlen.varlen_attn))
        monkeypatch.setattr(varlen, "varlen_attn", made)
        return made
    made = Recorder(inspect.signature(flash_attn_varlen_func))
    module = ModuleType("flash_attn")
    module.__spec__ = importlib.machinery.ModuleSpec("flash_attn", None)
    module.flash_attn_varlen_func = made
    monkeypatch.setitem(sys.modules, "flash_attn", module)
    return made


def test_csam_is_two_calls_and_dense(recorder: Recorder) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(18, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    ours, _ = attend_op(q, k, v, torch.tensor(RANGES), "flash")
    assert recorder.calls == [[[0, 5, 9], [0, 8, 18]], [[0, 3, 7, 9], [0, 3, 7, 9]]]
    expected = attend(q, k, v, RANGES, "dense")
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(ours)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (q, k, v), weight), torch.autograd.grad(expected, (q, k, v), weight), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


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
    assert len(recorder.calls) == 6 and inputs[1].grad is not None


def test_waves_share_no_keys() -> None:
    waves = flash.waves(((0, 4, 0, 9), (4, 6, 4, 6), (6, 9, 6, 9), (9, 10, 5, 7)))
    assert waves == [[(0, 4, 0, 9)], [(4, 6, 4, 6), (6, 9, 6, 9)], [(9, 10, 5, 7)]]


def test_what_it_needs() -> None:
    cuda = SimpleNamespace(type="cuda")
    assert flash.unavailable(torch.device("cpu"), torch.bfloat16) == "it needs a CUDA device"
    assert flash.unavailable(cuda, torch.float32) == "its kernels take float16 and bfloat16, not torch.float32"
    assert flash.unavailable(cuda, torch.bfloat16) is None
