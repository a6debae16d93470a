"""Without references the model is diffusers' Wan, at any size."""

import pytest
import torch
from diffusers import WanTransformer3DModel
from model_cases import CONFIG, OBJECT, difference, model, scene

SIZES = [(1, 2, 2), (1, 4, 6), (3, 4, 2), (5, 6, 10)]


@pytest.fixture(scope="module")
def wan() -> WanTransformer3DModel:
    net = WanTransformer3DModel(**CONFIG)
    net.load_state_dict(model().state_dict())  # strict: the same names and shapes
    return net.eval()


@torch.no_grad()
@pytest.mark.parametrize("latent", SIZES)
def test_without_references_it_is_wan(wan: WanTransformer3DModel, latent: tuple[int, int, int]) -> None:
    inputs = scene([], [], latent=latent)
    for name in ("layouts", "references"):
        inputs.pop(name)
    expected = wan(**inputs).sample
    assert difference(model()(**inputs).sample, expected) < 1e-5
    empty = scene([], [], latent=latent)
    assert difference(model()(**empty).sample, expected) < 1e-5
    assert torch.equal(model()(**inputs, return_dict=False)[0], model()(**inputs).sample)


@torch.no_grad()
def test_a_reference_shows(wan: WanTransformer3DModel) -> None:
    inputs = scene([OBJECT])
    plain = {name: inputs[name] for name in ("hidden_states", "timestep", "encoder_hidden_states")}
    assert difference(model()(**inputs).sample, wan(**plain).sample) > 1e-3


def test_gradients_without_references_are_wans(wan: WanTransformer3DModel) -> None:
    inputs = scene([])
    plain = {name: inputs[name] for name in ("hidden_states", "timestep", "encoder_hidden_states")}
    ours = model()
    ours(**inputs).sample.square().sum().backward()
    wan(**plain).sample.square().sum().backward()
    for (name, mine), theirs in zip(ours.named_parameters(), wan.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=1e-4, atol=1e-4, msg=name)
    wan.zero_grad()


@torch.no_grad()
@pytest.mark.parametrize("latent", [(1, 3, 5), (2, 4, 5), (2, 5, 4)])
def test_odd_sizes_are_padded_and_cut(latent: tuple[int, int, int]) -> None:
    frames, height, width = latent
    right, below = width % 2, height % 2
    inputs = scene([OBJECT], latent=latent)
    padded = dict(inputs)
    padded["hidden_states"] = torch.nn.functional.pad(inputs["hidden_states"], (0, right, 0, below))
    padded["references"] = [torch.nn.functional.pad(r, (0, right, 0, below)) for r in inputs["references"]]
    ours = model()(**inputs).sample
    assert ours.shape == (1, 4, frames, height, width)
    assert difference(ours, model()(**padded).sample[..., :height, :width]) < 1e-6
