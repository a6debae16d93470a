"""Cases from every layout: the release's folders, scene files, manifests, OpenS2V's JSON; and all that can be wrong."""

import json
from pathlib import Path
from typing import Any

import pytest
from case_makers import RELEASE, colour, names, paint, sample, two_people, write_scene
from PIL import Image
from ruamel.yaml import YAML

from lumosx.errors import InputError
from lumosx.evaluation.readers import read_cases
from lumosx.evaluation.stated import faces_alone
from lumosx.scene import Scene


def refused(path: Path, **options: bool) -> str:
    with pytest.raises(InputError) as error:
        read_cases(path, **options)
    return str(error.value)


def test_a_published_sample_of_three_people(tmp_path: Path) -> None:
    sample(tmp_path, "3", "subject/3")
    (tmp_path / "3" / "video.mp4").touch()
    [case] = read_cases(tmp_path)
    assert (case.id, case.subjects, case.truth) == ("video_person3_020", 3, tmp_path / "3" / "video.mp4")
    assert case.prompt == RELEASE["subject/3"]["caption"].partition(";")[2]
    assert names(case) == [
        ("background", None, "modern kitchen"),
        ("object", None, "metal mixing bowl"),
        ("object", None, "white baking dish"),
        ("object", None, "wooden cutting board"),
        ("face", 0, "person on the left"),
        ("attribute", 0, "headband"),
        ("face", 1, "middle person"),
        ("attribute", 1, "black top"),
        ("face", 2, "person on the right"),
        ("attribute", 2, "striped shirt"),
    ]
    shown = case.references[5].image
    assert shown is not None
    assert shown.path == tmp_path / "3" / "subjects" / "1" / "headband.png"
    with Image.open(tmp_path / "3" / "subjects" / "1" / "headband.png") as picture:
        assert colour(case.references[5].picture()) == picture.getpixel((0, 0))


@pytest.mark.parametrize("task", ["identity", "subject"])
def test_published_samples_in_natural_order_can_be_sampled(tmp_path: Path, task: str) -> None:
    for number, name in (("1", "2"), ("2", "10"), ("3", "1")):
        sample(tmp_path, name, f"{task}/{number}")
    cases = read_cases(tmp_path)
    captions = [RELEASE[f"{task}/{number}"]["caption"] for number in "312"]
    assert [case.id for case in cases] == [caption.partition(";")[0] for caption in captions]
    for case in cases:
        scene = Scene.from_dict(case.scene, root=case.folder)
        assert (scene.id, scene.prompt) == (case.id, case.prompt)
        assert [entity.id for entity in scene.entities] == [reference.id for reference in case.references]


def test_faces_only_of_the_release(tmp_path: Path) -> None:
    sample(tmp_path, "2", "subject/2")
    [case] = read_cases(tmp_path, faces_only=True)
    assert names(case) == [("face", 0, "man"), ("face", 1, "woman")]
    assert [e.id for e in Scene.from_dict(case.scene, root=case.folder).entities] == ["s1.face", "s2.face"]


def test_samples_that_hold_nothing_and_samples_of_one_id_are_all_told(tmp_path: Path) -> None:
    sample(tmp_path, "1", "identity/1")
    sample(tmp_path, "2", "identity/1")
    (tmp_path / "3").mkdir()
    (tmp_path / "3" / "caption.txt").write_text("empty;Nobody is here.")
    (tmp_path / "4").mkdir()
    said = refused(tmp_path)
    assert f"{tmp_path / '2'}: the case 'video_person2_002_1' is also in {tmp_path / '1'}" in said
    assert f"{tmp_path / '3'}: LX305 no usable picture" in said
    assert f"{tmp_path / '4'} caption.txt: LX305 missing or unreadable" in said


def test_a_sample_with_no_face_has_nothing_for_the_identity_task(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "caption.txt").write_text("lamp;A lamp.")
    paint(tmp_path / "1" / "objects" / "lamp.png")
    assert names(read_cases(tmp_path)[0]) == [("object", None, "lamp")]
    assert f"{tmp_path / '1'}: LX305" in refused(tmp_path, faces_only=True)


