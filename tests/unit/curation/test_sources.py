"""Videos in a folder, blobs, and taking both out again."""

import json
import os
import socket
from pathlib import Path

import pytest

from lumosx.curation.blobs import Blobs
from lumosx.curation.erase import erase, erased
from lumosx.curation.ledger import Ledger, Row
from lumosx.curation.review import FILE as REVIEWS
from lumosx.curation.review import Review, append, read_reviews
from lumosx.curation.sources import Clip, Source, find_sources, forget, ids_of, names_of
from lumosx.data.store import open_store, write_parquet
from lumosx.errors import InputError
from lumosx.files import write_json
from lumosx.records import ClipRecord


def test_videos_are_known_by_their_bytes(tmp_path: Path) -> None:
    folder, known = tmp_path / "videos", tmp_path / "known.json"
    (folder / "sub").mkdir(parents=True)
    for name, content in (("a.MP4", b"one"), ("sub/b.mkv", b"two"), ("sub/c.mp4", b"one"), (".d.mp4", b"three")):
        (folder / name).write_bytes(content)
    (folder / "notes.txt").write_text("no video")
    found = find_sources(folder, known)
    assert {source.name for source in found.sources} == {"a.MP4", "sub/b.mkv"}
    assert found.copies == {"sub/c.mp4": "a.MP4"}
    before = {source.name: source.id for source in found.sources}
    (folder / "a.MP4").rename(folder / "z.mp4")
    after = find_sources(folder, known)
    assert sorted(source.id for source in after.sources) == sorted(before.values())
    (left,) = find_sources(folder, known, erased=[before["a.MP4"]]).sources
    assert left.name == "sub/b.mkv"


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"one")
    (folder / "link.mp4").symlink_to("a.mp4")
    os.mkfifo(folder / "pipe.mp4")
    (folder / "device.mp4").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "socket.mp4"))  # a whole path may be too long for one
    found = find_sources(folder, tmp_path / "known.json")
    assert [source.name for source in found.sources] == ["a.mp4"]
    assert found.copies == {"link.mp4": "a.mp4"}
    assert found.unreadable == dict.fromkeys(["pipe.mp4", "device.mp4", "socket.mp4"], "is no regular file")


def test_videos_that_are_gone_are_known_by_the_names_that_they_had(tmp_path: Path) -> None:
    folder, known = tmp_path / "videos", tmp_path / "known.json"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub" / "a.mp4").write_bytes(b"one")
    (folder / "b.mp4").write_bytes(b"two")
    first = {source.name: source.id for source in find_sources(folder, known).sources}
    (folder / "sub" / "a.mp4").unlink()
    (folder / "b.mp4").write_bytes(b"another two")
    (second,) = find_sources(folder, known, measured=first.values()).sources
    wanted = {"sub/a.mp4": {first["sub/a.mp4"]}, "b.mp4": {first["b.mp4"], second.id}}
    assert names_of(folder, known) == wanted
    forget(known, [first["b.mp4"]])
    assert names_of(folder, known) == wanted | {"b.mp4": {second.id}}
    find_sources(folder, known)  # of what is gone nothing was measured
    assert names_of(folder, known) == {"b.mp4": {second.id}}


def test_of_erased_videos_nothing_is_remembered(tmp_path: Path) -> None:
    folder, known = tmp_path / "videos", tmp_path / "known.json"
    folder.mkdir()
    for name in ("anna", "ben"):
        (folder / f"{name}.mp4").write_text(name)
    anna, ben = sorted(find_sources(folder, known).sources, key=lambda source: source.name)
    assert find_sources(folder, known, [anna.id]).sources == [ben]
    assert names_of(folder, known) == {"ben.mp4": {ben.id}}


