"""The plan of a run as a page to read before GPUs are paid for."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from omegaconf import OmegaConf
from rich.table import Table

from lumosx.models.block import CHECKPOINTING
from lumosx.models.cost import FLOP_NAMES, hardware_flops, parameters, training_flops
from lumosx.models.cost_text import GIB, USABLE, Piece, page, plain_table, short
from lumosx.training.config import Config
from lumosx.training.plan import Plan, make_plan
from lumosx.training.tracking import duration

DAY = 24 * 3600


def report(config: Config, gpu: str, world: int) -> str:
    """What a run of `config` on `world` GPUs will take, as text of at most 100 columns.

    Nothing is downloaded or loaded, and no GPU is needed.

    Args:
        gpu: a name of `lumosx.models.gpus.GPUS`.

    Raises:
        InputError: settings that cannot work, all of them, or a GPU that is not known.
    """
    in_front = config.text is not None or config.codec is not None
    return page(_in_front(config) if in_front else _pages(make_plan(config, gpu, world)))


def _in_front(config: Config) -> Iterator[Piece]:
    what = "text encoder" if config.text is not None else "codec"
    yield OmegaConf.to_yaml(OmegaConf.create(asdict(config)))
    yield f"This trains the {what} alone, in one process and within minutes: there is nothing to plan."


def _pages(plan: Plan) -> Iterator[Piece]:
    yield _configuration(plan)
    yield f"{plan.config.run.name} on {plan.world} x {plan.gpu.name} ({plan.gpu.source}), engine {plan.engine}"
    yield "\nTokens of a clip"
    yield _tokens(plan)
    yield "\nParameters"
    yield _parameters(plan)
    heaviest = f"{plan.micro_batch} x {plan.heaviest.bucket} with {len(plan.heaviest.layout.references)} references"
    yield f"\nMemory of one GPU at its peak, in a pass of {heaviest}"
    yield _memory(plan)
    yield "\nFLOPs, on average"
    yield _flops(plan)
    yield f"\n{_batch(plan)}"
    yield f"\nExpected of {plan.config.train.steps:,} steps"
    yield _expected(plan)
    yield "\nAssumed"
    yield from (f"- {line}" for line in _assumptions(plan))
    yield f"\n{_verdict(plan)}"


def _configuration(plan: Plan) -> str:
    resolved: dict[str, Any] = asdict(plan.config)
    resolved["model"]["transformer"] = plan.transformer
    return OmegaConf.to_yaml(OmegaConf.create(resolved))


def _tokens(plan: Plan) -> Table:
    first = [case for case in plan.cases if case.bucket == plan.cases[0].bucket]
    people = [f"{case.people} people" if case.people > 1 else "1 person" for case in first]
    table = plain_table("bucket", "T x H x W", "video", "a reference", *people)
    for bucket in dict.fromkeys(case.bucket for case in plan.cases):
        layouts = [case.layout for case in plan.cases if case.bucket == bucket]
        sizes = [layouts[0].video_tokens, layouts[0].reference_tokens, *map(len, layouts)]
        table.add_row(str(bucket), " x ".join(map(str, layouts[0].video)), *(f"{size:,}" for size in sizes))
    table.add_row("references", *[""] * 3, *(str(len(case.layout.references)) for case in first))
    table.add_row("text", *[""] * 3, *(str(case.layout.text_length) for case in first))
    table.add_row("share of clips", *[""] * 3, *(f"{case.share:.1%}" for case in first))
    return table


def _parameters(plan: Plan) -> Table:
    table, parts = plain_table("part", "number"), parameters(plan.transformer)
    for part, number in [*parts.items(), ("all", sum(parts.values())), ("trained", plan.trained)]:
        table.add_row(part, f"{number:,}")
    return table


def _memory(plan: Plan) -> Table:
    table, memory = plain_table("part", "GiB"), plan.memory(plan.config.train.checkpointing)
    for part, size in [*memory.items(), ("all", sum(memory.values()))]:
        table.add_row(part, f"{size / GIB:.2f}")
    return table


def _flops(plan: Plan) -> Table:
    train, frozen, forward = plan.config.train, plan.config.lora is not None, plan.forward
    needed, computed = training_flops(forward, frozen), hardware_flops(forward, train.checkpointing, frozen)
    table = plain_table("of", "FLOPs")
    for part, number in zip(FLOP_NAMES.values(), forward, strict=True):
        table.add_row(f"a clip's forward pass, {part}", short(number))
    table.add_row("training on a clip", short(needed))
    table.add_row("the same with what is computed again", short(computed))
    table.add_row(f"a step of {train.batch} clips", short(train.batch * needed))
    table.add_row("the same with what is computed again", short(train.batch * computed))
    return table


def _batch(plan: Plan) -> str:
    sequence, passes = plan.config.parallel.sequence, plan.clips // plan.micro_batch
    sharing = f" / {sequence} that share a clip" if sequence > 1 else ""
    accumulation = f" x {passes} accumulated" if passes > 1 else ""
    clips = f"{plan.micro_batch} clip{'s' if plan.micro_batch > 1 else ''} a pass"
    return f"Batch: {plan.config.train.batch} clips a step = {plan.world} GPUs{sharing} x {clips}{accumulation}"


def _expected(plan: Plan) -> Table:
    train, steps = plan.config.train, plan.config.train.steps
    needed = train.batch * training_flops(plan.forward, plan.config.lora is not None) / plan.world
    table = plain_table("checkpointing", "GiB", "fits", "s/step", "MFU", "time", "GPU-days")
    for mode in CHECKPOINTING:
        seconds, size = plan.seconds(mode), sum(plan.memory(mode).values())
        table.add_row(
            f"{mode} (chosen)" if mode == train.checkpointing else mode,
            f"{size / GIB:.1f}",
            "yes" if _fits(plan, size) else "no",
            f"{seconds:.3g}",
            f"{needed / seconds / plan.peak:.0%}",
            duration(steps * seconds),
            f"{steps * seconds * plan.world / DAY:,.3g}",
        )
    return table


def _assumptions(plan: Plan) -> Iterator[str]:
    gpu = plan.gpu
    yield "The data is not looked at: buckets equally common; a background, and of each person a face and 2 attributes."
    yield (
        f"{gpu.name} computes at {gpu.efficiency:.0%} of its {plan.config.train.precision} peak, "
        f"{plan.peak / 1e12:.0f} TFLOP/s ({gpu.basis})."
    )
    yield "Each step waits for the GPU with the heaviest clips. Exchange between GPUs and reading of data are hidden."
    if plan.config.train.compile:
        yield "Activations are those without train.compile, which keeps less."
    if plan.config.data.path is not None and plan.config.data.cache is None:
        yield "Encoding takes no time. It does: `lumosx cache` and data.cache spare it."


def _fits(plan: Plan, size: int) -> bool:
    return size <= USABLE * plan.gpu.memory


def _verdict(plan: Plan) -> str:
    size = sum(plan.memory(plan.config.train.checkpointing).values())
    verdict = "It fits" if _fits(plan, size) else "It DOES NOT FIT"
    return f"{verdict}: {size / GIB:.1f} GiB of {plan.gpu.memory / GIB:.1f}, of which {USABLE:.0%} are usable."
