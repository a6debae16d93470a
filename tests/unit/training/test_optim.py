"""The learning rate's course, and which parameter goes to which optimiser."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import OptimConfig
from lumosx.training.optim import make_optimizers, rate, set_rate


def test_the_course_by_hand() -> None:
    config = OptimConfig(warmup=10, decay=0.5)
    course = [rate(step, 100, config) for step in range(100)]
    assert course[0] == pytest.approx(0.1) and course[4] == pytest.approx(0.5)
    assert course[10:50] == [1.0] * 40
    assert course[75] == pytest.approx(0.5) and course[99] == pytest.approx(0.02)


@given(steps=st.integers(1, 500), warmup=st.integers(0, 50), decay=st.floats(0, 1))
def test_the_rate_is_a_share(steps: int, warmup: int, decay: float) -> None:
    config = OptimConfig(warmup=warmup, decay=decay)
    assert all(0 < rate(step, steps, config) <= 1 for step in range(steps))


@pytest.fixture
def model() -> LumosXTransformer3DModel:
    return LumosXTransformer3DModel(
        num_attention_heads=1,
        attention_head_dim=12,
        in_channels=4,
        out_channels=4,
        text_dim=8,
        ffn_dim=16,
        num_layers=1,
    )


def test_muon_takes_the_blocks_matrices_and_adamw_the_rest(model: LumosXTransformer3DModel) -> None:
    adamw, muon = make_optimizers(model, OptimConfig(lr=1e-3, muon_lr=0.02))
    taken = [id(p) for optimizer in (adamw, muon) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(taken) == sorted(id(p) for p in model.parameters())
    assert isinstance(muon, torch.optim.Muon)
    assert all(p.ndim == 2 for group in muon.param_groups for p in group["params"])
    assert id(model.patch_embedding.weight) in [id(p) for p in adamw.param_groups[0]["params"]]
    set_rate([adamw, muon], 0.5)
    assert (adamw.param_groups[0]["lr"], muon.param_groups[0]["lr"]) == (5e-4, 0.01)
    assert len(make_optimizers(model, OptimConfig(muon_lr=None))) == 1


def test_frozen_weights_go_to_no_optimiser(model: LumosXTransformer3DModel) -> None:
    model.requires_grad_(False)
    trained = model.get_parameter("blocks.0.attn1.to_q.weight").requires_grad_(True)
    for muon_lr in (None, 0.02):
        (optimizer,) = make_optimizers(model, OptimConfig(muon_lr=muon_lr))
        assert [id(p) for p in optimizer.param_groups[0]["params"]] == [id(trained)]


def test_an_optimiser_that_cannot_be_is_refused(model: LumosXTransformer3DModel) -> None:
    with pytest.raises(InputError, match=r"optim.name=adam is not known; it is adamw or adamw8bit"):
        make_optimizers(model, OptimConfig(name="adam"))
    with pytest.raises(InputError, match=r"adamw8bit needs a CUDA device; take optim.name=adamw"):
        make_optimizers(model, OptimConfig(name="adamw8bit"))
