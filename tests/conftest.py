"""Shared by all tests: a tiny checkpoint on disk, and `tiny_models` and `composites` importable by their names."""

import re
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("lumosx", deadline=None)  # how long an example takes says nothing on a busy machine
settings.load_profile("lumosx")
sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1] / "scripts")]


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights in the hub layout. Tests that change it copy it first."""
    from tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny")


@pytest.fixture(scope="session")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of the playground's captions and a text encoder of random weights, 16 wide."""
    import torch
    from transformers import UMT5Config, UMT5EncoderModel

    from lumosx.playground import World
    from lumosx.playground.sampling import Wishes, sample_truth
    from lumosx.training.text_encoder import train_tokenizer

    folder = tmp_path_factory.mktemp("text")
    truths = [sample_truth(seed, "train", World.size, World.frames, Wishes()) for seed in range(200)]
    tokenizer = train_tokenizer([re.sub(r"\{([^:}]+):[^}]+\}", r"\1", truth.prompt) for truth in truths])
    tokenizer.save_pretrained(folder / "tokenizer")
    torch.manual_seed(0)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 16, "num_layers": 1, "num_heads": 2}
    config = UMT5Config(vocab_size=len(tokenizer), pad_token_id=0, eos_token_id=1, **sizes)
    UMT5EncoderModel(config).save_pretrained(folder / "text_encoder")
    return folder