def test_a_scene_file(tmp_path: Path) -> None:
    [case] = read_cases(write_scene(tmp_path / "pair.yaml"))
    assert (case.id, case.truth) == ("pair", None)
    assert case.prompt == "A man in a jacket and a woman in a jacket and a scarf, {smiling}."
    assert names(case) == [
        ("object", None, "lamp that no prompt names"),
        ("face", 0, "man"),
        ("attribute", 0, "jacket"),
        ("face", 1, "woman"),
        ("attribute", 1, "scarf"),
        ("attribute", 1, "jacket"),
    ]
    assert case.faces[1].picture().shape == (60, 50, 3)
    assert case.references[4].image is None
    assert case.scene == two_people(id="pair")


def test_cases_do_not_depend_on_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "truth.mp4").touch()
    listed = {"scene": write_scene(tmp_path / "pair.yaml").name, "truth": "truth.mp4"}
    (tmp_path / "cases.jsonl").write_text(json.dumps(listed))
    monkeypatch.chdir(tmp_path)
    [case] = read_cases(Path("cases.jsonl"))
    monkeypatch.chdir("/")
    assert case.faces[0].picture().shape == (130, 120, 3)
    assert (case.folder, case.truth) == (tmp_path, tmp_path / "truth.mp4")


def test_a_folder_of_scene_files(tmp_path: Path) -> None:
    for name in ("b10", "b9"):
        write_scene(tmp_path / f"{name}.yaml")
    write_scene(tmp_path / "b8.yml", id="last")
    (tmp_path / "settings.yaml").write_text("steps: 3\n")
    assert [case.id for case in read_cases(tmp_path)] == ["last", "b9", "b10"]
    (tmp_path / "c.yaml").write_text("lumosx: [1\n")
    assert "c.yaml: not YAML" in refused(tmp_path)


def test_a_folder_with_one_folder_a_clip(tmp_path: Path) -> None:
    for name in ("clip10", "clip9", ".hidden"):
        (tmp_path / name).mkdir()
        write_scene(tmp_path / name / "scene.yaml")
    (tmp_path / "clip9" / "clip.mp4").touch()
    first, second = read_cases(tmp_path)
    assert [(case.id, case.folder, case.truth) for case in (first, second)] == [
        ("clip9", tmp_path / "clip9", tmp_path / "clip9" / "clip.mp4"),
        ("clip10", tmp_path / "clip10", None),
    ]


def test_faces_only_leaves_a_scene_that_can_be_sampled(tmp_path: Path) -> None:
    attributes_alone = {"id": "eve", "attributes": [{"word": "scarf", "image": "lamp.png"}]}
    stated = two_people(objects=[])
    stated["subjects"] = [attributes_alone, *stated["subjects"]]
    path = write_scene(tmp_path / "pair.yaml", **stated)
    [case] = read_cases(path, faces_only=True)
    assert names(case) == [("face", 0, "man"), ("face", 1, "woman")]
    assert case.scene["prompt"] == "{A man:ben} in a jacket and a woman in a jacket and a scarf, {{smiling}}."
    scene = Scene.from_dict(case.scene, root=case.folder)
    assert scene.prompt == case.prompt
    assert [entity.id for entity in scene.entities] == ["ben.face", "ann.face"]


def test_faces_only_leaves_alone_what_is_no_tag() -> None:
    prompt = "{{literal: braces}} {him: ben} {hat : ben.hat} {he:ben.face}"
    assert faces_alone({"prompt": prompt, "subjects": [{"id": "ben", "face": "f.png"}]})["prompt"] == (
        "{{literal: braces}} {him: ben} hat  {he:ben.face}"
    )


def test_a_manifest_names_ids_and_ground_truths(tmp_path: Path) -> None:
    (tmp_path / "scenes").mkdir()
    write_scene(tmp_path / "scenes" / "pair.yaml")
    write_scene(tmp_path / "unused.yaml")
    (tmp_path / "truth.mp4").touch()
    listed: list[dict[str, Any]] = [
        {"scene": "scenes/pair.yaml", "id": "z", "truth": "truth.mp4"},
        {"scene": two_people(id="inline")},
        {"scene": "scenes/pair.yaml"},
    ]
    YAML().dump({"lumosx_bench": 1, "cases": listed}, tmp_path / "cases.yaml")
    (tmp_path / "cases.json").write_text(json.dumps({"lumosx_bench": 1, "cases": listed}))
    (tmp_path / "cases.jsonl").write_text("".join(json.dumps(case) + "\n\n" for case in listed))
    for form in ("cases.yaml", "cases.json", "cases.jsonl"):
        first, second, third = read_cases(tmp_path / form)
        assert [first.id, second.id, third.id] == ["z", "inline", "pair"]
        assert (first.truth, second.truth) == (tmp_path / "truth.mp4", None)
        assert (first.folder, second.folder) == (tmp_path / "scenes", tmp_path)
        assert colour(first.faces[0].picture()) != colour(second.faces[0].picture())
        assert colour(first.faces[0].picture()) == colour(third.faces[0].picture())


