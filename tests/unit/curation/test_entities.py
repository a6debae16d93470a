"""Matching: which words are accepted, where they stand, what is asked again, and what is judged."""

import json
import string
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.curation.blobs import Blobs
from lumosx.curation.marks import draw, legend
from lumosx.curation.prompts import read
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.entities import Answer, InvalidAnswer, Matching, accepted, locate, shown_frame
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Caption, Entities, Kept, People, Phrase, Seen
from lumosx.errors import TransientError
from lumosx.vision import BadAnswer, ModelCard, Question

CAPTION = "A woman in a blue coat waves to another woman with short hair, who holds a cup in a lush garden."


def said(words: str, quote: str | None = None) -> dict[str, str]:
    return {"words": words, "quote": words if quote is None else quote}


def somebody(box: int, noun: dict[str, str], *attributes: dict[str, str]) -> dict[str, Any]:
    return {"box": box, "noun": noun, "attributes": list(attributes)}


FIRST = somebody(2, said("woman", "A woman in"), said("blue coat"))
OTHER = somebody(1, said("woman", "another woman"), said("short hair"))


def answer(*subjects: Any, objects: Any = (), background: Any = None) -> dict[str, Any]:
    return {"subjects": list(subjects), "objects": list(objects), "background": background}


GOOD = answer(FIRST, OTHER, objects=[said("cup")], background=said("lush garden"))


def read_as(data: Any, caption: str = CAPTION, people: int = 2) -> Entities:
    return accepted(json.dumps(data), caption, 1, people)


def problems(data: Any, caption: str = CAPTION, people: int = 2) -> list[str]:
    with pytest.raises(InvalidAnswer) as raised:
        accepted(data if isinstance(data, str) else json.dumps(data), caption, 1, people)
    return raised.value.problems


def at(words: str, start: int) -> Phrase:
    assert CAPTION[start : start + len(words)] == words
    return Phrase(text=words, chars=(start, start + len(words)))


def test_a_good_answer_with_the_places_counted_by_hand():
    found = read_as(GOOD)
    assert (found.shown, found.people, found.repaired) == (1, 2, False)
    first, second = found.subjects  # in the order of boxes, which count from 0 here and from 1 in the answer
    assert (first.box, first.noun, first.attributes) == (0, at("woman", 40), [at("short hair", 51)])
    assert (second.box, second.noun, second.attributes) == (1, at("woman", 2), [at("blue coat", 13)])
    assert found.objects == [at("cup", 75)]
    assert found.background == at("lush garden", 84)


def test_the_prompts_own_example_is_right():
    """It is about this caption, which it states as well."""
    *_, example = read("entities.v1.md").splitlines()
    assert CAPTION in read("entities.v1.md")
    assert read_as(json.loads(example)).subjects == read_as(GOOD).subjects


def test_phrases_are_in_the_order_of_the_caption():
    caption = "A man with a hat, a beard and a watch has a cup, a pan and a knife."
    things = [said(word) for word in ("watch", "hat", "beard")]
    found = read_as(
        answer(somebody(1, said("man"), *things), objects=[said("knife"), said("cup"), said("pan")]), caption
    )
    assert [phrase.text for phrase in found.subjects[0].attributes] == ["hat", "beard", "watch"]
    assert [phrase.text for phrase in found.objects] == ["cup", "pan", "knife"]


@pytest.mark.parametrize(
    "fence",
    [
        "```json\n{}\n```", "```{}```", "\n```\n{}```\n ", " {}\n", "Here is the JSON:\n```JSON\n{}\n```",
        "```json\n{}\n```\nAll words {are} copied.",
    ],
)  # fmt: skip
def test_fences_around_the_answer(fence):
    assert accepted(fence.replace("{}", json.dumps(GOOD)), CAPTION, 1, 2) == read_as(GOOD)


def test_a_fence_inside_the_answer_is_none():
    caption = "A man in a hat with ```md and ```json on it."
    assert read_as(answer(somebody(1, said("man"), said("```md and ```json"))), caption).subjects[0].attributes[0].chars


