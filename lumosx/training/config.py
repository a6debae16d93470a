"""The trainer's configuration: typed, closed, and the only documentation of its options.

Hydra composes YAML over these dataclasses, so a misspelt key fails before anything runs. Nothing after `load_config`
sees an untyped value.
"""

import difflib
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lumosx.data.config import DataConfig
from lumosx.errors import InputError


@dataclass
class RunConfig:
    """Where a run lives: `root/name`. The same command resumes it."""

    root: str = "runs"
    name: str = MISSING
    seed: int = 0
    accept_changes: bool = False  # go on with a run although its configuration has changed


@dataclass
class ModelConfig:
    """The model: a configuration of `LumosXTransformer3DModel`, and the frozen parts around it."""

    transformer: dict[str, Any] = field(default_factory=dict)  # over what `init_from` states
    init_from: str | None = None  # what the run starts from: the name of a run below run.root, or a checkpoint
    text_encoder: str = "checkpoints/lumosx-tiny"  # a checkpoint, or a folder with tokenizer/ and text_encoder/
    codec: str = "checkpoints/lumosx-tiny"  # a checkpoint, or a folder with vae/
    text_length: int = 512
    r2pe: bool = True  # False: an ablation without equation (1)
    csam: bool = True  # False: without equation (2). MCAM is switched by transformer.mcam_ratio
    generation: dict[str, Any] = field(default_factory=dict)  # sampling defaults that the checkpoint will carry


@dataclass
class LoraConfig:
    """Low-rank adapters (peft) on the blocks' linear layers; everything else is frozen."""

    rank: int = 16
    alpha: int = 16
    targets: list[str] = field(default_factory=lambda: ["to_q", "to_k", "to_v", "to_out.0"])


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
    """AdamW; a linear warm-up and a linear decay to 0 at the end. Where `muon_lr` is set, Muon on the blocks' matrices
    and AdamW on the rest."""

    name: str = "adamw"  # or adamw8bit (bitsandbytes, CUDA)
    lr: float = 1e-5
    muon_lr: float | None = None  # None: no Muon
    weight_decay: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    warmup: int = 100
    decay: float = 0.33  # the share of all steps, at the end
    clip: float = 1.0


@dataclass
class GuardConfig:
    """Updates that are left out because they would do harm: their loss or gradient is no number, or far too large."""

    spike: float = 20.0  # times its running mean: a loss, or a gradient's norm, that is too large
    patience: int = 10  # left-out updates in a row that stop the run


@dataclass
class TrainConfig:
    """Length of the run, its batch, and how it computes."""

    steps: int = MISSING
    batch: int = 1  # clips a step, over all ranks
    micro_batch: int | None = None  # clips a pass on one rank; None: its whole share of the batch
    precision: str = "fp32"  # or bf16: matrix products in bf16; weights, norms, modulation and time stay fp32
    checkpointing: str = "none"  # of activations: none, full, or selective (keeps what attention gave)
    compile: bool = False
    ema: float = 0.99
    checkpoint_every: int = 250
    keep: int = 2  # checkpoints that stay
    log_every: int = 20
    threads: int | None = None


@dataclass
class ParallelConfig:
    """How a run spreads over processes (torchrun)."""

    engine: str = "auto"  # single, ddp, fsdp2, zero2 or zero3; auto: single for one process, else ddp
    sequence: int = 1  # ranks that share one clip's tokens (Ulysses); divides the heads
    shard: int | None = None  # fsdp2: ranks that share one copy of the weights; None: all of them
    timeout_minutes: float = 30.0


@dataclass
class ValidationConfig:
    """The loss at fixed noise levels on fixed clips: comparable from run to run."""

    every: int | None = None  # steps; None: never
    clips: int = 16
    sigmas: list[float] = field(default_factory=lambda: [0.1, 0.3, 0.5, 0.7, 0.9])
    samples: int = 0  # clips that are sampled beside it


@dataclass
class TrackConfig:
    """Where figures go beside RUN/log.jsonl, which is always written."""

    to: list[str] = field(default_factory=list)  # of wandb, tensorboard, trackio
    project: str = "lumosx"


@dataclass
class TextConfig:
    """The tiny text encoder and its training on captions. A configuration that has it trains this and nothing else."""

    width: int = 64
    layers: int = 3
    length: int = 80  # tokens a caption is padded to
    captions: int = 8192
    batch: int = 64
    lr: float = 2e-3  # the peak of one cycle
    weight_decay: float = 0.01


@dataclass
class CodecConfig:
    """The tiny model's codec and its fit to rendered clips. A configuration that has it fits this and nothing else."""

    channels: int = 64
    spatial: int = 8  # pixels across a block
    temporal: int = 4  # frames of a block
    clips: int = 512


