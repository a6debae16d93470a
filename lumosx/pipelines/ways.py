"""What a way to sample a clip takes on a card: memory at the peak of each stage, and expected time."""

from dataclasses import dataclass
from typing import Literal

from lumosx.models import cost, counting
from lumosx.models.cost_text import USABLE
from lumosx.models.gpus import TRANSFER, Gpu
from lumosx.pipelines.parallel import ALONE, Split
from lumosx.pipelines.plan import Plan
from lumosx.relations import TokenLayout

KERNELS = 125  # that a block starts in a pass on a GPU, counted
# Bytes that a block moves for each token and channel beside products and attention: kernel by kernel, or fused.
EAGER, COMPILED = 235, 75
SUSTAINED = 0.7  # of a memory's bandwidth; an assumption
LATENTS = 6  # copies of a clip's latents: noise, the solver's own, velocities
PICTURES = 3  # copies of a decoded clip while its pixels become bytes

Offload = Literal["none", "model", "group"]  # in the order of what moves between host and device
Memory = dict[str, dict[str, int]]  # bytes of each part at the peak of each stage


@dataclass(frozen=True)
class Way:
    """How to sample; the options of `lumosx sample`."""

    offload: Offload = "none"
    tiling: bool = False
    quantize: Literal["none", "int8"] = "none"
    together: bool = False
    compile: bool = False
    batch: int = 1


def peak(plan: Plan, way: Way, gpu: Gpu, split: Split = ALONE) -> int:
    """Bytes on a device at the stage that takes most."""
    return max(sum(parts.values()) for parts in memory(plan, way, gpu, split).values())


def fits(plan: Plan, way: Way, gpu: Gpu, split: Split = ALONE) -> bool:
    """Whether the device's memory, as far as it is usable, holds that."""
    return peak(plan, way, gpu, split) <= USABLE * gpu.memory


def weights(plan: Plan, way: Way, size: int) -> dict[str, int]:
    """Bytes of each model's weights, the codec's in float32.

    Args:
        size: bytes of a number of transformer and text encoder.
    """
    transformer, numbers = plan.model.transformer, counting.numbers
    block = transformer["num_layers"] * cost.block_parameters(transformer)
    outside = sum(cost.parameters(transformer).values()) - block
    return {
        "transformer": block * _bytes_in_blocks(way, size) + outside * size,
        "text encoder": numbers(plan.text_encoder) * size,
        "codec": numbers(plan.codec) * cost.FLOAT32,
    }


