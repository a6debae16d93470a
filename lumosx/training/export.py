"""A run's result: the averaged weights as a pipeline in the hub layout."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumosx.data.encoder import Encoder
from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.flow import make_solver
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.containers import read_state_dict
from lumosx.pipelines import LumosXPipeline
from lumosx.pipelines.settings import Settings
from lumosx.training.checkpoint import last_checkpoint
from lumosx.training.config import Config
from lumosx.training.lora import add_lora, lora_state, merged, save_lora
from lumosx.training.model import build_model, open_encoder
from lumosx.training.run import saved_config


def expect_settings(generation: dict[str, Any]) -> Any:
    """The solver of a checkpoint's sampling defaults.

    Raises:
        InputError: they hold a key or value that sampling does not know.
    """
    try:
        settings = Settings(**generation)
        return make_solver(settings.solver, settings.steps, settings.shift)
    except (TypeError, InputError) as error:
        known = ", ".join(field.name for field in fields(Settings))
        raise InputError(f"model.generation: {error}. Its keys are {known}") from error


def make_pipeline(config: Config, encoder: Encoder, model: LumosXTransformer3DModel) -> LumosXPipeline:
    """A pipeline over `model` and the run's frozen parts."""
    return LumosXPipeline(
        tokenizer=encoder.tokenizer,
        text_encoder=encoder.text_encoder,
        transformer=model,
        vae=encoder.codec,
        scheduler=expect_settings(config.model.generation),
        text_length=config.model.text_length,
        generation=config.model.generation,
    )


def export_run(config: Config, encoder: Encoder, weights: dict[str, Tensor], folder: Path, adapter: Path) -> None:
    """Writes whole trained weights (by the names of the trained model) as a checkpoint, whole or not at all.

    Args:
        adapter: a LoRA run has the merged weights in the checkpoint, and its adapter alone here.
    """
    model = build_model(config)
    if config.lora is not None:
        save_lora(lora_state(weights, config.lora), adapter)
        weights = merged(_trained_model(config).state_dict() | weights, config.lora)
    model.load_state_dict(weights)
    encoder.tokenizer.backend_tokenizer.no_truncation()  # would be saved as the last call had set it
    encoder.tokenizer.backend_tokenizer.no_padding()
    with atomic(folder) as beside:
        make_pipeline(config, encoder, model.eval()).save_pretrained(beside)
        _forget_places(beside)


def _forget_places(folder: Path) -> None:
    """Takes out of the saved configurations where on this machine a frozen part was loaded from, as diffusers notes."""
    for path in folder.glob("*/config.json"):
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def export_last_checkpoint(run: Path, folder: Path) -> Path:
    """Writes the averaged weights of a run's last whole checkpoint as `export_run` does; the run may be going on.

    A LoRA run's adapter goes to FOLDER-lora. Nothing in the run's folder is changed.

    Returns:
        The checkpoint that was read.

    Raises:
        InputError: the run has no whole checkpoint yet, one that cannot be read, or what is to be written exists.
    """
    config = saved_config(run)
    adapter = folder.with_name(f"{folder.name}-lora")
    for place in (folder,) if config.lora is None else (folder, adapter):
        if place.exists():
            raise InputError(f"{place} exists already; choose another folder or remove it first")
    checkpoint = last_checkpoint(run / "checkpoints")
    if checkpoint is None:
        raise InputError(f"{run} has no whole checkpoint yet; the first comes at train.checkpoint_every")
    averages = _averages(checkpoint, config)  # at once: a run that goes on removes its older checkpoints
    export_run(config, open_encoder(config, torch.device("cpu")), averages, folder, adapter)
    return checkpoint


def _averages(checkpoint: Path, config: Config) -> dict[str, Tensor]:
    """The averaged weights in a checkpoint, whole, from any number of ranks and any engine, read by this process alone.

    ZeRO-3 keeps flat tensors, so they get their shapes from the model.
    """
    averages = read_state_dict(checkpoint)
    shapes = {name: p.shape for name, p in _trained_model(config).named_parameters() if p.requires_grad}
    if {n: t.numel() for n, t in averages.items()} != {n: shape.numel() for n, shape in shapes.items()}:
        raise InputError(f"{checkpoint} holds other weights than the model that config.yaml of its run describes")
    return {name: tensor.view(shapes[name]) for name, tensor in averages.items()}


def _trained_model(config: Config) -> LumosXTransformer3DModel:
    """The model as it trains, with its adapters if it has any, and its first weights."""
    model = build_model(config)
    if config.lora is not None:
        add_lora(model, config.lora)
    return model
