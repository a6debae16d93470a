"""Shared by all tests: a tiny checkpoint on disk, and `tiny_models` importable by its name."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights in the hub layout. Tests that change it copy it first."""
    from tiny_models import save_tiny

    return save_tiny(tmp_path_factory.mktemp("checkpoints") / "tiny")
