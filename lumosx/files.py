"""Atomic writing: a file or folder appears under its name only when it is complete and on the disk.

Sampling is killed often (batch queues, impatience), and a half-written clip that looks finished is worse
than none.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import IO, Any


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A path beside `path` to write a file or folder to; it takes `path`'s place when the block ends well.

    Whatever stood at `path` stays until then, and stays altogether when the block raises.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        yield temporary
        if target.is_dir() and temporary.is_dir():  # a folder cannot be renamed over one that is not empty
            previous = temporary.with_suffix(".old")
            os.replace(target, previous)
            rename_durably(temporary, target)
            shutil.rmtree(previous)
        else:
            rename_durably(temporary, target)
    finally:
        _remove(temporary)


def rename_durably(source: Path, target: Path) -> None:
    """Renames a file or folder once all of it is on the disk."""
    for path in [*source.rglob("*"), source]:
        _flush(path)
    os.replace(source, target)
    _flush(target.parent)


def discard(path: Path) -> None:
    """Removes a folder that others read: it is gone at once, not file by file."""
    doomed = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.old")
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def clear_leftovers(folder: Path) -> None:
    """Removes what a kill left of `atomic` and `discard` in a folder. Nobody else may be writing there."""
    for leftover in (*folder.glob(".*.part"), *folder.glob(".*.old")):
        _remove(leftover)


def lock(path: Path) -> IO[str] | None:
    """Takes a lock for this process, which holds it until the file is closed or it ends; None: another one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("w")
    try:  # not flock: a child process would inherit it and hold it when this process was killed
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        file.close()
        return None
    return file


def write_json(data: Any, path: str | Path) -> None:
    """Writes JSON for people, lists of numbers on one line, atomically."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    text = re.sub(r"\[\n([-\d.,\s]+?)\n\s*\]", lambda found: f"[{' '.join(found[1].split())}]", text)
    with atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def sha256_of(path: Path) -> str:
    """Of a file's bytes, or of the names and bytes of all files of a folder."""
    if path.is_dir():
        parts = "".join(f"{p.relative_to(path).as_posix()} {sha256_of(p)}\n" for p in _files(path))
        return hashlib.sha256(parts.encode()).hexdigest()
    status = path.stat()
    return _sha256(path.resolve(), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=512)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Cached, because weights are gigabytes and a session samples many clips from them."""
    del size, changed
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
