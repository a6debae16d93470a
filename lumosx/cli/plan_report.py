"""The plan of a clip as a page."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import get_args

from rich.table import Table

from lumosx.models.cost import FLOP_NAMES
from lumosx.models.cost_text import GIB, USABLE, WIDTH, Piece, page, plain_table, short
from lumosx.models.gpus import Gpu
from lumosx.pipelines.advice import Advice, auto
from lumosx.pipelines.plan import Plan
from lumosx.pipelines.ways import SUSTAINED, Offload, Way, fits, memory, peak, seconds
from lumosx.training.tracking import duration

CARDS = (8, 12, 16, 24, 32, 40, 48, 80, 96, 141)  # GiB that GPUs are sold with


def report(plan: Plan, gpu: Gpu, advice: Advice, world: int, sample: Sequence[str]) -> str:
    """The page, text of at most 100 columns.

    Args:
        sample: the words of a `lumosx sample` of this clip, to which the advised options are added.
    """
    return page(_pieces(plan, gpu, advice, world, sample))


def _pieces(plan: Plan, gpu: Gpu, advice: Advice, world: int, sample: Sequence[str]) -> Iterator[Piece]:
    settings, way = plan.settings, advice.way
    guided = (
        f"guidance {settings.cfg:g}, {len(plan.branches)} passes a step" if len(plan.branches) > 1 else "no guidance"
    )
    yield f"{settings.size}, {settings.frames} frames, {settings.steps} steps of {settings.solver}, {guided}"
    yield f"{plan.model.name} on {world} x {gpu.name} ({gpu.source})"
    yield "\nTokens"
    yield _tokens(plan)
    yield "\nFLOPs"
    yield _flops(plan)
    yield f"\nMemory of the {gpu.name} at the peak of each stage, {_described(way)}"
    yield _memory(plan, gpu, advice)
    if not gpu.is_processor:
        yield "\nThe same by --offload"
        yield _offloads(plan, gpu, advice)
    yield "\nExpected time"
    yield _time(plan, gpu, advice)
    if world > 1:
        yield f"\n{_shared(advice, world)}"
    yield "\nAssumed"
    yield from (f"- {line}" for line in _assumptions(plan, gpu))
    yield f"\n{_verdict(plan, gpu, advice)}"
    if advice.fits:
        yield _command(plan, gpu, advice, sample)


def _tokens(plan: Plan) -> Table:
    table, layout = plain_table("segment", "tokens", "share"), plan.layout
    for name, segment in zip(("video", *plan.names), layout.segments, strict=True):
        tokens = segment.stop - segment.start
        table.add_row(name, f"{tokens:,}", f"{tokens / len(layout):.1%}")
    table.add_row("all that the blocks see", f"{len(layout):,}", "")
    table.add_row("text", f"{layout.text_length:,}", "")
    return table


def _flops(plan: Plan) -> Table:
    steps, step, once = plan.settings.steps, plan.step(), plan.once
    table = plain_table("of", "a step", "the clip")

    def row(name: str, flops: int) -> None:
        table.add_row(name, short(flops), short(steps * flops))

    for name, part in zip(FLOP_NAMES.values(), step, strict=True):
        if part:
            row(name, part)
    row("the network, attention included", step.total)
    row("linear layers alone", step.products)
    row("the same as the paper counts them", plan.paper_step)
    for name, flops in zip(ONCE, once, strict=True):
        if flops:
            table.add_row(name, "", short(flops))
    table.add_row("all of the clip", "", short(steps * step.total + sum(once)))
    return table


ONCE = ("text encoder", "text's keys and values", "references' latents", "references' keys and values", "decoding")


def _memory(plan: Plan, gpu: Gpu, advice: Advice) -> Table:
    stages = memory(plan, advice.way, gpu, advice.split)
    unit, size = _unit(peak(plan, advice.way, gpu, advice.split))
    table = plain_table(unit, *stages)
    for part in dict.fromkeys(part for parts in stages.values() for part in parts if parts[part]):
        table.add_row(part, *(f"{parts[part] / size:.2f}" if part in parts else "" for parts in stages.values()))
    table.add_row("all", *(f"{sum(parts.values()) / size:.2f}" for parts in stages.values()))
    return table


def _offloads(plan: Plan, gpu: Gpu, advice: Advice) -> Table:
    unit, size = _unit(peak(plan, advice.way, gpu, advice.split))
    table = plain_table(unit, "tiling", *memory(plan, advice.way, gpu), "peak", "fits", "smallest GPU")
    for tiling in (False, True)[: 1 + plan.tileable]:
        for offload in get_args(Offload):
            way = replace(advice.way, offload=offload, tiling=tiling, compile=False)
            stages, most = memory(plan, way, gpu, advice.split), peak(plan, way, gpu, advice.split)
            table.add_row(
                offload,
                "yes" if tiling else "no",
                *(f"{sum(parts.values()) / size:.1f}" for parts in stages.values()),
                f"{most / size:.1f}",
                "yes" if fits(plan, way, gpu, advice.split) else "no",
                next((f"{card} GiB" for card in CARDS if most <= USABLE * card * GIB), "none"),
            )
    return table


def _unit(most: int) -> tuple[str, int]:
    return ("GiB", GIB) if most >= GIB else ("MiB", GIB // 1024)


def _time(plan: Plan, gpu: Gpu, advice: Advice) -> Table:
    compiled = (False,) if gpu.is_processor or advice.way.offload == "group" else (False, True)
    columns = [seconds(plan, replace(advice.way, compile=choice), gpu, advice.split) for choice in compiled]
    table = plain_table("stage", *("--compile" if choice else "as it is" for choice in compiled))
    names = {
        "text": "text encoding",
        "references": "references and caches",
        "step": f"a step of {plan.settings.steps}",
        "denoising": "all steps",
        "decoding": "decoding",
    }
    for stage, name in names.items():
        table.add_row(name, *(_seconds(column[stage]) for column in columns))
    totals = [sum(column.values()) - column["step"] for column in columns]
    table.add_row("the clip", *map(_seconds, totals))
    if plan.seeds > 1:
        one = [column["denoising"] + column["decoding"] for column in columns]
        all_seeds = [total + (plan.seeds - 1) * own for total, own in zip(totals, one, strict=True)]
        table.add_row(f"all {plan.seeds} seeds", *map(_seconds, all_seeds))
    return table


def _seconds(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.0f} ms" if seconds >= 0.001 else "under 1 ms"
    return f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s ({duration(seconds)})"


def _shared(advice: Advice, world: int) -> str:
    split = advice.split
    used, heads = split.branches * split.tokens, "GPU that has" if split.tokens == 1 else "GPUs that share"
    groups = f"{split.branches} branches of guidance, each on" if split.branches > 1 else "all branches on"
    idle = f"; {world - used} would stand idle" if world > used else ""
    return f"Shared: {groups} {split.tokens} {heads} its tokens (Ulysses){idle}. It is exact."


def _assumptions(plan: Plan, gpu: Gpu) -> Iterator[str]:
    sampling = gpu.sampling
    if gpu.is_processor:
        yield f"Time: {sampling.basis}, with nothing else running. Loading the model is not in it."
    else:
        yield (
            f"Nothing here was measured on such a card. Matrix products at {sampling.products:.0%} and attention "
            f"({gpu.kernel}) at {sampling.attention:.0%} of {gpu.peak / 1e12:.0f} TFLOP/s, the codec at "
            f"{sampling.codec:.0%} of {gpu.peak_tf32 / 1e12:.0f} (TF32): {sampling.basis}."
        )
        yield (
            f"Everything else moves bytes at {SUSTAINED:.0%} of {gpu.bandwidth / 1e12:.2f} TB/s. Loading and compiling "
            "are not in the times; work on several GPUs divides without loss."
        )
    yield (
        f"{USABLE:.0%} of the memory are usable. Activations are those of bf16 without --compile, which keeps less."
        if not gpu.is_processor
        else f"{USABLE:.0%} of the memory are usable. Activations are those of float32."
    )
    if plan.model.transformer["reference_timestep"] == "shared" and plan.layout.references:
        yield "References change with the timestep (reference_timestep: shared), so each step computes them anew."


def _described(way: Way) -> str:
    parts = [f"--offload {way.offload}", "branches together" if way.together else "branches apart"]
    return ", ".join(parts + ["in tiles"] * way.tiling + [f"{way.batch} seeds together"] * (way.batch > 1))


def _verdict(plan: Plan, gpu: Gpu, advice: Advice) -> str:
    stages = {stage: sum(parts.values()) for stage, parts in memory(plan, advice.way, gpu, advice.split).items()}
    stage = max(stages, key=lambda stage: stages[stage])
    unit, size = _unit(stages[stage])
    most = f"{stages[stage] / size:.1f} {unit} (at stage {stage})"
    taken = f"{most} of {gpu.memory / size:,.1f}, of which {USABLE:.0%} are usable"
    if not advice.fits:
        return f"It DOES NOT FIT: the way that needs least takes {taken}."
    return f"It fits: {taken}. Best on this {'machine' if gpu.is_processor else 'GPU'} (attention: {gpu.kernel}):"


def _command(plan: Plan, gpu: Gpu, advice: Advice, sample: Sequence[str]) -> str:
    way, words, gpus = advice.way, list(sample), advice.split.branches * advice.split.tokens
    if gpus > 1:
        words = ["torchrun", "--nproc-per-node", str(gpus), "-m", "lumosx.cli.main", *words[1:]]
    for option, value, default in (
        ("--offload", way.offload, "none"),
        ("--quantize", way.quantize, "none"),
        ("--batch", str(way.batch), "1"),
    ):
        words += [option, value] if value != default else []
    if advice.split.branches == 1 and way.together != auto(plan, gpu, way.batch):
        words += ["--guidance", "together" if way.together else "apart"]
    words += ["--tiling"] * way.tiling + ["--compile"] * way.compile + ["--device", "cpu"] * gpu.is_processor
    lines = textwrap.wrap(shlex.join(words), WIDTH - 6, break_long_words=False, break_on_hyphens=False)
    return "  " + " \\\n    ".join(lines)
