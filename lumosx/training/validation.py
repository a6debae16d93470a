"""The loss at fixed noise levels on fixed clips with fixed noise: the same question to every model of every run."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lumosx.data.batch import EncodedBatch
from lumosx.data.keyed import keyed_generator
from lumosx.flow import flow_matching_loss, noise_latents, velocity_target
from lumosx.training.ranks import Ranks


@torch.no_grad()
def validation_loss(
    forward: Callable[..., Any],
    batches: Sequence[EncodedBatch],
    weights: Sequence[Tensor],
    sigmas: Sequence[float],
    ranks: Ranks,
) -> dict[str, float]:
    """Equation (8) without weights at each noise level, over the clips of all ranks.

    It depends on no seed, objective or number of ranks, so figures of different runs can be compared.

    Args:
        forward: the model's pass, as of an engine.
        batches: this rank's clips; as many batches on every rank.
        weights: of each clip of each batch, [B]: 1, or 0 for a clip that only fills a batch.
        sigmas: noise levels in [0, 1].

    Returns:
        "loss@0.1" and so on for each level, and their mean as "loss".
    """
    sums = torch.zeros(len(sigmas) + 1, dtype=torch.float64)  # of losses at each level, and of weights
    for batch, weight in zip(batches, weights, strict=True):
        share = weight.double().cpu()
        noise = _noise(batch)
        for index, sigma in enumerate(sigmas):
            sums[index] += share @ _losses(forward, batch, noise, sigma)
        sums[-1] += share.sum()
    *losses, clips = ranks.sum(sums).tolist()
    means = [loss / clips for loss in losses]
    figures = {f"loss@{sigma:g}": mean for sigma, mean in zip(sigmas, means, strict=True)}
    return figures | {"loss": sum(means) / len(means)}


def _noise(batch: EncodedBatch) -> Tensor:
    """[B, C, T, h, w]: each clip's own, the same at every noise level."""
    shape = batch.latents.shape[1:]
    noise = [torch.randn(shape, generator=keyed_generator(0, s, "validation noise")) for s in batch.samples]
    return torch.stack(noise).to(batch.latents)


def _losses(forward: Callable[..., Any], batch: EncodedBatch, noise: Tensor, sigma: float) -> Tensor:
    """Each clip's loss [B], float64 on the CPU."""
    x0 = batch.latents
    level = x0.new_full((len(x0),), sigma)
    velocity = forward(
        noise_latents(x0, noise, level), level * 1000, batch.text, layouts=batch.layouts, references=batch.references
    ).sample
    target = velocity_target(x0, noise)
    losses = [flow_matching_loss(found[None], wanted[None]) for found, wanted in zip(velocity, target, strict=True)]
    return torch.stack(losses).double().cpu()
