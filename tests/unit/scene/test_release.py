"""The release's folder layout: the six published samples import without error and survive a round trip."""

import os
import shutil
from pathlib import Path

import pytest
from scene_makers import make_picture
from typer.testing import CliRunner

from lumosx.cli.main import app
from lumosx.errors import InputError
from lumosx.scene import Scene, SceneError, dump_yaml, export_release, import_release
from lumosx.scene.release import GENERATION, natural_key

# What section 5.5 of the format predicts: one warning, one note, no error.
PREDICTED = {
    ("identity", "3"): ["note LX122 subjects[0].word: 3 of 5 'woman' lie inside the longer 'young woman'"],
    ("subject", "1"): ["warning LX121 subjects[0].word: 'man' names 2 entities and occurs 2 times: paired in order"],
}


@pytest.mark.usefixtures("sorted_listing")
@pytest.mark.parametrize("task", ["identity", "subject"])
def test_the_published_samples_import_as_predicted(task: str, release_tree: Path) -> None:
    samples = import_release(release_tree / task)
    assert [sample.name for sample in samples] == ["1", "2", "3"]
    for sample in samples:
        said = [f"{m.severity} {m.code} {m.where.split()[-1]}: {m.text}" for m in sample.messages]
        expected = PREDICTED.get((task, sample.name), [])
        assert len(said) == len(expected)
        assert all(text.startswith(start) for text, start in zip(said, expected, strict=True))
        assert sample.data is not None
        assert sample.data["generation"] == GENERATION


@pytest.mark.parametrize("task", ["identity", "subject"])
def test_imported_scenes_load_and_every_word_is_bound(task: str, release_tree: Path, tmp_path: Path) -> None:
    for sample in import_release(release_tree / task, out=tmp_path):
        assert sample.data is not None
        path = tmp_path / f"{sample.name}.yaml"
        dump_yaml(sample.data, path)
        scene = Scene.load(path)
        assert all(entity.spans for entity in scene.entities)
        assert all(entity.image is not None for entity in scene.entities)
        assert not [m for m in scene.check() if m.code in ("LX120", "LX121")]  # occurrence is written


def test_imported_fields(release_tree: Path) -> None:
    sample = import_release(release_tree / "subject")[1]
    assert sample.data is not None
    assert sample.data["id"] == "video_person2_180"
    assert sample.data["prompt"].startswith("A man and a woman sit on a bed in a cozy, warmly lit room")
    assert sample.data["background"] == {
        "word": "cozy, warmly lit room",
        "image": "2/background/cozy, warmly lit room.png",
    }
    assert [thing["word"] for thing in sample.data["objects"]] == ["white lamp", "wooden bedside table"]
    assert [subject["id"] for subject in sample.data["subjects"]] == ["s1", "s2"]
    assert [part["word"] for part in sample.data["subjects"][0]["attributes"]] == [
        "denim jacket",
        "white shirt",
    ]


def test_shared_words_are_written_as_occurrences(release_tree: Path) -> None:
    data = import_release(release_tree / "subject")[0].data
    assert data is not None
    assert [subject["occurrence"] for subject in data["subjects"]] == [1, 2]


def test_faces_only_takes_nothing_else(release_tree: Path) -> None:
    for sample in import_release(release_tree / "subject", faces_only=True):
        assert sample.data is not None
        assert not {"objects", "background"} & set(sample.data)
        assert all({"id", "word", "face"} <= set(subject) for subject in sample.data["subjects"])
        assert not any("attributes" in subject for subject in sample.data["subjects"])


@pytest.mark.parametrize("task", ["identity", "subject"])
def test_round_trip(task: str, release_tree: Path, tmp_path: Path) -> None:
    shutil.copytree(release_tree / task, tmp_path / "first")
    first = import_release(tmp_path / "first")
    for sample in first:
        assert sample.data is not None
        dump_yaml(sample.data, tmp_path / "first" / f"{sample.name}.yaml")
        assert export_release(Scene.load(tmp_path / "first" / f"{sample.name}.yaml"), tmp_path / "second") == []
    second = import_release(tmp_path / "second")
    assert [sample.data for sample in second] == [sample.data for sample in first]
    for folder, _, names in os.walk(tmp_path / "second"):
        for name in names:
            copy = Path(folder, name)
            original = tmp_path / "first" / copy.relative_to(tmp_path / "second")
            assert copy.read_bytes() == original.read_bytes()