def test_letters_may_differ_in_case_and_the_captions_are_kept():
    found = read_as(answer(somebody(1, said("WOMAN", "a woman in"), said("Blue  coat,"))))
    assert found.subjects[0].noun == at("woman", 2)
    assert found.subjects[0].attributes == [at("blue coat", 13)]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ("A woman and another one.", "the answer: Invalid JSON"),
        (json.dumps(GOOD)[:-1], "the answer: Invalid JSON"),
        ("Here it is: " + json.dumps(GOOD), "the answer: Invalid JSON"),
        ([], "the answer: Input should be an object"),
        (GOOD | {"note": "x"}, "note: Extra inputs are not permitted"),
        ({"subjects": [], "objects": []}, "background: Field required"),
        (answer(FIRST | {"box": "2"}), "subjects[0].box: Input should be a valid integer"),
        (answer(FIRST | {"box": True}), "subjects[0].box: Input should be a valid integer"),
        (answer(FIRST, objects=["cup"]), "objects[0]: Input should be an object"),
        (answer(FIRST, objects=[said("cup") | {"occurrence": 1}]), "objects[0].occurrence: Extra inputs"),
        (answer(FIRST | {"attributes": [said("coat")] * 4}), "subjects[0].attributes: List should have at most 3"),
        (answer(FIRST | {"box": 0}), "subjects[0].box: there is no box 0, they count from 1 to 2"),
        (answer(FIRST | {"box": 3}), "subjects[0].box: there is no box 3, they count from 1 to 2"),
        (answer(FIRST, OTHER | {"box": 2}), "subjects[1].box: box 2 is subjects[0] already"),
        (answer(FIRST, objects=[said("mug")]), "objects[0]: 'mug' is not in the caption"),
        (answer(FIRST, objects=[said("up")]), "objects[0]: 'up' is not in the caption"),
        (answer(FIRST, background=said("a garden")), "background: 'a garden' is not in the caption"),
        (answer(FIRST, objects=[said(" ")]), "objects[0]: is empty"),
        (answer(FIRST, objects=[said(", .")]), "objects[0]: is empty"),
        (answer(FIRST, objects=[said("cup", "")]), "objects[0]: is empty"),
        (answer(somebody(1, said("woman"))), "subjects[0].noun: 'woman' occurs 2 times in the caption"),
        (answer(FIRST, objects=[said("cup", "holds a")]), "objects[0]: 'cup' is not in its quote 'holds a'"),
        (answer(FIRST, objects=[said("a", "a cup in a")]), "objects[0]: 'a' occurs 2 times in its quote"),
        (answer(FIRST | {"attributes": [said("coat"), said("blue coat")]}), "subjects[0].attributes[1]: shares 'coat'"),
        (answer(FIRST, OTHER | {"noun": FIRST["noun"]}), "subjects[1].noun: shares 'woman'"),
        (answer(FIRST, OTHER | {"attributes": [said("blue coat")]}), "subjects[1].attributes[0]: shares 'blue coat'"),
        (answer(FIRST, objects=[said("coat")]), "objects[0]: shares 'coat' in the caption with subj"),
        (answer(FIRST, objects=[said("cup in a lush")], background=said("lush garden")), "background: shares 'lush'"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_said(data, problem):
    told = problems(data)
    assert len(told) == 1 and told[0].startswith(problem)


def test_all_that_is_wrong_is_said_at_once():
    told = problems(answer(FIRST | {"box": 9}, OTHER, objects=[said("mug"), said("coat")]))
    assert [text.split(":")[0] for text in told] == ["subjects[0].box", "objects[0]", "objects[1]"]


def test_the_schema_asks_for_what_is_accepted():
    schema = Answer.model_json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(GOOD, schema)
    for wrong in (GOOD | {"note": "x"}, answer(FIRST | {"attributes": [said("x")] * 4}), {"subjects": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


POOL = ["a", "man", "Man", "woman", "tall", "red", "blue", "hat", "hat's", "cup", "tea", "it", "帽子"]
WORDS = st.lists(st.sampled_from(POOL), min_size=1, max_size=12)
GAPS = st.sampled_from([" ", ", ", " - ", ". "])


@st.composite
def captions_with_pieces(draw) -> tuple[str, list[tuple[str, str]]]:
    """A caption, and pieces of it in longer pieces of it, cut where words begin or end, or anywhere."""
    caption, edges = "", [0]
    for word in draw(WORDS):
        edges += [len(caption), len(caption) + len(word)]
        caption += word + draw(GAPS)
    cut = st.one_of(st.sampled_from(edges), st.sampled_from(edges), st.integers(0, len(caption)))
    ends = [sorted(draw(cut) for _ in range(4)) for _ in range(draw(st.integers(1, 2)))]
    return caption.strip(), [(caption[b:c], caption[a:d]) for a, b, c, d in ends]


@settings(deadline=None, max_examples=100)
@given(captions_with_pieces())
def test_what_is_accepted_stands_where_it_is_said_to_and_apart(case):
    caption, pieces = case
    objects = [said(words, quote) for words, quote in pieces]
    try:
        found = read_as(answer(objects=objects), caption)
    except InvalidAnswer:
        return
    taken = [set(range(*phrase.chars)) for phrase in found.objects]
    assert sum(map(len, taken)) == len(set().union(*taken))
    assert sorted(phrase.text.casefold() for phrase in found.objects) == sorted(
        " ".join(words.split()).strip(' .,;:!?"“”').casefold() for words, _ in pieces
    )
    for phrase in found.objects:
        assert caption[slice(*phrase.chars)] == phrase.text
        around = caption[: phrase.chars[0]][-1:], caption[phrase.chars[1] :][:1]
        inner = phrase.text[0], phrase.text[-1]
        letters = string.ascii_letters
        assert not any(out and out in letters and own in letters for out, own in zip(around, inner, strict=True))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from(["man", "hat", "cup"]), min_size=1, max_size=8), st.data())
def test_a_word_is_found_by_what_stands_around_it(words, data):
    """The oracle knows which word is meant; its quote is as long as it takes to occur once."""
    meant = data.draw(st.integers(0, len(words) - 1))
    caption = " ".join(words)
    start = sum(len(word) + 1 for word in words[:meant])

    def count(quote: list[str]) -> int:
        return sum(words[i : i + len(quote)] == quote for i in range(len(words)))

    quotes = [(a, b) for a in range(meant + 1) for b in range(meant + 1, len(words) + 1)]
    once = [(a, b) for a, b in quotes if count(words[a:b]) == 1 and words[a:b].count(words[meant]) == 1]
    for a, b in once:
        assert locate(words[meant], " ".join(words[a:b]), caption) == (start, start + len(words[meant]))
    if count([words[meant]]) > 1:
        with pytest.raises(ValueError, match="times in the caption; quote a longer piece"):
            locate(words[meant], words[meant], caption)


@settings(deadline=None, max_examples=50)
@given(st.text(max_size=30), st.text(max_size=6), st.text(max_size=12))
def test_any_text_is_found_or_refused(caption, words, quote):
    try:
        start, stop = locate(words, quote, caption)
    except ValueError:
        return
    assert 0 <= start < stop <= len(caption)


@settings(deadline=None, max_examples=50)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["subjects", "objects", "background", "box", "noun", "attributes", "words", "quote"]), inner, max_size=3), max_leaves=12))  # fmt: skip # noqa: E501
def test_any_json_is_accepted_or_invalid(data):
    try:
        found = accepted(json.dumps(data), CAPTION, 0, 2)
    except InvalidAnswer as error:
        assert error.problems and str(error)
    else:
        assert isinstance(found, Entities)


