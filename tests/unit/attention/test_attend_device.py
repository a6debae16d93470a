"""Nothing in attention waits for the device or copies to it once a layout is known: 30 layers would wait 30 times."""

import importlib.machinery
import sys
from collections.abc import Callable
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lumosx.attention import attend, choose_backend, flash, flex, magi, sdpa
from lumosx.errors import InputError

# Two branches of guidance whose references' keys are unequally spaced.
RANGES = [(0, 64, 0, 112), (64, 128, 112, 224), (128, 144, 64, 80), (144, 176, 80, 112), (176, 192, 176, 192),
          (192, 224, 192, 224)]  # fmt: skip
META = torch.device("meta")  # stands for a GPU: an operator between it and the CPU would be a copy or a wait
FALLS_TO_PYTHON = ("_local_scalar_dense", "item", "nonzero", "is_nonzero", "equal")


class NoTransfers(TorchDispatchMode):
    """Raises where a number is read back from the device, or tensors of two devices meet."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, out)) if isinstance(x, Tensor)]
        name = func.overloadpacket.__name__
        if len({x.device for x in tensors}) > 1 or (name in FALLS_TO_PYTHON and any(x.is_meta for x in tensors)):
            raise AssertionError(f"{func} between devices")
        return out


def inputs(ranges: list[tuple[int, int, int, int]]) -> list[Tensor]:
    rows = max(q1 for _, q1, _, _ in ranges), *[max(k1 for _, _, _, k1 in ranges)] * 2
    return [torch.empty(n, 2, 64, dtype=torch.bfloat16, device=META) for n in rows]


def varlen(q: Tensor, *_: Any, **__: Any) -> Tensor:
    return torch.empty_like(q)


def install_magi(monkeypatch: pytest.MonkeyPatch) -> None:
    package, functional = ModuleType("magi_attention"), ModuleType("magi_attention.functional")
    package.__spec__ = importlib.machinery.ModuleSpec("magi_attention", None)
    functional.flex_flash_attn_func = lambda q, *_, **__: (torch.empty_like(q), SimpleNamespace())
    monkeypatch.setitem(sys.modules, "magi_attention", package)
    monkeypatch.setitem(sys.modules, "magi_attention.functional", functional)


@pytest.mark.parametrize("kernel", ["CUDA_FLASH", "CUDNN", "CUDA_EFFICIENT"])
def test_sdpa(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward, with the kernels of a GPU."""
    monkeypatch.setattr(sdpa, "kernel_for", lambda device, dtype: getattr(sdpa, kernel))
    q, k, v = inputs(RANGES)
    with NoTransfers():
        sdpa.forward(q, k, v, torch.tensor(RANGES), False)
        out, lse = sdpa.forward(q, k, v, torch.tensor(RANGES))
        gradients = sdpa.backward(out, q, k, v, out, lse, torch.tensor(RANGES))
    assert [x.shape for x in (out, *gradients)] == [x.shape for x in (q, q, k, v)]
    assert lse.shape == (len(q), 2) and all(x.is_contiguous() for x in (out, lse, *gradients))


@pytest.mark.parametrize("name", ["flash in one launch", "flash in waves", "flex", "magi"])
def test_what_is_made_of_a_layout_is_made_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call puts tables on the device, which shows that the watch sees it; the next ones find them there."""
    monkeypatch.setattr(flash, "kernel_for", lambda device: flash.Kernel("", varlen, name == "flash in one launch"))
    monkeypatch.setattr(flex, "_compiled", lambda: varlen)
    install_magi(monkeypatch)
    backend = {"flex": flex, "magi": magi}.get(name, flash)
    q, k, v = inputs(RANGES)
    for cache in (flash._plan, flex.block_mask, magi._on_device):
        cache.cache_clear()
    with pytest.raises(AssertionError, match="between devices"), NoTransfers():
        backend.attend(q, k, v, torch.tensor(RANGES))
    backend.attend(q, k, v, torch.tensor(RANGES))
    with NoTransfers():
        assert backend.attend(q, k, v, torch.tensor(RANGES)).shape == q.shape


@pytest.mark.gpu
@pytest.mark.parametrize("backend", ["sdpa", "flash", "flex", "magi"])
def test_on_a_gpu(backend: str) -> None:
    """CUDA itself says whether anything waits."""
    device = torch.device("cuda")
    try:
        choose_backend(device, torch.bfloat16, backend)
    except InputError as error:
        pytest.skip(str(error))
    q, k, v = (torch.randn(len(x), 2, 64, dtype=torch.bfloat16, device=device) for x in inputs(RANGES))
    run: Callable[[], Tensor] = lambda: attend(q, k, v, torch.tensor(RANGES), backend)  # noqa: E731
    run()
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run()
    finally:
        torch.cuda.set_sync_debug_mode("default")
