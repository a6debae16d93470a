"""The examples of the format resolve to exactly what the format says, and bind to the right tokens."""

import copy
import pickle
from typing import Any

import pytest
from scene_makers import make_picture

from lumosx.scene import Scene, SceneError

PROMPT_A = """A young woman in a red wool coat walks through a snowy park at dusk. The young woman
  adjusts her round glasses and a knitted scarf."""
PROMPT_B = """Two men stand at a bustling city crosswalk. The first man wears a crisp white jacket, while
  the second man contrasts sharply in a sleek black jacket, both deep in conversation."""


def example_a() -> dict[str, Any]:
    attributes = [{"word": w, "image": make_picture()} for w in ("red wool coat", "round glasses", "knitted scarf")]
    ana = {"id": "ana", "word": "young woman", "face": make_picture(), "consent": "release-2026-014"}
    return {
        "lumosx": 1,
        "id": "ana_park",
        "prompt": PROMPT_A,
        "subjects": [ana | {"attributes": attributes}],
        "background": {"word": "snowy park", "image": make_picture()},
        "generation": {"size": "832x480", "frames": 81, "seeds": [1, 2, 3]},
    }


def example_b(prompt: str = PROMPT_B, *changes: dict[str, Any]) -> dict[str, Any]:
    """`changes` are Ben's and Carl's fields."""
    subjects = [
        {
            "id": "ben",
            "face": make_picture(),
            "attributes": [{"word": "white jacket", "image": make_picture()}],
        },
        {
            "id": "carl",
            "face": make_picture(),
            "attributes": [{"word": "black jacket", "image": make_picture()}],
        },
    ]
    subjects = [subject | {"word": "man"} | change for subject, change in zip(subjects, changes, strict=True)]
    return {"lumosx": 1, "id": "crosswalk", "prompt": prompt, "subjects": subjects}


def texts(scene: Scene) -> dict[str, list[str]]:
    return {entity.id: [scene.prompt[a:b] for a, b in entity.spans] for entity in scene.entities}


def test_example_a() -> None:
    scene = Scene.from_dict(example_a())
    assert scene.check() == []
    assert texts(scene) == {
        "background": ["snowy park"],
        "ana.face": ["young woman", "young woman"],
        "ana.red wool coat": ["red wool coat"],
        "ana.round glasses": ["round glasses"],
        "ana.knitted scarf": ["knitted scarf"],
    }
    assert [entity.kind for entity in scene.entities] == ["background", "face"] + ["attribute"] * 3
    assert [entity.subject for entity in scene.entities] == [None, 0, 0, 0, 0]
    assert (scene.generation.width, scene.generation.height, scene.generation.frames) == (832, 480, 81)
    assert scene.generation.steps is None
    assert scene.binding.rules is None


OCCURRENCES = example_b(PROMPT_B, {"occurrence": 1}, {"occurrence": 2})
TAGS = example_b(PROMPT_B.replace("first man", "first {man:ben}").replace("second man", "second {man:carl}"), {}, {})
LONGER = example_b(PROMPT_B, {"word": "first man"}, {"word": "second man"})


@pytest.mark.parametrize("data", [OCCURRENCES, TAGS, LONGER], ids=["occurrence", "tags", "longer word"])
def test_example_b_says_who_is_who(data: dict[str, Any]) -> None:
    scene = Scene.from_dict(data)
    assert scene.check() == []
    assert scene.prompt == " ".join(PROMPT_B.split())
    ends = [entity.spans[0][1] for entity in scene.entities if entity.kind == "face"]
    assert [scene.prompt[end - 10 : end] for end in ends] == [" first man", "second man"]
    assert all(len(entity.spans) == 1 for entity in scene.entities)


def test_example_b_unsaid_is_paired_in_order_with_a_warning() -> None:
    scene = Scene.from_dict(example_b(PROMPT_B, {}, {}))
    (message,) = scene.check()
    assert (message.code, message.severity) == ("LX121", "warning")
    assert message.text.startswith(
        "'man' names 2 entities and occurs 2 times: paired in order (subjects[0]=ben, subjects[1]=carl)"
    )
    stated = Scene.from_dict(OCCURRENCES)
    assert [e.spans for e in scene.entities] == [e.spans for e in stated.entities]


def test_example_b_ambiguous() -> None:
    prompt = "One man in a white jacket, another man in a black jacket; the man on the right laughs."
    with pytest.raises(SceneError) as caught:
        Scene.from_dict(example_b(prompt, {}, {}))
    text = "'man' names 2 entities (ben, carl) but occurs 3 times: say which (occurrence:, or a longer word)"
    assert [m.text for m in caught.value.messages if m.code == "LX120"] == [text]


