"""A model has all its tensors or is an error: the libraries below warn and go on with random numbers instead."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import safe_open

from lumosx.errors import InputError


def expect_none_missing(place: str | Path, model: str, missing: Iterable[str]) -> None:
    """Raises InputError naming the first tensors of `model` that `place` does not hold."""
    names = sorted(missing)
    if names:
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise InputError(f"{place} lacks {len(names)} tensors of {model}: {shown}")


def expect_complete(folder: Path, components: Mapping[str, Any]) -> None:
    """Raises InputError if a model has a tensor that its folder does not hold.

    Args:
        folder: with a folder for each model, which holds its weights as safetensors.
        components: models by name; whatever else there is, is left alone.
    """
    from torch import nn  # which those who look at other models do without

    for name, model in components.items():
        files = sorted((folder / name).glob("*.safetensors"))
        if isinstance(model, nn.Module) and files:
            tensors = model.state_dict()
            stored = {key for file in files for key in _keys(file)}
            shared = {tensors[key].data_ptr() for key in stored & set(tensors)}  # tied weights are stored once
            missing = [k for k, t in tensors.items() if k not in stored and t.data_ptr() not in shared]
            expect_none_missing(folder / name, type(model).__name__, missing)


def _keys(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as handle:
        return list(handle.keys())
