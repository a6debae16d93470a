"""Sampling within little memory and with cheaper weights, after a checkpoint is loaded: `set_up`.

The mechanisms are diffusers' (offload, tiling), torchao's (quantisation) and PyTorch's (compilation). They are applied
in the one order that works: weights are made smaller before they are placed, and blocks are compiled as they are then.
Adapters (LoRA) are loaded before all of it, because group offload keeps the weights that it finds.

Nothing here frees host memory. Wan's text encoder (11 GB) leaves the device after each prompt but stays in host memory:
device memory is what is short while denoising, and the next scene needs the encoder again.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ModelMixin
from diffusers.hooks import HookRegistry, apply_group_offloading
from torch import nn

from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.models import LumosXTransformer3DModel
    from lumosx.pipelines.pipeline import LumosXPipeline

OFFLOADS = ("none", "model", "group")
TENSORS = {"int8": "Int8Tensor", "fp8": "Float8Tensor"}  # torchao's types of quantised weights
FP8_CAPABILITY = (8, 9)  # Ada, Hopper and later multiply it
FP8_MULTIPLE = 16  # torchao leaves layers of other sizes as they are


def set_up(
    pipeline: "LumosXPipeline",
    device: torch.device,
    *,
    offload: str = "none",
    tiling: bool = False,
    quantize: str | None = None,
    compile: bool = False,
) -> "LumosXPipeline":
    """Brings a loaded pipeline to a device, in as little of its memory as is asked for.

    Args:
        pipeline: as loaded, on the CPU, with its adapters.
        device: where to compute.
        offload: "none": transformer and VAE stay on the device; the text encoder is there while it encodes. "model":
            each model while it runs. "group": one block of the transformer at a time, the next one on its way.
        tiling: the VAE encodes and decodes in overlapping tiles of 256 pixels, which are blended: other pixels.
        quantize: None; "int8": the blocks' linear layers keep their weights in 8 bits; "fp8": in 8 bits, and they
            multiply in them. See `quantize_blocks`.
        compile: PyTorch compiles the blocks, while the first step waits.

    Returns:
        The pipeline.

    Raises:
        InputError: a choice that does not exist, or not on this device or together with another.
    """
    expect_possible(device, pipeline.transformer.dtype, offload=offload, quantize=quantize, compile=compile)
    if tiling:
        enable_tiling(pipeline)
    if quantize is not None:
        quantize_blocks(pipeline.transformer, quantize)
    if offload == "model":
        offload_models(pipeline, device)
    elif offload == "group":
        offload_groups(pipeline, device)
    else:
        pipeline.transformer.to(device)
        pipeline.vae.to(device)
    if compile:
        pipeline.transformer.compile_repeated_blocks()
    return pipeline


def set_up_of(pipeline: "LumosXPipeline") -> dict[str, Any]:
    """What of `set_up` can change a pixel, as its arguments: for a clip's record, and to make the clip again."""
    return {
        "tiling": bool(getattr(pipeline.vae, "use_tiling", False)),
        "quantize": quantization(pipeline.transformer),
        "compile": pipeline.transformer.blocks[0]._compiled_call_impl is not None,
    }


def expect_possible(
    device: torch.device,
    dtype: torch.dtype,
    *,
    offload: str = "none",
    quantize: str | None = None,
    compile: bool = False,
) -> None:
    """Raises the InputErrors of `set_up` before a weight is loaded.

    Args:
        device, dtype: where and in which type the transformer computes.
        offload, quantize, compile: as for `set_up`.
    """
    if offload not in OFFLOADS:
        raise InputError(f"offload {offload!r}: choose {', '.join(OFFLOADS)}")
    if quantize not in (None, *TENSORS):
        raise InputError(f"quantize {quantize!r}: choose none, {', '.join(TENSORS)}")
    if offload != "none" and device.type == "cpu":
        raise InputError(f"offload {offload}: all is on the CPU already, there is nothing to offload to; leave it out")
    if offload == "group" and compile:
        raise InputError(
            "offload group does not go with compile: weights come and go inside what would be compiled. "
            "Choose offload model, or leave compile out"
        )
    if quantize is not None and find_spec("torchao") is None:
        raise InputError(f"quantize {quantize} needs torchao: pip install 'lumosx[quantize]'")
    if quantize == "fp8":
        _expect_fp8(device, dtype)


def enable_tiling(pipeline: "LumosXPipeline") -> None:
    """Lets the VAE encode and decode in tiles. Clips are decoded one at a time anyway, so it needs no slicing.

    Raises:
        InputError: this checkpoint's codec has no tiles.
    """
    if not hasattr(pipeline.vae, "enable_tiling"):
        raise InputError(
            f"tiling: this checkpoint's codec ({type(pipeline.vae).__name__}) has no tiles and needs little memory "
            "without them; leave tiling out"
        )
    pipeline.vae.enable_tiling()


