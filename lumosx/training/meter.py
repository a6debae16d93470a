"""What a stretch of training cost: time, tokens, FLOPs, memory."""

import resource
import sys
import time
from typing import Any

import torch

from lumosx.data.batch import StepData
from lumosx.models.cost import flops_by_part, training_flops
from lumosx.models.gpus import peak_flops
from lumosx.training.config import Config
from lumosx.training.ranks import Ranks

GIB = 2**30


class Meter:
    """Sums over the steps since the last figures were taken.

    Args:
        model_config: of the transformer.
        shared: whether the noisy copies of a clip share its references (`Objective.shared`).
    """

    def __init__(self, config: Config, model_config: Any, shared: bool, ranks: Ranks) -> None:
        self.model_config, self.ranks, self.frozen = model_config, ranks, config.lora is not None
        self.repeats, self.copies = (1, config.data.noises) if shared else (config.data.noises, 1)
        self.peak = None
        if ranks.device.type == "cuda" and config.train.precision == "bf16":
            self.peak = peak_flops(torch.cuda.get_device_name(ranks.device))
        self.restart()

    def restart(self) -> None:
        """Starts a new stretch."""
        self._started = time.perf_counter()
        self._losses: list[float] = []
        self._norms: list[float] = []
        self._waiting, self._tokens, self._flops = 0.0, 0, 0.0

    def waited(self, seconds: float) -> None:
        """Adds time in which the step had no data."""
        self._waiting += seconds

    def paused(self, seconds: float) -> None:
        """Leaves out time that was not training's."""
        self._started += seconds

    def stepped(self, loss: float, norm: float, data: StepData) -> None:
        """Adds a step: its global loss and norm, and this rank's share of its data."""
        self._losses.append(loss)
        self._norms.append(norm)
        for batch in data.batches:
            for layout in batch.layouts:
                self._tokens += self.repeats * (len(layout) + (self.copies - 1) * layout.video_tokens)
            # without what checkpointing computes again: that is no useful work
            flops = flops_by_part(self.model_config, batch.layouts, self.copies)
            self._flops += self.repeats * training_flops(flops, self.frozen)

    def figures(self) -> dict[str, float]:
        """The means of the stretch; rates are of all ranks together, memory is this rank's. Starts a new one."""
        seconds, steps = time.perf_counter() - self._started, len(self._losses)
        figures = {
            "loss": sum(self._losses) / steps,
            "gradient_norm": sum(self._norms) / steps,
            "seconds_per_step": seconds / steps,
            "data_wait": self._waiting / seconds,
            "tokens_per_second": self._tokens * self.ranks.data_size / seconds,
            "memory_gib": self._memory() / GIB,
        }
        if self.peak is not None:
            figures["mfu"] = self._flops / self.ranks.sequence / seconds / self.peak
        self.restart()
        return figures

    def _memory(self) -> int:
        if self.ranks.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.ranks.device)
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return used if sys.platform == "darwin" else used * 1024
