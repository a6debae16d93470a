"""Captions: everything is named, every mention has its owner, and no colour or pattern is told."""

import re
from collections import Counter

import pytest

from lumosx.playground import Truth, World
from lumosx.playground.captions import PLACES
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.scene import Scene

COLOURS = re.compile(r"\b(red|green|blue|yellow|orange|purple|pink|brown|black|white|gr[ae]y|striped?|dark|light)\b")
TRUTHS = [sample_truth(seed, "captions", (96, 32), 9, Wishes()) for seed in range(300)]


def clean(truth: Truth) -> str:
    return re.sub(r"\{([^:}]+):[^}]+\}", r"\1", truth.prompt)


def test_short_and_of_a_small_vocabulary() -> None:
    words = [re.findall(r"[a-z]+", clean(truth).lower()) for truth in TRUTHS]
    assert max(map(len, words)) <= 64  # four subjects, placed
    assert max(len(w) for w, truth in zip(words, TRUTHS, strict=True) if len(truth.subjects) < 4) <= 60
    assert len({word for prompt in words for word in prompt}) < 90
    assert len({re.sub(r"\b[a-z]+:", "", truth.prompt) for truth in TRUTHS}) > 250  # no rigid string


def test_no_colours_and_no_patterns() -> None:
    assert not [truth.prompt for truth in TRUTHS if COLOURS.search(clean(truth).lower())]


def test_everything_is_named() -> None:
    for truth in TRUTHS:
        text = clean(truth)
        names = [s.word for s in truth.subjects] + [item.word for _, item in truth.attributes]
        names += [thing.word for thing in (truth.object, truth.background) if thing is not None]
        for word, count in Counter(names).items():
            assert len(re.findall(rf"\b{word}\b", text)) >= count, (word, text)


def test_nouns_repeat() -> None:
    repeated = [any(truth.prompt.count(f":{s.id}}}") > 1 for s in truth.subjects) for truth in TRUTHS]
    assert all(repeated)


def test_placed_captions_say_where_everyone_stands_and_others_nobody() -> None:
    for truth in TRUTHS:
        places = PLACES[len(truth.subjects)]
        for subject in truth.subjects:
            told = f"{{{subject.word}:{subject.id}}} {places[subject.slot]}" in truth.prompt
            assert told == truth.placed, truth.prompt


def test_verbs_are_true() -> None:
    for truth in TRUTHS:
        said = re.findall(r":(s\d)\} (wave|nod|walk)s\.", truth.prompt)
        passing = re.findall(r":(s\d)\} and the [^{]*\{[^:]*:(s\d)\} pass each other\.", truth.prompt)
        assert said or passing
        assert {name for pair in passing for name in pair} == {s.id for s in truth.subjects if s.goal != s.slot}
        for name, verb in said:
            assert next(s for s in truth.subjects if s.id == name).motion.verb == verb
        for name in re.findall(r":(s\d)\} holds", truth.prompt):
            assert truth.object is not None and truth.object.holder is not None
            assert truth.subjects[truth.object.holder].id == name


def test_scenes_are_sound_and_every_word_is_bound_to_its_owner() -> None:
    clips = World((96, 32)).render(range(60), split="captions")
    for index, truth in enumerate(clips.truth):
        scene = Scene.from_dict(clips.scene(index))
        expected = {"LX141"} if len(truth.subjects) == 4 else set()  # more people than the paper trained on
        assert {message.code for message in scene.check()} == expected, scene.prompt
        entities = {entity.id: entity for entity in scene.entities}
        for number, subject in enumerate(truth.subjects):
            faces = entities[f"{subject.id}.face"].spans
            assert len(faces) == truth.prompt.count(f":{subject.id}}}")
            for item in subject.attributes:
                (span,) = entities[f"{subject.id}.{item.word}"].spans
                assert scene.prompt[slice(*span)] == item.word
                assert "They wear" in scene.prompt or nearest_before(scene, span) == number, scene.prompt


def test_some_captions_leave_open_who_wears_what() -> None:
    several = [truth for truth in TRUTHS if len(truth.subjects) > 1]
    unowned = [truth for truth in several if "They wear" in truth.prompt]
    assert 0.1 < len(unowned) / len(several) < 0.3
    for truth in unowned:
        worn = truth.prompt.split("They wear ")[1].split(".")[0]
        assert sorted(re.split(r", | and ", re.sub(r"\ban? ", "", worn))) == sorted(i.word for _, i in truth.attributes)
        assert len({item.word for _, item in truth.attributes}) == len(truth.attributes)


def nearest_before(scene: Scene, span: tuple[int, int]) -> int | None:
    """The subject named last before a word: in these captions the one who wears it."""
    faces = [(face, e.subject) for e in scene.entities if e.kind == "face" for face in e.spans if face < span]
    return max(faces)[1]


@pytest.mark.parametrize("subjects", [2, 3])
def test_two_of_one_noun_are_a_man_and_another_man(subjects: int) -> None:
    for seed in range(30):
        truth = sample_truth(seed, "captions", (96, 32), 9, Wishes(subjects=subjects, same_noun=True))
        assert len(re.findall(r"\b[Aa]nother \{", truth.prompt)) == 1
        shared = [item for _, item in truth.attributes if item.occurrence is not None]
        words = Counter(item.word for _, item in truth.attributes)
        assert sorted(item.word for item in shared) == sorted(word for word in words.elements() if words[word] > 1)
