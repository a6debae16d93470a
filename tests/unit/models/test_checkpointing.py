"""Activation checkpointing: the same gradients from less memory, by computing again what was said and nothing else."""

from typing import Any

import pytest
import torch
from test_transformer import inputs, model
from test_transformer_compile import BATCHES
from test_transformer_compile import inputs as compile_inputs
from torch import Tensor
from torch._dynamo.utils import counters
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lumosx.attention import sdpa
from lumosx.models import LumosXTransformer3DModel

MODES = ["none", "selective", "full"]
LAYERS = 2


def checkpointed(mode: str, **config: object) -> LumosXTransformer3DModel:
    net = model(**config)
    net.set_activation_checkpointing(mode)
    return net


def gradients(net: LumosXTransformer3DModel, given: dict, autocast: bool = False) -> dict[str, Tensor]:
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        out = net(**given).sample
    out.float().square().sum().backward()
    return {name: parameter.grad for name, parameter in net.named_parameters()}


@pytest.fixture
def attention_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one whenever self-attention computes its forward pass."""
    calls, forward = [], sdpa.forward

    def counting(*tensors: Tensor) -> tuple[Tensor, Tensor]:
        calls.append(1)
        return forward(*tensors)

    monkeypatch.setattr(sdpa, "forward", counting)
    return calls


class Held(TorchDispatchMode):
    """Notes every tensor that is made inside it."""

    def __init__(self) -> None:
        super().__init__()
        self.made: dict[StorageWeakRef, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        storages = [tensor.untyped_storage() for tensor in tree_leaves(out) if isinstance(tensor, Tensor)]
        self.made |= {StorageWeakRef(storage): storage.nbytes() for storage in storages}
        return out

    def bytes(self) -> int:
        """Of those that still live."""
        return sum(size for storage, size in self.made.items() if not storage.expired())


@pytest.mark.parametrize("mode", MODES[1:])
@pytest.mark.parametrize("config", [{}, {"reference_timestep": "zero"}], ids=str)
@pytest.mark.parametrize("autocast", [False, True])
def test_gradients_stay_the_same_to_the_bit(mode: str, config: dict, autocast: bool) -> None:
    expected = gradients(model(**config), inputs(), autocast)
    for name, ours in gradients(checkpointed(mode, **config), inputs(), autocast).items():
        assert torch.equal(ours, expected[name]), name


@pytest.mark.parametrize(("mode", "times"), [("none", 1), ("selective", 1), ("full", 2)])
def test_selective_keeps_what_attention_gave(mode: str, times: int, attention_calls: list[int]) -> None:
    gradients(checkpointed(mode), inputs())
    assert len(attention_calls) == times * LAYERS


@pytest.mark.parametrize(("mode", "times"), [("none", 1), ("selective", 2), ("full", 2)])
def test_the_rest_of_a_block_is_computed_again_inside_it(mode: str, times: int) -> None:
    """Inside, so that what hooks a block, as sharding does, sees one pass."""
    net, passes, layers = checkpointed(mode), [], []
    for block in net.blocks:
        block.register_forward_hook(lambda *_: passes.append(1))
        block.norm3.register_forward_hook(lambda *_: layers.append(1))
    gradients(net, inputs())
    assert len(passes) == LAYERS
    assert len(layers) == times * (LAYERS * 2 - 1)  # for the video and, but in the last block, for the references


def test_less_is_held_for_the_backward_pass() -> None:
    held = {}
    for mode in MODES:
        net, given = checkpointed(mode), inputs()
        with Held() as tensors:
            out = net(**given).sample
        alive = tensors.bytes()
        del out
        held[mode] = alive - tensors.bytes()  # without weights and layouts, which stay
    assert held["none"] > 2 * held["selective"] > 2 * held["full"], held


@torch.no_grad()
@pytest.mark.parametrize("mode", MODES)
def test_without_gradients_it_does_nothing(mode: str, attention_calls: list[int]) -> None:
    net, given = checkpointed(mode, reference_timestep="zero"), inputs()
    expected = net(**given).sample
    references = given.pop("references")
    cache = net.encode_references(references, given["encoder_hidden_states"], given["layouts"])
    torch.testing.assert_close(net(**given, reference_cache=cache).sample, expected)
    assert len(attention_calls) == 3 * LAYERS - 1  # the cache needs no attention in the last block


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="one of none, full, selective, not 'some'"):
        model().set_activation_checkpointing("some")


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_compiled_blocks_are_the_plain_ones_with_one_graph(mode: str, attention_calls: list[int]) -> None:
    torch._dynamo.reset()
    counters.clear()
    compiled, plain = checkpointed(mode), model()
    compiled.compile_repeated_blocks()
    for seed, samples in enumerate(BATCHES):
        given = compile_inputs(samples, seed)
        expected = gradients(plain, given)
        attention_calls.clear()
        ours = gradients(compiled, given)
        assert len(attention_calls) == (2 if mode == "full" else 1) * LAYERS
        for name, gradient in expected.items():
            assert (ours[name] - gradient).abs().max() <= 1e-5 * gradient.abs().max(), name
        assert counters["stats"]["unique_graphs"] == 1, f"a new graph for batch {seed}"
