"""The names of the tensors in the files that Wan2.1 and the LumosX release publish, mapped to their hub
names.

Every tensor is listed from the architecture, so that a check against a file can name what is missing in the
file's own words. The renaming of transformer and VAE is diffusers'; it has none for the text encoder.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

_ATTENTION = [f"{layer}.{kind}" for layer in "qkvo" for kind in ("weight", "bias")] + [
    "norm_q.weight",
    "norm_k.weight",
]
_VAE_RESIDUAL = ["0.gamma", "2.weight", "2.bias", "3.gamma", "6.weight", "6.bias"]


def transformer_names(num_layers: int) -> dict[str, str]:
    """Wan's name -> diffusers' name: 15 tensors and 27 a block."""
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    linear = [
        "text_embedding.0",
        "text_embedding.2",
        "time_embedding.0",
        "time_embedding.2",
        "time_projection.1",
    ]
    names = ["head.modulation", *_affine("patch_embedding", *linear, "head.head")]
    for block in (f"blocks.{n}" for n in range(num_layers)):
        names += [f"{block}.modulation", *_affine(f"{block}.norm3", f"{block}.ffn.0", f"{block}.ffn.2")]
        names += [f"{block}.{attention}.{name}" for attention in ("self_attn", "cross_attn") for name in _ATTENTION]
    return _renamed(names, convert_wan_transformer_to_diffusers)


def vae_names() -> dict[str, str]:
    """Wan's name -> diffusers' name: the 194 tensors of the Wan2.1 VAE."""
    from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers

    names = [*_affine("conv1", "conv2")]
    names += _vae_half("encoder", "downsamples", layers=11, resample=(2, 5, 8), time_conv=(5, 8), shortcut=(3, 6))
    names += _vae_half("decoder", "upsamples", layers=15, resample=(3, 7, 11), time_conv=(3, 7), shortcut=(4,))
    return _renamed(names, convert_wan_vae_to_diffusers)


def text_encoder_names(num_layers: int) -> dict[str, str]:
    """Wan's name -> transformers' ``UMT5EncoderModel`` name: 2 tensors and 10 a block."""
    layers = {
        "norm1": "layer.0.layer_norm",
        **{f"attn.{x}": f"layer.0.SelfAttention.{x}" for x in "qkvo"},
        "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
        "norm2": "layer.1.layer_norm",
        "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
        "ffn.fc1": "layer.1.DenseReluDense.wi_1",
        "ffn.fc2": "layer.1.DenseReluDense.wo",
    }
    names = {"token_embedding.weight": "shared.weight", "norm.weight": "encoder.final_layer_norm.weight"}
    for n in range(num_layers):
        names |= {f"blocks.{n}.{wan}.weight": f"encoder.block.{n}.{hub}.weight" for wan, hub in layers.items()}
    return names


def _affine(*layers: str) -> Iterator[str]:
    for layer in layers:
        yield f"{layer}.weight"
        yield f"{layer}.bias"


def _vae_half(
    half: str, sampling: str, *, layers: int, resample: tuple, time_conv: tuple, shortcut: tuple
) -> Iterator[str]:
    """Encoder or decoder; the tuples index its layers that resample, do so in time, change width."""
    residuals = [f"{half}.{sampling}.{n}" for n in range(layers) if n not in resample]
    for block in (f"{half}.middle.0", f"{half}.middle.2", *residuals):
        yield from (f"{block}.residual.{name}" for name in _VAE_RESIDUAL)
    yield from _affine(*(f"{half}.{sampling}.{n}.shortcut" for n in shortcut))
    yield from _affine(*(f"{half}.{sampling}.{n}.resample.1" for n in resample))
    yield from _affine(*(f"{half}.{sampling}.{n}.time_conv" for n in time_conv))
    yield from _affine(f"{half}.conv1", f"{half}.middle.1.to_qkv", f"{half}.middle.1.proj", f"{half}.head.2")
    yield from (f"{half}.middle.1.norm.gamma", f"{half}.head.0.gamma")


def _renamed(names: Iterable[str], rename: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, str]:
    """diffusers renames keys and leaves values alone: given the names as values too, it tells the map."""
    return {wan: hub for hub, wan in rename({name: name for name in names}).items()}
