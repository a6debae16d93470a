"""The search for words in a prompt: whole words in any script, the longest wins, nothing shared by accident."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene_makers import make_picture

from lumosx.scene import Scene, SceneError
from lumosx.scene.mentions import find_phrase, nearest_phrases
from lumosx.scene.resolution import inside, overlap
from lumosx.scene.text import clean_text, escape_braces, parse_tags

FACES = [make_picture() for _ in range(4)]


@pytest.mark.parametrize(
    ("phrase", "text", "expected"),
    [
        ("man", "A woman and a man: the Man's hat", ["man", "Man"]),
        ("man", "mankind, snowman, man_made, man2", []),
        ("man", "man-made (man)", ["man", "man"]),
        ("t-shirt", "A T-Shirt.", ["T-Shirt"]),
        ("C++ book", "A c++ Book here", ["c++ Book"]),
        ("Straße", "Die STRASSE, eine Straße", ["STRASSE", "Straße"]),
        ("ÉCOLE", "une école", ["école"]),
        ("男人", "一个男人和女人, 男人", ["男人", "男人"]),
        ("赤い帽子", "彼は赤い帽子をかぶる", ["赤い帽子"]),
        ("T恤", "穿T恤的人", ["T恤"]),
        ("мужчина", "Мужчина и женщина", ["Мужчина"]),
        ("رجل", "رجل و رجلان", ["رجل"]),
        ("a", "aaa a", ["a"]),
    ],
)
def test_find_phrase(phrase: str, text: str, expected: list[str]) -> None:
    assert [text[a:b] for a, b in find_phrase(phrase, text)] == expected


def test_case_sensitive_search() -> None:
    assert find_phrase("man", "Man man", case_sensitive=True) == [(4, 7)]


def test_nearest_phrases_are_of_similar_length() -> None:
    assert nearest_phrases("red coats", "A man in a red coat waits.")[0] == "red coat"


words = st.sampled_from(["man", "young man", "coat", "red coat", "coat rack", "old red coat", "Man"])
filler = st.sampled_from(["the", "and", "woman", "in", "red", "young", "rack", ".", ","])
prompts = st.lists(words | filler, min_size=1, max_size=14).map(" ".join)


def scene_of(prompt: str, chosen: list[str], ambiguity: str = "pair") -> tuple[Scene | None, list[str]]:
    subjects = [{"id": f"s{n}", "word": word, "face": FACES[n]} for n, word in enumerate(chosen)]
    data: dict[str, Any] = {
        "lumosx": 1,
        "prompt": prompt,
        "subjects": subjects,
        "binding": {"ambiguity": ambiguity},
    }
    try:
        scene = Scene.from_dict(data)
    except SceneError as error:
        return None, [message.code for message in error.messages if message.severity == "error"]
    return scene, []


@given(prompts, st.lists(words, min_size=1, max_size=4))
def test_mentions_of_different_subjects_never_overlap(prompt: str, chosen: list[str]) -> None:
    scene, errors = scene_of(prompt, chosen)
    if scene is None:
        assert set(errors) <= {"LX110", "LX111", "LX112", "LX120"}
        return
    spans = [(entity.id, span) for entity in scene.entities for span in entity.spans]
    assert all(entity.spans for entity in scene.entities)
    for index, (owner, span) in enumerate(spans):
        for other, second in spans[index + 1 :]:
            assert owner == other or not overlap(span, second)


@given(prompts, st.lists(words, min_size=1, max_size=4, unique_by=str.casefold))
def test_the_longest_phrase_wins(prompt: str, chosen: list[str]) -> None:
    scene, _ = scene_of(prompt, chosen)
    if scene is None:
        return
    everything = [span for word in chosen for span in find_phrase(word, scene.prompt)]
    bound = {span for entity in scene.entities for span in entity.spans}
    assert bound == {span for span in everything if not any(inside(span, other) for other in everything)}


@given(prompts, st.lists(words, min_size=2, max_size=4))
def test_pairing_needs_equal_counts(prompt: str, chosen: list[str]) -> None:
    """Whoever shares a word has exactly one mention, or the scene is refused."""
    scene, _ = scene_of(prompt, chosen)
    if scene is None:
        return
    keys = [word.casefold() for word in chosen]
    for entity, key in zip(scene.entities, keys, strict=True):
        if keys.count(key) > 1:
            assert len(entity.spans) == 1


@given(st.lists(st.tuples(st.text("ab {}", max_size=6), st.sampled_from(["man", "red coat"])), max_size=5))
def test_tags_come_out_and_their_spans_are_right(parts: list[tuple[str, str]]) -> None:
    tagged = "".join(escape_braces(text) + "{" + word + ":x}" for text, word in parts)
    plain, tags, problems = parse_tags(tagged)
    assert problems == []
    assert plain == "".join(text + word for text, word in parts)
    assert [plain[slice(*tag.span)] for tag in tags] == [word for _, word in parts]


@given(st.text(max_size=60))
def test_any_text_survives_the_parser(text: str) -> None:
    clean = clean_text(text)
    assert parse_tags(escape_braces(clean)) == (clean, [], [])
    plain, tags, problems = parse_tags(clean)
    assert all(0 <= tag.span[0] < tag.span[1] <= len(plain) for tag in tags)
    assert ("{" not in clean and "}" not in clean) <= (problems == [] and plain == clean)


@given(st.text(max_size=60), st.text(min_size=1, max_size=8))
def test_search_takes_any_text(text: str, phrase: str) -> None:
    clean, word = clean_text(text), clean_text(phrase)
    if word:
        spans = find_phrase(word, clean)
        assert all(clean[a:b].casefold() == word.casefold() for a, b in spans)
        assert all(first[1] <= second[0] for first, second in pairwise(spans))


@pytest.mark.parametrize("ambiguity", ["pair", "all"])
def test_sub_phrases_of_one_subject_are_no_conflict(ambiguity: str) -> None:
    data: dict[str, Any] = {
        "lumosx": 1,
        "prompt": "A man in a man's hat.",
        "binding": {"ambiguity": ambiguity},
    }
    data["subjects"] = [
        {"id": "s", "word": "man", "face": FACES[0], "attributes": [{"word": "man's hat", "image": FACES[1]}]}
    ]
    scene = Scene.from_dict(data)
    assert [entity.spans for entity in scene.entities] == [((2, 5),), ((11, 20),)]
    assert "LX122" not in [message.code for message in scene.check()]


@pytest.mark.parametrize(
    ("prompt", "warned"),
    [
        ("The man wears a hat and the boy wears a coat.", False),
        ("The man wears a coat and the boy wears a hat.", True),
        ("In a hat, the man waits for the boy, who wears a coat.", False),
        ("The man greets the boy. He wears a hat, his friend a coat.", False),
        ("The man and, in a white scarf over a hat, waves. The boy in a coat smiles.", False),
    ],
)
def test_attribute_next_to_another_subject(prompt: str, warned: bool) -> None:
    subjects = [
        {"id": "a", "word": "man", "face": FACES[0], "attributes": [{"word": "hat", "image": FACES[1]}]},
        {"id": "b", "word": "boy", "face": FACES[2], "attributes": [{"word": "coat", "image": FACES[3]}]},
    ]
    scene = Scene.from_dict({"lumosx": 1, "prompt": prompt, "subjects": subjects})
    assert ("LX124" in [message.code for message in scene.check()]) == warned


def test_release_levels_of_shared_words_are_those_of_the_release() -> None:
    """ "woman" also stands inside "young woman": +.5, -1, +.5, as the release's code gives for identity 3."""
    subjects = [
        {"id": name, "word": word, "face": FACES[n]}
        for n, (name, word) in enumerate({"ann": "woman", "ben": "man", "cho": "young woman"}.items())
    ]
    data = {
        "lumosx": 1,
        "prompt": "A woman, a man, a young woman.",
        "subjects": subjects,
        "binding": {"rules": "release"},
    }
    texts = [message.text for message in Scene.from_dict(data).check() if message.code == "LX123"]
    assert texts
    assert all("ann +0.5, ben -1, cho +0.5" in text for text in texts)
