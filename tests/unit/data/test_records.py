"""The clip record: one schema, strict, with one way to write equal records, and always good for a scene."""

import json
import pickle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from record_makers import minimal, records

from lumosx.records import ID_PATTERN, ClipRecord, Picture, RecordError
from lumosx.scene import Scene, spec


def problems(**changes: Any) -> list[str]:
    with pytest.raises(RecordError) as error:
        ClipRecord.from_dict(minimal(**changes))
    return error.value.problems


def person(**changes: Any) -> dict[str, Any]:
    return {"id": "ben", "word": "man", "faces": [{"image": "ben.png"}]} | changes


@settings(max_examples=50)
@given(records())
def test_a_record_comes_back_from_its_line(record: ClipRecord) -> None:
    line = record.to_json()
    assert "\n" not in line
    back = ClipRecord.from_dict(json.loads(line))
    assert back == record and back.to_json() == line


@settings(max_examples=50)
@given(records(), st.randoms())
def test_equal_records_have_equal_lines(record: ClipRecord, random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            names = list(value)
            random.shuffle(names)
            return {name: [value[name]] if name in ("word", "occurrence") and not isinstance(value[name], list)
                    else shuffled(value[name]) for name in names}  # fmt: skip
        return [shuffled(item) for item in value] if isinstance(value, list) else value

    data = record.to_dict()
    free = {name: dict(sorted(data.pop(name, {}).items(), reverse=True)) for name in ("scores", "meta")}
    other = ClipRecord.from_dict(shuffled(json.loads(json.dumps(data))) | free)
    assert other == record and other.to_json() == record.to_json()


def test_a_line_is_short_and_states_the_version() -> None:
    assert json.loads(ClipRecord.from_dict(minimal(fps=8)).to_json()) == {"version": "lumosx.clips/1", **minimal()}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"captoin": "x"}, "captoin: unknown key; did you mean `caption`?"),
        ({"zzz": 1}, "zzz: unknown key; known: version, id, video,"),
        ({"caption": None}, "caption: is missing; add it"),
        ({"caption": "  "}, "caption: the caption is empty"),
        ({"id": "a/b"}, "id: 'a/b' is no legal id"),
        ({"id": ".."}, "id: '..' is no legal id"),
        ({"width": "32"}, "width: Input should be a valid integer, not '32'"),
        ({"frames": 0}, "frames: Input should be greater than or equal to 1, not 0"),
        ({"fps": float("nan")}, "fps: Input should be"),
        ({"split": "test"}, "split: Input should be 'train' or 'validation', not 'test'"),
        ({"version": "lumosx.clips/2", "new": 1}, "this program reads records of version 'lumosx.clips/1', not"),
        ({"background": {"word": []}}, "background.word: a word is text that occurs in the caption"),
        ({"objects": [{"word": 3}]}, "objects[0].word: a word is text"),
        ({"objects": [{"word": "cup", "occurrence": 0}]}, "objects[0].occurrence: occurrence counts from 1"),
        ({"objects": [{"word": "cup", "occurrence": True}]}, "objects[0].occurrence: occurrence counts from 1"),
        ({"subjects": [person(face="a.png")]}, "subjects[0].face: unknown key; did you mean `faces`?"),
        ({"subjects": [person(faces=[])]}, "subjects[0]: ben has neither `faces` nor `attributes`"),
        ({"subjects": [person(word=None)]}, "subjects[0]: ben needs a `word`"),
        ({"subjects": [person(), person()]}, "two subjects have one id (ben, ben)"),
        ({"subjects": [person(faces=[{"image": "a.png", "frame": 9}])]}, "'a.png' is of frame 9, but the clip has 9"),
        ({"subjects": [person(faces=[{"image": "a.png", "crop": [5, 0, 5, 9]}])]},
         "subjects[0].faces[0].crop: crop is [x0, y0, x1, y1]"),
        ({"subjects": [person(faces=[{"image": "a.png", "pad": "white"}])]}, "subjects[0].faces[0].pad: String should"),
        ({"subjects": [person(attributes=[{"word": "hat", "picture": []}])]},
         "subjects[0].attributes[0].picture: unknown key; did you mean `pictures`?"),
    ],
)  # fmt: skip
def test_each_problem_says_where_and_how(changes: dict[str, Any], expected: str) -> None:
    assert [text for text in problems(**changes) if text.startswith(expected)], problems(**changes)


def test_all_problems_are_told_at_once() -> None:
    found = problems(captoin="x", width=0, subjects=[person(id="a b"), person(faces=[{"img": "x"}])])
    assert len(found) == 5
    assert {text.split(":")[0] for text in found} == {
        "captoin", "width", "subjects[0].id", "subjects[1].faces[0].img", "subjects[1].faces[0].image",
    }  # fmt: skip


@pytest.mark.parametrize("data", [None, [], "text", 3])
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    with pytest.raises(RecordError, match="dictionary"):
        ClipRecord.from_dict(data)


