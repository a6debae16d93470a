"""A text encoder folder and a run configuration small enough for tests of the loop."""

from pathlib import Path

import pytest
import torch
from transformers import UMT5Config, UMT5EncoderModel

from lumosx.paths import configs_dir
from lumosx.playground import World
from lumosx.scene import Scene
from lumosx.training.config import Config, load_config
from lumosx.training.text_encoder import train_tokenizer


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("text")
    scenes = World().render(range(16)).scenes
    tokenizer = train_tokenizer([Scene.from_dict(scene).prompt for scene in scenes])
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = UMT5Config(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, **sizes)
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder


@pytest.fixture
def config(text_encoder: Path, tmp_path: Path) -> Config:
    """Four steps of a two-layer model on two clips."""
    return load_config(
        [
            "experiment=tiny_1",
            f"run.root={tmp_path}",
            f"model.text_encoder={text_encoder}",
            "model.transformer.text_dim=16",
            "model.transformer.num_layers=2",
            "model.transformer.num_attention_heads=1",
            "model.transformer.ffn_dim=32",
            "data.clips=2",
            "data.noises=2",
            "data.workers=0",
            "train.steps=4",
            "train.checkpoint_every=2",
            "train.log_every=1",
        ],
        configs_dir(),
    )
