"""Weights under Wan's names -> weights under the hub's names, and a folder in the hub layout.

LumosX adds no parameter to Wan, so one conversion serves both. It is strict, because a model with one tensor
left at random runs and looks almost right: names and shapes are compared with the model that will load them.
"""

import re
from collections import Counter
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.models.containers import named_tensors, read_state_dict, unwrap
from lumosx.models.wan_names import text_encoder_names, transformer_names, vae_names

Source = Literal["wan", "lumosx-release"]
Part = Literal["transformer", "vae", "text_encoder"]
HEAD_DIM = 128
SHOWN_PROBLEMS = 10


def convert_state_dict(
    state_dict: Mapping[str, Any], source: Source = "wan", *, part: Part = "transformer"
) -> dict[str, Tensor]:
    """Rename one part's tensors to diffusers' names (text encoder: transformers'), without copying them.

    Args:
        state_dict: tensors under Wan's names.
        source: ``wan``, or ``lumosx-release``: the same names, but the dict may lie under ``ema`` or
            ``model_state`` and may hold RoPE tables (names with ``freqs``), which are no parameters and are
            dropped.
        part: which model the tensors belong to.

    Raises:
        InputError: a tensor is missing, unknown or wrongly shaped; the message names them.
    """
    state_dict = _plain(state_dict, source, part)
    names = _names(state_dict, part)
    problems = [f"missing: {name}" for name in names if name not in state_dict]
    problems += [f"not part of this model: {name}" for name in state_dict if name not in names]
    if names.keys() <= state_dict.keys():
        # No tensor's shape depends on the number of heads, so any number serves here.
        shapes = _shapes(infer_config(state_dict, part=part, num_heads=1), part)
        problems += [
            f"wrong shape: {name} is {tuple(state_dict[name].shape)}, must be {shapes[hub]}"
            for name, hub in names.items()
            if tuple(state_dict[name].shape) != shapes[hub]
        ]
    if problems:
        raise InputError(_report(problems, part, source, state_dict))
    return {hub: state_dict[name] for name, hub in names.items()}


def infer_config(
    state_dict: Mapping[str, Any],
    source: Source = "wan",
    *,
    part: Part = "transformer",
    num_heads: int | None = None,
) -> dict[str, Any]:
    """The configuration of the model that these tensors (under Wan's names) belong to, read off their shapes.

    Args:
        num_heads: attention heads of the transformer, which no shape tells. Default: heads of 128 channels,
            as in every published Wan.

    Raises:
        InputError: a tensor that tells a size is missing or misshapen, or the heads do not fit the width.
    """
    state_dict = _plain(state_dict, source, part)
    if part == "vae":
        return {"base_dim": _size(state_dict, "encoder.downsamples.[01].residual.[26].bias", 0)}
    if part == "text_encoder":
        return _text_encoder_config(state_dict)
    dim = _size(state_dict, "*modulation", -1)
    if num_heads is None and dim % HEAD_DIM:
        raise InputError(f"the width {dim} is no multiple of {HEAD_DIM}: state the number of heads (--num-heads)")
    heads = dim // HEAD_DIM if num_heads is None else num_heads
    if heads < 1 or dim % heads:
        raise InputError(f"the width {dim} does not divide into {heads} heads")
    patch = tuple(_size(state_dict, "patch_embedding.weight", axis) for axis in (2, 3, 4))
    return {
        "patch_size": patch,
        "num_attention_heads": heads,
        "attention_head_dim": dim // heads,
        "in_channels": _size(state_dict, "patch_embedding.weight", 1),
        "out_channels": _size(state_dict, "head.head.bias", 0) // (patch[0] * patch[1] * patch[2]),
        "text_dim": _size(state_dict, "text_embedding.0.weight", 1),
        "freq_dim": _size(state_dict, "time_embedding.0.weight", 1),
        "ffn_dim": _size(state_dict, "blocks.*.ffn.0.*", 0),
        "num_layers": _num_layers(state_dict),
    }


def convert_checkpoint(
    src: Path,
    out: Path,
    *,
    part: Part,
    source: Source = "wan",
    dtype: torch.dtype | None = None,
    num_heads: int | None = None,
) -> dict[str, int]:
    """Read ``src``, convert it and write the hub folder ``out``: config.json and safetensors, all or nothing.

    Args:
        dtype: of the written tensors; None keeps each tensor's own.

    Returns:
        ``{"tensors": ..., "parameters": ...}`` of what was written.

    Raises:
        InputError: ``out`` exists, or ``src`` cannot be read or converted.
    """
    if out.exists():
        raise InputError(f"{out} exists already; choose another folder or remove it first")
    loaded = read_state_dict(src)
    tensors = convert_state_dict(loaded, source, part=part)
    config = infer_config(loaded, source, part=part, num_heads=num_heads)
    if part == "transformer" and source == "lumosx-release":
        config["rules"] = "release"
    if dtype is not None:
        tensors = {name: tensor.to(dtype) for name, tensor in tensors.items()}
    model: Any = _meta_model(config, part)
    _assign(model, tensors)
    with atomic(out) as beside:
        model.save_pretrained(beside, safe_serialization=True)
    return {"tensors": len(tensors), "parameters": sum(tensor.numel() for tensor in tensors.values())}


