"""Removes every trace of videos from a data set: faces are biometric data, and a person may want out.

What is measured of them, their clips' records, and every blob that nothing else names. The video files themselves are
the user's. A later run leaves them out even where they still lie in its folder: their digests are remembered.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path

from lumosx.curation.blobs import FOLDER
from lumosx.curation.ledger import Ledger
from lumosx.errors import InputError
from lumosx.files import write_json

ERASED = "erased.json"
NAMES = re.compile(rf"{FOLDER}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\.\w+")


def erase(work: Path, root: Path, sources: Iterable[str]) -> int:
    """Removes all rows of videos and of their clips, and the blobs that are left over; how many blobs these were.

    Args:
        work: folder of the ledger.
        root: the data set, which must not be in use.
        sources: ids of videos.
    """
    doomed = sorted(set(sources))
    write_json(sorted({*erased(work), *doomed}), work / ERASED)  # first, so that a kill leaves them out already
    ledger = Ledger(work / "ledger")
    ledger.remove([record for record in _records(ledger) if record.split("-")[0] in doomed])
    return clear_blobs(root, ledger)


def erased(work: Path) -> list[str]:
    """Ids of the videos that were erased."""
    path = work / ERASED
    if not path.is_file():
        return []
    try:
        return [str(each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except ValueError as error:
        raise InputError(f"{path}: no list of ids ({error}); it says which videos must stay out") from error


def clear_blobs(root: Path, ledger: Ledger) -> int:
    """Removes the blobs that no row names; how many."""
    named = {
        name for stage in ledger.stages() for row in ledger.all_rows(stage) for name in NAMES.findall(row.value or "")
    }
    lost = [path for path in (root / FOLDER).rglob("*") if path.is_file() and _name(path, root) not in named]
    for path in lost:
        path.unlink()
    return len(lost)


def _records(ledger: Ledger) -> set[str]:
    return {row.record for stage in ledger.stages() for row in ledger.all_rows(stage)}


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
