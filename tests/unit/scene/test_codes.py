"""Every message code of the format is raised by the smallest scene that deserves it, at the right place."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scene_makers import Check, make_picture, make_tokenizer

from lumosx.scene import Message, Scene, SceneError, check_outputs, export_release, import_release
from lumosx.scene.messages import CODES

FACE = "refs/face.png"
COAT = "refs/coat.png"
PICTURES = (FACE, COAT, "refs/other.png")


def one(prompt: str = "A man in a red coat waits.", **subject: Any) -> dict[str, Any]:
    """A sound scene of one man; keywords replace or add fields of the subject."""
    man = {"id": "ben", "word": "man", "face": FACE} | subject
    return {"lumosx": 1, "id": "scene", "prompt": prompt, "subjects": [man]}


def two(
    prompt: str = "A man and a man wait.",
    second: dict[str, Any] | None = None,
    attributes: list[Any] | None = None,
    **top: Any,
) -> dict[str, Any]:
    """Ben and Carl, both called "man"; `second` changes Carl, `attributes` are Ben's."""
    scene = one(prompt, attributes=attributes or [])
    carl = {"id": "carl", "word": "man", "face": "refs/other.png"} | (second or {})
    return scene | {"subjects": [*scene["subjects"], carl]} | top


def coat(**more: Any) -> dict[str, Any]:
    return {"word": "red coat", "image": COAT} | more


