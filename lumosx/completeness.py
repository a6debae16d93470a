"""A model has all its tensors or is an error: the libraries below warn and go on with random numbers instead."""

from collections.abc import Iterable
from pathlib import Path

from lumosx.errors import InputError


def expect_none_missing(place: str | Path, model: str, missing: Iterable[str]) -> None:
    """Raises InputError naming the first tensors of `model` that `place` does not hold."""
    names = sorted(missing)
    if names:
        shown = ", ".join(names[:5]) + (" ..." if len(names) > 5 else "")
        raise InputError(f"{place} lacks {len(names)} tensors of {model}: {shown}")
