"""Checks of sequence parallelism: what ranks that share a clip compute, against one process."""

import sys
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch._dynamo.backends.debugging import aot_eager
from torch.fx import GraphModule
from worker import check, main, tiny_config

sys.path.insert(0, str(Path(__file__).parent.parent / "parity"))
from model_cases import MIXED, OBJECT, difference, model, scene

from lumosx.models import LumosXTransformer3DModel
from lumosx.training.apply import prepare_model
from lumosx.training.engines import make_engine
from lumosx.training.ranks import Ranks

LATENT = (2, 8, 24)  # 96 tokens a video and 48 a reference, in two of MCAM's cells
CASES: dict[str, dict] = {
    "unequal references": {},
    "a timestep of the references' own": {"net": {"reference_timestep": "zero"}},
    "three videos a scene": {"copies": 3},
    "references that see the video": {"csam": False},
    "release rules": {"rules": "release"},
    "no references": {"samples": [[], []]},
    "full checkpointing": {"checkpointing": "full"},
    "selective checkpointing": {"checkpointing": "selective"},
}


def tiny(**config: object) -> LumosXTransformer3DModel:
    return model(num_attention_heads=4, attention_head_dim=12, **config)


def batch(samples: list | tuple = MIXED, seed: int = 1, **options: object) -> dict:
    return scene(*samples, latent=LATENT, seed=seed, **options)


@cache
def sharing(ranks: Ranks, degree: int) -> dist.ProcessGroup:
    group = Ranks(ranks.rank, ranks.size, ranks.device, degree).sequence_group()
    assert group is not None and group.size() == degree
    return group


def run(net: LumosXTransformer3DModel, inputs: dict) -> dict[str, Tensor]:
    """Output, loss and the gradients that this process has of it."""
    out = net(**inputs).sample
    loss = out.square().mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in net.named_parameters()}
    return {"output": out.detach(), "loss": loss.detach(), **gradients}


@check
def as_one_process(ranks: Ranks, folder: Path, case: str, degree: str) -> None:
    """Output, loss, and the sum of all ranks' gradients."""
    options = {"net": {}, "checkpointing": "none"} | CASES[case]
    config, checkpointing = options.pop("net"), options.pop("checkpointing")
    alone, shared, inputs = tiny(**config), tiny(**config), batch(**options)
    group = sharing(ranks, int(degree))
    shared.set_sequence_parallel(group)
    shared.set_activation_checkpointing(checkpointing)
    ours, expected = run(shared, inputs), run(alone, inputs)
    for name in list(ours)[2:]:
        dist.all_reduce(ours[name], group=group)
    for name, tensor in expected.items():
        assert difference(ours[name], tensor) < 1e-5, name


def without_inductor(graph: GraphModule, inputs: list) -> Callable:
    """Inductor takes minutes. It cannot do with heads as a size that may change, so that is looked for here."""
    nodes = [n for part in graph.modules() if isinstance(part, GraphModule) for n in part.graph.nodes]
    (attend,) = [n for n in nodes if n.target is torch.ops.lumosx.attend.default]
    _, heads, head_dim = attend.args[0].meta["example_value"].shape
    assert isinstance(heads, int) and isinstance(head_dim, int)
    return aot_eager(graph, inputs)


@check
def in_an_engine(ranks: Ranks, folder: Path, engine: str, checkpointing: str, compiled: str = "") -> None:
    """Prepared as for training, in an engine: every two ranks share a clip."""
    sharers = Ranks(ranks.rank, ranks.size, ranks.device, sequence=2)
    clips, alone = [batch(seed=seed) for seed in range(sharers.data_size)], tiny()
    for clip in clips:
        (alone(**clip).sample.square().mean() / len(clips)).backward()
    config = tiny_config(engine)
    config.train.checkpointing, config.train.compile = checkpointing, bool(compiled)
    shared = tiny()
    shared.compile_repeated_blocks = partial(shared.compile_repeated_blocks, backend=without_inductor)
    prepare_model(shared, config, sharers)
    made = make_engine(shared, config, sharers)
    loss = made.forward(**clips[sharers.data_rank]).sample.square().mean()
    # an engine averages over all ranks, but the gradients of those that share a clip are parts of one sum
    made.backward(loss * sharers.sequence)
    gradients = {name: parameter.grad for name, parameter in made.trained().items()}
    gathered = made.whole(gradients)
    if ranks.is_main:
        for name, parameter in alone.named_parameters():
            assert difference(gathered[name], parameter.grad) < 1e-5, name


@check
@torch.no_grad()
def cached_references(ranks: Ranks, folder: Path) -> None:
    for samples in (MIXED, [[], []]):
        net, inputs = tiny(reference_timestep="zero"), batch(samples)
        expected, references = net(**inputs).sample, inputs.pop("references")
        given = (references, inputs["encoder_hidden_states"], inputs["layouts"])
        of_one = net.encode_references(*given)
        net.set_sequence_parallel(sharing(ranks, 4))
        ours = net(**inputs, reference_cache=net.encode_references(*given)).sample
        assert difference(ours, expected) < 1e-5
        with pytest.raises(ValueError, match="made under another sequence parallelism"):
            net(**inputs, reference_cache=of_one)


@check
def what_does_not_divide(ranks: Ranks, folder: Path) -> None:
    two_heads, four_heads = model(num_attention_heads=2), tiny()
    for net in (two_heads, four_heads):
        net.set_sequence_parallel(sharing(ranks, 4))
    with pytest.raises(ValueError, match=r"4 ranks cannot share 2 heads.*the nearest number that does is 2"):
        two_heads(**batch())
    with pytest.raises(ValueError, match=r"12 tokens of a video and 6 of a reference.*that does is 2"):
        four_heads(**scene([OBJECT], latent=(2, 4, 6)))


if __name__ == "__main__":
    main()