# code, scene, where the message points (after the file's name), part of its text, severity
CASES: list[tuple[str, Any, str, str, str]] = [
    ("LX001", "lumosx: 1\nprompt: [a\n", ":3", "not YAML", "error"),
    ("LX001", "- a\n- b\n", ":1", "a scene is a mapping", "error"),
    ("LX001", {"prompt": "Rain."}, ":1", "starts with `lumosx: 1`", "error"),
    ("LX001", {"lumosx": 2, "prompt": "Rain."}, ":1 lumosx", "`lumosx: 2`", "error"),
    ("LX001", {"lumosx": True, "prompt": "Rain."}, ":1 lumosx", "`lumosx: True`", "error"),
    ("LX001", "lumosx: 1\nid: a\nprompt: Rain.\nid: b\n", ":2 id", "written again on line 4", "error"),
    ("LX002", one(atributes=[coat()]), "subjects[0].atributes", "did you mean `attributes`?", "error"),
    ("LX002", one() | {"zzz": 1}, "zzz", "known here: lumosx, id, prompt", "error"),
    ("LX003", one() | {"generation": {"size": "833x480"}}, "generation.size", "832x480 or 848x480", "error"),
    ("LX003", one() | {"generation": {"size": "480p"}}, "generation.size", "WIDTHxHEIGHT", "error"),
    ("LX003", one() | {"generation": {"frames": 80}}, "generation.frames", "77 or 81", "error"),
    ("LX003", one() | {"generation": {"steps": 0}}, "generation.steps",
     "greater than or equal to 1", "error"),
    ("LX003", one() | {"generation": {"seed": -1}}, "generation.seed", "greater than or equal to 0", "error"),
    ("LX003", one() | {"generation": {"steps": "50"}}, "generation.steps", "write a whole number", "error"),
    ("LX003", one(strength=2.5), "subjects[0].strength", "less than or equal to 2", "error"),
    ("LX003", one(word=3), "subjects[0].word", "a word is text", "error"),
    ("LX003", one(occurrence=0), "subjects[0].occurrence", "counts from 1", "error"),
    ("LX003", one(attributes=[{"image": COAT}]), "attributes[0].word", "`word` is missing", "error"),
    ("LX003", one(face=None), "subjects[0]", "neither `face` nor `attributes`", "error"),
    ("LX003", one(word=None), "subjects[0]", "needs a `word`", "error"),
    ("LX003", one(face={"image": FACE, "crop": [5, 5, 5, 9]}), "face.crop", "x0 < x1", "error"),
    ("LX003", one(face={"image": FACE, "crop": [0, 0, 900, 9]}), "subjects[0].face",
     "leaves the picture", "error"),
    ("LX003", one() | {"output": {"name": "{size}"}}, "output.name", "only {id} and {seed}", "error"),
    ("LX004", {"lumosx": 1, "prompt": " &nbsp; "}, "prompt", "empty or missing", "error"),
    ("LX004", {"lumosx": 1}, "", "empty or missing", "error"),
    ("LX004", one("A man } waits."), "prompt", "unbalanced '}'", "error"),
    ("LX004", one("A {man:} waits."), "prompt", "is no tag", "error"),
    ("LX004", one("A {man:dan} waits."), "prompt", "known ids: ben, ben.face", "error"),
    ("LX005", one() | {"generation": {"seed": 1, "seeds": [2]}}, "generation",
     "both `seed` and `seeds`", "error"),
    ("LX005", one("A {man:ben} waits.", occurrence=1), "occurrence", "both `occurrence` and a tag", "error"),
    ("LX005", one(occurrence=1) | {"binding": {"rules": "release"}}, "occurrence",
     "every occurrence", "error"),
    ("LX101", two(second={"id": "ben"}), "subjects[1].id", "'ben' is used twice", "error"),
    ("LX101", one("A red coat, a red coat, a man.", attributes=[coat(), coat(image="refs/other.png")]),
     "attributes[1].word", "names two attributes of the same subject", "error"),
    ("LX102", one(face=[FACE, COAT]), "subjects[0].face", "one face", "error"),
    ("LX102", one() | {"background": [coat(), coat()]}, "background", "one background", "error"),
    ("LX102", "lumosx: 1\nprompt: A sea.\nbackground: {word: sea, image: refs/coat.png}\nbackground: {}\n",
     "background", "written again on line 4", "error"),
    ("LX103", one() | {"id": "../a"}, "id", "no legal id", "error"),
    ("LX103", one() | {"id": "a" * 81}, "id", "no legal id", "error"),
    ("LX103", one(id="a/b"), "subjects[0].id", "no legal id", "error"),
    ("LX103", one() | {"output": {"name": "../{id}"}}, "output.name", "no file name", "error"),
    ("LX103", one() | {"generation": {"seeds": [1, 2]}, "output": {"name": "x"}}, "output.name",
     "{seed}", "error"),
    ("LX103", one() | {"generation": {"seeds": [1, 1]}}, "generation.seeds", "same seed twice", "error"),
    ("LX110", one("A cup falls.", word="cups"), "subjects[0].word", "nearest: ['cup'", "error"),
    ("LX110", one(word="Man") | {"binding": {"rules": "release"}}, "subjects[0].word",
     "does not occur in the prompt in this capitalisation", "error"),
    ("LX110", two("A young man.", {"word": "young man"}), "subjects[0].word", "only inside longer", "error"),
    ("LX111", one(occurrence=2), "subjects[0].occurrence", "occurs once; write 1 to 1", "error"),
    ("LX111", one(occurrence=[1, 1]), "subjects[0].occurrence", "twice", "error"),
    ("LX111", two("A man waits.", {"occurrence": 1}), "subjects[0].word", "is claimed by carl.face", "error"),
    ("LX111", two("{man:ben} waits.", {"occurrence": 1}), "subjects[1].occurrence", "claimed by ben.face",
     "error"),
    ("LX112", one("A red coat rack.", word="coat rack") | {"objects": [coat()]}, "subjects[0].word",
     "overlaps", "error"),
    ("LX114", one("A Man waits."), "subjects[0].word", "only as 'Man'", "warning"),
    ("LX114", one("Two cups.", word="cup"), "subjects[0].word", "only as 'cups'", "warning"),
    ("LX120", two("A man, a man; the man laughs."), "subjects[0].word",
     "'man' names 2 entities (ben, carl) but occurs 3 times: say which (occurrence:, or a longer word)",
     "error"),
    ("LX121", two(), "subjects[0].word",
     "'man' names 2 entities and occurs 2 times: paired in order (subjects[0]=ben, subjects[1]=carl)",
     "warning"),
    ("LX121", two(binding={"ambiguity": "error"}), "subjects[0].word", "paired in order", "error"),
    ("LX122", two("A man and a young man.", {"word": "young man"}), "subjects[0].word",
     "1 of 2 'man' lie inside the longer 'young man'", "note"),
    ("LX123", two(binding={"ambiguity": "all"}), "subjects[0].word", "levels: ben +1, carl +1", "warning"),
    ("LX123", two(binding={"rules": "release"}), "subjects[0].word", "levels: ben +0, carl +0", "warning"),
    ("LX124", two("A man waits. A boy wears a red coat.", {"word": "boy"}, attributes=[coat()]),
     "subjects[0].attributes[0].word", "belongs to ben but stands nearer to carl", "warning"),
    ("LX130", {"lumosx": 1, "prompt": "Rain."}, ":1", "plain text-to-video", "warning"),
    ("LX131", one(face=None, attributes=[coat()]), "subjects[0]", "attributes but no face", "warning"),
    ("LX132", one(), "prompt", "no picture for 'coat'", "note"),
    ("LX132", one("A man with a lute.", attributes=[{"word": "lute"}]), "prompt",
     "no picture for 'lute'", "note"),
    ("LX140", one("A man, a b c d.", attributes=[coat(word=w) for w in "abcd"]), "attributes", "4 attributes",
     "warning"),
    ("LX142", one(strength=1.5), "subjects[0].strength", "strength 1.5", "warning"),
    ("LX142", one() | {"binding": {"mcam_ratio": 0.9}}, "binding.mcam_ratio", "trained with 0.5", "warning"),
    ("LX201", one(face="refs/fase.png"), "subjects[0].face", "nearest in that folder: 'face.png'", "error"),
    ("LX201", one(face="nowhere/face.png"), "subjects[0].face", "folder does not exist", "error"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "scene", "place", "text", "severity"), CASES, ids=lambda v: str(v)[:40])