def sample_tree(root: Path, *files: str, caption: str = "a;A man, a hat, a cap and a scarf.") -> Path:
    for file in files:
        (root / "1" / file).parent.mkdir(parents=True, exist_ok=True)
        make_picture().save(root / "1" / file)
    (root / "1" / "caption.txt").write_text(caption, encoding="utf-8")
    return root


def test_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"subjects/{n}/face_man.png" for n in (1, 2, 10)]
    root = sample_tree(tmp_path, *names, caption="a;A man, a man and a man.")
    monkeypatch.setattr("lumosx.scene.release.file_system_order", lambda folder: sorted(os.listdir(folder)))

    def ids(order) -> list[str]:
        (sample,) = import_release(root, order=order)
        assert sample.data is not None
        assert ("LX300" in [m.code for m in sample.messages]) == (order == "numeric")
        return [subject["id"] for subject in sample.data["subjects"]]

    assert ids("numeric") == ["s1", "s2", "s10"]
    assert ids("listdir") == ["s1", "s10", "s2"]


def test_natural_key_orders_numbers_and_words() -> None:
    assert sorted(["10", "9", "a10", "a9", "B"], key=natural_key) == ["9", "10", "a9", "a10", "B"]


def test_an_ambiguous_word_is_left_to_the_user(tmp_path: Path) -> None:
    names = [f"subjects/{n}/face_man.png" for n in (1, 2)]
    (sample,) = import_release(sample_tree(tmp_path, *names, caption="a;A man, a man and a man."))
    assert [m.code for m in sample.messages if m.severity == "error"] == ["LX120"]
    assert sample.data is not None
    assert not any("occurrence" in subject for subject in sample.data["subjects"])


def test_two_faces_are_left_to_the_user(tmp_path: Path) -> None:
    (sample,) = import_release(sample_tree(tmp_path, "subjects/1/face_man.png", "subjects/1/face_cap.png"))
    assert [m.code for m in sample.messages if m.severity == "error"] == ["LX102"]
    assert sample.data is not None
    assert len(sample.data["subjects"][0]["face"]) == 2


def test_braces_of_a_caption_are_literal(tmp_path: Path) -> None:
    (sample,) = import_release(sample_tree(tmp_path, "subjects/1/face_man.png", caption="a;A man {smiles}."))
    assert sample.data is not None
    assert Scene.from_dict(sample.data, root=tmp_path).prompt == "A man {smiles}."


@pytest.mark.parametrize("wrong", ["nothing", "sample"])
def test_a_wrong_folder_is_said(wrong: str, tmp_path: Path) -> None:
    root = sample_tree(tmp_path, "subjects/1/face_man.png")
    with pytest.raises(InputError, match="give the folder"):
        import_release(root / "1" if wrong == "sample" else root / "nothing")


REFUSED = {
    "occurrence": {"occurrence": 2},
    "slash": {"attributes": [{"word": "a/b", "image": make_picture()}]},
    "dot": {"attributes": [{"word": "no. 1", "image": make_picture()}]},
    "face in a name": {"attributes": [{"word": "face mask", "image": make_picture()}]},
    "several words": {"word": ["man", "hat"]},
    "strength": {"strength": 1.5},
    "crop": {"face": {"image": make_picture(), "crop": [0, 0, 150, 150]}},
    "fit": {"face": {"image": make_picture(), "fit": "crop"}},
    "no face": {"face": None, "attributes": [{"word": "hat", "image": make_picture()}]},
    "text only": {"attributes": [{"word": "hat"}]},
}


@pytest.mark.parametrize("case", REFUSED)
def test_export_refuses_what_the_tree_cannot_say(case: str, tmp_path: Path) -> None:
    change = REFUSED[case]
    word = change.get("attributes", [{}])[0].get("word", "")
    face = {"id": "s1", "word": "man", "face": make_picture()} | change
    data = {"lumosx": 1, "id": "one", "prompt": f"A man, a man's hat, {word}.", "subjects": [face]}
    if word == "hat":
        data["prompt"] = "A man, a man's hat."
    with pytest.raises(SceneError) as caught:
        export_release(Scene.from_dict(data), tmp_path)
    assert "LX310" in [message.code for message in caught.value.messages]
    assert list(tmp_path.iterdir()) == []


