"""DDP through accelerate."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.state import AcceleratorState
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.engines.single import SingleEngine


class DdpEngine(SingleEngine):
    """Every rank holds all weights; gradients are averaged while the backward pass runs."""

    name = "ddp"
    parallel: DistributedDataParallel  # pyright: ignore[reportIncompatibleVariableOverride]

    def _spread(self, model: LumosXTransformer3DModel) -> nn.Module:
        AcceleratorState._reset_state(reset_partial_state=True)  # what an earlier run of this process left
        options = DistributedDataParallelKwargs(gradient_as_bucket_view=True)
        accelerator = Accelerator(mixed_precision="no", cpu=self.ranks.device.type == "cpu", kwargs_handlers=[options])
        parallel = accelerator.prepare_model(model)
        # accelerate falls back silently, to one process, where it does not find what it expects
        if not isinstance(parallel, DistributedDataParallel) or accelerator.num_processes != self.ranks.size:
            raise RuntimeError(
                f"ddp on {self.ranks.size} processes was asked for, but accelerate made {type(parallel).__name__} "
                f"on {accelerator.num_processes}"
            )
        return parallel

    def accumulating(self, last: bool) -> AbstractContextManager[Any]:
        """Around one micro-batch; gradients are exchanged with the last one only."""
        return nullcontext() if last else self.parallel.no_sync()