@pytest.mark.parametrize(
    ("counts", "shown"),
    [([1, 1, 1], 1), ([2, 1, 1], 0), ([2, 1, 2], 0), ([1, 1, 2], 2), ([1, 2, 2], 1), ([0, 0], 0), ([1, 2], 1)],
)
def test_the_frame_with_most_people_is_shown_the_middle_one_first(counts, shown):
    seen = Seen(box=(0.0, 0.0, 1.0, 1.0), score=1.0)
    assert shown_frame(People(frames=[[seen] * count for count in counts])) == shown


@dataclass
class Script:
    """A model that gives its answers one after the other, or raises them, and keeps what it was asked."""

    answers: list[str | Exception]
    asked: list[Question] = field(default_factory=list)
    card: ModelCard = ModelCard("script", "tests", "1", "Apache-2.0", True)  # noqa: RUF009

    def answer(self, question: Question) -> str:
        self.asked.append(question)
        told = self.answers[len(self.asked) - 1]
        if isinstance(told, Exception):
            raise told
        return told


BOXES = [(10.0, 20.0, 60.0, 100.0), (90.0, 10.0, 150.0, 110.0)]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    """At a clip whose middle key frame is the one with two people."""
    blobs = Blobs(tmp_path)
    names = [blobs.put_picture(np.full((120, 160, 3), shade, np.uint8)) for shade in (10, 120, 240)]
    people = [[Seen(box=box, score=0.9) for box in boxes] for boxes in (BOXES[:1], BOXES, BOXES[1:])]
    clip = Clip(Source("a" * 16, tmp_path / "a.mp4", "films/a.mp4"), 1.0, 7.0)
    kept = Kept.model_construct(key_frames=names)
    return Look(
        clip, {Technical: kept, PeopleCount: People(frames=people), Captioning: Caption(text=CAPTION)}, blobs, 0
    )


