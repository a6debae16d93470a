"""Optimisers and the learning rate's course."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from lumosx.errors import InputError
from lumosx.training.config import OptimConfig


def make_optimizers(model: nn.Module, config: OptimConfig) -> list[torch.optim.Optimizer]:
    """AdamW, and Muon for the matrices of the blocks if `muon_lr` is set. `set_rate` scales both.

    Only parameters that require a gradient are taken. They may be sharded (DTensors).

    Raises:
        InputError: an unknown name, or one whose library or device is missing.
    """
    matrices, others = [], []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = config.muon_lr is not None and name.startswith("blocks.") and parameter.ndim == 2
            (matrices if is_matrix else others).append(parameter)
    optimizers: list[torch.optim.Optimizer] = []
    if others:  # low-rank adapters have matrices only
        adamw = _adamw(config.name, others)
        optimizers.append(adamw(others, lr=config.lr, betas=tuple(config.betas), weight_decay=config.weight_decay))
    if matrices:
        muon = ShardedMuon if isinstance(matrices[0], DTensor) else torch.optim.Muon
        optimizers.append(muon(matrices, lr=config.muon_lr or 0.0, weight_decay=config.weight_decay))
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["peak_lr"] = group["lr"]
    return optimizers


def _adamw(name: str, parameters: list[nn.Parameter]) -> Any:
    """The class behind `optim.name`."""
    if name == "adamw":
        return torch.optim.AdamW
    if name != "adamw8bit":
        raise InputError(f"optim.name={name} is not known; it is adamw or adamw8bit")
    if parameters[0].device.type != "cuda":
        raise InputError("optim.name=adamw8bit needs a CUDA device; take optim.name=adamw")
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise InputError("optim.name=adamw8bit needs bitsandbytes: pip install 'lumosx[8bit]'") from error
    return AdamW8bit


class ShardedMuon(torch.optim.Muon):
    """Muon over sharded matrices, exactly as over whole ones.

    Muon orthogonalises a whole matrix. Every rank gathers one matrix after the other, updates it whole and keeps its
    own shard, so ranks repeat each other's work: right for small models, slow for large ones.
    """

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:
        """Updates every matrix that has a gradient."""
        del closure
        for group in self.param_groups:
            options = {key: value for key, value in group.items() if key not in ("params", "peak_lr")}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, options)

    def _update(self, parameter: DTensor, options: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        momentum: DTensor = state["momentum_buffer"]
        matrix = nn.Parameter(parameter.full_tensor())
        matrix.grad = parameter.grad.full_tensor()  # pyright: ignore[reportOptionalMemberAccess, reportAttributeAccessIssue]
        whole = torch.optim.Muon([matrix], **options)
        whole.state[matrix]["momentum_buffer"] = momentum.full_tensor()
        whole.step()
        _keep_shard(parameter, matrix.detach())
        _keep_shard(momentum, whole.state[matrix]["momentum_buffer"])


def _keep_shard(sharded: DTensor, whole: Tensor) -> None:
    """Writes this rank's part of a tensor that all ranks have."""
    mine = distribute_tensor(whole, sharded.device_mesh, sharded.placements, src_data_rank=None)
    sharded.to_local().copy_(mine.to_local())


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
