"""What the parts of a run look like, read from their configuration files: no weights, no network, no GPU."""

import difflib
import inspect
import json
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from lumosx.data.encoder import codec_class
from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.paths import checkpoint_path, names_repository
from lumosx.training.config import Config

# Wan's own constants, so that its runs can be planned before anything is downloaded. Those of its transformer are the
# defaults of our class.
WAN = {
    "transformer": {},
    "vae": {"_class_name": "AutoencoderKLWan", "z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4},
    "text_encoder": {
        "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    },
}  # fmt: skip
WAN_REPOSITORY = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"

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
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(LumosXTransformer3DModel.__init__).parameters.items()
        if name != "self"
    }
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
    codec = WAN["vae"] | _component("model.codec", config.model.codec, "vae")
    codec_class(codec, config.model.codec)
    return codec


def text_encoder_config(config: Config) -> dict[str, Any]:
    """Of the text encoder, as transformers' `UMT5Config` takes it.

    Raises:
        InputError: `model.text_encoder` names none.
    """
    return _component("model.text_encoder", config.model.text_encoder, "text_encoder")


def _start(config: Config) -> dict[str, Any]:
    name = config.model.init_from
    if name is None:
        return {}
    exported = Path(config.run.root) / name / "export"
    try:
        return _component("model.init_from", str(exported) if exported.is_dir() else name, "transformer")
    except InputError as error:
        if config.model.transformer.keys() >= SHAPES:
            return {}
        raise InputError(
            f"{error}. If it is a run that has not finished: finish it, or state {', '.join(sorted(SHAPES))} in "
            "model.transformer to plan ahead"
        ) from error


def _component(setting: str, name: str, part: str) -> dict[str, Any]:
    """The configuration of one part of a folder, a shipped checkpoint or a repository of the hub."""
    file = Path(name).expanduser() / part / "config.json"
    try:
        if not file.is_file():
            file = checkpoint_path(name) / part / "config.json"
        return json.loads(file.read_text(encoding="utf-8"))
    except InputError as error:
        if not names_repository(name):
            raise InputError(f"{setting}: {error}") from error
        return _of_repository(setting, name, part)
    except (OSError, ValueError) as error:
        raise InputError(f"{setting}={name}: {file} cannot be read: {error}") from error


def _of_repository(setting: str, name: str, part: str) -> dict[str, Any]:
    downloaded = try_to_load_from_cache(name, f"{part}/config.json")
    if isinstance(downloaded, str):
        return json.loads(Path(downloaded).read_text(encoding="utf-8"))
    if name == WAN_REPOSITORY:
        return WAN[part]
    raise InputError(f"{setting}={name}: not on this machine. Fetch it: hf download {name}")
