"""Checkpoints of a run: written beside and renamed, so that a kill leaves the last good one."""

from pathlib import Path
from typing import Any

import torch

from lumosx.errors import InputError
from lumosx.files import atomic


def save(state: dict[str, Any], path: Path) -> None:
    """Writes `state` to `path` completely or not at all."""
    with atomic(path) as temporary:
        torch.save(state, temporary)


def load(path: Path) -> dict[str, Any] | None:
    """The checkpoint at `path`, or None if the run has none yet.

    Raises:
        InputError: there is one but it cannot be read; a run must not start anew over it.
    """
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"checkpoint {path} cannot be read: {error}. Move it away to start this run anew") from error
