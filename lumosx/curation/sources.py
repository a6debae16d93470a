"""The raw videos of a run, and the clips that they are cut into.

A video is known by its bytes, so it may move or be renamed between runs, and a copy is not curated twice. A clip is
known by its video and its time there, so the same cut is the same clip.
"""

import json
import os
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from stat import S_ISREG

from lumosx.curation.blobs import FOLDER as BLOBS
from lumosx.errors import InputError
from lumosx.files import sha256_of, write_json

WORK = "curation"  # folder of a data set with what is not for training
SETUP = "setup.json"  # the last run, in that folder
KNOWN = "sources.json"  # digests of videos, in that folder
SUFFIXES = {
    ".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".3gp", ".ogv",
    ".flv", ".wmv",
}  # fmt: skip
WORDS = {".txt", ".json"}  # nobody takes them for videos, and each video may have its own (`vision.sidecar`)


@dataclass(frozen=True)
class Source:
    """A video file. `path` is where it lies now, which no result depends on; `name` is that below the folder given."""

    id: str
    path: Path
    name: str

    @property
    def called(self) -> str:
        """For people."""
        return self.name


@dataclass(frozen=True)
class Clip:
    """A part of a video, from `start` up to `end`, in seconds of its time stamps."""

    source: Source
    start: float
    end: float

    @cached_property
    def id(self) -> str:
        return f"{self.source.id}-{round(self.start * 1000):08d}-{round(self.end * 1000):08d}"

    @property
    def called(self) -> str:
        """For people."""
        return f"{self.source.name}, {self.start:.2f} to {self.end:.2f} s"


@dataclass(frozen=True)
class Found:
    """What lies in a folder: videos by id, files that are copies of one of them, those that cannot be read, and how
    many others there are."""

    sources: list[Source]
    copies: dict[str, str]  # name of the copy -> name of what it is a copy of
    unreadable: dict[str, str]  # name -> why
    others: Mapping[str, int] = field(default_factory=dict)  # suffix of files that are no videos -> how many


def find_sources(folder: Path, known: Path, erased: Collection[str] = (), measured: Collection[str] = ()) -> Found:
    """The videos in a folder and below, by the suffixes of video files.

    Args:
        folder: to be searched; files and folders that begin with a dot are left out, and so is what curation made:
            other data sets, and the one that `known` belongs to.
        known: a file in the data set's WORK that remembers digests, so that files that did not change are not read
            again.
        erased: ids of videos that are left out, and of which `known` remembers nothing.
        measured: ids of videos that `known` remembers by name when they are no longer there.

    Raises:
        InputError: no such folder, or no video in it.
    """
    expect_videos(folder, known)
    files = list(_files(folder, known))
    paths = sorted(filter(_is_video, files), key=lambda path: (len(path.name), path))  # a copy has the longer name
    before, root = _remembered(known), folder.resolve()
    now = {
        key: digest
        for key, digest in before.items()
        if digest[:16] not in erased and (digest[:16] in measured or _still_there(key))
    }
    sources: dict[str, Source] = {}
    copies, unreadable = {}, {}
    for path in paths:
        name = path.relative_to(folder).as_posix()
        try:
            status = path.stat()
            if not S_ISREG(status.st_mode):  # reading a pipe would wait for ever
                unreadable[name] = "is no regular file"
                continue
            key = f"{root / name}|{status.st_size}|{status.st_mtime_ns}"
            digest = before.get(key) or sha256_of(path)
        except OSError as error:
            unreadable[name] = str(error)
            continue
        source = Source(digest[:16], path, name)
        if source.id in erased:
            continue
        now[key] = digest
        if sources.setdefault(source.id, source) is not source:
            copies[name] = sources[source.id].name
    if now != before:
        write_json(now, known)
    return Found(sorted(sources.values(), key=lambda source: source.id), copies, unreadable, _others(files, paths))


def expect_videos(folder: Path, known: Path) -> None:
    """Raises InputError if `find_sources` would."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one with your videos")
    if not any(map(_is_video, _files(folder, known))):
        raise InputError(f"{folder}: no video in it ({', '.join(sorted(SUFFIXES))})")


def names_of(folder: Path, known: Path) -> dict[str, set[str]]:
    """The ids of all videos that `known` remembers, by the name that they have or had: below a folder, or else whole
    paths."""
    root, found = folder.resolve(), dict[str, set[str]]()
    for key, digest in _remembered(known).items():
        path = Path(key.rsplit("|", 2)[0])
        name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        found.setdefault(name, set()).add(digest[:16])
    return found


def ids_of(video: str, names: Mapping[str, set[str]], folder: Path) -> set[str]:
    """The ids of what a user calls a video: one of `names_of` a folder, or the end of its path; none: unknown.

    Raises:
        InputError: several paths end so, and hold different videos.
    """
    if video in names:
        return names[video]
    wanted, root = Path(video).parts, folder.resolve()
    found = {name: ids for name, ids in names.items() if wanted and (root / name).parts[-len(wanted) :] == wanted}
    if len(set(map(frozenset, found.values()))) > 1:
        raise InputError(f"{video}: which one of {', '.join(sorted(found))}?")
    return set().union(*found.values())


def forget(known: Path, sources: Collection[str]) -> None:
    """Removes videos from what `known` remembers."""
    before = _remembered(known)
    write_json({key: digest for key, digest in before.items() if digest[:16] not in sources}, known)


def _files(folder: Path, known: Path) -> Iterator[Path]:
    """All of the user's. A data set that is the folder itself, or holds it, has its own media beside them."""
    work = known.parent.resolve()

    def is_data_set(path: Path) -> bool:
        return (path / WORK / SETUP).is_file() or (path / WORK).resolve() == work

    made = {WORK, BLOBS} if is_data_set(folder) else set[str]()
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".") and name not in made and not is_data_set(Path(root, name))
        ]
        made = set[str]()
        yield from (Path(root, name) for name in files if not name.startswith("."))


def _is_video(path: Path) -> bool:
    """By its suffix; one that is TypeScript's as well, by the bytes that its packets of 188 begin with."""
    suffix = path.suffix.lower()
    if suffix == ".ts" and path.is_file():
        try:
            with path.open("rb") as file:
                return file.read(189)[::188] == b"GG"
        except OSError:
            pass  # for those to tell who read it
    return suffix in SUFFIXES


def _others(files: Collection[Path], videos: Collection[Path]) -> Mapping[str, int]:
    """Suffixes of files that are neither videos nor words, and how many each has."""
    suffixes = (path.suffix.lower() for path in set(files).difference(videos) if path.is_file())
    return Counter(suffix for suffix in suffixes if suffix not in WORDS)


def _still_there(key: str) -> bool:
    path, size, changed = key.rsplit("|", 2)
    try:
        status = os.stat(path)
    except OSError:
        return False
    return (size, changed) == (str(status.st_size), str(status.st_mtime_ns))


def _remembered(known: Path) -> dict[str, str]:
    try:
        return json.loads(known.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
