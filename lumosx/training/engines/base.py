"""What the trainer asks of an engine."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from lumosx.models import LumosXTransformer3DModel


class Engine(Protocol):
    """A model in its parallel form, its gradients and its optimisers.

    Weights are float32 on every engine; `train.precision` bf16 is autocast around the forward pass, the same for all.
    Every rank backpropagates the mean loss over its own share of the batch; the engine averages over all ranks.
    """

    name: str  # single, ddp, fsdp2, zero2, zero3: what runs, not what was asked for
    model: LumosXTransformer3DModel  # unwrapped; its parameters are the live ones
    optimizers: list[torch.optim.Optimizer]

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The model's forward pass in its parallel form, under the run's precision."""
        ...

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Around forward and backward of one micro-batch; gradients are exchanged with the last one only."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Adds to the gradients."""
        ...

    def clip(self, greatest: float) -> Tensor:
        """Clips the gradient of all weights on all ranks to a norm; returns the norm before, the same on every rank."""
        ...

    def step(self) -> None:
        """Updates the weights and clears the gradients."""
        ...

    def skip(self) -> None:
        """Clears the gradients without an update."""
        ...

    def trained(self) -> dict[str, Tensor]:
        """What this rank holds of every trained parameter, by its name: the live tensor (a DTensor, a shard or all)."""
        ...

    def whole(self, local: dict[str, Tensor]) -> dict[str, Tensor]:
        """Tensors shaped as those of `trained`, put together from all ranks: whole, on the CPU, on the main rank.

        Other ranks get {}. All ranks must call it."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Model and optimisers for `torch.distributed.checkpoint`, which fills it in place."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        ...


def precision(name: str, device: torch.device) -> AbstractContextManager[Any]:
    """Autocast for `train.precision`; nothing for fp32."""
    if name == "fp32":
        return nullcontext()
    # no cache: it would hold a bf16 copy of all weights until the step ends, even of weights that are sharded
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
