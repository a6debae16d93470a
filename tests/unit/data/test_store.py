"""Data sets on disk: four forms of the same records, and everything that is wrong with one at once."""

import io
import json
import pickle
import sys
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from PIL import Image
from record_makers import MEDIA, counting, encode, minimal, record_sets, save_clip
from ruamel.yaml import YAML
from typer.testing import CliRunner

from lumosx.cli.check import command as check_command
from lumosx.cli.playground import app as playground
from lumosx.data.frames import read_window
from lumosx.data.store import Store, open_store, write_jsonl, write_parquet, write_shards
from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.playground import World
from lumosx.records import ClipRecord
from lumosx.scene import Scene

Write = Callable[[list[ClipRecord], Path], Any]


def contents(name: str) -> io.BytesIO:
    return io.BytesIO(name.encode())


WRITERS: dict[str, Write] = {
    "jsonl": write_jsonl,
    "parquet": write_parquet,
    "shards": lambda records, folder: write_shards(records, contents, folder / "shards", 2),
}


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def errors(path: str | Path) -> list[str]:
    with pytest.raises(InputError) as error:
        open_store(path)
    return [line.replace(f"{path}/", "") for line in str(error.value).splitlines()]


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def lines(folder: Path, *rows: Any) -> Path:
    text = "\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows)
    put(folder / "clips.jsonl", text.encode())
    return folder


def members(path: Path) -> list[str]:
    with tarfile.open(path) as tar:
        return tar.getnames()


def picture(path: Path, shade: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (160, 160), (shade, 80, 90)).save(path)


# The same records in any form


@settings(max_examples=15, deadline=None)
@given(record_sets())
def test_every_form_gives_the_records_back(records: list[ClipRecord]) -> None:
    ordered = sorted(records, key=lambda record: record.id)
    for form, write in WRITERS.items():
        with TemporaryDirectory() as folder:
            write(records, Path(folder))
            if form != "shards":
                for name in MEDIA:
                    put(Path(folder) / name, name.encode())
            store = open_store(Path(folder) / "shards" if form == "shards" else folder)
            assert store.records == ordered
            for record in ordered:
                assert [store.open(name).read().decode() for name in record.media()] == record.media()