def test_a_link_is_known_by_its_own_name(tmp_path: Path) -> None:
    folder, known = tmp_path / "videos", tmp_path / "known.json"
    folder.mkdir()
    (tmp_path / "x.mp4").write_bytes(b"one")
    (folder / "ben.mp4").symlink_to(tmp_path / "x.mp4")
    (source,) = find_sources(folder, known).sources
    assert names_of(folder, known) == {"ben.mp4": {source.id}}


def test_videos_are_asked_for_by_the_ends_of_their_paths(tmp_path: Path) -> None:
    names = {"a.mp4": {"1"}, "sub/a.mp4": {"2"}, "/else/b.mp4": {"3"}, "/else/c/b.mp4": {"3"}, "/else/d.mp4": {"4"}}
    for asked, ids in {
        "a.mp4": {"1"},  # the name itself, though another path ends so
        "sub/a.mp4": {"2"},
        str(tmp_path / "sub" / "a.mp4"): {"2"},
        f"{tmp_path.name}/a.mp4": {"1"},
        "b.mp4": {"3"},  # two copies
        "else/d.mp4": {"4"},
        "lse/d.mp4": set[str](),
        "": set[str](),
    }.items():
        assert ids_of(asked, names, tmp_path) == ids
    with pytest.raises(InputError, match=r"d\.mp4: which one of /else/d\.mp4, sub/d\.mp4\?"):
        ids_of("d.mp4", names | {"sub/d.mp4": {"5"}}, tmp_path)


@pytest.mark.parametrize("out", ["sub/out", "."])
def test_what_curation_made_is_no_footage(tmp_path: Path, out: str) -> None:
    """A data set in the folder, or in its place, and another one."""
    folder = tmp_path / "videos"
    own, other = folder / out, folder / "other"
    for name in ("a.mp4", f"{out}/blobs/00/b.mp4", f"{out}/curation/c.mp4", "other/blobs/00/d.mp4", "other/e.mp4",
                 "curation/g.mp4", "blobs/h.mp4", "deep/blobs/i.mp4"):  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    write_json({}, other / "curation" / "setup.json")
    mine = {"a.mp4", "deep/blobs/i.mp4"} | ({"curation/g.mp4", "blobs/h.mp4"} if out != "." else set())
    for _ in range(2):  # the setup is not there yet, or it is
        assert {source.name for source in find_sources(folder, own / "curation" / "sources.json").sources} == mine
        write_json({}, own / "curation" / "setup.json")


