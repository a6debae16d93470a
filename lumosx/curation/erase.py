"""Removes every trace of videos from a data set: faces are biometric data, and a person may want out.

What is measured of them, their clips' records, what reviewers said of these, and every blob that nothing else names.
The video files themselves are the user's; they need not be there any more. A later run leaves them out where they still
lie in its folder: their digests are remembered.
"""

import json
import re
from collections.abc import Callable, Collection
from pathlib import Path

from lumosx.curation.blobs import FOLDER
from lumosx.curation.ledger import Ledger
from lumosx.curation.review import read_reviews
from lumosx.curation.sources import KNOWN, forget
from lumosx.data.entries import Problems
from lumosx.data.parquet import NAME, read_parquet, write_parquet
from lumosx.errors import InputError
from lumosx.files import atomic, clear_leftovers, write_json
from lumosx.records import ClipRecord

ERASED = "erased.json"
NAMES = re.compile(rf"{FOLDER}/[0-9a-f]{{2}}/[0-9a-f]{{64}}\.\w+")

Kept = Callable[[str], bool]  # of the id of a video or clip


def erase(work: Path, root: Path, sources: Collection[str]) -> int:
    """Removes all traces of videos; how many blobs these were. Killed, it is to be repeated.

    Args:
        work: folder of the data set with ledger, reviews and report.
        root: the data set, which must not be in use.
        sources: ids of videos.

    Raises:
        InputError: a file of the data set cannot be read.
    """
    write_json(sorted({*erased(work), *sources}), work / ERASED)  # first, so that a kill leaves them out already

    def kept(record: str) -> bool:
        return record.split("-")[0] not in sources

    ledger = Ledger(work / "ledger")
    ledger.tidy()
    for folder in (root, work):
        clear_leftovers(folder)
    _keep_records(root, kept)
    _keep_reviews(work / "reviews.jsonl", kept)
    (work / "report.html").unlink(missing_ok=True)
    blobs = _clear_blobs(root, _keep_rows(ledger, kept))
    forget(work / KNOWN, sources)  # last, because it knows them by name
    return blobs


def measured(ledger: Ledger) -> set[str]:
    """Ids of all videos of which there are rows."""
    return {record.split("-")[0] for stage in ledger.stages() for record in ledger.records(stage)}


def erased(work: Path) -> list[str]:
    """Ids of the videos that were erased."""
    path = work / ERASED
    if not path.is_file():
        return []
    try:
        return [str(each) for each in json.loads(path.read_text(encoding="utf-8"))]
    except ValueError as error:
        raise InputError(f"{path}: no list of ids ({error}); it says which videos must stay out") from error


def _keep_rows(ledger: Ledger, kept: Kept) -> set[str]:
    """Removes the rows of all others; the names of the blobs that those of the kept ones name."""
    named = set[str]()
    for stage in ledger.stages():
        rows = ledger.all_rows(stage)
        left = [row for row in rows if kept(row.record)]
        if len(left) < len(rows):
            ledger.rewrite(stage, left)
        named.update(name for row in left for name in NAMES.findall(row.value or ""))
    return named


def _clear_blobs(root: Path, named: set[str]) -> int:
    """Removes all blobs but those that are named; how many."""
    lost = [path for path in (root / FOLDER).rglob("*") if path.is_file() and _name(path, root) not in named]
    for path in lost:
        path.unlink()
    return len(lost)


def _keep_records(root: Path, kept: Kept) -> None:
    path, problems = root / NAME, Problems()
    if path.is_file():
        records = [ClipRecord.from_dict(entry.data) for entry in read_parquet([path], problems)]
        problems.expect_none(path)
        write_parquet([record for record in records if kept(record.id)], root)


def _keep_reviews(path: Path, kept: Kept) -> None:
    reviews = read_reviews(path)
    if not all(kept(review.clip) for review in reviews):
        with atomic(path) as temporary:
            lines = [review.model_dump_json() + "\n" for review in reviews if kept(review.clip)]
            temporary.write_text("".join(lines), encoding="utf-8")


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
