"""A run's result: the averaged weights as a pipeline in the hub layout."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from torch import Tensor

from lumosx.data.encoder import Encoder
from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.flow import make_solver
from lumosx.models import LumosXTransformer3DModel
from lumosx.pipelines import LumosXPipeline
from lumosx.pipelines.settings import Settings
from lumosx.training.config import Config
from lumosx.training.lora import add_lora, lora_state, merged, save_lora
from lumosx.training.model import build_model


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


def export_run(config: Config, encoder: Encoder, weights: dict[str, Tensor], folder: Path) -> None:
    """Writes whole trained weights (by the names of the trained model) as a checkpoint, whole or not at all.

    A LoRA run leaves its adapter alone beside it, under RUN/lora, and the merged weights in the checkpoint.
    """
    model = build_model(config)
    if config.lora is not None:
        save_lora(lora_state(weights, config.lora), folder.parent / "lora")
        add_lora(trained := build_model(config), config.lora)
        weights = merged(trained.state_dict() | weights, config.lora)
    model.load_state_dict(weights)
    with atomic(folder) as beside:
        make_pipeline(config, encoder, model.eval()).save_pretrained(beside)
