"""Which way to sample suits a card: the first that fits, exact ones before those that change pixels."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, get_args

from lumosx.models.cost import fits_together
from lumosx.models.gpus import Gpu
from lumosx.pipelines.branches import Guidance, memory_of_batch
from lumosx.pipelines.parallel import Split, possible_splits
from lumosx.pipelines.plan import Plan
from lumosx.pipelines.ways import Offload, Way, fits, peak, seconds

COMPILING = 60.0  # seconds that a first compilation takes; an assumption
WORTH = 0.99  # of the time of a seed alone: a batch that takes more of it is not worth its memory


@dataclass(frozen=True)
class Advice:
    """The way to take, and whether it fits; if not, it is the one that needs least."""

    way: Way
    split: Split
    fits: bool


def advise(plan: Plan, gpu: Gpu, offload: Offload | None = None, guidance: Guidance = "auto", world: int = 1) -> Advice:
    """The best way on `world` such cards.

    Args:
        offload, guidance: what is fixed already.
    """
    split = best_split(plan, world)
    several = split.branches == 1 < len(plan.branches)
    choices = {"together": (True,), "apart": (False,), "auto": (True, False) if auto(plan, gpu) else (False,)}[guidance]
    ways = [replace(way, together=together and several) for together in choices for way in _ways(plan, gpu, offload)]
    ways.sort(key=_departures)
    way = next((way for way in ways if fits(plan, way, gpu, split)), None)
    if way is None:
        return Advice(min(ways, key=lambda way: peak(plan, way, gpu, split)), split, False)
    for better in _improvements(plan, way, gpu, split):
        if fits(plan, merged := replace(way, **better), gpu, split):
            way = merged
    return Advice(way, split, True)


def auto(plan: Plan, gpu: Gpu, batch: int = 1) -> bool:
    """Whether `guidance="auto"` passes the branches together on that card."""
    if len(plan.branches) == 1:
        return False
    free = memory_of_batch(None if gpu.is_processor else gpu.memory)
    return fits_together(plan.model.transformer, plan.branches, batch, "joint", gpu.number, free)


def best_split(plan: Plan, world: int) -> Split:
    """How `world` GPUs share a clip so that as few as possible stand idle."""
    layout, heads = plan.layout, plan.model.transformer["num_attention_heads"]
    possible = possible_splits(len(plan.branches), heads, layout.video_tokens, layout.reference_tokens)
    return possible[max(number for number in possible if number <= world)]


def _ways(plan: Plan, gpu: Gpu, offload: Offload | None) -> Iterator[Way]:
    possible = ("none",) if gpu.is_processor else get_args(Offload)
    for quantize in ("none", "int8"):
        for tiling in (False, True)[: 1 + plan.tileable]:
            for choice in possible:
                if offload in (None, choice):
                    yield Way(choice, tiling, quantize)


def _departures(way: Way) -> tuple[bool, bool, int, bool]:
    """Sorts ways by preference: exact ones, then in tiles, then quantised; of these with the least on the move."""
    return way.quantize != "none", way.tiling, get_args(Offload).index(way.offload), not way.together


def _improvements(plan: Plan, way: Way, gpu: Gpu, split: Split) -> Iterator[dict[str, Any]]:
    """What makes a way faster, where there is the memory."""
    alone = seconds(plan, way, gpu, split)["step"]
    for batch in range(2, plan.seeds + 1):
        if seconds(plan, replace(way, batch=batch), gpu, split)["step"] < WORTH * alone:
            yield {"batch": batch}
    saved = alone - seconds(plan, replace(way, compile=True), gpu, split)["step"]
    if way.offload != "group" and saved * plan.settings.steps * plan.seeds > COMPILING:
        yield {"compile": True}
