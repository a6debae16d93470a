"""Equations (6) to (8) for a batch: noisy copies of every clip, clean references beside them, the loss on the video."""

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from lumosx.data.batch import EncodedBatch
from lumosx.data.keyed import keyed_generator
from lumosx.flow import flow_matching_loss, noise_latents, sample_sigmas, velocity_target
from lumosx.flow.objective import SigmaDistribution
from lumosx.training.config import ObjectiveConfig

Forward = Callable[..., Any]


class Objective:
    """The training loss of a batch.

    Args:
        config: how sigma is drawn and what the loss weighs.
        noises: noisy copies of each clip.
        shared: whether the copies of a clip may share one pass over its references: these must not see the video
            (CSAM) nor its timestep.
        seed: of the run. Noise and sigma are keyed by it and the sample's id, so they do not depend on ranks.
    """

    def __init__(self, config: ObjectiveConfig, noises: int, shared: bool, seed: int) -> None:
        self.config, self.noises, self.shared, self.seed = config, noises, shared, seed

    def __call__(self, forward: Forward, batch: EncodedBatch) -> Tensor:
        """Equation (8), float32, the mean over the batch."""
        sigma, eps = self._noise(batch)
        x0 = batch.latents.repeat_interleave(self.noises, dim=0)
        conditions = self._conditions(batch)
        velocity = forward(noise_latents(x0, eps, sigma), sigma * 1000, **conditions).sample
        weight = sigma**2 / sigma.clamp(min=0.2) if self.config.sample_weighting else None
        return flow_matching_loss(velocity, velocity_target(x0, eps), weight)

    def _conditions(self, batch: EncodedBatch) -> dict[str, Any]:
        copies = 1 if self.shared else self.noises
        return {
            "encoder_hidden_states": batch.text.repeat_interleave(copies, dim=0),
            "layouts": [layout for layout in batch.layouts for _ in range(copies)],
            "references": [latents for latents in batch.references for _ in range(copies)],
        }

    def _noise(self, batch: EncodedBatch) -> tuple[Tensor, Tensor]:
        """sigma [B * noises] and eps [B * noises, C, T, h, w]."""
        config, shape, device = self.config, batch.latents.shape[1:], batch.latents.device
        sigmas, noise = [], []
        for sample in batch.samples:
            generator = keyed_generator(self.seed, sample, "noise")
            distribution = cast(SigmaDistribution, config.distribution)  # checked there; OmegaConf knows no Literal
            sigmas.append(sample_sigmas(self.noises, distribution, config.mean, config.std, config.shift, generator))
            noise.append(torch.randn(self.noises, *shape, generator=generator))
        return torch.cat(sigmas).to(device), torch.cat(noise).to(device)