PROMPT_C = """\
Three individuals are standing in a modern kitchen, engaged in a cooking demonstration. The person on the
left, wearing a white t-shirt and a headband, is smiling and looking towards the person in the middle.
The middle person, dressed in a black top, is holding a utensil and appears to be explaining a cooking
process. The person on the right, wearing a striped shirt, is holding a food item and seems to be
discussing a recipe. In front of them, there is a wooden cutting board with a knife on it, a metal mixing
bowl, and a white baking dish with some food items in it."""


def example_c() -> dict[str, Any]:
    people = {
        "person on the left": "headband",
        "middle person": "black top",
        "person on the right": "striped shirt",
    }
    things = ("metal mixing bowl", "white baking dish", "wooden cutting board")
    return {
        "lumosx": 1,
        "id": "video_person3_020",
        "prompt": PROMPT_C,
        "subjects": [
            {
                "id": f"s{n}",
                "word": word,
                "face": make_picture(),
                "attributes": [{"word": wears, "image": make_picture()}],
            }
            for n, (word, wears) in enumerate(people.items(), start=1)
        ],
        "objects": [{"word": word, "image": make_picture()} for word in things],
        "background": {"word": "modern kitchen", "image": make_picture()},
    }


def test_example_c_every_word_has_exactly_one_span() -> None:
    scene = Scene.from_dict(example_c())
    order = ["background", "metal mixing bowl", "white baking dish", "wooden cutting board"]
    order += ["s1.face", "s1.headband", "s2.face", "s2.black top", "s3.face", "s3.striped shirt"]
    assert [entity.id for entity in scene.entities] == order
    for entity in scene.entities:
        (span,) = entity.spans
        assert scene.prompt[slice(*span)].casefold() == entity.words[0]
    assert [message.code for message in scene.check()] == ["LX132"]  # the white t-shirt has no picture


def test_a_list_of_words_names_one_person() -> None:
    data = example_c()
    data["subjects"][1]["word"] = ["middle person", "person in the middle"]
    found = texts(Scene.from_dict(data))
    assert found["s2.face"] == ["person in the middle", "middle person"]


def test_rules_release_marks_every_occurrence_for_everybody() -> None:
    data = example_b("The young man and the man.", {"attributes": []}, {"attributes": [], "word": "young man"})
    spans = {rules: Scene.from_dict(data | {"binding": {"rules": rules}}).entities for rules in ("paper", "release")}
    assert [e.spans for e in spans["paper"]] == [((22, 25),), ((4, 13),)]
    assert [e.spans for e in spans["release"]] == [((10, 13), (22, 25)), ((4, 13),)]


def test_the_input_is_not_changed_and_comes_back_as_written() -> None:
    data = example_a()
    before = copy.deepcopy({key: value for key, value in data.items() if key not in ("subjects", "background")})
    scene = Scene.from_dict(data)
    written = scene.to_dict()
    assert {key: written[key] for key in before} == before
    face = scene.entities[1].image
    assert face is not None
    assert written["subjects"][0]["face"] == f"sha256:{face.sha256}"


def test_strength_of_a_subject_multiplies_its_members() -> None:
    data = example_a()
    data["subjects"][0]["strength"] = 1.5
    data["subjects"][0]["attributes"][0]["strength"] = 0.5
    assert [entity.strength for entity in Scene.from_dict(data).entities] == [1, 1.5, 0.75, 1.5, 1.5]


def test_prompt_is_cleaned_before_spans_are_taken() -> None:
    data = example_b(
        "  The&amp;amp;   ma\u00adn \n {{x}} {man:ben}, {the  man:carl} ",
        {"attributes": []},
        {"attributes": []},
    )
    scene = Scene.from_dict(data)
    assert scene.prompt == "The& ma\u00adn {x} man, the man"
    assert texts(scene) == {"ben.face": ["man"], "carl.face": ["the man"]}


def test_scenes_and_their_errors_travel_between_processes() -> None:
    scene = Scene.from_dict(example_a())
    there = pickle.loads(pickle.dumps(scene))
    assert [entity.spans for entity in there.entities] == [entity.spans for entity in scene.entities]
    assert there.check() == scene.check()
    error = SceneError(Scene.from_dict(example_b(PROMPT_B, {}, {})).check())
    assert pickle.loads(pickle.dumps(error)).messages == error.messages


def test_a_prompt_without_end_is_refused() -> None:
    with pytest.raises(SceneError, match=r"LX003 .*at most 8000 characters"):
        Scene.from_dict({"lumosx": 1, "prompt": "a " * 10_000})
