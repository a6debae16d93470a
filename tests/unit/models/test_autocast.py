"""In bfloat16, whatever is made of the timestep stays in float32, and so do the norms and the modulation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_transformer import inputs, model
from torch import Tensor

from lumosx.models import LumosXTransformer3DModel

CONFIGS = [{}, {"reference_timestep": "zero"}]


def outputs(net: LumosXTransformer3DModel, *names: str, autocast: bool = True) -> list[Tensor]:
    """What the named modules give in one pass over video and references, in order."""
    seen: list[Tensor] = []
    for name in names:
        net.get_submodule(name).register_forward_hook(lambda _module, _inputs, out: seen.append(out))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        net(**inputs())
    return seen


def modulation(net: LumosXTransformer3DModel, autocast: bool) -> list[Tensor]:
    """Of the video and of the references, as the first block gets them."""
    seen: list[Tensor] = []
    hook: Callable[..., Any] = lambda _block, given: seen.extend(stream.modulation for stream in given[3].streams)  # noqa: E731
    net.blocks[0].register_forward_pre_hook(hook)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        net(**inputs())
    return seen


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_autocast_leaves_the_modulation_exact(config: dict) -> None:
    exact, ours = modulation(model(**config), autocast=False), modulation(model(**config), autocast=True)
    assert len(ours) == 2
    for found, wanted in zip(ours, exact, strict=True):
        assert found.dtype == torch.float32 and torch.equal(found, wanted)


@pytest.mark.parametrize("name", ["condition_embedder.time_embedder", "condition_embedder.time_proj"])
def test_autocast_leaves_the_time_embedding_exact(name: str) -> None:
    (ours,), (exact,) = outputs(model(), name), outputs(model(), name, autocast=False)
    assert ours.dtype == torch.float32 and torch.equal(ours, exact)


def test_autocast_leaves_norms_in_float32_and_nothing_else() -> None:
    norms = outputs(model(), *(f"blocks.{block}.norm{number}" for block in (0, 1) for number in (1, 2, 3)), "norm_out")
    assert len(norms) == 2 * 3 + (2 + 1 + 1) + 1  # the last block leaves references behind its first norm
    assert all(norm.dtype == torch.float32 for norm in norms)
    products = outputs(model(), "blocks.0.attn1.to_q", "blocks.0.ffn", "patch_embedding", "proj_out")
    assert all(product.dtype == torch.bfloat16 for product in products)


def test_autocast_leaves_the_tables_gradients_in_float32() -> None:
    net = model()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(**inputs()).sample
    out.float().square().sum().backward()
    assert all(parameter.grad.dtype == torch.float32 for parameter in net.parameters())
    exact = model()
    exact(**inputs()).sample.square().sum().backward()
    for name in ("scale_shift_table", "blocks.0.scale_shift_table", "condition_embedder.time_embedder.linear_1.weight"):
        ours, wanted = net.get_parameter(name).grad, exact.get_parameter(name).grad
        assert (ours - wanted).norm() < 0.03 * wanted.norm(), name


@pytest.mark.parametrize("autocast", [False, True])
def test_weights_in_bfloat16_keep_a_time_embedding_in_float32(tmp_path: Path, autocast: bool) -> None:
    """As for sampling."""
    model().save_pretrained(tmp_path)
    net = LumosXTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    names = ("condition_embedder.time_embedder", "condition_embedder.time_proj")
    (time, projected), (exact, exact_projected) = outputs(net, *names, autocast=autocast), outputs(model(), *names)
    assert time.dtype == torch.float32
    torch.testing.assert_close(time, exact)
    assert projected.dtype == torch.bfloat16
    assert (projected.float() - exact_projected).norm() < 0.01 * exact_projected.norm()
