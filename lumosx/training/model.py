"""The models of a run: the transformer that it trains, made new or taken from where it starts, and the frozen parts."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lumosx.data.encoder import Encoder
from lumosx.data.examples import Reading
from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.grid import Grid
from lumosx.paths import checkpoint_path, names_repository
from lumosx.training.config import Config


def build_model(config: Config) -> LumosXTransformer3DModel:
    """The model with its first weights, float32, on the CPU. The same seed gives the same weights.

    Raises:
        InputError: `model.transformer` does not describe one, or `model.init_from` names nothing.
    """
    torch.manual_seed(config.run.seed)
    options = {**config.model.transformer, "r2pe": config.model.r2pe, "csam": config.model.csam}
    try:
        if config.model.init_from is None:
            model = LumosXTransformer3DModel(**options)
            init_weights(model)
            return model
        place = starting_place(config)
        return LumosXTransformer3DModel.from_pretrained(place, subfolder="transformer", **options)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.transformer: {error}") from error
    except OSError as error:
        raise InputError(f"model.init_from={config.model.init_from}: {error}") from error


def open_encoder(config: Config, device: torch.device) -> Encoder:
    """The frozen text encoder and codec. umT5 has 5.7 G parameters: a bf16 run holds them in bf16, as Wan does."""
    dtype = torch.bfloat16 if config.train.precision == "bf16" else torch.float32
    return Encoder.open(config.model.text_encoder, config.model.codec, device, dtype)


def make_reading(config: Config, encoder: Encoder, transformer: Mapping[str, Any]) -> Reading:
    """How the run's clips become what its model reads: the same for training and for `lumosx cache`.

    Args:
        transformer: the model's configuration.
    """
    return Reading(
        data=config.data,
        tokenizer=encoder.tokenizer,
        text_length=config.model.text_length,
        grid_of=Grid.of(encoder.codec.config, tuple(transformer["patch_size"])).tokens,
        seed=config.run.seed,
        r2pe=config.model.r2pe,
        csam=config.model.csam,
        rules=transformer["rules"],
    )


def starting_place(config: Config) -> str:
    """Folder or repository of the checkpoint that `model.init_from` names: a run's, or any.

    Raises:
        InputError: there is none.
    """
    name = config.model.init_from
    assert name is not None
    run = Path(config.run.root) / name
    if (run / "export").is_dir():
        return str(run / "export")
    if (run / "config.yaml").is_file():  # a run; a checkpoint has none
        raise InputError(f"model.init_from={name}: {run} has no export yet; finish that run first")
    try:
        return str(checkpoint_path(name))
    except InputError as error:
        if names_repository(name):
            return name
        raise InputError(f"model.init_from={name}: no run of that name in {config.run.root}, and {error}") from error


def digest_of_start(config: Config) -> str | None:
    """sha256 of the weights that the run starts from; None if there are none, or on the hub."""
    if config.model.init_from is None:
        return None
    folder = Path(starting_place(config)) / "transformer"
    return sha256_of(folder) if folder.is_dir() else None


def init_weights(model: LumosXTransformer3DModel) -> None:
    """Wan's initialisation: Xavier matrices, a small time embedding, a head that starts at zero.

    The text embedding starts at full size: Wan's small one left the words unused for thousands of steps.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model.patch_embedding.weight.flatten(1))
    time_embedder = model.condition_embedder.time_embedder
    for linear in (time_embedder.linear_1, time_embedder.linear_2):
        nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(model.proj_out.weight)