def test_code(code: str, scene: Any, place: str, text: str, severity: str, check: Check) -> None:
    found = [message for message in check(scene, PICTURES) if message.code == code]
    assert len(found) == 1, found
    (message,) = found
    assert message.severity == severity
    assert "scene.yaml:" in message.where
    assert place in message.where
    assert text in message.text
    assert str(message).startswith(f"{severity[0].upper()} {code} ")


def in_memory(face: Any, **more: Any) -> list[Message]:
    """Messages of a scene with a picture that was never a file."""
    try:
        return Scene.from_dict(one(face=face) | more).check()
    except SceneError as error:
        return error.messages


def many(count: int) -> list[Message]:
    subjects = [{"id": f"s{n}", "word": f"person {n}", "face": make_picture()} for n in range(count)]
    prompt = ", ".join(subject["word"] for subject in subjects)
    try:
        return Scene.from_dict({"lumosx": 1, "prompt": prompt, "subjects": subjects}).check()
    except SceneError as error:
        return error.messages


def tagged(exif: int) -> Image.Image:
    image = make_picture(300, 200)
    image.getexif()[0x0112] = exif
    return image


def broken(tmp_path: Path, check: Check) -> list[Message]:
    (tmp_path / "face.png").write_bytes(b"no picture")
    return check(one(face="face.png"))


def outside(tmp_path: Path, check: Check) -> list[Message]:
    make_picture().save(tmp_path.parent / "outside.png")
    return check(one(face="../outside.png"), sandbox=True)


def shared_face(_tmp_path: Path, _check: Check) -> list[Message]:
    face = make_picture()
    data = one("A man and a boy.", face=face)
    data["subjects"].append({"id": "carl", "word": "boy", "face": face})
    with pytest.raises(SceneError) as caught:
        Scene.from_dict(data)
    return caught.value.messages


def beyond(_tmp_path: Path, _check: Check) -> list[Message]:
    scene = Scene.from_dict(one("word " * 30 + "man", face=make_picture()))
    with pytest.warns(UserWarning, match="cut to 16"), pytest.raises(SceneError) as caught:
        scene.bind(make_tokenizer(), 16)
    return caught.value.messages


