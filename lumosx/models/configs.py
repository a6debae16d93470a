"""What the parts of a model look like, read from their configuration files: no weights, no network, no GPU."""

import inspect
import json
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache

from lumosx.errors import InputError
from lumosx.models.transformer import LumosXTransformer3DModel
from lumosx.paths import checkpoint_path, names_repository

# Wan's own constants, so that it can be planned with before anything is downloaded. Those of its transformer are the
# defaults of our class.
WAN = {
    "transformer": {},
    "vae": {"_class_name": "AutoencoderKLWan", "z_dim": 16, "scale_factor_spatial": 8, "scale_factor_temporal": 4},
    "text_encoder": {
        "vocab_size": 256384, "d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64,
    },
}  # fmt: skip
WAN_REPOSITORY = "Wan-AI/Wan2.1-T2V-1.3B-Diffusers"


def transformer_defaults() -> dict[str, Any]:
    """All keys of a `LumosXTransformer3DModel` with the values of Wan2.1's 1.3B."""
    parameters = inspect.signature(LumosXTransformer3DModel.__init__).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


def part_config(setting: str, name: str, part: str) -> dict[str, Any]:
    """The configuration of one part of a model.

    Args:
        setting: what to call the setting in messages.
        name: a folder, a shipped checkpoint or a repository of the hub, downloaded before or Wan's.
        part: "transformer", "vae" or "text_encoder".

    Raises:
        InputError: nothing of that name here, or it cannot be read.
    """
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
