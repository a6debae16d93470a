"""Leaves out updates that would do harm: a loss or gradient that is no number, or a gradient far larger than usual.

Loss and norm are those of the whole batch, so every rank comes to the same verdict without asking the others.
"""

import math
from typing import Any

from lumosx.training.config import GuardConfig

DECAY = 0.98  # of the running mean of the gradient's norm
LEARNING = 50  # taken updates before a norm can be called too large


class TrainingFailure(RuntimeError):
    """Training cannot go on by itself. The message says what happened, and what may help."""


class Guard:
    """Judges each update before it is taken.

    Args:
        config: how far above its mean a norm may be, and how many bad updates in a row are too many.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.mean = 0.0  # of the norms of taken updates: a plain mean at first, then one that forgets
        self.taken = 0
        self.left_out = 0  # in a row

    def verdict(self, loss: float, norm: float) -> str | None:
        """None to take the update, else why it must be left out.

        Args:
            loss: of the whole batch.
            norm: of the whole gradient, before clipping.

        Raises:
            TrainingFailure: the last `guard.patience` updates were all left out.
        """
        reason = self._reason(loss, norm)
        if reason is None:
            self.taken += 1
            self.mean += (norm - self.mean) * max(1 - DECAY, 1 / self.taken)
            self.left_out = 0
            return None
        self.left_out += 1
        if self.left_out >= self.config.patience:
            raise TrainingFailure(
                f"{self.left_out} updates in a row had to be left out, lastly because {reason}. The run's last "
                "checkpoint stays as it was. Lower optim.lr or optim.muon_lr, or lengthen optim.warmup"
            )
        return reason

    def _reason(self, loss: float, norm: float) -> str | None:
        if not math.isfinite(loss):
            return f"the loss is {loss}"
        if not math.isfinite(norm):
            return f"the gradient's norm is {norm}"
        if self.taken >= LEARNING and norm > self.config.spike * self.mean:
            return f"the gradient's norm {norm:.3g} is {norm / self.mean:.0f} times its running mean {self.mean:.3g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything a verdict depends on, for a checkpoint."""
        return {"mean": self.mean, "taken": self.taken, "left_out": self.left_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.mean, self.taken, self.left_out = state["mean"], state["taken"], state["left_out"]