def test_everything_wrong_with_a_manifest_is_told_with_its_line(tmp_path: Path) -> None:
    paint(tmp_path / "ben.png", tmp_path / "lamp.png")
    path = tmp_path / "cases.yaml"
    path.write_text(
        """lumosx_bench: 1
cases:
  - scen: a.yaml
  - scene: none.yaml
  - scene: {lumosx: 1, prompt: A lamp.}
  - scene: 7
  - scene:
      lumosx: 1
      id: lamps
      prompt: A lamp.
      objects:
        - word: lamp
          image: lamb.png
        - {word: light, image: cases.yaml}
    truth: none.mp4
  - {scene: {lumosx: 1, id: ben, prompt: A man., subjects: [{id: b, word: man, face: ben.png}]}}
  - {scene: {lumosx: 1, id: ben, prompt: A man., subjects: [{id: b, word: man, face: ben.png}]}}
  - {id: a, id: b, scene: {lumosx: 1, prompt: A man.}}
"""
    )
    said = refused(path)
    assert f"{path}:3 cases[0].scen: LX002 unknown key `scen`: did you mean `scene`?" in said
    assert f"{path}:3 cases[0].scene: LX003 `scene` is missing" in said
    assert f"{path}:4 cases[1].scene: LX001 {tmp_path / 'none.yaml'}: no such file" in said
    assert f"{path}:5 cases[2].scene: LX103 neither the case nor its scene states an `id`" in said
    assert f"{path}:6 cases[3].scene: LX003 `scene` is the path of a scene file" in said
    assert f"{path}:13 objects[0].image: LX201 'lamb.png': no such image file; nearest in that folder: 'lamp." in said
    assert f"{path}:14 objects[1].image: LX202 'cases.yaml': not an image" in said
    assert f"no ground truth at {tmp_path / 'none.mp4'}" in said
    assert f"{path}:17: the case 'ben' is also in {path}:16" in said
    assert f"{path}:18 cases[7].id: LX001 `id` is written again on line 18" in said
    assert said.startswith(f"{path}: 10 problems")


def test_a_faulty_line_of_json_lines_is_named(tmp_path: Path) -> None:
    paint(tmp_path / "lamp.png")
    good = {"scene": {"lumosx": 1, "id": "a", "prompt": "A\u2028lamp.", "objects": []}}
    bad = {"scene": {"lumosx": 1, "id": "b", "prompt": "A lamp.", "objects": [{"wort": "lamp", "image": "lamp.png"}]}}
    path = tmp_path / "cases.jsonl"
    path.write_text("\n".join([json.dumps(good, ensure_ascii=False), "{", json.dumps(bad)]), encoding="utf-8")
    said = refused(path)
    assert f"{path}:2: LX001 not JSON" in said
    assert f"{path}:3 objects[0].wort: LX002 unknown key `wort`: did you mean `word`?" in said
    assert said.startswith(f"{path}: 3 problems")


OPENS2V = {
    "singleobj_1": {
        "img_paths": ["Images/singleobject/cup/52.jpg"],
        "prompt": "A close-up of a teapot {steaming}.\n\nbackground",
        "synthesis_flag": "wrong",
        "class_label": ["Cup"],
    },
    "humanobj_2": {
        "img_paths": [
            "Images/humanobj/crop_woman/1.jpg", "Images/humanobj/hat/1.jpg", "Images/humanobj/place/1.jpg",
            "Images/humanobj/hat/2.jpg", "Images/faces/7.jpg",
        ],
        "prompt": "Somebody with a hat in a park.",
        "class_label": ["Person in red", "Hat", "Background", "Hat", "old Man"],
    },
    "multihuman_10": {
        "img_paths": ["Images/multihuman/a/1.jpg", "Images/multihuman/b/2.jpg"],
        "prompt": "Two players.",
        "class_label": ["Player", "Player"],
    },
}  # fmt: skip