def offload_models(pipeline: "LumosXPipeline", device: torch.device) -> None:
    """Each model is on the device from its first call until another one is called (diffusers' model offload).

    A codec without parameters stays there: the hook asks a model's first parameter where it is, and such a codec is a
    few hundred kilobytes large.
    """
    if next(pipeline.vae.parameters(), None) is None:
        pipeline.model_cpu_offload_seq = "text_encoder->transformer"
        pipeline._exclude_from_cpu_offload = ["vae"]
    pipeline.enable_model_cpu_offload(device=device)


def offload_groups(pipeline: "LumosXPipeline", device: torch.device) -> None:
    """Weights are on the device while their part of a model runs (diffusers' group offload).

    The transformer goes block by block. On CUDA a stream brings the next block while one computes; then its weights
    stand in pinned host memory. A block's memory is given back before the next one but one comes (no `record_stream`,
    with which the host would run ahead and bring all of them). What is not in a block, 26 million weights of Wan's 1.3
    billion, stays on the device: `encode_text` and `encode_references` use it, and the hook is on `forward` alone.

    The text encoder goes layer by layer and without a stream: it runs once a scene, and 11 GB of pinned memory would
    be more than many hosts can give. The VAE stays on the device: it runs once for every four frames, and would be
    copied anew each time.
    """
    transformer, stream = pipeline.transformer, device.type == "cuda"
    transformer.enable_group_offload(device, offload_type="block_level", num_blocks_per_group=1, use_stream=stream)
    hook: Any = HookRegistry.check_if_exists_or_initialize(transformer).get_hook("group_offloading")
    hook.group.offload_device = device
    hook.group.onload_()
    apply_group_offloading(pipeline.text_encoder, device, offload_type="leaf_level")
    pipeline.vae.to(device)


def quantize_blocks(transformer: "LumosXTransformer3DModel", kind: str) -> None:
    """Quantises the linear layers of the blocks, a scale for each row; norms, embeddings, head and adapters stay.

    "int8" keeps weights in 8 bits and computes in the model's own type: half the memory of bfloat16, on any device.
    "fp8" also rounds what goes into each layer and multiplies in 8 bits. That is for speed, with compiled blocks: by
    itself the rounding is one more pass over memory. No GPU has run "fp8" yet, only its sums on a CPU.
    Adapters may be loaded before or after, but not merged afterwards.

    Args:
        transformer: in bfloat16 for "fp8".
        kind: "int8" or "fp8".

    Raises:
        InputError: layers that "fp8" cannot hold.
    """
    from torchao.quantization import (
        Float8DynamicActivationFloat8WeightConfig,
        Int8WeightOnlyConfig,
        PerRow,
        quantize_,
    )
    from torchao.quantization.quantize_.common import KernelPreference

    odd = [n for n, m in transformer.blocks.named_modules() if _is_base(m, n) and _is_odd(m)]
    if kind == "fp8" and odd:
        raise InputError(
            f"quantize fp8: sizes of layers must be multiples of {FP8_MULTIPLE}, and those of blocks.{odd[0]} are not"
        )
    if kind == "int8":
        config = Int8WeightOnlyConfig(set_inductor_config=False)  # it would let float32 round like TF32, also the VAE
    else:
        config = Float8DynamicActivationFloat8WeightConfig(
            granularity=PerRow(),
            kernel_preference=KernelPreference.TORCH,  # the same weights whatever else is installed
            set_inductor_config=False,
        )
    quantize_(transformer.blocks, config, filter_fn=_is_base)


def quantization(transformer: ModelMixin) -> str | None:
    """How the blocks' weights are quantised: "int8", "fp8" or None."""
    name = type(transformer.blocks[0].attn1.to_q.weight).__name__  # pyright: ignore
    return next((kind for kind, tensor in TENSORS.items() if tensor == name), None)


def _expect_fp8(device: torch.device, dtype: torch.dtype) -> None:
    if device.type != "cuda" or torch.cuda.get_device_capability(device) < FP8_CAPABILITY:
        raise InputError("quantize fp8 needs a GPU that multiplies in it (Ada, Hopper or later); choose int8")
    if dtype != torch.bfloat16:
        raise InputError(f"quantize fp8 needs a model in bfloat16, not {str(dtype).removeprefix('torch.')}")


def _is_base(module: nn.Module, name: str) -> bool:
    """A linear layer that is no adapter's."""
    return isinstance(module, nn.Linear) and "lora_" not in name


def _is_odd(layer: nn.Module) -> bool:
    return any(size % FP8_MULTIPLE for size in (layer.in_features, layer.out_features))  # pyright: ignore