def _plain(state_dict: Mapping[str, Any], source: Source, part: Part) -> dict[str, Tensor]:
    """The named tensors alone, without what the release's containers add."""
    if part not in get_args(Part):
        raise InputError(f"part must be one of {', '.join(get_args(Part))}; got {part!r}")
    if source not in get_args(Source):
        raise InputError(f"source must be one of {', '.join(get_args(Source))}; got {source!r}")
    if source == "wan":
        return named_tensors(state_dict, "the state dict")
    tensors = unwrap(state_dict, "the state dict")
    return {name: tensor for name, tensor in tensors.items() if "freqs" not in name}


def _names(state_dict: Mapping[str, Tensor], part: Part) -> dict[str, str]:
    """Wan's name -> hub name of every tensor that a model with as many blocks as this one has."""
    if part == "transformer":
        return transformer_names(_num_layers(state_dict))
    if part == "vae":
        return vae_names()
    return text_encoder_names(_num_layers(state_dict))


def _num_layers(state_dict: Mapping[str, Any]) -> int:
    numbers = [int(match[1]) for match in map(re.compile(r"blocks\.(\d+)\.").match, state_dict) if match]
    return max(numbers, default=0) + 1


def _size(state_dict: Mapping[str, Tensor], pattern: str, axis: int) -> int:
    """The size that most tensors of these names have along an axis, so one bad tensor is the odd one out."""
    tensors = [tensor for name, tensor in state_dict.items() if fnmatchcase(name, pattern)]
    sizes = Counter(tensor.shape[axis] for tensor in tensors if -tensor.ndim <= axis < tensor.ndim)
    if not sizes:
        problem = "has too few axes" if tensors else "is missing"
        raise InputError(f"cannot tell the size of the model: {pattern} {problem}")
    return sizes.most_common(1)[0][0]


def _text_encoder_config(state_dict: Mapping[str, Tensor]) -> dict[str, Any]:
    heads = _size(state_dict, "blocks.*.pos_embedding.embedding.weight", 1)
    return {
        "vocab_size": _size(state_dict, "token_embedding.weight", 0),
        "d_model": _size(state_dict, "blocks.*.norm1.weight", 0),
        "d_kv": _size(state_dict, "blocks.*.attn.q.weight", 0) // heads,
        "d_ff": _size(state_dict, "blocks.*.ffn.fc1.weight", 0),
        "num_layers": _num_layers(state_dict),
        "num_heads": heads,
        "relative_attention_num_buckets": _size(state_dict, "blocks.*.pos_embedding.embedding.weight", 0),
        "feed_forward_proj": "gated-gelu",
    }


def _meta_model(config: dict[str, Any], part: Part) -> nn.Module:
    """The model that will load the tensors, without memory for its own."""
    with torch.device("meta"):
        if part == "vae":
            from diffusers import AutoencoderKLWan

            return AutoencoderKLWan(**config)
        if part == "text_encoder":
            from transformers import UMT5Config, UMT5EncoderModel

            return UMT5EncoderModel(UMT5Config(**config))
        from lumosx.models.transformer import LumosXTransformer3DModel

        return LumosXTransformer3DModel(**config)


def _shapes(config: dict[str, Any], part: Part) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in _meta_model(config, part).state_dict().items()}


def _assign(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Put the tensors in place of the model's, without a copy; names that share a tensor are tied again."""
    own = model.state_dict(keep_vars=True)
    given = {id(own[name]): tensor for name, tensor in tensors.items()}
    model.load_state_dict({name: given[id(slot)] for name, slot in own.items()}, strict=True, assign=True)


def _report(problems: list[str], part: Part, source: Source, state_dict: Mapping[str, Any]) -> str:
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    lines = [f"this is not a complete {part} under the names of {source}: {count}"]
    lines += [f"  {problem}" for problem in problems[:SHOWN_PROBLEMS]]
    if len(problems) > SHOWN_PROBLEMS:
        lines.append(f"  ... and {len(problems) - SHOWN_PROBLEMS} more")
    hub = ("condition_embedder.", "quant_conv.", "encoder.block.")
    if any(name.startswith(hub) for name in state_dict):
        lines.append("  These are names of the hub format already: such a folder needs no conversion.")
    return "\n".join(lines)
