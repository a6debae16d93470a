"""The training objective of flow matching: equations 6, 7 and 8 of the paper, and how sigma is drawn.

Only the video's latents are noised and scored. References enter clean, so nothing here knows of them.
"""

import math
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from lumosx.errors import InputError

Sigmas = TypeVar("Sigmas", Tensor, np.ndarray)
SigmaDistribution = Literal["logit_normal", "uniform", "shifted"]


def noise_latents(x0: Tensor, eps: Tensor, sigma: Tensor) -> Tensor:
    """Equation 6: ``x_t = (1 - sigma) x_0 + sigma eps``, a straight line from the clip to noise.

    Args:
        x0: clean latents ``[B, ...]``.
        eps: standard normal noise of the same shape.
        sigma: noise level of each sample ``[B]`` in [0, 1]; sigma = t / 1000.
    """
    _require_same_shape("x0", x0, "eps", eps)
    if sigma.shape != x0.shape[:1]:
        raise ValueError(f"sigma must hold one value a sample, shape {tuple(x0.shape[:1])}; got {tuple(sigma.shape)}")
    sigma = sigma.to(device=x0.device, dtype=x0.dtype).view(-1, *[1] * (x0.ndim - 1))
    return (1 - sigma) * x0 + sigma * eps


def velocity_target(x0: Tensor, eps: Tensor) -> Tensor:
    """Equation 7: ``v = eps - x_0``, the derivative of equation 6 with respect to sigma. Shapes alike."""
    _require_same_shape("x0", x0, "eps", eps)
    return eps - x0


def flow_matching_loss(pred: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """Equation 8: ``E || u(x_t, t, text, references) - v ||^2``, as a mean over elements, in float32.

    Args:
        pred: the model's velocity of the video ``[B, ...]``.
        target: :func:`velocity_target` of the same shape.
        weight: factor on each sample's loss ``[B]``. It is not normalised: weights of 2 double the loss.

    Returns:
        A float32 scalar.
    """
    _require_same_shape("pred", pred, "target", target)
    per_sample = (pred.float() - target.float()).square().flatten(1).mean(1)
    if weight is None:
        return per_sample.mean()
    _require_same_shape("weight", weight, "the batch", per_sample)
    return (weight.to(per_sample) * per_sample).mean()


def sample_sigmas(
    n: int,
    distribution: SigmaDistribution = "logit_normal",
    mean: float = 0.0,
    std: float = 1.0,
    shift: float = 1.0,
    generator: torch.Generator | None = None,
    device: torch.device | str | None = None,
) -> Tensor:
    """Draw ``n`` noise levels in [0, 1], float32.

    ``logit_normal``: sigmoid(N(mean, std)); the paper trains with (0, 1). ``uniform``: U(0, 1). ``shifted``:
    U(0, 1) moved towards noise by :func:`shift_sigmas`. A shifted logit-normal needs no third case: shifting
    by s adds log(s) to ``mean``. A generator draws on its own device, so that a seed means the same numbers
    on any ``device``.

    Raises:
        InputError: an unknown distribution, or a parameter that the chosen distribution would ignore.
    """
    if distribution not in ("logit_normal", "uniform", "shifted"):
        raise InputError(f"distribution must be logit_normal, uniform or shifted; got {distribution!r}")
    if distribution != "logit_normal" and (mean, std) != (0.0, 1.0):
        raise InputError(f"mean and std belong to logit_normal; {distribution} takes neither")
    if distribution != "shifted" and shift != 1.0:
        raise InputError(f"shift belongs to shifted, not {distribution}; logit_normal: add log(shift) to mean")
    if not (math.isfinite(mean) and math.isfinite(std) and std > 0):
        raise InputError(f"mean must be finite and std positive; got mean={mean}, std={std}")
    source = generator.device if generator is not None else device
    if distribution == "logit_normal":
        sigmas = torch.sigmoid(mean + std * torch.randn(n, generator=generator, device=source, dtype=torch.float32))
    else:
        u = torch.rand(n, generator=generator, device=source, dtype=torch.float32)
        sigmas = shift_sigmas(u, shift)
    return sigmas.to(device) if device is not None else sigmas


def shift_sigmas(u: Sigmas, shift: float) -> Sigmas:
    """``s u / (1 + (s - 1) u)``: keeps 0 and 1, moves what lies between towards noise for s > 1.

    Larger latents need it: at the same sigma they keep more of the signal (Esser et al. 2024, section 5.3.2).
    """
    if not (math.isfinite(shift) and shift > 0):
        raise InputError(f"shift must be a positive number; got {shift!r}")
    return shift * u / (1 + (shift - 1) * u)


def _require_same_shape(name: str, tensor: Tensor, other_name: str, other: Tensor) -> None:
    """Broadcasting here would train on nonsense without a word, so shapes must be equal."""
    if tensor.shape != other.shape:
        shapes = f"{tuple(tensor.shape)} and {tuple(other.shape)}"
        raise ValueError(f"{name} and {other_name} must have the same shape; got {shapes}")
