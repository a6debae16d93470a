"""DeepSpeed's ZeRO through accelerate. Stage 2 shards gradients and optimiser, stage 3 the weights as well.

DeepSpeed computes in float32 and owns the step: it keeps masters of the weights in flat shards, and AdamW's moments
with them. Its own form of checkpoints can be read by the same number of ranks only, so the shards are shown to
`torch.distributed.checkpoint` as what they are, parts of flat tensors.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate import Accelerator, DeepSpeedPlugin, InitProcessGroupKwargs
from accelerate.state import AcceleratorState
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import Config
from lumosx.training.engines.single import SingleEngine
from lumosx.training.optim import make_optimizers
from lumosx.training.ranks import Ranks

MOMENTS = ("exp_avg", "exp_avg_sq")


class ZeroEngine(SingleEngine):
    """A `DeepSpeedEngine` over AdamW.

    Stage 3 gathers module by module, so all ranks must run the same modules: the transformer runs its stream of
    references also where a batch has none.

    Args:
        stage: 2 or 3.
    """

    parallel: Any

    def __init__(self, model: LumosXTransformer3DModel, config: Config, ranks: Ranks, stage: int) -> None:
        self.name, self.stage = f"zero{stage}", stage
        self.model, self.config, self.ranks = model, config, ranks
        self._parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._shapes = {name: p.shape for name, p in self._parameters.items()}
        self._mesh = ranks.mesh()["shard"]
        self.optimizers = make_optimizers(model, config.optim)
        self.parallel = _initialize(model, self.optimizers[0], config, ranks, stage)
        self.zero: Any = self.parallel.optimizer

    @contextmanager
    def accumulating(self, last: bool) -> Iterator[None]:
        """Around one micro-batch; ZeRO reduces gradients with each, and is ready for a step behind the last."""
        self.parallel.set_gradient_accumulation_boundary(last)
        yield

    def backward(self, loss: Tensor) -> None:
        """Adds to the gradients."""
        self.parallel.backward(loss)

    def clip(self, greatest: float) -> Tensor:
        """Has `step` clip the gradient of all weights to a norm; returns the norm before."""
        self.zero.clip_grad = greatest
        squares = [gradient.float().square().sum() for gradient in self._gradients()]
        return self.ranks.sum(torch.stack(squares).sum()).sqrt()

    def step(self) -> None:
        """Updates the weights and clears the gradients."""
        self.parallel.step()

    def skip(self) -> None:
        """Clears the gradients without an update: DeepSpeed leaves a step out whose gradient is not finite."""
        for gradient in self._gradients():
            gradient.fill_(torch.inf)
        self.parallel.step()

    def trained(self) -> dict[str, Tensor]:
        """Stage 2: the whole parameters. Stage 3: this rank's parts of the flattened parameters."""
        if self.stage == 2:
            return {name: p.detach() for name, p in self._parameters.items()}  # without what DeepSpeed ties to them
        self.zero.empty_partition_cache()  # a gathered copy would outlive a change of its parts
        return {name: self._flat(p.ds_tensor.data, p.ds_numel) for name, p in self._parameters.items()}  # pyright: ignore[reportAttributeAccessIssue]

    def whole(self, local: dict[str, Tensor]) -> dict[str, Tensor]:
        """Copies on the CPU of the main rank; {} elsewhere."""
        if self.stage == 2:
            return super().whole(local)
        tensors = {}
        for name, tensor in local.items():
            gathered = tensor.full_tensor()  # pyright: ignore[reportAttributeAccessIssue]
            if self.ranks.is_main:
                tensors[name] = gathered.view(self._shapes[name]).to("cpu", copy=True)
        return tensors

    def state_dict(self) -> dict[str, Any]:
        """Trained weights and AdamW's moments, for `torch.distributed.checkpoint` to fill in place."""
        states = self._states()
        moments = self._moments_of_group(states) if self.stage == 2 else self._moments_of_parameters()
        return {"model": self.trained(), "optimizers": {"step": states[0]["step"], "moments": moments}}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave, perhaps on another number of ranks."""
        live = self.state_dict()
        for name, tensor in live["model"].items():
            tensor.copy_(state["model"][name])
        for name, tensor in live["optimizers"]["moments"].items():
            tensor.copy_(state["optimizers"]["moments"][name])
        for one in self._states():
            one["step"].copy_(state["optimizers"]["step"])
        self.zero.refresh_fp32_params()

    def _gradients(self) -> list[Tensor]:
        """This rank's parts of the averaged gradient."""
        return [gradient for group in self.zero.averaged_gradients.values() for gradient in group]

    def _states(self) -> list[dict[str, Tensor]]:
        """AdamW's state of every flat shard of masters; as AdamW would begin it if it has made no step."""
        shards = (
            self.zero.single_partition_of_fp32_groups if self.stage == 2 else self.zero.fp32_partitioned_groups_flat
        )
        for shard in shards:
            state = self.optimizers[0].state[shard]
            if not state:
                state.update({"step": torch.tensor(0.0)} | {key: torch.zeros_like(shard) for key in MOMENTS})
        return [self.optimizers[0].state[shard] for shard in shards]

    def _moments_of_group(self, states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Stage 2 cuts one flat tensor of all trained parameters into equal shards, the last ones padded."""
        used = states[0]["exp_avg"].numel() - self.zero.groups_padding[0]
        total = int(self.ranks.sum(torch.tensor(used)))
        return {key: self._flat(states[0][key], total, self.zero.nccl_start_alignment_factor) for key in MOMENTS}

    def _moments_of_parameters(self) -> dict[str, Tensor]:
        """Stage 3 cuts every parameter."""
        from deepspeed.utils import safe_get_local_optimizer_state

        return {
            f"{name}.{key}": self._flat(safe_get_local_optimizer_state(p, key), p.ds_numel)  # pyright: ignore[reportAttributeAccessIssue, reportArgumentType]
            for name, p in self._parameters.items()
            for key in MOMENTS
        }

    def _flat(self, shard: Tensor, total: int, unit: int = 1) -> Tensor:
        """A flat tensor of `total` numbers of which this rank holds `shard`, padded to a multiple of `unit`.

        Shards are cut in rows of `unit` numbers, so that they begin where PyTorch would have them.
        """
        rows, rows_of_shard = -(-total // unit), shard.numel() // unit
        mine = min(max(rows - self.ranks.rank * rows_of_shard, 0), rows_of_shard)
        # the same memory as a storage of its own: asynchronous checkpoints take no DTensor that begins inside one
        local = torch.from_dlpack(shard.detach().view(rows_of_shard, unit)[:mine])
        return DTensor.from_local(
            local, self._mesh, [Shard(0)], run_check=False, shape=torch.Size((rows, unit)), stride=(unit, 1)
        )


def _initialize(
    model: LumosXTransformer3DModel, optimizer: torch.optim.Optimizer, config: Config, ranks: Ranks, stage: int
) -> Any:
    """The running `DeepSpeedEngine`."""
    on_cpu = ranks.device.type == "cpu"
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        from deepspeed import DeepSpeedEngine
    except ImportError as error:
        raise InputError(f"parallel.engine=zero{stage} needs DeepSpeed: pip install 'lumosx[deepspeed]'") from error
    AcceleratorState._reset_state(reset_partial_state=True)  # it refuses a second plugin, as a second phase brings
    accelerator = Accelerator(
        mixed_precision="no",
        deepspeed_plugin=DeepSpeedPlugin(hf_ds_config=_settings(config, ranks, stage), zero3_init_flag=False),
        # accelerate would take a CPU for a world of one; the group exists already
        kwargs_handlers=[InitProcessGroupKwargs(backend="gloo")] if on_cpu else None,
    )
    engine, _ = accelerator.prepare(model, optimizer)
    asked = (stage, ranks.size)
    if not isinstance(engine, DeepSpeedEngine) or (engine.zero_optimization_stage(), engine.world_size) != asked:
        raise RuntimeError(f"zero{stage} on {ranks.size} processes was asked for, but accelerate made {engine}")
    return engine


def _settings(config: Config, ranks: Ranks, stage: int) -> dict[str, Any]:
    """DeepSpeed's configuration. The trainer counts clips and micro-batches, so DeepSpeed is told of one each."""
    settings: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": ranks.size,
        "gradient_clipping": 0.0,  # `clip` sets it
        "zero_optimization": {
            "stage": stage,
            "reduce_bucket_size": 50_000_000,
            "allgather_bucket_size": 50_000_000,
            "stage3_prefetch_bucket_size": 50_000_000,
            "stage3_param_persistence_threshold": 0,
        },
    }
    if config.train.precision == "bf16":
        # No module is safe for communication in bf16: the time embedding has linear layers too.
        settings["torch_autocast"] = {"enabled": True, "dtype": "bfloat16", "lower_precision_safe_modules": []}
    return settings
