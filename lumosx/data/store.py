"""A data set on disk: its clip records, and the media that they name.

Four forms hold the same records (lumosx.records): a folder with one folder a clip (a scene, its pictures and a video,
for people); `clips.jsonl` with media beside it; `*.parquet` with media beside; WebDataset shards, `*.tar`. Names of
media start at the data set's folder. Whatever can be known without decoding is checked when a data set is opened, so
that no run dies of a missing file after a day; a picture or video that is broken shows when it is read.
"""

import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from lumosx.data.entries import Entry, Problems
from lumosx.data.frames import Probe, probe
from lumosx.data.parquet import read_parquet, write_parquet
from lumosx.data.scene_folders import read_scene_folders
from lumosx.data.shards import expect_all_shards, open_shards, read_shards, write_shards
from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.records import ClipRecord, RecordError
from lumosx.scene.messages import nearest

__all__ = ["Store", "open_store", "write_jsonl", "write_parquet", "write_shards"]

JSONL = "clips.jsonl"
SUFFIXES = {".jsonl", ".parquet", ".tar"}
FORMS = (
    "A data set is a folder of clips (each a folder with scene.yaml, its pictures and clip.mp4), "
    f"or a folder with {JSONL}, *.parquet or *.tar in it"
)
UNKNOWN = Probe(1, 1, 1 << 31, 1.0)  # of a video that cannot be probed, so that the rest of its record is judged


class Media(Protocol):
    """Files by their names in the data set."""

    def __contains__(self, name: str) -> bool: ...

    def stream(self, name: str) -> BinaryIO:
        """One file, to be read and closed."""
        ...

    def hint(self, name: str) -> str:
        """What to do about a file that is missing."""
        ...


@dataclass(frozen=True)
class Folder:
    """Media as files in a folder."""

    root: Path

    def __contains__(self, name: str) -> bool:
        return (self.root / name).is_file()

    def stream(self, name: str) -> BinaryIO:
        """One file, to be read and closed."""
        return (self.root / name).open("rb")

    def hint(self, name: str) -> str:
        """The file there with the most similar name."""
        folder = (self.root / name).parent
        similar = nearest(name.split("/")[-1], [path.name for path in folder.iterdir()] if folder.is_dir() else [], 1)
        return f"nearest in its folder: {similar[0]!r}" if similar else f"names start at {self.root}"


@dataclass(frozen=True)
class Store:
    """Records in the order of their ids, and their media. Cheap to hand to another process: no file stays open."""

    records: list[ClipRecord]
    media: Media

    def open(self, name: str) -> io.BytesIO:
        """A media file, read in full. OSError or InputError if it cannot be."""
        with self.media.stream(name) as stream:
            return io.BytesIO(stream.read())


def open_store(path: str | Path) -> Store:
    """Opens a data set in any of the four forms.

    Args:
        path: a folder; a single index file or shard; or a pattern of them such as "data/clips-*.tar". Where a folder
            holds an index file, that alone is read.

    Raises:
        InputError: no such data set, or everything that is wrong with it: files that cannot be read, records that
            break the schema, ids used twice, media that are missing.
    """
    place, problems = Path(path).expanduser(), Problems()
    files = _index_files(place)
    root = place if place.is_dir() else files[0].parent
    media: Media = Folder(root)
    if not files:
        entries = read_scene_folders(root, problems)
    elif files[0].suffix == ".jsonl":
        entries = _read_jsonl(files, problems)
    elif files[0].suffix == ".parquet":
        entries = read_parquet(files, problems)
    else:
        if place.is_dir():
            expect_all_shards(place, problems)
        media = open_shards(files, problems)
        entries = read_shards(media, problems)
    records = _checked(entries, media, problems)
    problems.expect_none(path)
    if not records:
        raise InputError(f"{path}: no clips in it. {FORMS}")
    return Store(sorted(records, key=lambda record: record.id), media)


def write_jsonl(records: Iterable[ClipRecord], folder: str | Path) -> Path:
    """Writes `clips.jsonl` into the folder that holds the media; the same records give the same bytes."""
    path = Path(folder) / JSONL
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as file:
        for record in sorted(records, key=lambda record: record.id):
            file.write(record.to_json() + "\n")
    return path


def _index_files(place: Path) -> list[Path]:
    """The files that hold the records; none for a folder of folders."""
    if place.is_dir():
        seen = [path for path in place.iterdir() if path.suffix in SUFFIXES and not path.name.startswith(".")]
        found = [path for path in seen if path.suffix != ".jsonl" or path.name == JSONL]
    elif place.is_file():
        found = [place]
    else:
        found = [Path(name) for name in glob(str(place))]
        if not found:
            raise InputError(f"{place}: no such file or folder. {FORMS}")
    suffixes = {path.suffix for path in found}
    if len(suffixes) > 1 or suffixes - SUFFIXES:
        names = ", ".join(sorted(path.name for path in found)[:5])
        raise InputError(f"{place}: {names} cannot be read as one data set. {FORMS}")
    return sorted(found)


def _read_jsonl(paths: Sequence[Path], problems: Problems) -> Iterator[Entry]:
    for path in paths:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}:{number}"
                try:
                    if line.strip():
                        yield Entry(where, json.loads(line, object_pairs_hook=_object))
                except ValueError as error:
                    problems.add(where, f"is no JSON: {error}")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) < len(names):
        raise ValueError(f"a key is written twice in {names}")
    return dict(pairs)


def _checked(entries: Iterable[Entry], media: Media, problems: Problems) -> list[ClipRecord]:
    """The records that can be used."""
    records, places = [], dict[str, str]()
    for entry in entries:
        try:
            record = ClipRecord.from_dict(_probed(entry, media, problems))
        except RecordError as error:
            for problem in error.problems:
                problems.add(entry.where, problem)
            continue
        if (first := places.setdefault(record.id, entry.where)) != entry.where:
            problems.add(entry.where, f"id {record.id!r} is used in {first} too; give each clip its own")
        for name in record.media():
            if name not in media:
                hint = "" if problems.full else media.hint(name)
                problems.add(entry.lines.get(name, entry.where), f"{name!r} is missing; {hint}")
        records.append(record)
    return records


def _probed(entry: Entry, media: Media, problems: Problems) -> Any:
    """The entry's data, with the video's own size, length and rate where it does not state them."""
    data = entry.data
    if not isinstance(data, dict) or all(field in data for field in Probe._fields):
        return data
    found, name = UNKNOWN, data.get("video")
    if isinstance(name, str) and name in media:
        try:
            with media.stream(name) as stream:
                found = probe(stream)
        except (InputError, OSError) as error:
            problems.add(entry.where, f"video {name!r} {error}")
    return found._asdict() | data
