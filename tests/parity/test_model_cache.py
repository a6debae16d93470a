"""Cached references give what uncached ones do, for every step and seed; where they would not, a cache is an error."""

import pytest
import torch
from model_cases import MIXED, OBJECT, difference, member, model, scene

from lumosx.models import ReferenceCache


def cached(net: torch.nn.Module, inputs: dict) -> tuple[ReferenceCache, dict]:
    cache = net.encode_references(inputs["references"], inputs["encoder_hidden_states"], inputs["layouts"])
    rest = {name: value for name, value in inputs.items() if name != "references"}
    return cache, {**rest, "reference_cache": cache}


@torch.no_grad()
@pytest.mark.parametrize("rules", ["paper", "release"])
@pytest.mark.parametrize("copies", [1, 2])
def test_cached_is_uncached(rules: str, copies: int) -> None:
    net = model(reference_timestep="zero")
    inputs = scene(*MIXED, copies=copies, latent=(2, 4, 10), rules=rules)
    _, with_cache = cached(net, inputs)
    for step in (999.0, 400.0, 3.0):  # one cache for all steps
        timestep = torch.full_like(inputs["timestep"], step)
        expected = net(**{**inputs, "timestep": timestep}).sample
        assert difference(net(**{**with_cache, "timestep": timestep}).sample, expected) < 1e-6


@torch.no_grad()
def test_one_cache_serves_several_videos() -> None:
    net, inputs = model(reference_timestep="zero"), scene(*MIXED[:2], copies=3)
    cache, with_cache = cached(net, inputs)
    assert difference(net(**with_cache).sample, net(**inputs).sample) < 1e-6
    keys, values = cache.keys_values[0]
    assert len(cache.keys_values) == 2 and keys.shape == values.shape == (6, 6, 2, 24)


@torch.no_grad()
def test_other_references_show() -> None:
    net, inputs = model(reference_timestep="zero"), scene([OBJECT, member(0)])
    _, with_cache = cached(net, dict(inputs, references=[inputs["references"][0].flip(1)]))
    assert difference(net(**with_cache).sample, net(**inputs).sample) > 1e-3


@torch.no_grad()
def test_the_references_timestep_shows() -> None:
    inputs = scene([OBJECT, member(0)])
    shared, zero = model(), model(reference_timestep="zero")
    assert difference(shared(**inputs).sample, zero(**inputs).sample) > 1e-3
    clean = dict(inputs, timestep=torch.zeros(1))
    assert difference(shared(**clean).sample, zero(**clean).sample) < 1e-6  # at 0 they agree


@torch.no_grad()
def test_no_references_at_all() -> None:
    net, inputs = model(reference_timestep="zero"), scene([], [])
    _, with_cache = cached(net, inputs)
    assert difference(net(**with_cache).sample, net(**inputs).sample) < 1e-6


def test_a_shared_timestep_cannot_be_cached() -> None:
    with pytest.raises(ValueError, match="cannot be cached: with reference_timestep='shared'"):
        cached(model(), scene([OBJECT]))


def test_references_that_see_the_video_cannot_be_cached() -> None:
    with pytest.raises(ValueError, match="cannot be cached with csam=False"):
        cached(model(reference_timestep="zero"), scene([OBJECT], csam=False))


@torch.no_grad()
def test_a_cache_is_for_its_layouts_and_instead_of_references() -> None:
    net, inputs = model(reference_timestep="zero"), scene([OBJECT, member(0)])
    cache, with_cache = cached(net, inputs)
    with pytest.raises(ValueError, match="made for other layouts"):
        net(**dict(with_cache, layouts=[inputs["layouts"][0].without_words()]))
    with pytest.raises(ValueError, match="not both"):
        net(**inputs, reference_cache=cache)
