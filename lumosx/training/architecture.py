"""What the parts of a run look like, read from their configuration files: no weights, no network, no GPU."""

import difflib
from pathlib import Path
from typing import Any

from lumosx.data.encoder import codec_class
from lumosx.errors import InputError
from lumosx.models.configs import WAN, part_config, transformer_defaults
from lumosx.training.config import Config

# What decides the shapes of weights: a configuration that states all of it needs no checkpoint to be planned.
SHAPES = {
    "num_attention_heads", "attention_head_dim", "in_channels", "out_channels", "text_dim", "ffn_dim", "num_layers",
}  # fmt: skip


def transformer_config(config: Config) -> dict[str, Any]:
    """All keys of the `LumosXTransformer3DModel` that the run trains: `model.transformer` over what it starts from.

    A run to start from that has not finished yet may be stood in for by `model.transformer`, if it states all SHAPES.

    Raises:
        InputError: an unknown key, or the architecture is stated nowhere.
    """
    defaults = transformer_defaults()
    stated = config.model.transformer
    for key in stated.keys() - defaults.keys():
        near = difflib.get_close_matches(key, defaults, n=1)
        hint = f"did you mean {near[0]}?" if near else f"keys are {', '.join(defaults)}"
        raise InputError(f"model.transformer.{key}: there is no such key; {hint}")
    start = {key: value for key, value in _start(config).items() if key in defaults}
    return defaults | start | stated


def codec_config(config: Config) -> dict[str, Any]:
    """Of the codec: its class, `z_dim`, `scale_factor_spatial` and `scale_factor_temporal` among others.

    Raises:
        InputError: `model.codec` names none, or one of a class that is not known.
    """
    codec = WAN["vae"] | part_config("model.codec", config.model.codec, "vae")
    codec_class(codec, config.model.codec)
    return codec


def text_encoder_config(config: Config) -> dict[str, Any]:
    """Of the text encoder, as transformers' `UMT5Config` takes it.

    Raises:
        InputError: `model.text_encoder` names none.
    """
    return part_config("model.text_encoder", config.model.text_encoder, "text_encoder")


def _start(config: Config) -> dict[str, Any]:
    name = config.model.init_from
    if name is None:
        return {}
    exported = Path(config.run.root) / name / "export"
    try:
        return part_config("model.init_from", str(exported) if exported.is_dir() else name, "transformer")
    except InputError as error:
        if config.model.transformer.keys() >= SHAPES:
            return {}
        raise InputError(
            f"{error}. If it is a run that has not finished: finish it, or state {', '.join(sorted(SHAPES))} in "
            "model.transformer to plan ahead"
        ) from error