def write_opens2v(folder: Path, data: dict[str, Any], *, painted: bool = True) -> Path:
    if painted:
        paint(*(folder / path for entry in data.values() for path in entry["img_paths"]))
    (folder / "Eval.json").write_text(json.dumps(data, indent=4))
    return folder / "Eval.json"


def test_opens2v(tmp_path: Path) -> None:
    cup, mixed, players = read_cases(write_opens2v(tmp_path, OPENS2V))
    assert [cup.id, mixed.id, players.id] == list(OPENS2V)
    assert names(cup) == [("object", None, "Cup")]  # a word that the prompt does not say
    assert cup.prompt == "A close-up of a teapot {steaming}. background"
    assert names(mixed) == [
        ("background", None, "Background"),
        ("object", None, "Hat"),
        ("object", None, "Hat"),
        ("face", 0, "Person in red"),  # by its folder
        ("face", 1, "old Man"),  # by its label
    ]
    assert names(players) == [("face", 0, "Player"), ("face", 1, "Player")]  # by the case's id
    assert len({reference.id for reference in mixed.references}) == 5
    assert cup.objects[0].picture().shape == (130, 120, 3)
    assert [names(case) for case in read_cases(tmp_path / "Eval.json", faces_only=True)] == [
        [],
        [("face", 0, "Person in red"), ("face", 1, "old Man")],
        names(players),
    ]


def test_everything_wrong_with_opens2v_is_told(tmp_path: Path) -> None:
    broken = {
        "singleobj_1": OPENS2V["singleobj_1"],
        "b": {"img_paths": ["x.png", "y.png"], "prompt": "A cup.", "class_label": ["Cup"]},
        "c": {"img_paths": ["x.png"], "class_label": ["Cup"]},
        "d": {"img_paths": ["x.png", "y.png"], "prompt": "A cup.", "class_label": ["background", "background"]},
        "not an id": {"img_paths": ["z.png"], "prompt": "A cup.", "class_label": ["Cup"]},
    }
    paint(tmp_path / "z.png")
    path = write_opens2v(tmp_path, broken, painted=False)
    said = refused(path)
    assert f"{path}:2 objects[0].image: LX201 'Images/singleobject/cup/52.jpg': no such image file" in said
    assert "b has 2 img_paths and 1 class_label" in said
    assert "c is no case of OpenS2V (prompt: Field required)" in said
    assert "d has two backgrounds" in said
    assert "LX103 'not an id' is no legal id" in said
    entry = json.dumps(OPENS2V["singleobj_1"])
    path.write_text(f'{{"a": {entry},\n "a": {entry}}}')
    assert f"{path}:1 a: LX001 `a` is written again on line 2; keep one" in refused(path)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("cases.yaml", "lumosx_bensh: 1\n", "unknown key `lumosx_bensh`: did you mean `lumosx_bench`?"),
        (
            "cases.yaml",
            "lumosx_bench: 2\ncases: [{scene: a.yaml}]\n",
            ":1 lumosx_bench: LX003 Input should be 1, not 2",
        ),
        ("cases.yaml", "lumosx_bench: 1\ncases: []\n", ":2 cases: LX003 List should have at least 1 item"),
        ("cases.yaml", "cases: [\n", "not YAML"),
        ("cases.json", "[]", "no layout of cases; give a folder in the release's layout"),
        ("cases.jsonl", "\n", "holds no case"),
        ("cases.txt", "a", "no layout of cases"),
        ("empty", None, "holds no case; give a folder in the release's layout"),
        ("absent", "", "no such file or folder"),
    ],
)
def test_what_is_no_layout(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    path = tmp_path / name
    if text is None:
        path.mkdir()
    elif text:
        path.write_text(text)
    message = refused(path)
    assert message.startswith(str(path))
    assert said in message


def test_a_manifest_too_large_for_one_document_is_sent_to_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "cases.yaml"
    path.write_text("lumosx_bench: 1\n" + "#" * (1 << 20))
    assert "JSON lines (.jsonl)" in refused(path)
