"""Optimisers and the learning rate's course."""

import torch
from torch import nn

from lumosx.training.config import OptimConfig


def make_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of the blocks if `muon_lr` is set. `set_rate` scales both."""
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        is_matrix = config.muon_lr is not None and name.startswith("blocks.") and parameter.ndim == 2
        (matrices if is_matrix else others).append(parameter)
    decay = config.weight_decay
    optimizers: list[torch.optim.Optimizer] = [
        torch.optim.AdamW(others, lr=config.lr, betas=config.betas, weight_decay=decay)
    ]
    if matrices:
        optimizers.append(torch.optim.Muon(matrices, lr=config.muon_lr or 0.0, weight_decay=decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def rate(step: int, steps: int, config: OptimConfig) -> float:
    """The share of the peak learning rate at `step` (from 0): linear warm-up, flat, linear decay to 0."""
    warm = min(1.0, (step + 1) / max(1, config.warmup))
    decay_steps = config.decay * steps
    left = (steps - step) / decay_steps if decay_steps else 1.0
    return min(warm, left, 1.0)


def set_rate(optimizers: list[torch.optim.Optimizer], share: float) -> None:
    """Sets every group's rate to `share` of its peak."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["lr"] = group["peak_lr"] * share