@settings(max_examples=10, deadline=None)
@given(record_sets())
def test_the_same_records_give_the_same_bytes(records: list[ClipRecord]) -> None:
    for write in WRITERS.values():
        with TemporaryDirectory() as one, TemporaryDirectory() as other:
            write(records, Path(one))
            write(records[::-1], Path(other))
            assert files_in(Path(one)) == files_in(Path(other)) != {}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips as `lumosx playground render` writes them."""
    folder = tmp_path_factory.mktemp("world")
    result = CliRunner().invoke(playground, ["render", str(folder), "--clips", "2", "--seed", "1"])
    assert result.exit_code == 0
    return folder


def single(value: Any) -> Any:
    """A list of one number as that number, which means the same."""
    if isinstance(value, dict):
        return {key: single(item) for key, item in value.items()}
    if isinstance(value, list):
        return value[0] if len(value) == 1 and isinstance(value[0], int) else [single(item) for item in value]
    return value


def test_rendered_playground_clips_are_a_data_set(world: Path) -> None:
    store = open_store(world)
    (width, height), frames = World.size, World.frames
    assert [record.id for record in store.records] == ["show_000001", "show_000002"]
    for record in store.records:
        assert (record.width, record.height, record.frames) == (width, height, frames)
        assert (record.fps, record.split) == (8.0, "train")
        written = YAML(typ="safe").load(world / record.id / "scene.yaml")
        del written["generation"]  # which is about sampling
        again = record.scene(lambda pictures: pictures[0].image.split("/", 1)[1])
        assert {name: value for name, value in again.items() if value} == single(written)
        loaded = record.scene(lambda pictures: Image.open(store.open(pictures[0].image)))
        assert Scene.from_dict(loaded).check() == []
        window = read_window(store.open(record.video), 0, frames, 8, width, height)
        assert window.shape == (3, frames, height, width)


def test_a_playground_data_set_keeps_its_media_in_every_form(world: Path, tmp_path: Path) -> None:
    store = open_store(world)
    paths = write_shards(store.records, store.open, tmp_path / "shards", per_shard=1)
    assert [path.name for path in paths] == ["clips-00000.tar", "clips-00001.tar"]
    for path in (tmp_path / "shards", tmp_path / "shards" / "clips-*.tar"):
        shards = pickle.loads(pickle.dumps(open_store(path)))
        assert shards.records == store.records
        assert all(shards.open(name).read() == store.open(name).read() for r in store.records for name in r.media())
    assert [r.id for r in open_store(paths[1]).records] == ["show_000002"]
    for write in (write_jsonl, write_parquet):
        index = write(store.records, world)
        assert open_store(world).records == open_store(index).records == store.records
        index.unlink()


def test_other_tools_can_select_rows_of_a_parquet_file(world: Path, tmp_path: Path) -> None:
    from pyarrow import compute, parquet

    store = open_store(world)
    table = parquet.read_table(write_parquet(store.records, tmp_path))
    assert table["version"].to_pylist() == ["lumosx.clips/1"] * 2
    people = [len(record.subjects) for record in store.records]
    assert compute.list_value_length(table["subjects"]).to_pylist() == people  # pyright: ignore
    parquet.write_table(table.slice(1), world / "one.parquet")
    parquet.write_table(table.slice(0, 1), world / "two.parquet")
    assert open_store(world).records == store.records
    for name in ("one.parquet", "two.parquet"):
        (world / name).unlink()


def test_a_picture_that_records_share_is_stored_once(tmp_path: Path) -> None:
    face = {"id": "ana", "word": "woman", "faces": [{"image": "ana.png"}]}
    records = [ClipRecord.from_dict(minimal(id=name, video=f"{name}.mp4", subjects=[face])) for name in "abc"]
    paths = write_shards(records, contents, tmp_path / "shards", 2)
    assert [members(path) for path in paths] == [
        ["a.json", "a.mp4", "ana.png", "b.json", "b.mp4"], ["c.json", "c.mp4"],
    ]  # fmt: skip
    assert open_store(tmp_path / "shards").open("ana.png").read() == b"ana.png"


def test_a_shard_that_is_missing_or_was_cut_short_is_told(tmp_path: Path) -> None:
    records = [ClipRecord.from_dict(minimal(id=name, video=f"{name}.mp4")) for name in "abc"]
    first, second, third = write_shards(records, contents, tmp_path / "shards", 1)
    listed = json.loads((tmp_path / "shards" / "index.json").read_text())
    assert [shard["nsamples"] for shard in listed["shardlist"]] == [1, 1, 1] and listed["wids_version"] == 1
    assert [s["sha256"] for s in listed["shardlist"]] == [sha256_of(path) for path in (first, second, third)]
    size = first.stat().st_size
    second.unlink()
    third.write_bytes(third.read_bytes()[:-512])
    with pytest.raises(InputError) as error:
        open_store(tmp_path / "shards")
    assert f"clips-00001.tar: has 0 of {size} bytes" in str(error.value)
    assert f"clips-00002.tar: has {size - 512} of {size} bytes" in str(error.value)
    assert len(open_store(first).records) == 1  # asked for alone, it is whole
    (tmp_path / "shards" / "index.json").write_text("{}")
    with pytest.raises(InputError, match="is no index of shards"):
        open_store(tmp_path / "shards")


def test_shards_go_into_a_new_folder_and_appear_complete_or_not_at_all(tmp_path: Path) -> None:
    record = ClipRecord.from_dict(minimal())

    def broken(name: str) -> io.BytesIO:
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        write_shards([record], broken, tmp_path / "shards")
    assert list(tmp_path.iterdir()) == []
    put(tmp_path / "full" / "a.tar")
    with pytest.raises(InputError, match="is not empty; write shards into a new folder"):
        write_shards([record], contents, tmp_path / "full")
    with pytest.raises(InputError, match="it is 1 or more"):
        write_shards([record], contents, tmp_path / "none", 0)


# Folders of own clips


def scene(**more: Any) -> dict[str, Any]:
    subject = {"id": "ben", "word": "man", "face": "ben.png", "consent": "in writing"}
    return {"lumosx": 1, "prompt": "A man on a beach.", "subjects": [subject]} | more


def clip_folder(folder: Path, video: str = "clip.mp4", **more: Any) -> Path:
    save_clip(folder / video)
    picture(folder / "ben.png")
    YAML().dump(scene(**more), folder / "scene.yaml")
    return folder


def test_a_clip_folder_becomes_a_record(tmp_path: Path) -> None:
    place = {"word": "beach", "image": {"image": "../places/b.png", "crop": [0, 0, 9, 9]}, "fit": "crop"}
    clip_folder(tmp_path / "day 1", "IMG.MOV", id="one", background=place, meta={"split": "validation", "take": 3})
    picture(tmp_path / "places" / "b.png")
    put(tmp_path / ".day 2.part" / "clip.mp4")
    (record,) = open_store(tmp_path).records
    assert record.to_dict() == {
        "version": "lumosx.clips/1", "id": "one", "video": "day 1/IMG.MOV", "caption": "A man on a beach.",
        "width": 32, "height": 32, "frames": 9, "fps": 8.0, "split": "validation",
        "background": {
            "word": "beach", "pictures": [{"image": "places/b.png", "crop": (0, 0, 9, 9), "fit": "crop"}],
        },
        "subjects": [{"id": "ben", "word": "man", "faces": [{"image": "day 1/ben.png"}]}],
        "meta": {"consent.ben": "in writing", "take": "3"},
    }  # fmt: skip


def test_a_clip_without_an_id_is_called_as_its_folder_and_root_moves_the_pictures(tmp_path: Path) -> None:
    clip_folder(tmp_path / "beach", root="..")
    picture(tmp_path / "ben.png")
    (record,) = open_store(tmp_path).records
    assert record.id == "beach" and record.subjects[0].faces[0].image == "ben.png"


def test_everything_wrong_with_clip_folders_is_told_at_once(tmp_path: Path) -> None:
    save_clip(tmp_path / "a" / "film.webm")
    YAML().dump(scene(), clip_folder(tmp_path / "b") / "scene.yaml")
    (tmp_path / "b" / "clip.mp4").unlink()
    save_clip(clip_folder(tmp_path / "c", "one.mp4") / "two.mp4")
    clip_folder(tmp_path / "d", objets=[])
    (clip_folder(tmp_path / "e") / "ben.png").rename(tmp_path / "e" / "ben1.png")
    put(clip_folder(tmp_path / "f") / "clip.mp4", b"no video")
    put(clip_folder(tmp_path / "g") / "scene.yaml", b"lumosx: 1\nprompt: [")
    clip_folder(tmp_path / "h", background={"word": "beach", "image": "../../b.png"})
    put(clip_folder(tmp_path / "i") / "scene.yaml", b"lumosx: 1\nprompt: A man.\nprompt: A woman.\n")
    clip_folder(tmp_path / "j j")
    clip_folder(tmp_path / "k", meta={"split": "test"})
    assert errors(tmp_path) == [
        f"{tmp_path}: 11 problems in this data set",
        "a: holds film.webm but no scene.yaml that says what it shows; write one",
        "b: holds a scene.yaml but no video; put the clip there as clip.mp4",
        "c: holds 2 videos (one.mp4, two.mp4); call the clip clip.mp4",
        "d/scene.yaml:8 objets: LX002 unknown key `objets`: did you mean `objects`?",
        "e/scene.yaml:6: 'e/ben.png' is missing; nearest in its folder: 'ben1.png'",
        "f/scene.yaml: video 'f/clip.mp4' is no video that can be read (Invalid data found when processing input)",
        "g/scene.yaml:2: not YAML: expected the node content, but found '<stream end>'; mend the syntax there",
        "h/scene.yaml: background.pictures[0].image: '../b.png' is no path inside the data set, such as clips/a.mp4 "
        "(no leading /, no ., no ..)",
        "i/scene.yaml:2 prompt: LX001 `prompt` is written again on line 3; keep one",
        "j j/scene.yaml: id: 'j j' is no legal id: 1 to 80 of A-Z a-z 0-9 . _ -",
        "k/scene.yaml: split: Input should be 'train' or 'validation', not 'test'",
    ]


# JSON lines


def test_lines_without_the_video_s_size_get_it_from_the_file(tmp_path: Path) -> None:
    save_clip(tmp_path / "clip.mp4", 5)
    put(
        tmp_path / "clips.jsonl",
        b"\xef\xbb\xbf" + json.dumps({"id": "a", "video": "clip.mp4", "caption": "x"}).encode(),
    )
    (record,) = open_store(tmp_path).records
    assert (record.width, record.height, record.frames, record.fps) == (32, 32, 5, 8.0)
    lines(tmp_path, "", {"id": "a", "video": "clip.mp4", "caption": "x\u2028y", "fps": 7.5}, "")
    (record,) = open_store(tmp_path / "clips.jsonl").records
    assert (record.frames, record.fps, record.caption) == (5, 7.5, "x\u2028y")


def test_everything_wrong_with_lines_is_told_at_once_with_file_and_line(tmp_path: Path) -> None:
    put(tmp_path / "clip.mp4")
    put(tmp_path / "clipp.mov")
    lines(
        tmp_path,
        minimal(id="a"),
        '{"id": "b",',
        minimal(id="a", captoin="x"),
        minimal(id="a"),
        '{"id": "c", "id": "d"}',
        minimal(id="e", video="clip.mov"),
        {"id": "f", "video": "clip.mp4", "caption": "not probed: no video", "splitt": "train"},
        {"id": "g", "video": "far/away.mp4", "caption": "x"},
        minimal(id="h", version="lumosx.clips/0"),
        "[]",
    )
    assert errors(tmp_path) == [
        f"{tmp_path}: 10 problems in this data set",
        "clips.jsonl:2: is no JSON: Expecting property name enclosed in double quotes: line 2 column 1 (char 12)",
        "clips.jsonl:3: captoin: unknown key; did you mean `caption`?",
        "clips.jsonl:4: id 'a' is used in clips.jsonl:1 too; give each clip its own",
        "clips.jsonl:5: is no JSON: a key is written twice in ['id', 'id']",
        "clips.jsonl:6: 'clip.mov' is missing; nearest in its folder: 'clipp.mov'",
        "clips.jsonl:7: video 'clip.mp4' is no video that can be read (Invalid data found when processing input)",
        "clips.jsonl:7: splitt: unknown key; did you mean `split`?",
        f"clips.jsonl:8: 'far/away.mp4' is missing; names start at {tmp_path}",
        "clips.jsonl:9: this program reads records of version 'lumosx.clips/1', not 'lumosx.clips/0'",
        "clips.jsonl:10: Input should be a valid dictionary or instance of ClipRecord, not []",
    ]


def test_a_long_list_of_problems_is_cut_and_counted(tmp_path: Path) -> None:
    lines(tmp_path, *(minimal(id=f"c{number}") for number in range(50)))
    told = errors(tmp_path)
    assert told[0].endswith("50 problems in this data set") and told[-1] == "... and 30 more" and len(told) == 22


def test_a_broken_picture_shows_when_it_is_read_not_before(tmp_path: Path) -> None:
    put(tmp_path / "clip.mp4", encode(counting(3)).getvalue())
    put(tmp_path / "b.png", b"no picture")
    lines(tmp_path, minimal(background={"word": "beach", "pictures": [{"image": "b.png"}]}))
    assert open_store(tmp_path).open("b.png").read() == b"no picture"


# Parquet


def test_everything_wrong_with_parquet_is_told_at_once_with_file_and_row(tmp_path: Path) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    put(tmp_path / "clip.mp4")
    rows = [minimal(id="a"), minimal(id="b", video="c.mp4"), minimal(id="a")]
    parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "1.parquet")
    parquet.write_table(pa.Table.from_pylist([minimal(id="x", capton="y")]), tmp_path / "2.parquet")
    parquet.write_table(pa.Table.from_pylist([minimal(id="y", version="lumosx.clips/9")]), tmp_path / "3.parquet")
    put(tmp_path / "4.parquet", b"PAR1 and no more")
    told = errors(tmp_path)
    assert told[0].endswith("5 problems in this data set")
    assert told[1:-1] == [
        "1.parquet row 1: 'c.mp4' is missing; nearest in its folder: 'clip.mp4'",
        "1.parquet row 2: id 'a' is used in 1.parquet row 0 too; give each clip its own",
        "2.parquet row 0: capton: unknown key; did you mean `caption`?",
        "3.parquet row 0: this program reads records of version 'lumosx.clips/1', not 'lumosx.clips/9'",
    ]
    assert told[-1].startswith("4.parquet: cannot be read as Parquet (")


def test_without_pyarrow_the_error_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    put(tmp_path / "clips.parquet")
    for act in (lambda: open_store(tmp_path), lambda: write_parquet([], tmp_path)):
        with pytest.raises(InputError, match=r"pip install 'lumosx\[parquet\]'"):
            act()


# Shards


def shard(path: Path, files: Iterable[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w") as tar:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_everything_wrong_with_shards_is_told_at_once(tmp_path: Path) -> None:
    good = json.dumps(minimal()).encode()
    shard(tmp_path / "1.tar", [("a.json", good), ("clip.mp4", b"x"), ("b.json", b"{")])
    shard(tmp_path / "2.tar", [("c.json", json.dumps(minimal(id="c", video="c.mp4")).encode()), ("clip.mp4", b"x")])
    cut = shard(tmp_path / "3.tar", [("d.json", good), ("d.mp4", bytes(4000))])
    cut.write_bytes(cut.read_bytes()[:3000])
    told = errors(tmp_path)
    assert told[0].endswith("5 problems in this data set")
    assert told[1] == f"2.tar: clip.mp4 is in {tmp_path}/1.tar too; each name may be used once".replace(
        f"{tmp_path}/", ""
    )
    assert told[2].startswith("3.tar: cannot be read as a tar file (")
    assert told[3].startswith("1.tar b.json: is no JSON: Expecting")
    assert told[4] == "2.tar c.json: 'c.mp4' is missing; no shard holds it; see that all shards are there"
    assert told[5] == "3.tar d.json: id 'beach' is used in 1.tar a.json too; give each clip its own"


def test_a_member_that_is_not_there_is_an_input_error(tmp_path: Path) -> None:
    store = open_store(shard(tmp_path / "a.tar", [("a.json", json.dumps(minimal()).encode()), ("clip.mp4", b"x")]))
    with pytest.raises(InputError, match=r"b\.mp4: no such member"):
        store.open("b.mp4")


def test_lines_in_shards_may_lack_the_video_s_size_too(tmp_path: Path) -> None:
    video = encode(counting(6), fps=8).getvalue()
    bare = json.dumps({"id": "a", "video": "a.mp4", "caption": "x"}).encode()
    (record,) = open_store(shard(tmp_path / "a.tar", [("a.json", bare), ("a.mp4", video)])).records
    assert (record.width, record.height, record.frames, record.fps) == (32, 32, 6, 8.0)


# What is no data set


@pytest.mark.parametrize("name", ["", "nowhere", "*.tar", "notes.txt", "mixed"])
def test_what_is_no_data_set_is_refused_with_the_forms_that_are(tmp_path: Path, name: str) -> None:
    put(tmp_path / "notes.txt")
    put(tmp_path / "faces" / "ana.png")
    put(tmp_path / "mixed" / "clips.jsonl")
    put(tmp_path / "mixed" / "a.tar")
    put(tmp_path / "mixed" / "log.jsonl")
    with pytest.raises(InputError, match=r"A data set is a folder of clips .* clips.jsonl, \*.parquet or \*.tar"):
        open_store(tmp_path / name)


# The examples of the README


SCENE = """\
lumosx: 1
id: beach
prompt: A young woman in a straw hat and a man with round glasses walk along a beach. The young woman waves.
subjects:
  - id: ana
    word: young woman
    face: ../faces/ana.png
    attributes:
      - {word: straw hat, image: straw_hat.png}
  - id: ben
    word: man
    face: ../faces/ben.jpg
    attributes:
      - {word: round glasses}
