"""Identities that the two guidance formulas must satisfy, and the score form they are derived from."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.flow import classifier_free, image_guided

scales = st.floats(-2, 12)


def velocities(n: int = 3) -> list[torch.Tensor]:
    return list(torch.randn(n, 2, 4, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64))


def test_classifier_free_at_its_fixed_points() -> None:
    pos, neg, _ = velocities()
    torch.testing.assert_close(classifier_free(pos, neg, 1.0), pos)
    torch.testing.assert_close(classifier_free(pos, neg, 0.0), neg)
    torch.testing.assert_close(classifier_free(pos, neg, 6.0), 6 * pos - 5 * neg)


@given(scale=scales)
@settings(max_examples=30, deadline=None)
def test_image_guidance_contains_classifier_free(scale: float) -> None:
    full, refs, nothing = velocities()
    torch.testing.assert_close(image_guided(full, refs, nothing, scale, 1.0), classifier_free(full, refs, scale))
    torch.testing.assert_close(image_guided(full, refs, nothing, scale, scale), classifier_free(full, nothing, scale))
    torch.testing.assert_close(image_guided(full, refs, nothing, 0.0, scale), classifier_free(refs, nothing, scale))


@given(cfg=scales, cfg_image=scales)
@settings(max_examples=30, deadline=None)
def test_agreeing_passes_are_left_alone(cfg: float, cfg_image: float) -> None:
    (v,) = velocities(1)
    torch.testing.assert_close(image_guided(v, v, v, cfg, cfg_image), v)


@given(cfg=st.floats(0, 12), cfg_image=st.floats(0, 12))
@settings(max_examples=30, deadline=None)
def test_image_guidance_sharpens_the_two_likelihoods(cfg: float, cfg_image: float) -> None:
    """The guided velocity is that of p(x) p(refs|x)^cfg_image p(text|refs,x)^cfg (Gaussians)."""
    x, sigma = torch.linspace(-2, 2, 9, dtype=torch.float64), 0.7
    prior, given_refs, given_text = -x, -(x - 1) / 0.5, (0.3 - x) / 0.2  # gradients of the logarithms
    scores = [prior + given_refs + given_text, prior + given_refs, prior]

    def velocity(score: torch.Tensor) -> torch.Tensor:
        eps = -sigma * score
        return eps - (x - sigma * eps) / (1 - sigma)

    guided = image_guided(*(velocity(s) for s in scores), cfg, cfg_image)
    torch.testing.assert_close(guided, velocity(prior + cfg_image * given_refs + cfg * given_text))
