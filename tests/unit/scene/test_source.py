"""Scene files that mean harm or are broken: refused with a line, quickly, and nothing in them is run."""

import subprocess
import sys
from pathlib import Path

import pytest
from scene_makers import make_picture

from lumosx.scene import Scene, SceneError, examine
from lumosx.scene.source import MAX_BYTES, SourceError, parse

BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}, *{old}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (BOMB, None, "too many values"),
        ("a: &a\n  b: *a\n", None, "too deeply nested"),
        ("lumosx: 1\nprompt: !!python/object/apply:os.system ['touch pwned']\n", 2, "not allowed"),
        ("lumosx: 1\nprompt: !!python/name:os.system ''\n", 2, "not allowed"),
        ("meta: !!binary aGVsbG8=\n", 1, "not allowed"),
        ("meta: !custom {a: 1}\n", 1, "not allowed"),
        ("base: &b {x: 1}\nmeta:\n  <<: *b\n", 3, "no `<<`"),
        ("? [1, 2]\n: 3\n", 1, "plain text"),
        ("lumosx: 1\n---\nlumosx: 1\n", 2, "not YAML"),
        ("lumosx: 1\n\tprompt: a\n", 2, "not YAML"),
        ("prompt: 'open\n", 2, "not YAML"),
        ("[" * 4000 + "]" * 4000, None, "nested too deeply"),
        ("a: " + "[" * 60 + "]" * 60, 1, "too deeply nested"),
        ("a: .nan\n", 1, "finite"),
        ("a: 1e999\n", 1, "finite"),
        ("a: " + "9" * 5000 + "\n", 1, "number"),
        ("", None, "empty"),
        ("# nothing\n", None, "empty"),
        ("a: \x07\n", None, "not YAML"),
    ],
)
def test_hostile_or_broken_yaml(text: str, line: int | None, what: str) -> None:
    with pytest.raises(SourceError, match=what) as caught:
        parse(text)
    if line is not None:
        assert caught.value.line == line


def test_plain_values_keep_their_types_and_lines() -> None:
    source = parse("a: 1\nb: 1.5\nc: true\nd: null\ne: 2024-01-02\nf: no\ng: '1'\nh: [x, {i: 0x10}]\n")
    assert source.data == {
        "a": 1,
        "b": 1.5,
        "c": True,
        "d": None,
        "e": "2024-01-02",
        "f": "no",
        "g": "1",
        "h": ["x", {"i": 16}],
    }
    assert source.lines[("h", 1, "i")] == 8


def test_a_key_written_twice_is_found_and_the_first_kept() -> None:
    source = parse("a: 1\nb:\n  c: 1\n  c: 2\na: 3\n")
    assert source.repeated == {("b", "c"): 4, ("a",): 5}
    assert source.data == {"a": 1, "b": {"c": 1}}


def test_json_has_lines_too_and_may_use_tabs_and_surrogates() -> None:
    source = parse('{\n\t"prompt": "a \\ud83d\\ude00",\n\t"lumosx": 1\n}', is_json=True)
    assert source.data == {"prompt": "a 😀", "lumosx": 1}
    assert source.lines[("lumosx",)] == 3
    with pytest.raises(SourceError, match="not JSON"):
        parse("lumosx: 1", is_json=True)


def write(tmp_path: Path, content: bytes, name: str = "scene.yaml") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


@pytest.mark.parametrize(
    ("content", "what"), [(b"prompt: \xff\xfe", "not UTF-8"), (b"#" * (MAX_BYTES + 1), "no scene file")]
)
def test_files_that_are_no_scene(content: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(SceneError, match=what) as caught:
        Scene.load(write(tmp_path, content))
    assert [message.code for message in caught.value.messages] == ["LX001"]


def test_a_missing_file_is_a_message() -> None:
    with pytest.raises(SceneError, match=r"LX001 nowhere\.yaml: no such file"):
        Scene.load("nowhere.yaml")


def test_byte_order_mark_and_json_file(tmp_path: Path) -> None:
    assert Scene.load(write(tmp_path, b"\xef\xbb\xbflumosx: 1\nprompt: Rain.\n")).id == "scene"
    assert Scene.load(write(tmp_path, b'{"lumosx": 1, "prompt": "Rain."}', "other.json")).id == "other"


def test_a_file_name_that_is_no_id_needs_one(tmp_path: Path) -> None:
    scene, messages = examine(write(tmp_path, b"lumosx: 1\nprompt: Rain.\n", "my scene.yaml"))
    assert scene is None
    assert "LX103" in [message.code for message in messages]


def test_relative_paths_start_at_root(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    make_picture().save(tmp_path / "pictures" / "sea.png")
    text = b"lumosx: 1\nprompt: A sea.\nroot: pictures\nbackground: {word: sea, image: sea.png}\n"
    scene = Scene.load(write(tmp_path, text))
    assert scene.root == tmp_path / "pictures"
    image = scene.entities[0].image
    assert image is not None
    assert image.path == tmp_path / "pictures" / "sea.png"


@pytest.mark.parametrize("data", [None, [], "text", {1: 2, "lumosx": 1}, {"subjects": {"a": 1}, "meta": {"f": print}}])
def test_odd_data_gives_messages_and_never_another_error(data) -> None:
    with pytest.raises(SceneError) as caught:
        Scene.from_dict(data)
    assert all(message.code in ("LX001", "LX002", "LX003", "LX004") for message in caught.value.messages)


def test_no_torch_is_imported_to_check_a_scene(tmp_path: Path) -> None:
    path = write(tmp_path, b"lumosx: 1\nprompt: Rain.\n")
    code = (
        "import sys; from lumosx.scene import Scene; import lumosx.cli.check, lumosx.cli.import_, lumosx.cli.export;"
        f"Scene.load({str(path)!r}).check();"
        "print([name for name in ('torch', 'diffusers', 'transformers', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
