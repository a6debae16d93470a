"""Every backend gives the same model, forward and backward, and so does gradient checkpointing."""

from typing import Any

import pytest
import torch
from model_cases import MIXED, OBJECT, difference, member, model, scene
from torch import Tensor

from lumosx.attention import BACKENDS, choose_backend, flex
from lumosx.attention.op import attend_op
from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel


def output_and_gradients(net: LumosXTransformer3DModel, inputs: dict) -> dict[str, Tensor]:
    references = [r.clone().requires_grad_() for r in inputs["references"]]
    out = net(**{**inputs, "references": references}).sample
    out.square().sum().backward()
    results = {"output": out.detach()} | {name: p.grad.clone() for name, p in net.named_parameters()}
    results |= {f"reference {i}": r.grad for i, r in enumerate(references) if r.numel()}
    net.zero_grad()
    return results


@pytest.mark.parametrize("csam", [True, False])
def test_sdpa_is_dense(csam: bool) -> None:
    net, inputs = model(), scene(*MIXED, csam=csam)
    net.set_attention_backend("dense")
    expected = output_and_gradients(net, inputs)
    net.set_attention_backend("sdpa")
    for name, ours in output_and_gradients(net, inputs).items():
        assert difference(ours, expected[name]) < 1e-5, name


def test_the_branches_of_guidance_are_dense() -> None:
    """Two samples of the same references, whose keys sdpa reads where they are."""
    net, inputs = model(), scene([OBJECT, member(0), member(0), member(1)], [OBJECT, member(0), member(0), member(1)])
    net.set_attention_backend("dense")
    expected = output_and_gradients(net, inputs)
    net.set_attention_backend("sdpa")
    for name, ours in output_and_gradients(net, inputs).items():
        assert difference(ours, expected[name]) < 1e-5, name


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_all_layers_and_steps_share_what_is_made_of_a_layout() -> None:
    net, inputs = model(num_layers=4), scene(*MIXED)
    net.set_attention_backend("flex")
    flex.block_mask.cache_clear()
    for _ in range(2):
        net(**inputs)
        made = flex.block_mask.cache_info()
        assert made.misses <= 2  # the last layer computes nothing but the videos
    assert made.hits + made.misses == 8


@torch.no_grad()
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_flex_is_dense() -> None:
    net, inputs = model(), scene(*MIXED)
    net.set_attention_backend("dense")
    expected = net(**inputs).sample
    net.set_attention_backend("flex")
    assert difference(net(**inputs).sample, expected) < 1e-5


def test_a_backend_is_really_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    net, used = model(), []

    def recording(*arguments: Any) -> tuple[Tensor, Tensor]:
        used.append(arguments[4])
        return attend_op(*arguments)

    monkeypatch.setattr("lumosx.attention.attend_op", recording)
    net(**scene([OBJECT]))
    assert used == ["sdpa", "sdpa"]  # "auto", once a layer
    net.set_attention_backend("dense")
    net(**scene([OBJECT]))
    assert len(used) == 2
    with pytest.raises(InputError, match="'magi' cannot run here"):
        net.set_attention_backend("magi")


@pytest.mark.parametrize("config", [{}, {"reference_timestep": "zero"}], ids=str)
def test_gradient_checkpointing_changes_nothing(config: dict) -> None:
    net, inputs = model(**config).train(), scene(*MIXED)
    expected = output_and_gradients(net, inputs)
    net.enable_gradient_checkpointing()
    calls = []
    for block in net.blocks:
        block.register_forward_pre_hook(lambda *_: calls.append(1))
    for name, ours in output_and_gradients(net, inputs).items():
        assert difference(ours, expected[name]) < 1e-6, name
    assert len(calls) == 4  # both blocks ran again in the backward pass


@pytest.mark.gpu
@pytest.mark.parametrize("backend", [name for name in BACKENDS if name != "dense"])
def test_on_a_gpu(backend: str) -> None:
    """In bfloat16, errors against float32 at most 1.5 times those with the oracle's attention."""
    device = torch.device("cuda")
    try:
        choose_backend(device, torch.bfloat16, backend)
    except InputError as error:
        pytest.skip(str(error))
    size = {"num_attention_heads": 2, "attention_head_dim": 64}
    inputs = scene([OBJECT, member(0), member(0), member(1)], [member(0)], latent=(3, 16, 20))

    def run(dtype: torch.dtype, backend: str) -> dict[str, Tensor]:
        net = model(**size).to(device, dtype)
        net.set_attention_backend(backend)
        moved = {
            name: [x.to(device, dtype) for x in value] if name == "references" else value.to(device, dtype)
            for name, value in inputs.items()
            if name != "layouts"
        }
        results = output_and_gradients(net, {**moved, "layouts": inputs["layouts"]})
        return {name: value.float() for name, value in results.items()}

    exact = run(torch.float32, "dense")
    allowed, ours = run(torch.bfloat16, "dense"), run(torch.bfloat16, backend)
    for name, expected in exact.items():
        assert (ours[name] - expected).norm() <= 1.5 * (allowed[name] - expected).norm(), name
