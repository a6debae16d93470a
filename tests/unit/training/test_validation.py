"""The loss at fixed noise levels: right, weighted, and the same whatever the batches or the random state."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from lumosx.data.batch import EncodedBatch
from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout
from lumosx.training.ranks import Ranks
from lumosx.training.validation import validation_loss

ALONE = Ranks(0, 1, torch.device("cpu"))
SIGMAS = [0.1, 0.5, 0.9]


def clips(names: str, seed: int = 0) -> EncodedBatch:
    """One clip a letter, its content by its letter; "c" has no references."""
    videos, texts, references, layouts = [], [], [], []
    for name in names:
        generator = torch.Generator().manual_seed(seed + ord(name))
        count = 0 if name == "c" else 2
        videos.append(torch.randn(4, 2, 4, 4, generator=generator))
        texts.append(torch.randn(5, 8, generator=generator))
        references.append(torch.randn(4, count, 4, 4, generator=generator))
        layouts.append(TokenLayout((2, 2, 2), [Reference("member", 0)] * count, torch.eye(count, 5)))
    return EncodedBatch(list(names), torch.stack(videos), references, torch.stack(texts), layouts)


@pytest.fixture(scope="module")
def model() -> LumosXTransformer3DModel:
    torch.manual_seed(0)
    return LumosXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, freq_dim=16,
        ffn_dim=32, num_layers=2,
    )  # fmt: skip


def knowing(clean: Tensor) -> Any:
    """A model that knows the clean clip, and so the noise."""

    def forward(noisy: Tensor, timestep: Tensor, text: Tensor, **others: object) -> SimpleNamespace:
        sigma = (timestep / 1000).view(-1, 1, 1, 1, 1)
        return SimpleNamespace(sample=(noisy - clean) / sigma)

    return forward


def test_a_model_that_knows_the_velocity_has_no_loss() -> None:
    batch = clips("ab")
    losses = validation_loss(knowing(batch.latents), [batch], [torch.ones(2)], SIGMAS, ALONE)
    assert list(losses) == ["loss@0.1", "loss@0.5", "loss@0.9", "loss"]
    assert all(value < 1e-10 for value in losses.values())


def test_the_loss_of_a_known_error_is_its_square_and_the_mean_is_over_noise_levels() -> None:
    batch = clips("ab")

    def forward(noisy: Tensor, timestep: Tensor, *others: object, **more: object) -> SimpleNamespace:
        exact = knowing(batch.latents)(noisy, timestep, None).sample
        return SimpleNamespace(sample=exact + timestep.view(-1, 1, 1, 1, 1) / 1000)  # off by sigma

    losses = validation_loss(forward, [batch], [torch.ones(2)], [0.2, 0.4], ALONE)
    assert losses == pytest.approx({"loss@0.2": 0.04, "loss@0.4": 0.16, "loss": 0.1}, rel=1e-4)


def test_a_clip_that_only_fills_a_batch_does_not_count(model: LumosXTransformer3DModel) -> None:
    expected = validation_loss(model, [clips("ab")], [torch.ones(2)], SIGMAS, ALONE)
    filled = validation_loss(model, [clips("abc")], [torch.tensor([1.0, 1.0, 0.0])], SIGMAS, ALONE)
    assert filled == pytest.approx(expected, rel=1e-5)


def test_the_loss_does_not_depend_on_how_clips_are_batched(model: LumosXTransformer3DModel) -> None:
    together = validation_loss(model, [clips("abc")], [torch.ones(3)], SIGMAS, ALONE)
    apart = validation_loss(model, [clips("c"), clips("ba")], [torch.ones(1), torch.ones(2)], SIGMAS, ALONE)
    assert apart == pytest.approx(together, rel=1e-5)


def test_the_noise_is_the_clips_own_and_no_global_random_state_is_touched(model: LumosXTransformer3DModel) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = validation_loss(model, [clips("ab")], [torch.ones(2)], SIGMAS, ALONE)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert validation_loss(model, [clips("ab")], [torch.ones(2)], SIGMAS, ALONE) == first
    renamed = replace(clips("ab"), samples=["a", "other"])
    assert validation_loss(model, [renamed], [torch.ones(2)], SIGMAS, ALONE) != first


def test_no_gradient_is_kept(model: LumosXTransformer3DModel) -> None:
    def forward(*args: Any, **kwargs: Any) -> Any:
        assert not torch.is_grad_enabled()
        return model(*args, **kwargs)

    validation_loss(forward, [clips("a")], [torch.ones(1)], SIGMAS, ALONE)
