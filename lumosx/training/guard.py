"""Leaves out updates that would do harm: their loss or gradient is no number, or far larger than usual.

Loss and norm are those of the whole batch, so every rank comes to the same verdict without asking the others.
"""

import math
from typing import Any

from lumosx.training.config import GuardConfig

DECAY = 0.98  # of the running means of the loss and of the gradient's norm
LEARNING = 50  # taken updates before a loss or norm can be called too large


class TrainingFailure(RuntimeError):
    """Training cannot go on by itself. The message says what happened, and what may help."""


class Guard:
    """Judges each update before it is taken.

    Args:
        config: how far above its mean a loss or norm may be, and how many bad updates in a row are too many.
    """

    def __init__(self, config: GuardConfig) -> None:
        self.config = config
        self.loss, self.norm = 0.0, 0.0  # means over taken updates: plain ones at first, then ones that forget
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
            share = max(1 - DECAY, 1 / self.taken)
            self.loss += (loss - self.loss) * share
            self.norm += (norm - self.norm) * share
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
        for name, value, mean in (("loss", loss, self.loss), ("gradient's norm", norm, self.norm)):
            if not math.isfinite(value):
                return f"the {name} is {value}"
            if self.taken >= LEARNING and value > self.config.spike * mean:
                return f"the {name} {value:.3g} is {value / mean:.0f} times its running mean {mean:.3g}"
        return None

    def state_dict(self) -> dict[str, Any]:
        """Everything a verdict depends on, for a checkpoint."""
        return {"loss": self.loss, "norm": self.norm, "taken": self.taken, "left_out": self.left_out}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        self.loss, self.norm = state["loss"], state["norm"]
        self.taken, self.left_out = state["taken"], state["left_out"]
