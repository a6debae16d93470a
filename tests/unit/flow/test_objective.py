"""Equations 6 to 8 and the distributions of sigma, against closed forms."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.flow import flow_matching_loss, noise_latents, sample_sigmas, shift_sigmas, velocity_target

SHAPE = (3, 4, 2, 5, 5)


def pair(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(SHAPE, generator=generator), torch.randn(SHAPE, generator=generator)


def test_noise_latents_runs_from_clip_to_noise() -> None:
    x0, eps = pair()
    assert torch.equal(noise_latents(x0, eps, torch.zeros(3)), x0)
    assert torch.equal(noise_latents(x0, eps, torch.ones(3)), eps)
    mixed = noise_latents(x0, eps, torch.tensor([0.0, 0.25, 1.0]))
    assert torch.equal(mixed[0], x0[0]) and torch.equal(mixed[2], eps[2])
    torch.testing.assert_close(mixed[1], 0.75 * x0[1] + 0.25 * eps[1])


@given(a=st.floats(0, 1), b=st.floats(0, 1), seed=st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_velocity_is_the_slope_of_the_path(a: float, b: float, seed: int) -> None:
    x0, eps = (t.double() for t in pair(seed))
    at = [noise_latents(x0, eps, torch.full((3,), s, dtype=torch.float64)) for s in (a, b)]
    torch.testing.assert_close(at[1] - at[0], (b - a) * velocity_target(x0, eps))


@given(sigma=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_path_and_velocity_give_back_clip_and_noise(sigma: float) -> None:
    x0, eps = (t.double() for t in pair())
    x, v = noise_latents(x0, eps, torch.full((3,), sigma, dtype=torch.float64)), velocity_target(x0, eps)
    torch.testing.assert_close(x - sigma * v, x0)
    torch.testing.assert_close(x + (1 - sigma) * v, eps)


def test_noise_latents_keeps_the_dtype_of_the_latents() -> None:
    x0, eps = (t.bfloat16() for t in pair())
    assert noise_latents(x0, eps, torch.rand(3)).dtype == torch.bfloat16


def test_loss_is_the_mean_square_in_float32() -> None:
    pred, target = pair()
    torch.testing.assert_close(flow_matching_loss(pred, target), torch.nn.functional.mse_loss(pred, target))
    assert flow_matching_loss(pred, pred).item() == 0
    assert flow_matching_loss(pred.bfloat16(), target.bfloat16()).dtype == torch.float32
    # 1/300 squared underflows in float16; the loss must not.
    tiny = torch.full((1, 4), 1 / 4096, dtype=torch.float16)
    assert flow_matching_loss(tiny, torch.zeros_like(tiny)).item() == pytest.approx(4096**-2)


def test_loss_weights_samples() -> None:
    pred, target = pair()
    each = torch.stack([flow_matching_loss(p[None], t[None]) for p, t in zip(pred, target, strict=True)])
    weight = torch.tensor([2.0, 0.0, 0.5])
    torch.testing.assert_close(flow_matching_loss(pred, target, weight), (weight * each).mean())
    torch.testing.assert_close(flow_matching_loss(pred, target, torch.ones(3)), flow_matching_loss(pred, target))


def test_loss_gradient_is_the_residual() -> None:
    pred, target = pair()
    pred.requires_grad_()
    flow_matching_loss(pred, target).backward()
    assert pred.grad is not None
    torch.testing.assert_close(pred.grad, 2 * (pred.detach() - target) / pred.numel())


def test_shapes_are_never_broadcast() -> None:
    x0, eps = pair()
    with pytest.raises(ValueError, match="x0 and eps"):
        noise_latents(x0, eps[:1], torch.rand(3))
    with pytest.raises(ValueError, match="one value a sample"):
        noise_latents(x0, eps, torch.rand(1))
    with pytest.raises(ValueError, match="x0 and eps"):
        velocity_target(x0, eps[:, :1])
    with pytest.raises(ValueError, match="pred and target"):
        flow_matching_loss(x0, eps[:1])
    with pytest.raises(ValueError, match="weight and the batch"):
        flow_matching_loss(x0, eps, torch.ones(1))


def normal_cdf(x: torch.Tensor) -> torch.Tensor:
    return 0.5 * (1 + torch.erf(x / math.sqrt(2)))


CDFS = {
    "paper": ({}, lambda s: normal_cdf(torch.logit(s))),
    "moved": ({"mean": 1.0, "std": 0.5}, lambda s: normal_cdf((torch.logit(s) - 1.0) / 0.5)),
    "uniform": ({"distribution": "uniform"}, lambda s: s),
    # The inverse of a shift by 8 is a shift by 1/8.
    "shifted": ({"distribution": "shifted", "shift": 8.0}, lambda s: s / (8 - 7 * s)),
}


@pytest.mark.parametrize("case", CDFS)
def test_sigmas_follow_their_distribution(case: str) -> None:
    options, cdf = CDFS[case]
    n = 20_000
    sigmas = sample_sigmas(n, **options, generator=torch.Generator().manual_seed(7))
    assert sigmas.shape == (n,) and sigmas.dtype == torch.float32
    assert sigmas.min() >= 0 and sigmas.max() <= 1
    steps = torch.arange(1, n + 1) / n
    distance = (cdf(sigmas.double().sort().values) - steps).abs().max().item()
    assert distance < 1.95 / math.sqrt(n)  # Kolmogorov-Smirnov at 0.1 %


def test_paper_sigmas_have_the_moments_of_a_logit_normal() -> None:
    sigmas = sample_sigmas(50_000, generator=torch.Generator().manual_seed(1))
    assert sigmas.mean().item() == pytest.approx(0.5, abs=0.004)
    assert sigmas.std().item() == pytest.approx(0.2083, abs=0.003)


def test_sigmas_repeat_with_the_seed() -> None:
    draw = [sample_sigmas(5, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)]
    assert torch.equal(draw[0], draw[1]) and not torch.equal(draw[0], draw[2])


@given(shift=st.floats(0.1, 20), mean=st.floats(-2, 2))
@settings(max_examples=30, deadline=None)
def test_shifting_a_logit_normal_moves_its_mean(shift: float, mean: float) -> None:
    plain, moved = (
        sample_sigmas(50, mean=m, generator=torch.Generator().manual_seed(0)).double()
        for m in (mean, mean + math.log(shift))
    )
    torch.testing.assert_close(shift_sigmas(plain, shift), moved, atol=1e-5, rtol=0)


@given(shift=st.floats(0.05, 50))
@settings(max_examples=50, deadline=None)
def test_shift_keeps_the_ends_and_the_order(shift: float) -> None:
    u = torch.linspace(0, 1, 41, dtype=torch.float64)
    shifted = shift_sigmas(u, shift)
    assert shifted[0] == 0 and shifted[-1] == pytest.approx(1)
    assert (shifted.diff() > 0).all()
    torch.testing.assert_close(shift_sigmas(shifted, 1 / shift), u)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distribution": "cosine"}, "logit_normal, uniform or shifted"),
        ({"distribution": "uniform", "mean": 1.0}, "mean and std belong to logit_normal"),
        ({"distribution": "shifted", "std": 2.0}, "mean and std belong to logit_normal"),
        ({"shift": 8.0}, r"add log\(shift\) to mean"),
        ({"distribution": "shifted", "shift": 0.0}, "shift must be a positive number"),
        ({"std": 0.0}, "std positive"),
        ({"mean": math.nan}, "mean must be finite"),
    ],
)
def test_no_option_is_ignored_or_nonsense(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample_sigmas(4, **options)
