"""The cost formulas against PyTorch's own counters: built models, counted FLOPs, saved tensors."""

import weakref
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lumosx import LumosXTransformer3DModel
from lumosx.models import cost
from lumosx.relations import Reference, TokenLayout

TINY = {"num_attention_heads": 4, "attention_head_dim": 32, "text_dim": 64, "freq_dim": 64, "ffn_dim": 512,
        "num_layers": 3}  # fmt: skip
PERSON = [Reference("background"), Reference("member", 0), Reference("member", 0), Reference("member", 0)]
PEOPLE = [Reference("object"), Reference("member", 0), Reference("member", 1), Reference("member", 1)]


def built(device: str, **options: Any) -> LumosXTransformer3DModel:
    with torch.device(device):
        return LumosXTransformer3DModel(**options)


def layout(video: tuple[int, int, int], references: list[Reference], text: int, **options: Any) -> TokenLayout:
    return TokenLayout(video, references, torch.zeros(len(references), text), **options)


def inputs(model: Any, layouts: list[TokenLayout], copies: int, device: str) -> dict[str, Any]:
    """Random arguments of a forward pass; patches are 1 x 2 x 2."""
    frames, height, width = layouts[0].video
    channels, size = model.config.in_channels, (2 * height, 2 * width)
    make: Callable[..., Tensor] = lambda *shape: torch.randn(*shape, device=device)  # noqa: E731
    return {
        "hidden_states": make(len(layouts) * copies, channels, frames, *size),
        "timestep": torch.full((len(layouts) * copies,), 500.0, device=device),
        "encoder_hidden_states": make(len(layouts), layouts[0].text_length, model.config.text_dim),
        "layouts": layouts,
        "references": [make(channels, len(lo.references), *size) for lo in layouts],
    }


def counted(model: LumosXTransformer3DModel, arguments: dict[str, Any]) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(**arguments)
    return {str(op): int(flops) for op, flops in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("options", [{}, TINY, TINY | {"cross_attn_norm": False, "in_channels": 192}])
def test_parameters_are_those_of_the_built_model(options: dict[str, Any]) -> None:
    model = built("meta", **options)
    assert sum(cost.parameters(model.config).values()) == sum(p.numel() for p in model.parameters())
    assert cost.block_parameters(model.config) == sum(p.numel() for p in model.blocks[0].parameters())


def test_wan_has_its_known_number_of_parameters() -> None:
    assert sum(cost.parameters(built("meta").config).values()) == 1_418_996_800


def test_flops_of_the_1_3b_are_those_of_the_counter() -> None:
    model = built("meta")
    scene = layout((21, 30, 52), PERSON, 512)
    flops = cost.flops_by_part(model.config, [scene])
    count = counted(model, inputs(model, [scene], 1, "meta"))
    # on the meta device PyTorch decomposes cross-attention into plain products, so nothing is missing
    assert flops.total == pytest.approx(sum(count.values()), rel=1e-3)
    assert flops.self_attention == count["lumosx.attend"]
    assert flops.cross_attention + flops.mcam == count["aten.bmm"]


@pytest.mark.parametrize("csam", [True, False])
def test_flops_of_a_batch_on_the_cpu_are_those_of_the_counter(csam: bool) -> None:
    model = built("cpu", **TINY)
    layouts = [layout((3, 6, 9), references, 40, csam=csam) for references in (PERSON, PEOPLE, [])]
    flops = cost.flops_by_part(model.config, layouts)
    count = counted(model, inputs(model, layouts, 1, "cpu"))
    assert flops.self_attention == count.pop("lumosx.attend")
    # PyTorch counts the CPU's fused cross-attention as nothing: what is left are pooled similarity and weights
    assert flops.linear == pytest.approx(sum(count.values()), rel=0.01)


def test_copies_share_their_references() -> None:
    model = built("cpu", **TINY, reference_timestep="zero")
    scene = layout((3, 6, 9), PERSON, 40)
    flops = cost.flops_by_part(model.config, [scene], copies=3)
    count = counted(model, inputs(model, [scene], 3, "cpu"))
    assert flops.self_attention == count.pop("lumosx.attend")
    assert flops.linear == pytest.approx(sum(count.values()), rel=0.01)


def test_a_step_is_three_passes_and_checkpointing_adds_what_it_repeats() -> None:
    forward = cost.Flops(linear=100, self_attention=40, cross_attention=8, mcam=2)
    assert cost.training_flops(forward) == 450
    assert cost.training_flops(forward, frozen=True) == 350
    assert cost.hardware_flops(forward, "none") == 475
    assert cost.hardware_flops(forward, "selective") == 575
    assert cost.hardware_flops(forward, "full") == 625


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside and still live, and their peak.

    Args:
        old: tensors from before, whose views do not count.
    """

    def __init__(self, old: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.watched = {tensor.untyped_storage()._cdata for tensor in old}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address not in self.watched:
            self.watched.add(address)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, address, size)

    def _gone(self, address: int, size: int) -> None:
        self.watched.discard(address)
        self.now -= size


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_activations_are_the_memory_that_a_step_takes(checkpointing: str, precision: str) -> None:
    model = built("cpu", **TINY)
    model.set_activation_checkpointing(checkpointing)
    layouts = [layout((4, 12, 20), references, 40) for references in (PERSON, [])]
    expected = cost.activations(model.config, layouts, 1, checkpointing, precision)
    arguments = inputs(model, layouts, 1, "cpu")
    context = torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()
    with LiveBytes([*model.parameters(), *(x for x in tree_leaves(arguments) if isinstance(x, Tensor))]) as live:
        with context:
            velocity = model(**arguments).sample
        loss = (velocity.float() - arguments["hidden_states"]).square().mean()
        assert expected.kept + expected.rest == pytest.approx(live.now, rel=0.1)
        loss.backward()
    assert expected.total == pytest.approx(live.peak, rel=0.1)