def memory(plan: Plan, way: Way, gpu: Gpu, split: Split = ALONE) -> Memory:
    """Bytes on a device at the peak of each stage, part by part."""
    transformer, length, size = plan.model.transformer, plan.model.text_length, gpu.number
    clip = 3 * cost.FLOAT32 * plan.settings.width * plan.settings.height * plan.settings.frames
    latents = plan.model.codec["z_dim"] * cost.FLOAT32 * _volume(plan.grid.latents(plan.settings))
    own = _own(plan, split)
    picture_latents = latents // plan.grid.latents(plan.settings)[0] * size // cost.FLOAT32
    text = len(own) * cost.text_cache_bytes(transformer, length, size)
    caches = {
        "text's keys and values": text,  # of all heads on every rank
        "references' keys and values": sum(
            cost.reference_cache_bytes(transformer, branch, size) for branch in own if plan.part(branch) == "video"
        )
        // split.tokens,
        "latents": LATENTS * way.batch * latents + len(plan.layout.references) * picture_latents,
    }
    decoding = max(plan.decoding[way.tiling].memory, PICTURES * clip)
    picture = plan.picture[way.tiling].memory if plan.layout.references else 0
    stages = {
        "text": ("text encoder", {}, plan.text_encoding.memory * size // 2),
        "references": ("codec", {}, picture),
        "denoising": ("transformer", caches, _pass_bytes(plan, own, way, size) // split.tokens),
        "decoding": ("codec", caches, decoding),
    }
    return {
        stage: _resident(plan, running, way, gpu) | kept | {"activations": activations}
        for stage, (running, kept, activations) in stages.items()
    }


def _own(plan: Plan, split: Split) -> list[TokenLayout]:
    """The branches of the GPU that has most to do."""
    return plan.branches if split.branches == 1 else plan.branches[:1]


def _pass_bytes(plan: Plan, own: list[TokenLayout], way: Way, size: int) -> int:
    """Activations of the largest pass: of all branches or one, or the one that fills the references' cache."""
    groups = [own] if way.together else [[branch] for branch in own]
    passes = [
        cost.sampling_activations(plan.model.transformer, group, way.batch, plan.part(group[0]), size)
        for group in groups
    ]
    fills = [
        cost.sampling_activations(plan.model.transformer, group, 1, "references", size)
        for group in groups
        if plan.part(group[0]) == "video"
    ]
    return max(passes + fills)


def _resident(plan: Plan, running: str, way: Way, gpu: Gpu) -> dict[str, int]:
    """Weights on the device while a model runs, as `lumosx.pipelines.memory.set_up` places them."""
    sizes = weights(plan, way, gpu.number)
    if gpu.is_processor:
        return sizes
    if way.offload == "model":
        return {running: sizes[running]}
    if way.offload == "none":  # the text encoder is there while it encodes
        return {name: size for name, size in sizes.items() if name != "text encoder" or name == running}
    transformer = plan.model.transformer
    block = cost.block_parameters(transformer) * _bytes_in_blocks(way, gpu.number)
    outside = sizes["transformer"] - transformer["num_layers"] * block
    parts = {"transformer": outside + 2 * block * (running == "transformer"), "codec": sizes["codec"]}
    if running == "text encoder":  # layer by layer
        parts[running] = gpu.number * max(parameter.numel() for parameter in plan.text_encoder.parameters())
    return parts


def _bytes_in_blocks(way: Way, size: int) -> int:
    """Of a weight."""
    return 1 if way.quantize == "int8" else size


def seconds(plan: Plan, way: Way, gpu: Gpu, split: Split = ALONE) -> dict[str, float]:
    """Expected time of each stage of one clip of a batch, and of one "step" of it.

    Work that GPUs share is taken to divide without loss.
    """
    step = _step_seconds(plan, way, gpu, split) / way.batch
    moved = 0 if gpu.is_processor else 1
    bring = {name: moved * size / TRANSFER for name, size in weights(plan, way, gpu.number).items()}
    models = {name: bring[name] if way.offload == "model" else 0.0 for name in bring}
    convolutions = gpu.peak_tf32 * gpu.sampling.codec
    products = gpu.peak * gpu.sampling.products
    fill = plan.once.text_cache + plan.once.reference_cache
    pictures = len(plan.layout.references) * plan.picture[way.tiling].flops
    return {
        "text": plan.once.text_encoder / products + bring["text encoder"],
        "references": (pictures / convolutions + models["codec"]) + fill / products,
        "step": step,
        "denoising": plan.settings.steps * step + models["transformer"],
        "decoding": plan.decoding[way.tiling].flops / convolutions + models["codec"],
    }


def _step_seconds(plan: Plan, way: Way, gpu: Gpu, split: Split) -> float:
    """Of a step of all seeds of a batch."""
    transformer, rates, own = plan.model.transformer, gpu.sampling, _own(plan, split)
    passes = 1 if way.together else len(own)
    flops = plan.step(way.batch, own)
    tokens = sum(
        way.batch * branch.video_tokens + (len(branch) - branch.video_tokens) * (plan.part(branch) == "joint")
        for branch in own
    )
    moved = tokens * cost.width(transformer) * transformer["num_layers"] * (COMPILED if way.compile else EAGER)
    arithmetic = flops.products / rates.products + flops.attention / rates.attention
    busy = (arithmetic / gpu.peak + moved / (gpu.bandwidth * SUSTAINED)) / split.tokens
    starts = passes * transformer["num_layers"] * KERNELS * gpu.launch
    if gpu.is_processor:  # it starts one operation when it is done with another
        return busy + starts
    brought = 0.0
    if way.offload == "group":
        brought = passes * weights(plan, way, gpu.number)["transformer"] / TRANSFER
    return max(busy, starts, brought)


def _volume(size: tuple[int, int, int]) -> int:
    return size[0] * size[1] * size[2]
