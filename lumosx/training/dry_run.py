"""The plan of a run as a page to read before GPUs are paid for."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from omegaconf import OmegaConf
from rich.console import Console
from rich.table import Table

from lumosx.models.block import CHECKPOINTING
from lumosx.models.cost import hardware_flops, parameters, training_flops
from lumosx.training.config import Config
from lumosx.training.plan import Plan, make_plan
from lumosx.training.tracking import duration

WIDTH = 100  # columns
USABLE = 0.9  # of a GPU's memory; an assumption: the rest is the driver's, NCCL's and lost between allocations
GIB = 2**30
DAY = 24 * 3600

Part = str | Table


def report(config: Config, gpu: str, world: int) -> str:
    """What a run of `config` on `world` GPUs will take, as text of at most 100 columns.

    Nothing is downloaded or loaded, and no GPU is needed.

    Args:
        gpu: a name of `lumosx.models.gpus.GPUS`.

    Raises:
        InputError: settings that cannot work, all of them, or a GPU that is not known.
    """
    in_front = config.text is not None or config.codec is not None
    return _text(_in_front(config) if in_front else _pages(make_plan(config, gpu, world)))


def _text(parts: Iterable[Part]) -> str:
    console = Console(width=WIDTH, color_system=None, highlight=False, markup=False, emoji=False)
    with console.capture() as capture:
        for part in parts:
            console.print(part)
    return "\n".join(line.rstrip() for line in capture.get().splitlines()) + "\n"


def _in_front(config: Config) -> Iterator[Part]:
    what = "text encoder" if config.text is not None else "codec"
    yield OmegaConf.to_yaml(OmegaConf.create(asdict(config)))
    yield f"This trains the {what} alone, in one process and within minutes: there is nothing to plan."


def _pages(plan: Plan) -> Iterator[Part]:
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


def _table(*columns: str) -> Table:
    """A plain table, its first column for words and the others for numbers."""
    table = Table(box=None, pad_edge=False, padding=(0, 2))
    for index, column in enumerate(columns):
        table.add_column(column, justify="right" if index else "left", no_wrap=True)
    return table


def _tokens(plan: Plan) -> Table:
    first = [case for case in plan.cases if case.bucket == plan.cases[0].bucket]
    people = [f"{case.people} people" if case.people > 1 else "1 person" for case in first]
    table = _table("bucket", "T x H x W", "video", "a reference", *people)
    for bucket in dict.fromkeys(case.bucket for case in plan.cases):
        layouts = [case.layout for case in plan.cases if case.bucket == bucket]
        sizes = [layouts[0].video_tokens, layouts[0].reference_tokens, *map(len, layouts)]
        table.add_row(str(bucket), " x ".join(map(str, layouts[0].video)), *(f"{size:,}" for size in sizes))
    table.add_row("references", *[""] * 3, *(str(len(case.layout.references)) for case in first))
    table.add_row("text", *[""] * 3, *(str(case.layout.text_length) for case in first))
    table.add_row("share of clips", *[""] * 3, *(f"{case.share:.1%}" for case in first))
    return table


def _parameters(plan: Plan) -> Table:
    table, parts = _table("part", "number"), parameters(plan.transformer)
    for part, number in [*parts.items(), ("all", sum(parts.values())), ("trained", plan.trained)]:
        table.add_row(part, f"{number:,}")
    return table


def _memory(plan: Plan) -> Table:
    table, memory = _table("part", "GiB"), plan.memory(plan.config.train.checkpointing)
    for part, size in [*memory.items(), ("all", sum(memory.values()))]:
        table.add_row(part, f"{size / GIB:.2f}")
    return table


def _flops(plan: Plan) -> Table:
    train, frozen, forward = plan.config.train, plan.config.lora is not None, plan.forward
    needed, computed = training_flops(forward, frozen), hardware_flops(forward, train.checkpointing, frozen)
    table = _table("of", "FLOPs")
    for part, number in forward._asdict().items():
        table.add_row(f"a clip's forward pass, {part.replace('_', '-')}", _short(number))
    table.add_row("training on a clip", _short(needed))
    table.add_row("the same with what is computed again", _short(computed))
    table.add_row(f"a step of {train.batch} clips", _short(train.batch * needed))
    table.add_row("the same with what is computed again", _short(train.batch * computed))
    return table


def _short(flops: float) -> str:
    unit, size = next(((u, s) for u, s in (("P", 1e15), ("T", 1e12), ("G", 1e9)) if flops >= s), ("M", 1e6))
    return f"{flops / size:,.2f} {unit}"


def _batch(plan: Plan) -> str:
    sequence, passes = plan.config.parallel.sequence, plan.clips // plan.micro_batch
    sharing = f" / {sequence} that share a clip" if sequence > 1 else ""
    accumulation = f" x {passes} accumulated" if passes > 1 else ""
    clips = f"{plan.micro_batch} clip{'s' if plan.micro_batch > 1 else ''} a pass"
    return f"Batch: {plan.config.train.batch} clips a step = {plan.world} GPUs{sharing} x {clips}{accumulation}"


def _expected(plan: Plan) -> Table:
    train, steps = plan.config.train, plan.config.train.steps
    needed = train.batch * training_flops(plan.forward, plan.config.lora is not None) / plan.world
    table = _table("checkpointing", "GiB", "fits", "s/step", "MFU", "time", "GPU-days")
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
