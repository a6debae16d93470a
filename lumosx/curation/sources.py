"""The raw videos of a run, and the clips that they are cut into.

A video is known by its bytes, so it may move or be renamed between runs, and a copy is not curated twice. A clip is
known by its video and its time there, so the same cut is the same clip.
"""

import json
import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from lumosx.errors import InputError
from lumosx.files import sha256_of, write_json

SUFFIXES = {".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".flv", ".wmv"}


@dataclass(frozen=True)
class Source:
    """A video file. `path` is where it lies now, which no result depends on; `name` is that below the folder given."""

    id: str
    path: Path
    name: str


@dataclass(frozen=True)
class Clip:
    """A part of a video, from `start` up to `end`, in seconds of its time stamps."""

    source: Source
    start: float
    end: float

    @property
    def id(self) -> str:
        return f"{self.source.id}-{round(self.start * 1000):08d}-{round(self.end * 1000):08d}"


@dataclass(frozen=True)
class Found:
    """What lies in a folder: videos by id, files that are copies of one of them, and those that cannot be read."""

    sources: list[Source]
    copies: dict[str, str]  # name of the copy -> name of what it is a copy of
    unreadable: dict[str, str]  # name -> why


def find_sources(folder: Path, known: Path, erased: Collection[str] = ()) -> Found:
    """The videos in a folder and below, by the suffixes of video files.

    Args:
        folder: to be searched; files and folders that begin with a dot are left out.
        known: a file that remembers digests, so that files that did not change are not read again, and that videos
            are known by name when they are no longer there.
        erased: ids of videos that are left out.

    Raises:
        InputError: no such folder, or no video in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one with your videos")
    paths = sorted(_videos(folder), key=lambda path: (len(path.name), path))  # a copy has the longer name
    if not paths:
        raise InputError(f"{folder}: no video in it ({', '.join(sorted(SUFFIXES))})")
    before = _remembered(known)
    now = dict(before)
    sources: dict[str, Source] = {}
    copies, unreadable = {}, {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            status = path.stat()
            key = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
            now[key] = digest = before.get(key) or sha256_of(path)
        except OSError as error:
            unreadable[name] = str(error)
            continue
        source = Source(digest[:16], path, name)
        if source.id in erased:
            continue
        if sources.setdefault(source.id, source) is not source:
            copies[name] = sources[source.id].name
    if now != before:
        write_json(now, known)
    return Found(sorted(sources.values(), key=lambda source: source.id), copies, unreadable)


def names_of(folder: Path, known: Path) -> dict[str, set[str]]:
    """The ids of all videos that a folder holds or once held, by the name that they had, as `known` remembers them."""
    root, found = folder.resolve(), dict[str, set[str]]()
    for key, digest in _remembered(known).items():
        path = Path(key.rsplit("|", 2)[0])
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        found.setdefault(name, set()).add(digest[:16])
    return found


def forget(known: Path, sources: Collection[str]) -> None:
    """Removes videos from what `known` remembers."""
    before = _remembered(known)
    write_json({key: digest for key, digest in before.items() if digest[:16] not in sources}, known)


def _videos(folder: Path) -> Iterable[Path]:
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (
            Path(root, name) for name in files if Path(name).suffix.lower() in SUFFIXES and not name.startswith(".")
        )


def _remembered(known: Path) -> dict[str, str]:
    try:
        return json.loads(known.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