@dataclass
class Config:
    """Everything that `lumosx train` knows."""

    run: RunConfig = field(default_factory=RunConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    lora: LoraConfig | None = None
    data: DataConfig = field(default_factory=DataConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    guard: GuardConfig = field(default_factory=GuardConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    track: TrackConfig = field(default_factory=TrackConfig)
    text: TextConfig | None = None
    codec: CodecConfig | None = None
    phases: list[str] | None = None  # experiments that run one after the other, as run.name-1, run.name-2 ...

    @property
    def folder(self) -> Path:
        """The run's directory."""
        return Path(self.run.root) / self.run.name


def load_config(overrides: list[str], configs: Path) -> Config:
    """Composes `configs/train.yaml` with Hydra overrides such as `experiment=tiny_1 train.steps=100`, for one run.

    Raises:
        InputError: an unknown key (with the nearest one), a wrong type, a missing value, an unknown experiment, or a
            key of a part such as `lora` that the experiment does not have.
    """
    return _typed(_composed(overrides, configs), overrides)


def load_runs(overrides: list[str], configs: Path) -> list[Config]:
    """The runs that a command asks for: one, or one for each of `phases`, each starting from the one before.

    Phase i of a run NAME is the run NAME-i; overrides hold for all phases.

    Raises:
        InputError: as for `load_config`.
    """
    composed = _composed(overrides, configs)
    if composed.phases is None:
        return [_typed(composed, overrides)]
    runs, name = [], composed.run.name
    for number, phase in enumerate(composed.phases, 1):
        own = [f"experiment={phase}", *(o for o in overrides if not o.startswith(("experiment=", "run.name=")))]
        own += [f"run.name={name}-{number}"]
        own += [f"model.init_from={name}-{number - 1}"] if number > 1 else []
        runs.append(load_config(own, configs))
    return runs


def _composed(overrides: list[str], configs: Path) -> DictConfig:
    ConfigStore.instance().store(name="base_train", node=Config)
    try:
        with initialize_config_dir(version_base="1.3", config_dir=str(configs.resolve())):
            _expect_parts(overrides, configs)
            return compose(config_name="train", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise InputError(f"{error}{_suggestion(overrides)}".strip()) from error


def _expect_parts(overrides: list[str], configs: Path) -> None:
    """Refuses keys of a part that the experiment leaves None; in Hydra they fail on an assertion that names nothing."""
    parts = [name for name, kind in _dotted(Config).items() if any(map(is_dataclass, get_args(kind)))]
    asked = [(override, part) for override in overrides for part in parts if _sets_within(override, part)]
    if not asked:
        return
    others = [override for override in overrides if override not in dict(asked)]
    composed = compose(config_name="train", overrides=others)
    for override, part in asked:
        if OmegaConf.select(composed, part) is None:
            files = sorted((configs / "experiment").glob("*.yaml"))
            having = [file.stem for file in files if OmegaConf.select(OmegaConf.load(file), part) is not None]
            raise InputError(
                f"{override}: this experiment has no {part}. Take one that has ({', '.join(having)}), or state {part} "
                "in an experiment's YAML"
            )


def _sets_within(override: str, part: str) -> bool:
    """Whether it changes values of a part; not whether it takes the part away."""
    key, _, value = override.lstrip("+").partition("=")
    return key.startswith(part + ".") or (key == part and value.startswith("{"))


def _typed(composed: DictConfig, overrides: list[str]) -> Config:
    try:
        return OmegaConf.to_object(composed)  # pyright: ignore[reportReturnType]
    except OmegaConfBaseException as error:
        raise InputError(f"{error}{_suggestion(overrides)}".strip()) from error


def _suggestion(overrides: list[str]) -> str:
    known = _dotted(Config)
    for override in overrides:
        key, _, value = override.lstrip("+~").partition("=")
        if get_origin(known.get(key)) is list and not value.startswith("["):
            return f"\n{key} is a list: {key}=[{value}]"
        if key not in (*known, "experiment"):
            near = difflib.get_close_matches(key, [*known, "experiment"], n=1)
            if near:
                return f"\n{key}: did you mean {near[0]}?"
    return ""


def _dotted(node: type, prefix: str = "") -> dict[str, Any]:
    """All keys of a configuration, dotted, and their types."""
    types: dict[str, Any] = {}
    for item in fields(node):
        name = prefix + item.name
        types[name] = item.type
        for kind in (item.type, *get_args(item.type)):
            if isinstance(kind, type) and is_dataclass(kind):
                types |= _dotted(kind, name + ".")
    return types
