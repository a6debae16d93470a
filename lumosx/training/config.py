"""The trainer's configuration: typed, closed, and the only documentation of its options.

Hydra composes YAML over these dataclasses, so a misspelt key fails before anything runs. Nothing after `load_config`
sees an untyped value.
"""

import difflib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lumosx.errors import InputError


@dataclass
class RunConfig:
    """Where a run lives: `root/name`. The same command resumes it."""

    root: str = "runs"
    name: str = MISSING
    seed: int = 0


@dataclass
class ModelConfig:
    """The model: a configuration of `LumosXTransformer3DModel`, and a trained text encoder's folder."""

    transformer: dict[str, Any] = field(default_factory=dict)
    init_from: str | None = None  # a checkpoint whose transformer the run starts from: phase 1's export
    text_encoder: str | None = None  # a folder with tokenizer/ and text_encoder/
    text_length: int = 512
    generation: dict[str, Any] = field(default_factory=dict)  # sampling defaults that the checkpoint will carry


@dataclass
class DataConfig:
    """Clips of the playground, and how they are varied."""

    width: int = 32
    height: int = 32
    frames: int = 9
    subjects: list[float] = field(default_factory=lambda: [0.25, 0.55, 0.2])  # shares of clips with 1, 2 ... people
    placed: float = 0.4  # the share of captions that say who stands where
    clips: int = 8  # a step
    noises: int = 3  # noisy copies of each clip, which share one pass over its references
    text_dropout: float = 0.1
    reference_dropout: float = 0.05  # clips that lose all references, for image guidance
    workers: int = 1


@dataclass
class ObjectiveConfig:
    """How sigma is drawn (equation 6) and what the loss weighs (equation 8)."""

    distribution: str = "logit_normal"
    mean: float = 0.0
    std: float = 1.0
    shift: float = 1.0
    sample_weighting: bool = (
        False  # weigh as an error of the clean clip, 1 / max(sigma, 0.2) of it, not of the velocity
    )


@dataclass
class OptimConfig:
    """Muon on the blocks' matrices, AdamW on everything else; a linear warm-up and a linear decay to 0 at the end."""

    lr: float = 1e-5
    muon_lr: float | None = None  # None: AdamW everywhere
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    decay: float = 0.33  # the share of all steps, at the end
    clip: float = 1.0


@dataclass
class TrainConfig:
    """Length of the run and what it leaves behind."""

    steps: int = MISSING
    checkpoint_every: int = 250
    log_every: int = 20
    ema: float = 0.99
    threads: int | None = None


@dataclass
class TextConfig:
    """The tiny text encoder and its training on captions. A configuration that has it trains this and nothing else."""

    width: int = 64
    layers: int = 3
    length: int = 96  # tokens a caption is padded to
    captions: int = 8192
    batch: int = 64
    lr: float = 2e-3  # the peak of one cycle
    weight_decay: float = 0.01


@dataclass
class Config:
    """Everything that `lumosx train` knows."""

    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    text: TextConfig | None = None

    @property
    def folder(self) -> Path:
        """The run's directory."""
        return Path(self.run.root) / self.run.name


def load_config(overrides: list[str], configs: Path) -> Config:
    """Composes `configs/train.yaml` with Hydra overrides such as `experiment=tiny_1 train.steps=100`.

    Raises:
        InputError: an unknown key (with the nearest one), a wrong type, a missing value, an unknown experiment.
    """
    ConfigStore.instance().store(name="base_train", node=Config)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(configs.resolve())):
            composed = compose(config_name="train", overrides=overrides)
        return OmegaConf.to_object(composed)  # pyright: ignore[reportReturnType]
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{error}{_suggestion(overrides)}".strip()) from error


def _suggestion(overrides: list[str]) -> str:
    known = _dotted(Config)
    for override in overrides:
        key = override.split("=")[0].lstrip("+~")
        if "." in key and key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            if near:
                return f"\n{key}: did you mean {near[0]}?"
    return ""


def _dotted(node: type, prefix: str = "") -> list[str]:
    names = []
    for item in fields(node):
        name = prefix + item.name
        names.append(name)
        for kind in (item.type, *get_args(item.type)):
            if isinstance(kind, type) and is_dataclass(kind):
                names += _dotted(kind, name + ".")
    return names