def test_a_scene_without_pictures_cannot_be_exported(tmp_path: Path) -> None:
    with pytest.raises(SceneError) as caught:
        export_release(Scene.from_dict({"lumosx": 1, "id": "sea", "prompt": "A sea."}), tmp_path)
    assert "LX310" in [message.code for message in caught.value.messages]
    assert list(tmp_path.iterdir()) == []


def test_export_tells_two_twins_apart_or_refuses(tmp_path: Path) -> None:
    def people(*occurrences: int) -> Scene:
        faces = [{"id": f"s{n}", "word": "man", "face": make_picture(), "occurrence": k}
                 for n, k in enumerate(occurrences, start=1)]  # fmt: skip
        return Scene.from_dict({"lumosx": 1, "id": "two", "prompt": "A man and a man.", "subjects": faces})

    with pytest.raises(SceneError, match="LX310"):
        export_release(people(2, 1), tmp_path)
    export_release(people(1, 2), tmp_path)
    (sample,) = import_release(tmp_path)
    assert sample.data is not None
    assert [subject["occurrence"] for subject in sample.data["subjects"]] == [1, 2]


def test_export_of_a_scene_with_the_rules_of_the_release(tmp_path: Path) -> None:
    faces = [{"id": f"s{n}", "word": "man", "face": make_picture()} for n in (1, 2)]
    data = {
        "lumosx": 1,
        "id": "a",
        "prompt": "A man, a man and a man.",
        "subjects": faces,
        "binding": {"rules": "release"},
    }
    (message,) = export_release(Scene.from_dict(data), tmp_path)
    assert message.code == "LX311"
    assert "binding.rules" in message.text


def test_export_overwrites_nothing(tmp_path: Path) -> None:
    scene = Scene.from_dict(
        {
            "lumosx": 1,
            "id": "one",
            "prompt": "A man.",
            "subjects": [{"id": "s1", "word": "man", "face": make_picture()}],
        }
    )
    export_release(scene, tmp_path)
    with pytest.raises(InputError, match="exists"):
        export_release(scene, tmp_path)


def test_import_overwrites_no_edited_scene(tmp_path: Path) -> None:
    dump_yaml({"lumosx": 1, "prompt": "A."}, tmp_path / "a.yaml")
    dump_yaml({"lumosx": 1, "prompt": "A."}, tmp_path / "a.yaml")
    with pytest.raises(InputError, match="exists and differs"):
        dump_yaml({"lumosx": 1, "prompt": "B."}, tmp_path / "a.yaml")


def test_commands(release_tree: Path, tmp_path: Path) -> None:
    run = CliRunner().invoke
    result = run(app, ["import", "release", str(release_tree / "subject"), "--out", str(tmp_path / "scenes")])
    assert result.exit_code == 0, result.output
    scenes = sorted(str(path) for path in (tmp_path / "scenes").iterdir())
    assert [Path(scene).name for scene in scenes] == ["1.yaml", "2.yaml", "3.yaml"]
    checked = run(app, ["check", *scenes])
    assert checked.exit_code == 0, checked.output
    assert "3 scenes: 0 errors" in checked.output
    assert run(app, ["export", "release", scenes[0], str(tmp_path / "tree")]).exit_code == 0
    assert (tmp_path / "tree" / "1" / "subjects" / "2" / "black jacket.png").is_file()


def test_check_command_fails_with_2_and_speaks_json(tmp_path: Path) -> None:
    import json

    (tmp_path / "a.yaml").write_text("lumosx: 1\nprompt: A man.\nsubjcts: []\n")
    result = CliRunner().invoke(app, ["check", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "--json"])
    assert result.exit_code == 2
    assert [message["code"] for message in json.loads(result.output)] == ["LX002", "LX001"]


def test_import_command_fails_with_2_for_an_unusable_sample(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    result = CliRunner().invoke(app, ["import", "release", str(tmp_path)])
    assert result.exit_code == 2
    assert "LX305" in result.output
    assert not (tmp_path / "1.yaml").exists()