"""

LINE = """\
{"id": "beach", "video": "videos/beach.mp4", "caption": "A young woman in a straw hat and a man with round glasses walk along a beach.", "background": {"word": "beach", "pictures": [{"image": "pictures/beach_empty.png"}]}, "subjects": [{"id": "ana", "word": "young woman", "faces": [{"image": "pictures/ana_1.png"}, {"image": "pictures/ana_2.png", "frame": 12}], "attributes": [{"word": "straw hat", "pictures": [{"image": "pictures/straw_hat.png", "frame": 0}]}]}, {"id": "ben", "word": "man", "faces": [{"image": "pictures/ben.png"}], "attributes": [{"word": "round glasses"}]}], "meta": {"source": "our own camera", "consent": "both, in writing"}}
"""  # noqa: E501


def bound(store: Store, record: ClipRecord) -> list[tuple[str, int]]:
    """Entities that have a picture, and how often the caption names each."""
    made = Scene.from_dict(record.scene(lambda pictures: Image.open(store.open(pictures[-1].image))))
    return [(entity.id, len(entity.spans)) for entity in made.entities if entity.image is not None]


def test_the_clip_folder_of_the_readme_works(tmp_path: Path) -> None:
    for shade, name in enumerate(["faces/ana.png", "faces/ben.jpg", "beach/straw_hat.png", "kitchen/apron.png"]):
        picture(tmp_path / name, shade)
    picture(tmp_path / "kitchen/kitchen.jpg")
    save_clip(tmp_path / "beach/clip.mp4")
    save_clip(tmp_path / "kitchen/clip.mov")
    (tmp_path / "beach/scene.yaml").write_text(SCENE)
    kitchen = SCENE.replace("beach", "kitchen").replace("straw hat", "apron").replace("straw_hat", "apron")
    (tmp_path / "kitchen/scene.yaml").write_text(kitchen)
    store = open_store(tmp_path)
    assert [record.video for record in store.records] == ["beach/clip.mp4", "kitchen/clip.mov"]
    assert bound(store, store.records[0]) == [("ana.face", 2), ("ana.straw hat", 1), ("ben.face", 1)]
    check = typer.Typer()
    check.command()(check_command)
    result = CliRunner().invoke(check, [str(tmp_path / name / "scene.yaml") for name in ("beach", "kitchen")])
    assert result.exit_code == 0 and "2 scenes: 0 errors, 0 warnings" in result.stdout
    write_shards(store.records, store.open, tmp_path / "friends-shards")
    assert open_store(tmp_path / "friends-shards").records == store.records


def test_the_line_of_the_readme_works(tmp_path: Path) -> None:
    put(tmp_path / "clips.jsonl", LINE.encode())
    save_clip(tmp_path / "videos/beach.mp4", 17)
    for shade, name in enumerate(["beach_empty", "ana_1", "ana_2", "straw_hat", "ben"]):
        picture(tmp_path / f"pictures/{name}.png", shade)
    store = open_store(tmp_path)
    (record,) = store.records
    assert (record.frames, record.fps) == (17, 8.0)
    assert bound(store, record) == [("background", 1), ("ana.face", 1), ("ana.straw hat", 1), ("ben.face", 1)]
