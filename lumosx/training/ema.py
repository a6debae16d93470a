"""The exponential moving average of the trained weights: what validation, sampling and the finished run show."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from lumosx.training.engines.base import Engine


class Ema:
    """Averages of `engine.trained()`, spread over the ranks as the weights are.

    Args:
        decay: the share of the old average that an update keeps.
    """

    def __init__(self, engine: Engine, decay: float) -> None:
        self.engine, self.decay = engine, decay
        self.averages = {name: tensor.detach().clone() for name, tensor in engine.trained().items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the weights after `step` (from 0). It starts short, so that early averages are not the start."""
        decay = min(self.decay, (1 + step) / (10 + step))
        averages, weights = zip(*self._pairs(), strict=True)
        torch._foreach_lerp_(averages, weights, 1 - decay)

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """The engine's model holds the averages inside, and exactly its own weights again behind."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    def whole(self) -> dict[str, Tensor]:
        """The averages put together on the main rank, on the CPU; {} on others. All ranks must call it."""
        return self.engine.whole(self.averages)

    def state_dict(self) -> dict[str, Tensor]:
        """The averages themselves, for `torch.distributed.checkpoint`, which fills them in place."""
        return dict(self.averages)

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes back what `state_dict` gave."""
        for name, average in self.averages.items():
            _local(average).copy_(_local(state[name]))

    @torch.no_grad()
    def _exchange(self) -> None:
        for average, weight in self._pairs():
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)

    def _pairs(self) -> list[tuple[Tensor, Tensor]]:
        """(average, weight) as this rank holds them."""
        weights = self.engine.trained()
        return [(_local(average), _local(weights[name].detach())) for name, average in self.averages.items()]


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
