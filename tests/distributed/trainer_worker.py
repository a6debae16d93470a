"""Whole runs on several processes."""

from dataclasses import replace
from pathlib import Path

from worker import check, main

from lumosx.paths import configs_dir
from lumosx.training.config import Config, load_config
from lumosx.training.ranks import Ranks
from lumosx.training.trainer import Trainer

SETTINGS = [
    "experiment=tiny_1", "model.transformer.num_layers=2", "model.transformer.num_attention_heads=2",
    "model.transformer.ffn_dim=32", "model.transformer.text_dim=16", "data.buckets=[32x32x5]", "data.noises=2",
    "data.workers=0", "train.batch=4", "train.checkpoint_every=2", "train.log_every=1", "optim.muon_lr=null",
    "validation.every=2", "validation.clips=3", "validation.sigmas=[0.5]",
]  # fmt: skip


def run_config(folder: Path, name: str, *overrides: str) -> Config:
    """A run of `name` below `folder`, which holds the text encoder too."""
    own = [f"run.root={folder}", f"run.name={name}", f"model.text_encoder={folder}/text"]
    return load_config([*SETTINGS, *own, *overrides], configs_dir())


@check
def run(ranks: Ranks, folder: Path, name: str, *overrides: str) -> None:
    """Trains a run, or goes on with it."""
    config = run_config(folder, name, *overrides)
    Trainer(config, replace(ranks, sequence=config.parallel.sequence)).fit()


if __name__ == "__main__":
    main()
