"""Outcomes of a measurement as JSON lines, so that a killed one goes on where it was and several add up.

The first line says what was measured; every other line is the outcome of one clip, written when it was read.
"""

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lumosx.errors import InputError
from lumosx.evaluation.binding import Key, Outcome


def resume(path: Path, measured: dict[str, Any]) -> dict[Key, Outcome]:
    """The outcomes in a file by their keys, without a line that a kill cut short; starts the file if there is none.

    Args:
        measured: plain data, all that outcomes must share to be reported together, such as the model's hashes.

    Raises:
        InputError: the file holds outcomes of something else, or lines that are none.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    header = _line({"measured": measured})
    written = path.read_bytes() if path.exists() else b""
    if header.startswith(written):  # nothing, or cut short at the first line
        path.write_bytes(header)
        return {}
    whole = written[: written.rfind(b"\n") + 1]
    first, *lines = whole.splitlines() or [b""]
    _expect_same(path, first, measured)
    outcomes = [_parse(path, number, line) for number, line in enumerate(lines, 2)]
    os.truncate(path, len(whole))
    return {outcome.key: outcome for outcome in outcomes}


def load(path: Path) -> list[Outcome]:
    """The outcomes in a file that `resume` opened, without a line that a kill cut short.

    Raises:
        InputError: lines that are none.
    """
    written = path.read_bytes()
    lines = written[: written.rfind(b"\n") + 1].splitlines()[1:]
    return [_parse(path, number, line) for number, line in enumerate(lines, 2)]


def append(path: Path, outcome: Outcome) -> None:
    """Adds an outcome to a file that `resume` has opened."""
    with path.open("ab") as file:
        file.write(_line(asdict(outcome)))


def _line(data: dict[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _expect_same(path: Path, line: bytes, measured: dict[str, Any]) -> None:
    try:
        before = json.loads(line)["measured"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}:1 does not say what was measured; remove the file or choose another --out") from error
    changed = sorted(key for key in before.keys() | measured.keys() if before.get(key) != measured.get(key))
    if changed:
        raise InputError(
            f"{path} holds readings of another {', '.join(changed)}; remove the file or choose another --out"
        )


def _parse(path: Path, number: int, line: bytes) -> Outcome:
    try:
        return Outcome.from_dict(json.loads(line))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}:{number} is no reading of this version; remove that line") from error
