"""Unequal samples in one batch equal the same samples one by one, and so do several videos of one scene."""

import pytest
import torch
from model_cases import BACKGROUND, MIXED, OBJECT, difference, member, model, one, scene

OPTIONS = [{}, {"reference_timestep": "zero"}]


@torch.no_grad()
@pytest.mark.parametrize("config", OPTIONS, ids=str)
@pytest.mark.parametrize("rules", ["paper", "release"])
def test_a_batch_is_its_samples_one_by_one(config: dict, rules: str) -> None:
    net, inputs = model(**config), scene(*MIXED, latent=(2, 4, 10), rules=rules)
    together = net(**inputs).sample
    for index in range(len(MIXED)):
        assert difference(together[index], net(**one(inputs, index)).sample[0]) < 2e-6


@torch.no_grad()
def test_samples_with_and_without_csam_and_r2pe_share_a_batch() -> None:
    net, parts = model(), [scene(MIXED[0]), scene(MIXED[0], csam=False), scene(MIXED[0], r2pe=False)]
    inputs = {
        name: torch.cat([part[name] for part in parts])
        for name in ("hidden_states", "timestep", "encoder_hidden_states")
    }
    for name in ("layouts", "references"):
        inputs[name] = [part[name][0] for part in parts]
    together = net(**inputs).sample
    for index in range(3):
        assert difference(together[index], net(**one(inputs, index)).sample[0]) < 2e-6
    assert difference(together[1], together[0]) > 1e-3 < difference(together[2], together[0])


@torch.no_grad()
@pytest.mark.parametrize("config", OPTIONS, ids=str)
def test_copies_of_a_scene_are_the_same_one_by_one(config: dict) -> None:
    net, inputs = model(**config), scene(MIXED[0], MIXED[2], MIXED[1], copies=3)
    together = net(**inputs).sample
    for video in range(9):
        assert difference(together[video], net(**one(inputs, video, copies=3)).sample[0]) < 2e-6


@torch.no_grad()
def test_with_clean_references_copies_may_have_timesteps_of_their_own() -> None:
    inputs = scene(MIXED[0], copies=2, timesteps=[200.0, 800.0])
    net = model(reference_timestep="zero")
    together = net(**inputs).sample
    for video in range(2):
        assert difference(together[video], net(**one(inputs, video, copies=2)).sample[0]) < 2e-6
    with pytest.raises(ValueError, match="need one timestep a scene"):
        model()(**inputs)


@torch.no_grad()
def test_a_mixed_up_batch_shows() -> None:
    """The comparisons above would notice references, or layouts, of another sample."""
    net, inputs = model(), scene([OBJECT, member(0)], [BACKGROUND, member(0)])
    right = net(**inputs).sample
    references = dict(inputs, references=inputs["references"][::-1])
    layouts = dict(inputs, layouts=inputs["layouts"][::-1])
    for wrong in (references, layouts):
        assert difference(net(**wrong).sample, right) > 1e-3


@torch.no_grad()
def test_ntk_scaling_of_one_sample_leaves_the_others_alone() -> None:
    net = model(rope_ntk_scaling=True, rope_max_seq_len=8)
    inputs = scene([member(0)], [member(0)] * 4)  # 3 columns of tokens: 4 members need 12 positions
    together = net(**inputs).sample
    for index in range(2):
        assert difference(together[index], net(**one(inputs, index)).sample[0]) < 2e-6
    with pytest.raises(ValueError, match="needs 12 positions on axis 'w'"):
        model(rope_max_seq_len=8)(**inputs)


def test_gradients_of_a_batch_are_those_of_its_samples() -> None:
    net, inputs = model(), scene(*MIXED)
    net(**inputs).sample.square().sum().backward()
    together = [parameter.grad.clone() for parameter in net.parameters()]
    net.zero_grad()
    for index in range(len(MIXED)):
        net(**one(inputs, index)).sample.square().sum().backward()
    for (name, parameter), expected in zip(net.named_parameters(), together, strict=True):
        assert difference(parameter.grad, expected) < 1e-4, name