def test_suffixes_say_what_is_a_video_and_others_are_counted(tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    videos = [f"a.{suffix}" for suffix in ["MTS", "m2ts", "3gp", "ogv", "vob", "mpg", "mpeg", "wmv", "flv", "m4v"]]
    for name in [*videos, "a.txt", "a.json", "b.pdf", "c.PDF", "d", ".hidden.pdf"]:
        (folder / name).write_text(name)
    (folder / "film.ts").write_bytes((b"G" + bytes(187)) * 2)
    (folder / "Game.ts").write_text("Game();" * 100)
    found = find_sources(folder, tmp_path / "known.json")
    assert {source.name for source in found.sources} == {*videos, "film.ts"}
    assert found.others == {".pdf": 2, "": 1, ".ts": 1}


def test_digests_are_remembered_until_a_file_changes(tmp_path: Path) -> None:
    folder, known = tmp_path / "videos", tmp_path / "known.json"
    folder.mkdir()
    (folder / "a.mp4").write_bytes(b"one")
    (first,) = find_sources(folder, known).sources
    (key,) = json.loads(known.read_text())
    known.write_text(json.dumps({key: "f" * 64}))
    assert find_sources(folder, known).sources[0].id == "f" * 16
    (folder / "a.mp4").write_bytes(b"other")
    assert find_sources(folder, known).sources[0].id not in (first.id, "f" * 16)


@pytest.mark.parametrize(("make", "message"), [(False, "no such folder"), (True, "no video in it")])
def test_a_folder_without_videos_is_an_error(tmp_path: Path, make: bool, message: str) -> None:
    if make:
        (tmp_path / "videos").mkdir()
    with pytest.raises(InputError, match=message):
        find_sources(tmp_path / "videos", tmp_path / "known.json")


def test_a_clip_is_named_by_its_video_and_time() -> None:
    clip = Clip(Source("0123456789abcdef", Path("a.mp4"), "a.mp4"), 1.5, 75.0625)
    assert clip.id == "0123456789abcdef-00001500-00075062"


def test_blobs_are_written_once(tmp_path: Path) -> None:
    blobs = Blobs(tmp_path)
    name = blobs.put(b"some bytes", ".bin")
    stamp = (tmp_path / name).stat().st_mtime_ns
    assert blobs.put(b"some bytes", ".bin") == name
    assert (tmp_path / name).stat().st_mtime_ns == stamp
    assert blobs.get(name) == b"some bytes"
    (tmp_path / name).with_name(".left.bin.abc.part").write_bytes(b"by a kill")
    blobs.tidy()
    assert [path.name for path in (tmp_path / name).parent.iterdir()] == [Path(name).name]


def test_erasing_leaves_no_byte_of_a_video_and_all_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    blobs, ledger, work = Blobs(tmp_path), Ledger(tmp_path / "curation" / "ledger"), tmp_path / "curation"
    both, theirs, mine = (blobs.put(text, ".bin") for text in (b"in both", b"theirs", b"mine"))
    doomed, kept = "d" * 16, "e" * 16
    size = {"width": 8, "height": 8, "frames": 9, "fps": 16.0}
    clips = [
        ClipRecord(id=f"{name}-00000000-00005000", video=both, caption="A cat.", **size) for name in (doomed, kept)
    ]
    write_parquet(clips, tmp_path)
    for clip in clips:
        append(Review(clip=clip.id, reviewer="ada", verdict="accept", about="0", at="now"), tmp_path / REVIEWS)
    (work / "report.html").write_text(doomed)
    write_json({"/gone/a.mp4|1|2": doomed * 4, "/gone/b.mp4|1|2": kept * 4}, work / "sources.json")
    ledger.add("shots", Row(doomed, "f", "{}", None, 1.0))
    ledger.add("faces", Row(f"{doomed}-00000000-00005000", "f", json.dumps([both, theirs]), None, 1.0))
    ledger.add("faces", Row(f"{kept}-00000000-00005000", "f", json.dumps([both, mine]), None, 1.0))
    ledger.flush()
    for left_by_a_kill in (
        tmp_path / ".clips.parquet.00000000.part",
        tmp_path / ".clip.00000000.part" / "clip.mp4",
        tmp_path / "blobs" / ".b.00000000.part",
        work / ".report.html.00000000.part",
        work / ".sources.json.00000000.part",
        work / "ledger" / "faces" / ".00000001.parquet.00000000.part",
    ):
        left_by_a_kill.parent.mkdir(exist_ok=True)
        left_by_a_kill.write_text(doomed)
    read, one = list[Path](), Ledger._read
    monkeypatch.setattr(Ledger, "_read", lambda self, path, *rest: (read.append(path), one(self, path, *rest))[1])
    assert erase(work, tmp_path, [doomed]) == 2  # a blob, and what a kill left of one
    assert len(read) == 2  # each file once
    assert [(tmp_path / name).exists() for name in (both, theirs, mine)] == [True, False, True]
    left = [path for path in tmp_path.rglob("*") if path.is_file() and doomed.encode() in path.read_bytes()]
    assert [path.name for path in left] == ["erased.json"]
    assert erased(work) == [doomed]
    assert open_store(tmp_path).records == clips[1:]
    assert [review.clip for review in read_reviews(tmp_path / REVIEWS)] == [clips[1].id]
    assert json.loads((work / "sources.json").read_text()) == {"/gone/b.mp4|1|2": kept * 4}
    assert [row.record for row in Ledger(tmp_path / "curation" / "ledger").all_rows("faces")] == [
        f"{kept}-00000000-00005000"
    ]
