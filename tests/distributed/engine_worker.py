"""Checks of the engines, each against one process."""

import copy
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
import torch.nn.functional as F
from peft import LoraConfig
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from worker import (
    ALONE,
    Course,
    build,
    check,
    expect_same,
    loss_of,
    main,
    tiny_batch,
    tiny_config,
    tiny_model,
    train,
)

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.config import OptimConfig
from lumosx.training.engines import Engine
from lumosx.training.optim import ShardedMuon, make_optimizers
from lumosx.training.ranks import Ranks

STEPS = range(3)


def adapted() -> LumosXTransformer3DModel:
    model = tiny_model()
    model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_out.0"], init_lora_weights="gaussian"))
    return model


@cache
def alone(lora: bool = False) -> Course:
    config = tiny_config("single")
    engine, ema = build(ALONE, config, adapted() if lora else None)
    return train(engine, ALONE, config, ema, STEPS)


def rest(course: Course) -> Course:
    """Its last step."""
    course = copy.copy(course)
    course.losses, course.norms = course.losses[-1:], course.norms[-1:]
    return course


def locals_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {n: (t.to_local() if isinstance(t, DTensor) else t).detach().clone() for n, t in tensors.items()}


@torch.no_grad()
def plain_loss(engine: Engine) -> float:
    return float(loss_of(engine, tiny_batch(9, range(1))))


@check
def matches(ranks: Ranks, folder: Path, name: str, variant: str = "") -> None:
    """Loss, gradient norm, gradients, weights and averages of three steps are those of one process."""
    del folder
    config = tiny_config(name)
    config.parallel.shard = 2 if variant == "copies" else None
    lora = variant == "lora"
    engine, ema = build(ranks, config, adapted() if lora else None)
    assert engine.name == name
    course = train(engine, ranks, config, ema, STEPS, micro_batch=1 if variant == "accumulating" else 4)
    expect_same(ranks, course, alone(lora))


@check
def swaps(ranks: Ranks, folder: Path, name: str) -> None:
    """Averages in the weights' place and back, with a pass in between; training then goes on as if nothing was."""
    del folder
    config = tiny_config(name)
    engine, ema = build(ranks, config)
    train(engine, ranks, config, ema, STEPS[:2])
    weights, averages = locals_of(engine.trained()), locals_of(ema.averages)
    own = plain_loss(engine)
    with ema.swapped():
        inside = locals_of(engine.trained())
        assert all(torch.equal(inside[n], averages[n]) for n in weights)
        assert abs(plain_loss(engine) - own) > 1e-4  # averages compute, not weights that a pass left behind
    after = locals_of(engine.trained())
    assert all(torch.equal(after[n], weights[n]) for n in weights)
    assert all(torch.equal(t, averages[n]) for n, t in locals_of(ema.averages).items())
    course = train(engine, ranks, config, ema, STEPS[2:])
    expect_same(ranks, course, rest(alone()))


@check
def caches(ranks: Ranks, folder: Path, name: str) -> None:
    """References are encoded outside of the engine's forward pass, as sampling does between steps of training."""
    del folder
    config = tiny_config(name)
    engine, ema = build(ranks, config, tiny_model(reference_timestep="zero"))
    for step in STEPS:
        train(engine, ranks, config, ema, range(step, step + 1))
        batch = tiny_batch(9, range(4))
        with torch.no_grad():
            direct = engine.forward(**batch).sample
            references, text, layouts = (batch[key] for key in ("references", "encoder_hidden_states", "layouts"))
            cache = engine.model.encode_references(references, text, layouts)
            video = {key: batch[key] for key in ("hidden_states", "timestep", "encoder_hidden_states", "layouts")}
            cached = engine.forward(**video, reference_cache=cache).sample
        torch.testing.assert_close(cached, direct, rtol=0, atol=1e-5)


@check
def skips(ranks: Ranks, folder: Path, name: str) -> None:
    """A step that is left out leaves nothing behind."""
    del folder
    config = tiny_config(name)
    engine, ema = build(ranks, config)
    for last in (False, True):
        with engine.accumulating(last):
            engine.backward(loss_of(engine, tiny_batch(7, range(2 * ranks.rank, 2 * ranks.rank + 2))))
    assert float(engine.clip(0.5)) > 0
    engine.skip()
    expect_same(ranks, train(engine, ranks, config, ema, STEPS), alone())


@check
def saves(ranks: Ranks, folder: Path, name: str) -> None:
    """In the background, of the state behind the second step."""
    config = tiny_config(name)
    engine, ema = build(ranks, config)
    train(engine, ranks, config, ema, STEPS[:2])
    state = {"engine": engine.state_dict(), "ema": ema.state_dict()}
    group: Any = dist.new_group(backend="gloo")
    saving: Any = dcp.async_save(state, checkpoint_id=folder / name, process_group=group)
    expect_same(ranks, train(engine, ranks, config, ema, STEPS[2:]), rest(alone()))
    saving.result()


