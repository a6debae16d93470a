"""PyTorch's FSDP2: every rank holds a part of every weight, and whole blocks only while they compute."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.engines.single import SingleEngine


class Fsdp2Engine(SingleEngine):
    """`fully_shard` for each block and for the rest. With `parallel.shard` below the number of ranks: copies of shards.

    Nothing is cast when it is gathered: a cast would take norms, modulation tables and time embedding along.
    """

    name = "fsdp2"
    parallel: FSDPModule  # pyright: ignore[reportIncompatibleVariableOverride]

    def _spread(self, model: LumosXTransformer3DModel) -> nn.Module:
        mesh = self.ranks.mesh(self.config.parallel.shard)
        if mesh.size(0) == 1:
            mesh = mesh["shard"]
        for block in model.blocks:
            fully_shard(block, mesh=mesh)
        # The root too is resharded behind each pass: what stayed whole would outlive a swap of the weights.
        fully_shard(model, mesh=mesh, reshard_after_forward=True)
        register_fsdp_forward_method(model, "encode_references")
        register_fsdp_forward_method(model, "encode_text")
        # of outputs that are views: the trainer changes none in place
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
        _check_sharded(model, mesh)
        return model

    @contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Around one micro-batch; gradients are exchanged with the last one only."""
        self.parallel.set_requires_gradient_sync(last)
        yield

    def clip(self, greatest: float) -> Tensor:
        """Clips the gradient of all weights on all ranks to a norm; returns the norm before."""
        norm = super().clip(greatest)
        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def whole(self, local: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gathers one tensor after the other."""
        tensors = {}
        for name, tensor in local.items():
            gathered = tensor.full_tensor()  # pyright: ignore[reportAttributeAccessIssue]
            if self.ranks.is_main:
                tensors[name] = gathered.detach().to("cpu", copy=True)
        return tensors


def _check_sharded(model: nn.Module, mesh: DeviceMesh) -> None:
    for name, parameter in model.named_parameters():
        if not isinstance(parameter, DTensor) or parameter.device_mesh != mesh:
            raise RuntimeError(f"fsdp2 was asked for, but {name} is not sharded over {mesh}")
