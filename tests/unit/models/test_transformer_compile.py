"""One compiled block serves all layers and all layouts."""

from collections.abc import Iterator

import pytest
import torch
from tiny_transformer import CONFIG
from torch._dynamo.utils import counters
from torch.fx.experimental import _config as shape_config

from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout

SCENERY = Reference("object")


def members(*sizes: int) -> list[Reference]:
    return [Reference("member", subject) for subject, size in enumerate(sizes) for _ in range(size)]


# Two samples each, at least two references together: PyTorch makes graphs of their own for the sizes 0 and 1. The first
# batch has four references, as many as a range has numbers, and the third six, as many as a modulation has rows.
BATCHES = [
    [[SCENERY, *members(2)], [SCENERY]],
    [[SCENERY, SCENERY, *members(1, 3)], members(2)],
    [members(1), members(1, 1, 2, 1)],
    [[SCENERY, SCENERY, SCENERY, *members(2, 2, 2)], [SCENERY]],
    [[SCENERY, *members(1)], []],
    [members(4), members(2, 2)],
]


def inputs(samples: list[list[Reference]], seed: int) -> dict:
    torch.manual_seed(seed)
    layouts = [TokenLayout((2, 2, 3), sample, torch.rand(len(sample), 6) < 0.4) for sample in samples]
    return {
        "hidden_states": torch.randn(2, 4, 2, 4, 6),
        "timestep": torch.rand(2) * 1000,
        "encoder_hidden_states": torch.randn(2, 6, 8),
        "layouts": layouts,
        "references": [torch.randn(4, len(sample), 4, 6) for sample in samples],
    }


@pytest.fixture
def models() -> Iterator[tuple[LumosXTransformer3DModel, LumosXTransformer3DModel]]:
    """Two models of the same weights: one to compile, one as it is."""
    torch._dynamo.reset()
    counters.clear()
    torch.manual_seed(0)
    compiled, plain = LumosXTransformer3DModel(**CONFIG), LumosXTransformer3DModel(**CONFIG)
    plain.load_state_dict(compiled.state_dict())
    with shape_config.patch(use_duck_shape=True):  # compile_repeated_blocks turns it off for good
        yield compiled, plain
    torch._dynamo.reset()


def test_two_graphs_serve_all_layouts_forward_and_backward(models: tuple) -> None:
    compiled, plain = models
    compiled.compile_repeated_blocks(backend="aot_eager")  # a graph break is an error
    for seed, samples in enumerate(BATCHES):
        given = inputs(samples, seed)
        outputs = [net(**given).sample for net in models]
        torch.testing.assert_close(outputs[0], outputs[1])
        for out in outputs:
            out.square().sum().backward()
        for (name, ours), expected in zip(compiled.named_parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(ours.grad, expected.grad, rtol=1e-4, atol=1e-4, msg=name)
        # the last block has one of its own, and so have blocks without MCAM's words
        assert counters["stats"]["unique_graphs"] == 2, f"a new graph for batch {seed}"


@torch.no_grad()
def test_the_same_graphs_serve_all_layouts_of_a_cached_clip(models: tuple) -> None:
    compiled, plain = models
    for net in models:
        net.register_to_config(reference_timestep="zero")
    compiled.compile_repeated_blocks(backend="eager")
    for seed, samples in enumerate(BATCHES):
        given = inputs(samples, seed)
        expected = plain(**given).sample
        references = given.pop("references")
        cache = compiled.encode_references(references, given["encoder_hidden_states"], given["layouts"])
        torch.testing.assert_close(compiled(**given, reference_cache=cache).sample, expected)
        assert counters["stats"]["unique_graphs"] == 3, (
            f"a new graph for batch {seed}"
        )  # references, their last block, video


def test_all_kinds_of_passes_one_after_another(models: tuple) -> None:
    """More kinds than PyTorch's own limit on graphs, past which it would fail."""
    compiled, plain = models
    compiled.compile_repeated_blocks(backend="eager")
    for seed, samples in enumerate([BATCHES[0], BATCHES[4], [[]], [members(1)], [[], []]]):
        given = inputs(samples, seed)
        for key in ("hidden_states", "timestep", "encoder_hidden_states"):
            given[key] = given[key][: len(samples)]
        torch.testing.assert_close(compiled(**given).sample, plain(**given).sample)
        with torch.no_grad():
            text = compiled.encode_text(given["encoder_hidden_states"])
            expected = plain(**given).sample
            for of in (given["encoder_hidden_states"], text):
                torch.testing.assert_close(compiled(**{**given, "encoder_hidden_states": of}).sample, expected)
    assert counters["stats"]["unique_graphs"] > 8
