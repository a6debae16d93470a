"""A run's configuration small enough for tests of the loop."""

from pathlib import Path

import pytest

from lumosx.paths import configs_dir
from lumosx.training.config import Config, load_config


@pytest.fixture
def config(text_encoder: Path, tmp_path: Path) -> Config:
    """Four steps of a two-layer model on two clips of 32 x 32 pixels and 5 frames."""
    return load_config(
        [
            "experiment=tiny_1",
            f"run.root={tmp_path}",
            f"model.text_encoder={text_encoder}",
            "model.transformer.text_dim=16",
            "model.transformer.num_layers=2",
            "model.transformer.num_attention_heads=1",
            "model.transformer.ffn_dim=32",
            "model.generation.size=32x32",
            "model.generation.frames=5",
            "data.buckets=[32x32x5]",
            "data.noises=2",
            "data.workers=0",
            "train.batch=2",
            "train.steps=4",
            "train.checkpoint_every=2",
            "train.log_every=1",
            "validation.every=null",
        ],
        configs_dir(),
    )