def test_the_model_sees_boxes_and_gets_them_and_the_caption_as_text(look):
    model = Script([json.dumps(GOOD)])
    found = Matching(model).measure(look)
    assert found == read_as(GOOD)
    (question,) = model.asked
    (picture,) = question.pictures
    np.testing.assert_array_equal(picture, draw(np.full((120, 160, 3), 120, np.uint8), BOXES))
    assert legend(BOXES, 160, 120) in question.prompt and f"\n{CAPTION}\n" in question.prompt
    assert "$" not in question.prompt and question.schema == Answer.model_json_schema()
    expected = {"source": "films/a.mp4", "start": 1.0, "end": 7.0, "caption": CAPTION, "boxes": BOXES}
    assert question.facts == expected


def test_a_bad_answer_is_corrected_once(look):
    bad = json.dumps(answer(somebody(1, said("woman")), objects=[said("mug")]))
    model = Script([bad, json.dumps(GOOD)])
    found = Matching(model).measure(look)
    assert found == read_as(GOOD).model_copy(update={"repaired": True})
    first, second = model.asked
    assert first.prompt in second.prompt and bad in second.prompt
    for problem in problems(bad):
        assert f"- {problem}" in second.prompt
    np.testing.assert_array_equal(second.pictures[0], first.pictures[0])
    assert second.schema == first.schema and second.facts == first.facts


def test_two_bad_answers_are_an_error_that_says_why(look):
    worse = answer(FIRST, objects=[said(word) for word in ("mug", "pan", "hat", "dog")])
    model = Script(["no JSON", json.dumps(worse)])
    with pytest.raises(InvalidAnswer, match=r"objects\[0\]: 'mug' is not in the caption.*; objects\[2\]") as raised:
        Matching(model).measure(look)
    assert len(model.asked) == 2 and "dog" not in str(raised.value) and len(raised.value.problems) == 4


def test_an_answer_that_breaks_off_is_corrected_once(look):
    broken = BadAnswer("did not end within 7 tokens", '{"subjects": [')
    model = Script([broken, json.dumps(GOOD)])
    assert Matching(model).measure(look) == read_as(GOOD).model_copy(update={"repaired": True})
    assert '{"subjects": [\n' in model.asked[1].prompt and "- did not end within 7 tokens\n" in model.asked[1].prompt
    for answers in ([broken, broken], ["no JSON", broken]):
        with pytest.raises(InvalidAnswer, match=r"^did not end within 7 tokens$"):
            Matching(Script(answers)).measure(look)


def test_other_errors_of_the_model_are_not_asked_about_again(look):
    model = Script([TransientError("down"), json.dumps(GOOD)])
    with pytest.raises(TransientError):
        Matching(model).measure(look)
    assert len(model.asked) == 1


def test_a_value_survives_the_ledger(look):
    found = Matching(Script([json.dumps(GOOD)])).measure(look)
    assert Entities.model_validate_json(found.model_dump_json()) == found


@pytest.mark.parametrize(
    ("data", "people", "all_named", "code"),
    [
        (GOOD, 2, True, None),
        (answer(FIRST), 2, True, "unnamed-people"),
        (answer(FIRST), 2, False, None),
        (answer(objects=[said("cup")]), 2, True, "no-subjects"),
        (answer(objects=[said("cup")]), 0, False, "no-subjects"),
    ],
)
def test_everybody_is_to_be_named(data, people, all_named, code):
    rejected = Matching(Script([]), all_named=all_named).judge(read_as(data, people=people))
    assert (rejected.code if rejected else None) == code
    if rejected and code == "unnamed-people":
        assert (rejected.value, rejected.threshold) == (1, 2)


def test_both_prompts_are_part_of_the_fingerprint(tmp_path):
    model = Script([])
    plain = Matching(model).identity()
    assert json.loads(json.dumps(plain)) == plain
    assert Matching(model, all_named=False).identity() == plain
    for name, setting in (("entities.v1.md", "prompt"), ("repair.v1.md", "repair")):
        own = tmp_path / name
        own.write_text(read(name))
        assert Matching(model, **{setting: str(own)}).identity() == plain
        own.write_text(read(name) + " Please.")
        assert Matching(model, **{setting: str(own)}).identity() != plain