def imported(
    tmp_path: Path, files: tuple[str, ...], caption: str | None = "a;A man waits.", **how: Any
) -> list[Message]:
    for file in files:
        path = tmp_path / "tree" / "1" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        make_picture().save(path) if path.suffix == ".png" else path.write_text("x")
    if caption is not None:
        (tmp_path / "tree" / "1").mkdir(parents=True, exist_ok=True)
        (tmp_path / "tree" / "1" / "caption.txt").write_text(caption, encoding="utf-8")
    (sample,) = import_release(tmp_path / "tree", **how)
    return sample.messages


def listed_backwards(tmp_path: Path, _check: Check) -> list[Message]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lumosx.scene.release.file_system_order", lambda path: sorted(os.listdir(path), reverse=True))
        return imported(tmp_path, (MAN, "subjects/2/face_man.png"), "a;A man and a man.")


def exported(tmp_path: Path, **change: Any) -> list[Message]:
    scene = Scene.from_dict(one(face=make_picture()) | change)
    try:
        return export_release(scene, tmp_path / "out")
    except SceneError as error:
        return error.messages


MAN = "subjects/1/face_man.png"
Builder = Callable[[Path, Check], list[Message]]

# code, builder, severity, part of the text
BUILT: list[tuple[str, Builder, str, str]] = [
    ("LX103", lambda *_: same_output(), "error", "same output as"),
    ("LX113", beyond, "error", "lies beyond the 16 tokens"),
    ("LX141", lambda *_: many(4), "warning", "4 subjects"),
    ("LX141", lambda *_: many(9), "error", "at most 8"),
    ("LX202", broken, "error", "not an image"),
    ("LX210", lambda *_: in_memory(make_picture(111, 300)), "warning", "below 112 px"),
    (
        "LX210",
        lambda *_: in_memory(make_picture(), objects=[coat(image=make_picture(63, 90))]),
        "warning",
        "64 px",
    ),
    ("LX211", shared_face, "error", "two people cannot share a face"),
    (
        "LX211",
        lambda _, check: check(one(attributes=[coat(image=FACE)]), PICTURES),
        "warning",
        "same picture as",
    ),
    ("LX212", lambda *_: in_memory(make_picture(601, 200)), "warning", "longer than 3:1"),
    ("LX213", lambda *_: in_memory(tagged(6)), "warning", "EXIF rotation"),
    (
        "LX214",
        lambda *_: in_memory(Image.new("RGBA", (200, 200), (9, 9, 9, 90))),
        "warning",
        "composited on #ffffff",
    ),
    ("LX220", outside, "error", "outside the scene's root"),
    ("LX230", lambda _, check: check(one(consent=" "), PICTURES, require_consent=True), "error", "requires"),
    ("LX300", listed_backwards, "note", "sorted by number and name"),
    ("LX301", lambda path, _: imported(path, (MAN, "subjects/1/fullfullbody.png")), "warning", "whole-body"),
    ("LX301", lambda path, _: imported(path, (MAN, "objects/.DS_Store")), "warning", "a hidden file"),
    (
        "LX301",
        lambda path, _: imported(path, (MAN, "background/a.png", "background/b.png")),
        "warning",
        "second",
    ),
    ("LX301", lambda path, _: imported(path, (MAN, "objects/notes.txt")), "warning", "no picture"),
    ("LX302", lambda path, _: imported(path, (MAN, "subjects/1/surface.png")), "warning", "as an attribute"),
    ("LX303", lambda path, _: imported(path, (MAN, "objects/no. 5.png")), "warning", "the word is 'no. 5'"),
    ("LX304", lambda path, _: imported(path, (MAN,), "A man waits."), "warning", "the id is '1'"),
    ("LX304", lambda path, _: imported(path, (MAN,), "A man; he waits."), "warning", "the id is '1'"),
    ("LX305", lambda path, _: imported(path, (MAN,), None), "error", "missing or unreadable"),
    ("LX305", lambda path, _: imported(path, (MAN,), "a;"), "error", "has no prompt"),
    ("LX305", lambda path, _: imported(path, ()), "error", "no usable picture"),
    ("LX310", lambda path, _: exported(path, prompt="A man in {{braces}}."), "error", "braces"),
    ("LX311", lambda path, _: exported(path, meta={"a": 1}), "warning", "meta, id 'ben'"),
]