@check
def loads(ranks: Ranks, folder: Path, name: str) -> None:
    """A model of other weights takes over behind the second step."""
    config = tiny_config(name)
    torch.manual_seed(1)
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter))
    engine, ema = build(ranks, config, model)
    state = {"engine": engine.state_dict(), "ema": ema.state_dict()}
    dcp.load(state, checkpoint_id=folder / name)
    engine.load_state_dict(state["engine"])
    ema.load_state_dict(state["ema"])
    expect_same(ranks, train(engine, ranks, config, ema, STEPS[2:]), rest(alone()))


@check
def keeps_islands(ranks: Ranks, folder: Path, name: str) -> None:
    """Under bf16, products of matrices are bf16; norms, modulation and time compute and stay in float32."""
    del folder
    config = tiny_config(name)
    config.train.precision = "bf16"
    engine, ema = build(ranks, config)
    seen = defaultdict(set)

    def types(key: str, inputs: Any, output: Any) -> None:
        seen[key].update(x.dtype for x in (*inputs, output))

    def computes_in_fp32(module: nn.RMSNorm, inputs: Any, output: Tensor) -> None:
        """On a CPU these answer in the type of the products, but compute in float32."""
        assert module.weight.dtype == torch.float32
        exact = F.rms_norm(inputs[0].float(), module.normalized_shape, module.weight, module.eps)
        assert torch.equal(output, exact.type_as(output))
        seen["norm_q, norm_k"].add(inputs[0].dtype)

    for path, module in engine.model.named_modules():
        key = path.rsplit(".", 1)[-1]
        if key in ("time_embedder", "time_proj", "norm1", "norm2", "norm3", "norm_out"):
            module.register_forward_hook(lambda _, inputs, output, key=key: types(key, inputs, output))
        elif key == "to_v":
            module.register_forward_hook(lambda _, inputs, output, key=key: types(key, (), output))
        elif key in ("norm_q", "norm_k"):
            module.register_forward_hook(computes_in_fp32)
    train(engine, ranks, config, ema, STEPS)
    assert seen.pop("to_v") == seen.pop("norm_q, norm_k") == {torch.bfloat16}
    assert len(seen) == 6 and all(types == {torch.float32} for types in seen.values()), seen
    assert {p.dtype for p in engine.model.parameters()} == {torch.float32}
    assert {t.dtype for t in (*engine.trained().values(), *ema.averages.values())} == {torch.float32}
    assert all(tensor.isfinite().all() for tensor in ema.whole().values())


@check
def sharded_muon(ranks: Ranks, folder: Path) -> None:
    """From the same gradients the very same matrices."""
    del folder
    torch.manual_seed(0)
    whole = nn.ModuleDict({"blocks": nn.Linear(6, 5, bias=False), "norm": nn.LayerNorm(6)})
    sharded = copy.deepcopy(whole)
    mesh = ranks.mesh()["shard"]
    for layer in sharded.values():
        for name, parameter in list(layer.named_parameters()):
            setattr(layer, name, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))
    config = OptimConfig(muon_lr=0.02)
    ours, theirs = make_optimizers(sharded, config), make_optimizers(whole, config)
    assert isinstance(ours[1], ShardedMuon)
    for _ in STEPS:
        for mine, one in zip(sharded.parameters(), whole.parameters(), strict=True):
            one.grad = torch.randn_like(one)
            mine.grad = distribute_tensor(one.grad, mesh, [Shard(0)])
        for optimizer in (*ours, *theirs):
            optimizer.step()
    for mine, one in zip(sharded.parameters(), whole.parameters(), strict=True):
        assert torch.equal(mine.full_tensor(), one.detach())  # pyright: ignore[reportAttributeAccessIssue]


@check
def muon_resumes(ranks: Ranks, folder: Path) -> None:
    """The state of two optimisers over shards takes another engine to the same weights."""
    del folder
    config = tiny_config("fsdp2")
    config.optim.muon_lr = 0.02
    engine, ema = build(ranks, config)
    train(engine, ranks, config, ema, STEPS[:2])
    other, average = build(ranks, config, tiny_model())
    assert [type(optimizer) for optimizer in other.optimizers] == [torch.optim.AdamW, ShardedMuon]
    other.load_state_dict(copy.deepcopy(engine.state_dict()))
    average.load_state_dict(ema.state_dict())
    course = train(other, ranks, config, average, STEPS[2:])
    expect_same(ranks, course, train(engine, ranks, config, ema, STEPS[2:]), tolerance=0)


if __name__ == "__main__":
    main()