@pytest.mark.parametrize("name", ["a.mp4", "clips/a b.mp4", "..a/b", "会议　1.mp4", "a..b"])
def test_media_are_named_by_paths_inside_the_data_set(name: str) -> None:
    assert ClipRecord.from_dict(minimal(video=name)).video == name


@pytest.mark.parametrize(
    "name", ["", ".", "..", "/a.mp4", "../a.mp4", "a/../b.mp4", "./a", "a//b", "a/", "a\\b", "a\0"]
)
def test_other_names_of_media_are_refused(name: str) -> None:
    assert "is no path inside the data set" in problems(video=name)[0]


def test_errors_and_pictures_can_be_sent_and_compared() -> None:
    error = pickle.loads(pickle.dumps(RecordError(["a", "b"])))
    assert error.problems == ["a", "b"] and str(error) == "a; b"
    assert len({hash(Picture(image="a.png", crop=(0, 0, 1, 1))) for _ in range(2)}) == 1


def test_ids_and_captions_are_those_of_scenes() -> None:
    assert f"^{ID_PATTERN}$" == spec.ID_PATTERN
    assert ClipRecord.from_dict(minimal(caption="x" * spec.MAX_PROMPT))
    assert problems(caption="x" * (spec.MAX_PROMPT + 1))


CAPTION = "A {man:ben} with a red hat and glasses and a woman hold a {mug:cup} on a beach."
BEACH = minimal(
    caption=CAPTION,
    background={"word": "beach", "pictures": [{"image": "beach.png", "fit": "crop"}]},
    objects=[{"id": "cup", "word": "mug", "pictures": [{"image": "m0.png", "frame": 2}, {"image": "m1.png"}]}],
    subjects=[
        {"id": "ben", "word": "man", "faces": [{"image": "b0.png"}, {"image": "b1.png", "crop": [0, 0, 9, 9]}],
         "attributes": [{"word": ["red hat", "hat"], "pictures": [{"image": "h.png"}]}, {"word": "glasses"}]},
        {"id": "zoe", "word": "woman", "occurrence": 1, "faces": [{"image": "z.png"}]},
    ],
)  # fmt: skip


def test_a_scene_has_one_picture_for_each_entity() -> None:
    record = ClipRecord.from_dict(BEACH)
    assert record.media() == ["clip.mp4", "beach.png", "m0.png", "m1.png", "b0.png", "b1.png", "h.png", "z.png"]
    assert record.scene(lambda pictures: pictures[-1].in_scene(pictures[-1].image)) == {
        "lumosx": 1,
        "id": "beach",
        "prompt": CAPTION,
        "background": {"word": "beach", "image": {"image": "beach.png", "fit": "crop"}},
        "objects": [{"word": "mug", "id": "cup", "image": {"image": "m1.png"}}],
        "subjects": [
            {"id": "ben", "word": "man", "face": {"image": "b1.png", "crop": [0, 0, 9, 9]},
             "attributes": [{"word": ["red hat", "hat"], "image": {"image": "h.png"}}, {"word": "glasses"}]},
            {"id": "zoe", "word": "woman", "occurrence": 1, "face": {"image": "z.png"}, "attributes": []},
        ],
    }  # fmt: skip


def test_the_scene_is_one_that_the_scene_format_accepts() -> None:
    shades = iter(range(9))

    def choose(pictures: list[Picture]) -> dict[str, Any]:
        return pictures[0].in_scene(Image.new("RGB", (150, 150), (next(shades), 0, 0)))

    scene = Scene.from_dict(ClipRecord.from_dict(BEACH).scene(choose))
    assert [message.code for message in scene.check()] == ["LX132"]  # glasses have no picture
    assert [(entity.id, len(entity.spans)) for entity in scene.entities] == [
        ("background", 1), ("cup", 1), ("ben.face", 1), ("ben.red hat", 1), ("ben.glasses", 1), ("zoe.face", 1),
    ]  # fmt: skip
    assert scene.entities[0].image is not None and scene.entities[0].image.fit == "crop"


def test_who_is_left_without_pictures_leaves_the_scene_and_attributes_stay_as_words() -> None:
    scene = ClipRecord.from_dict(BEACH).scene(lambda pictures: None)
    assert "background" not in scene and scene["objects"] == []
    assert scene["subjects"] == [
        {"id": "ben", "word": "man", "attributes": [{"word": ["red hat", "hat"]}, {"word": "glasses"}]}
    ]


@settings(max_examples=50)
@given(records())
def test_pictures_are_asked_for_once_an_entity_in_the_order_of_media(record: ClipRecord) -> None:
    asked: list[Picture] = []
    record.scene(lambda pictures: asked.extend(pictures))
    assert asked == list(record.pictures())
    assert set(record.media()) == {record.video, *(picture.image for picture in asked)}