def same_output() -> list[Message]:
    first = Scene.from_dict(one(face=make_picture()), source="a.yaml")
    second = Scene.from_dict(one(face=make_picture()), source="b.yaml")
    return check_outputs([first, second])


def test_an_output_folder_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    folders = ("out", "./out", "other/../out", str(Path.cwd() / "out"), "elsewhere")
    scenes = [Scene.from_dict(one(face=make_picture()) | {"output": {"dir": folder}}) for folder in folders]
    assert [message.code for message in check_outputs(scenes)] == ["LX103"] * 3
    assert len(check_outputs(scenes, tmp_path)) == 4
    fixed = Scene.from_dict(one(face=make_picture()) | {"output": {"name": "clip"}})
    assert "2 seeds would all write" in check_outputs([fixed], None, [1, 2])[0].text


def test_a_word_that_is_only_white_space_in_html_is_none(check: Check) -> None:
    subject = {"id": "b", "word": "&nbsp;", "face": "refs/face.png"}
    found = [(m.code, m.where.split()[-1]) for m in check(one() | {"subjects": [subject]}, PICTURES)]
    assert ("LX003", "subjects[0].word") in found


@pytest.mark.parametrize(("code", "build", "severity", "text"), BUILT, ids=lambda v: v if isinstance(v, str) else "-")
def test_built_code(code: str, build: Builder, severity: str, text: str, tmp_path: Path, check: Check) -> None:
    found = [message for message in build(tmp_path, check) if message.code == code]
    assert found, f"{code} was not raised"
    assert found[0].severity == severity
    assert text in found[0].text


# Section 5.4 of the format, and the exporter's own two.
SPECIFIED = (
    "001 002 003 004 005 101 102 103 110 111 112 113 114 120 121 122 123 124 130 131 132 140 141 142 "
    "201 202 210 211 212 213 214 220 230 300 301 302 303 304 305 310 311"
)


def test_every_code_is_tested() -> None:
    tested = {case[0] for case in CASES} | {case[0] for case in BUILT}
    assert tested == set(CODES) == {f"LX{number}" for number in SPECIFIED.split()}


def test_a_sound_scene_has_no_message(check: Check) -> None:
    assert check(one("A man waits."), PICTURES) == []


def test_all_problems_come_at_once_with_their_lines(check: Check) -> None:
    text = """\
lumosx: 1
id: a/b
prompt: A man in a red coat.
subjects:
  - id: ben
    word: mann
    face: refs/face.png
    attributes:
      - {word: red coat, image: refs/nothing.png, strenght: 1}
  - id: carl
    face: [refs/face.png]
generation:
  size: 833x480
  frames: 80
"""
    found = [(m.where.split(":")[-1], m.code) for m in check(text, PICTURES) if m.severity == "error"]
    assert found == [
        ("2 id", "LX103"),
        ("6 subjects[0].word", "LX110"),
        ("9 subjects[0].attributes[0].strenght", "LX002"),
        ("9 subjects[0].attributes[0].image", "LX201"),
        ("11 subjects[1].face", "LX102"),
        ("13 generation.size", "LX003"),
        ("14 generation.frames", "LX003"),
    ]


def test_lines_stay_right_after_a_faulty_item_is_taken_out(check: Check) -> None:
    text = """\
lumosx: 1
prompt: A man.
subjects:
  - {word: man, face: refs/face.png}
  - {id: carl, word: cat, face: refs/other.png}
"""
    found = [(m.where.split(":")[-1], m.code) for m in check(text, PICTURES)]
    assert found == [("4 subjects[0].id", "LX003"), ("5 subjects[1].word", "LX110")]
