"""Averaged weights on one process. tests/distributed has the sharded ones."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import Config, OptimConfig
from lumosx.training.ema import Ema
from lumosx.training.engines import make_engine
from lumosx.training.engines.single import SingleEngine
from lumosx.training.ranks import Ranks


@pytest.fixture
def engine() -> SingleEngine:
    torch.manual_seed(0)
    model = LumosXTransformer3DModel(
        num_attention_heads=1, attention_head_dim=12, in_channels=4, out_channels=4, text_dim=8, ffn_dim=16,
        num_layers=1,
    )  # fmt: skip
    model.proj_out.requires_grad_(False)
    engine = make_engine(model, Config(optim=OptimConfig(lr=0.1)), Ranks(0, 1, torch.device("cpu")))
    assert isinstance(engine, SingleEngine)
    return engine


def moved(engine: SingleEngine) -> dict[str, Tensor]:
    """The weights after a step on random gradients."""
    for weight in engine.trained().values():
        weight.grad = torch.randn_like(weight)
    engine.step()
    return deepcopy(engine.trained())


def test_it_starts_short_and_forgets_by_its_decay(engine: SingleEngine) -> None:
    ema = Ema(engine, decay=0.2)
    name = "blocks.0.attn1.to_q.weight"
    average = engine.trained()[name].detach().clone()
    for step, kept in ((0, 0.1), (1, 2 / 11), (2, 0.2), (3, 0.2)):
        weight = moved(engine)[name]
        ema.update(step)
        average = kept * average + (1 - kept) * weight
        torch.testing.assert_close(ema.averages[name], average)


def test_it_averages_what_is_trained_alone(engine: SingleEngine) -> None:
    ema = Ema(engine, decay=0.9)
    assert list(ema.averages) == [name for name, _ in engine.model.named_parameters() if "proj_out" not in name]
    assert ema.whole().keys() == ema.averages.keys()


def test_swapped_weights_come_back_to_the_bit_even_after_an_error(engine: SingleEngine) -> None:
    ema = Ema(engine, decay=0.9)
    weights = moved(engine)
    ema.update(0)
    averages = deepcopy(ema.averages)
    with pytest.raises(RuntimeError, match="in between"), ema.swapped():
        assert all(torch.equal(weight, averages[name]) for name, weight in engine.trained().items())
        raise RuntimeError("in between")
    assert all(torch.equal(weight, weights[name]) for name, weight in engine.trained().items())
    assert all(torch.equal(average, averages[name]) for name, average in ema.averages.items())


def test_whole_averages_are_copies(engine: SingleEngine) -> None:
    ema = Ema(engine, decay=0.9)
    whole = ema.whole()
    moved(engine)
    ema.update(0)
    assert not torch.equal(whole["scale_shift_table"], ema.averages["scale_shift_table"])


def test_a_state_that_was_read_before_the_first_step_changes_nothing(engine: SingleEngine) -> None:
    """Reading it makes PyTorch set up the optimiser, which must not count as a step."""
    other = make_engine(deepcopy(engine.model), engine.config, engine.ranks)
    other.load_state_dict(other.state_dict())
    for step in range(2):
        for one in (engine, other):
            torch.manual_seed(step)
            for weight in one.trained().values():
                weight.grad = torch.randn_like(weight)
            one.step()
    theirs = other.trained()
    assert all(torch.equal(weight, theirs[name]) for name, weight in engine.trained().items())


def test_a_state_holds_tensors_and_no_settings(engine: SingleEngine) -> None:
    """What the configuration says about rates and decay holds, not what it said when the state was saved."""
    moved(engine)
    state = engine.state_dict()
    assert set(state) == {"model", "optimizers"} and "proj_out.weight" not in state["model"]
    assert all(isinstance(value, Tensor) for one in state["optimizers"].values() for value in one.values())
    changed = make_engine(deepcopy(engine.model), Config(optim=OptimConfig(lr=0.5)), engine.ranks)
    changed.load_state_dict(state)
    assert changed.optimizers[0].param_groups[0]["lr"] == changed.optimizers[0].param_groups[0]["peak_lr"] == 0.5
