"""WebDataset shards: tar files that hold each record as KEY.json, and its media under the names that it states.

Nothing is extracted. The headers are read once, and a member is read where it lies. A picture that several records
share is stored once, with the first of them. To make shards whose samples other readers of WebDataset group too, begin
the names of a record's media with its id and a dot.

`index.json` beside them lists the shards in the form of WebDataset's indexed reader (wids, version 1), so that one that
is missing or was cut short is told when the folder is opened.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from lumosx.data.entries import Entry, Problems
from lumosx.errors import InputError
from lumosx.files import atomic, sha256_of, write_json
from lumosx.records import ClipRecord

RECORD = ".json"
INDEX = "index.json"


@dataclass(frozen=True)
class Shards:
    """Media inside of tar files: member name -> (shard, offset, size in bytes)."""

    paths: list[Path]
    index: dict[str, tuple[int, int, int]]

    def __contains__(self, name: str) -> bool:
        return name in self.index

    def stream(self, name: str) -> BinaryIO:
        """One member. InputError if there is none of that name."""
        if name not in self.index:
            raise InputError(f"{name}: no such member in the shards")
        shard, offset, size = self.index[name]
        with self.paths[shard].open("rb") as file:
            file.seek(offset)
            return io.BytesIO(file.read(size))

    def hint(self, name: str) -> str:
        """What to do about a member that is missing."""
        return "no shard holds it; see that all shards are there"


def open_shards(paths: Sequence[Path], problems: Problems) -> Shards:
    """Reads the headers of all shards."""
    index: dict[str, tuple[int, int, int]] = {}
    for shard, path in enumerate(paths):
        try:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    if member.name in index:
                        other = paths[index[member.name][0]]
                        problems.add(path, f"{member.name} is in {other} too; each name may be used once")
                    index[member.name] = shard, member.offset_data, member.size
        except (tarfile.TarError, OSError) as error:
            problems.add(path, f"cannot be read as a tar file ({error}); make it again")
    return Shards(list(paths), index)


def expect_all_shards(folder: Path, problems: Problems) -> None:
    """That every shard that the folder's index lists is there in full; a folder may have no index."""
    path = folder / INDEX
    if not path.is_file():
        return
    try:
        listed = {
            shard["url"]: shard["filesize"] for shard in json.loads(path.read_text(encoding="utf-8"))["shardlist"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        problems.add(path, f"is no index of shards ({error!r}); write the shards again, or remove it")
        return
    for name, size in listed.items():
        there = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if there != size:
            problems.add(folder / name, f"has {there} of {size} bytes; copy it again")


def read_shards(shards: Shards, problems: Problems) -> Iterator[Entry]:
    """The records inside."""
    for name, (shard, _, _) in shards.index.items():
        if name.endswith(RECORD):
            where = f"{shards.paths[shard]} {name}"
            try:
                yield Entry(where, json.loads(shards.stream(name).read()))
            except ValueError as error:
                problems.add(where, f"is no JSON: {error}")


def write_shards(
    records: Iterable[ClipRecord], open_media: Callable[[str], BinaryIO], folder: str | Path, per_shard: int = 1000
) -> list[Path]:
    """Writes records with their media into a new folder, in the order of ids; the same input gives the same bytes.

    Args:
        records: with ids that differ.
        open_media: gives a media file by its name, such as `Store.open`.
        folder: appears when it is complete, with an index; it must not exist, or be empty.
        per_shard: records a shard.

    Returns:
        The shards.

    Raises:
        InputError: something is in the folder, or a shard would hold nothing.
    """
    folder = Path(folder)
    if per_shard < 1:
        raise InputError(f"{per_shard} records a shard: it is 1 or more")
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: is not empty; write shards into a new folder")
    ordered, written = iter(sorted(records, key=lambda record: record.id)), set[str]()
    with atomic(folder) as temporary:
        temporary.mkdir()
        listed = []
        while part := list(islice(ordered, per_shard)):
            path = temporary / f"clips-{len(listed):05d}.tar"
            with tarfile.open(path, "w") as tar:
                for record in part:
                    _write(record, open_media, tar, written)
            size, digest = path.stat().st_size, sha256_of(path)
            listed.append({"url": path.name, "nsamples": len(part), "filesize": size, "sha256": digest})
        write_json({"wids_version": 1, "name": "clips", "shardlist": listed}, temporary / INDEX)
    return sorted(folder.glob("*.tar"))


def _write(record: ClipRecord, open_media: Callable[[str], BinaryIO], tar: tarfile.TarFile, written: set[str]) -> None:
    _add(tar, f"{record.id}{RECORD}", record.to_json().encode())
    for name in record.media():
        if name not in written:
            written.add(name)
            with open_media(name) as stream:
                _add(tar, name, stream.read())


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)  # its time and owner are fixed numbers
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
