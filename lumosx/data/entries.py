"""What every form of a data set is read into before it is judged: plain data, where it stands, and what is wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lumosx.errors import InputError

SHOWN = 20  # problems that are told in full


@dataclass(frozen=True)
class Entry:
    """A record as plain data. `where` names its file and line; `lines` does so for single media of it."""

    where: str
    data: Any
    lines: Mapping[str, str] = field(default_factory=dict)


class Problems:
    """Collects what is wrong with a data set, so that one run shows all of it."""

    def __init__(self) -> None:
        self._shown: list[str] = []
        self._count = 0

    def add(self, where: str | Path, text: str) -> None:
        """Record a problem."""
        self._count += 1
        if self._count <= SHOWN:
            self._shown.append(f"{where}: {text}")

    @property
    def full(self) -> bool:
        """Whether further problems are only counted."""
        return self._count >= SHOWN

    def expect_none(self, path: str | Path) -> None:
        """Raises InputError with everything that was recorded about the data set at `path`."""
        if self._count:
            rest = [f"... and {self._count - SHOWN} more"] if self._count > SHOWN else []
            number = "1 problem" if self._count == 1 else f"{self._count} problems"
            raise InputError("\n".join([f"{path}: {number} in this data set", *self._shown, *rest]))
