"""MagiAttention's call, bound to version 1.1's signature and answered by a stand-in that computes densely."""

import importlib.machinery
import inspect
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lumosx.attention import attend, magi
from lumosx.attention.op import attend_op

RANGES = [(0, 6, 0, 12), (6, 9, 6, 9), (9, 12, 9, 12)]


def flex_flash_attn_func(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    q_ranges: Tensor,
    k_ranges: Tensor,
    attn_type_map: Tensor | None = None,
    *,
    index_attn_indices: Tensor | None = None,
    q_block_size: int = 1,
    k_block_size: int = 1,
    sink: Tensor | None = None,
    sink_layout: str = "sh",
    softmax_scale: float | None = None,
    softcap: float = 0.0,
    deterministic: bool = False,
    sm_margin: int = 0,
    disable_fwd_atomic_reduction: bool = False,
    disable_bwd_dkv_atomic_reduction: bool = False,
    ref_block_size: tuple[int, int] | None = None,
    max_seqlen_q: int | None = None,
    auto_range_merge: bool = False,
    swap_ab: bool = False,
    pack_gqa: bool = False,
    cat_gqa: bool = False,
    sparse_load: bool = False,
    index_attn: bool = False,
    swap_bwd_qk_loop: bool = False,
    return_max_logits: bool = False,
) -> None:
    """MagiAttention 1.1's signature."""


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Puts a recording `magi_attention` in place and gives the arguments of its calls."""
    recorded: list[dict[str, Any]] = []
    signature = inspect.signature(flex_flash_attn_func)

    def kernel(*args: Any, **kwargs: Any) -> tuple[Tensor, SimpleNamespace]:
        given = signature.bind(*args, **kwargs).arguments
        recorded.append(given)
        ranges = torch.cat([given["q_ranges"], given["k_ranges"]], dim=1).long()
        return attend(given["q"], given["k"], given["v"], ranges, "dense"), SimpleNamespace(lse=None, max_logits=None)

    package, functional = ModuleType("magi_attention"), ModuleType("magi_attention.functional")
    package.__spec__ = importlib.machinery.ModuleSpec("magi_attention", None)
    functional.flex_flash_attn_func = kernel
    monkeypatch.setitem(sys.modules, "magi_attention", package)
    monkeypatch.setitem(sys.modules, "magi_attention.functional", functional)
    return recorded


def test_ranges_go_straight_in_and_the_result_is_dense(calls: list[dict[str, Any]]) -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(12, 2, 8, dtype=torch.float64, requires_grad=True) for _ in range(3))
    ours, _ = attend_op(q, k, v, torch.tensor(RANGES), "magi")
    (given,) = calls
    options = {name: value for name, value in given.items() if name not in ("q", "k", "v", "q_ranges", "k_ranges")}
    # Keys overlap, so the backward pass must keep its atomic reduction; every range is full attention.
    assert options == {"disable_fwd_atomic_reduction": True}
    assert given["q_ranges"].tolist() == [[0, 6], [6, 9], [9, 12]]
    assert given["k_ranges"].tolist() == [[0, 12], [6, 9], [9, 12]]
    for name in ("q_ranges", "k_ranges"):
        assert given[name].dtype == torch.int32 and given[name].is_contiguous()
    expected = attend(q, k, v, RANGES, "dense")
    torch.testing.assert_close(ours, expected)
    weight = torch.randn_like(ours)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (q, k, v), weight), torch.autograd.grad(expected, (q, k, v), weight), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_what_it_needs(calls: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    assert magi.unavailable(cuda, torch.bfloat16) is None
    assert magi.unavailable(cuda, torch.float32) == "its kernel takes float16 and bfloat16, not torch.float32"
    assert "Hopper" in magi.unavailable(torch.device("cpu"), torch.bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (10, 0))
    assert "Hopper" in magi.unavailable(cuda, torch.bfloat16)
    monkeypatch.delitem(sys.modules, "magi_attention")
    assert "not installed" in magi.unavailable(cuda, torch.bfloat16)
