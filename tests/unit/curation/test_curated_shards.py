"""Curated data sets as shards: other readers group their samples, and training reads the same."""

from pathlib import Path

import webdataset
from test_pack import look_of, two_women

from lumosx.cli.curate_data import pack
from lumosx.curation.pack import record_of
from lumosx.curation.shards import named_after
from lumosx.data.store import Store, open_store, write_parquet
from lumosx.records import ClipRecord


def contents(store: Store, record: ClipRecord) -> list[bytes]:
    return [store.open(name).read() for name in record.media()]


def test_other_readers_find_one_sample_a_clip(tmp_path: Path) -> None:
    record = record_of(*look_of(tmp_path / "set", two_women()))
    other = record.model_copy(update={"id": "b" * 16})  # with the same media
    write_parquet([record, other], tmp_path / "set")
    pack(tmp_path / "set", tmp_path / "shards", 1)
    paths = [str(path) for path in sorted((tmp_path / "shards").glob("*.tar"))]
    samples = list(webdataset.WebDataset(paths, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [record.id, other.id]
    for sample in samples:
        assert {name for name in sample if not name.startswith("__")} == {
            "json", "mp4", "background.1.png", "object1.1.png", "s1.face.1.png", "s1.attribute1.1.png", "s2.face.1.png",
            "s2.attribute1.1.png", "s2.attribute2.1.png",
        }  # fmt: skip
    before, after = open_store(tmp_path / "set"), open_store(tmp_path / "shards")
    for old, new in zip(before.records, after.records, strict=True):
        assert new.model_dump(exclude={"video", "background", "objects", "subjects"}) == old.model_dump(
            exclude={"video", "background", "objects", "subjects"}
        )
        assert contents(before, old) == contents(after, new)
        assert [p.frame for p in old.pictures()] == [p.frame for p in new.pictures()]


def test_a_picture_that_a_clip_names_twice_is_stored_once(tmp_path: Path) -> None:
    record = record_of(*look_of(tmp_path, two_women()))
    twin = record.subjects[1].model_copy(update={"faces": record.subjects[0].faces})
    names = named_after(record.model_copy(update={"subjects": [record.subjects[0], twin]}))
    assert names[record.subjects[0].faces[0].image] == f"{record.id}.s1.face.1.png"
    assert len(set(names.values())) == len(names)
