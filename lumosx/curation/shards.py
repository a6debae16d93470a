"""A curated data set as WebDataset shards, for disks and buckets that do not like many small files."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lumosx.data.store import open_store, write_shards
from lumosx.records import ClipRecord, Picture


def pack_shards(data_set: Path, folder: Path, per_shard: int) -> list[Path]:
    """Writes a data set's records and media as shards, whose samples all readers of WebDataset group.

    Args:
        data_set: in any form that training reads.
        folder: appears when it is complete; it must not exist, or be empty.
        per_shard: clips a shard.

    Returns:
        The shards.

    Raises:
        InputError: no such data set, or something is in the folder.
    """
    store, stored = open_store(data_set), dict[str, str]()
    records = []
    for record in store.records:
        names = named_after(record)
        stored |= {new: old for old, new in names.items()}
        records.append(ClipRecord.from_dict(_renamed(record.to_dict(), names)))
    return write_shards(records, lambda name: store.open(stored[name]), folder, per_shard)


def named_after(record: ClipRecord) -> dict[str, str]:
    """New names of a record's media that begin with its id and a dot, such as ID.mp4 and ID.s1.face.1.png."""
    names = {record.video: record.id + PurePosixPath(record.video).suffix}
    for stem, pictures in _stems(record):
        for number, picture in enumerate(pictures, 1):
            suffix = PurePosixPath(picture.image).suffix
            names.setdefault(picture.image, f"{record.id}.{stem}.{number}{suffix}")
    return names


def _stems(record: ClipRecord) -> Iterator[tuple[str, Sequence[Picture]]]:
    if record.background:
        yield "background", record.background.pictures
    for number, thing in enumerate(record.objects, 1):
        yield f"object{number}", thing.pictures
    for person in record.subjects:
        yield f"{person.id}.face", person.faces
        for number, attribute in enumerate(person.attributes, 1):
            yield f"{person.id}.attribute{number}", attribute.pictures


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Plain data of a record with other names of its media."""
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: names[each] if key in ("video", "image") else _renamed(each, names) for key, each in value.items()}
