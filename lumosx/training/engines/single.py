"""One process. Also what the engines over torch's own optimisers share."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict, set_state_dict

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import Config
from lumosx.training.engines.base import precision
from lumosx.training.optim import make_optimizers
from lumosx.training.ranks import Ranks

_TRAINED_ONLY = StateDictOptions(ignore_frozen_params=True, strict=False)


class SingleEngine:
    """The model as it is, its gradients and optimisers in this process alone."""

    name = "single"

    def __init__(self, model: LumosXTransformer3DModel, config: Config, ranks: Ranks) -> None:
        self.model, self.config, self.ranks = model, config, ranks
        self.parallel: nn.Module = self._spread(model)
        self._trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.optimizers = make_optimizers(model, config.optim)

    def _spread(self, model: LumosXTransformer3DModel) -> nn.Module:
        """Brings the model to its parallel form, whose forward pass is the one to call."""
        return model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass in its parallel form, under the run's precision."""
        with precision(self.config.train.precision, self.ranks.device):
            return self.parallel(*args, **kwargs)

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Nothing is exchanged."""
        del last
        return nullcontext()

    def backward(self, loss: Tensor) -> None:
        """Adds to the gradients."""
        loss.backward()

    def clip(self, greatest: float) -> Tensor:
        """Clips the gradient of all weights to a norm; returns the norm before."""
        return nn.utils.clip_grad_norm_(self._trained.values(), greatest)

    def step(self) -> None:
        """Updates the weights and clears the gradients."""
        for optimizer in self.optimizers:
            optimizer.step()
        self.skip()

    def skip(self) -> None:
        """Clears the gradients without an update."""
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)

    def trained(self) -> dict[str, Tensor]:
        """The trained parameters by name."""
        return dict(self._trained)

    def whole(self, local: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copies on the CPU of the main rank; {} elsewhere."""
        if not self.ranks.is_main:
            return {}
        return {name: tensor.detach().to("cpu", copy=True) for name, tensor in local.items()}

    def state_dict(self) -> dict[str, Any]:
        """Trained weights and the optimisers' state by parameter name, so that any number of ranks can load it.

        The groups' settings are not in it: they are the configuration's.
        """
        fresh = not any(optimizer.state for optimizer in self.optimizers)
        model, optimizers = get_state_dict(self.model, self.optimizers, options=_TRAINED_ONLY)
        if fresh:
            self._forget_first_step()
            optimizers = get_state_dict(self.model, self.optimizers, options=_TRAINED_ONLY)[1]
        return {"model": model, "optimizers": optimizers["state"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave, perhaps on another number of ranks."""
        groups = get_state_dict(self.model, self.optimizers, options=_TRAINED_ONLY)[1]["param_groups"]
        optimizers = {"state": state["optimizers"], "param_groups": groups}
        set_state_dict(
            self.model,
            self.optimizers,
            model_state_dict=state["model"],
            optim_state_dict=optimizers,  # pyright: ignore[reportArgumentType]
            options=_TRAINED_ONLY,
        )

    def _forget_first_step(self) -> None:
        """PyTorch makes the state of a new optimiser by a step of zero gradients, which must not count as one."""
        for optimizer in self.optimizers:
            for state in optimizer.state.values():
                if "step" in state:
                    state["step"] = state["step"] * 0


def on_device(model: LumosXTransformer3DModel, device: torch.device) -> LumosXTransformer3DModel:
    """`model.to(device)`; diffusers wraps that method so that its type is lost."""
    return model.to(device)  # pyright: ignore[reportArgumentType]
