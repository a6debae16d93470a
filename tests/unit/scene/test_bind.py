"""Characters to tokens: exactly those that share a letter with a mention, wherever the tokenizer puts spaces."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scene_makers import make_picture, make_tokenizer

from lumosx.scene import Scene, SceneError

TOKENIZER = make_tokenizer()
PICTURES = [make_picture() for _ in range(6)]


def people(prompt: str, *words: str, **more: Any) -> Scene:
    subjects = [{"id": f"s{n}", "word": word, "face": PICTURES[n]} for n, word in enumerate(words)]
    return Scene.from_dict({"lumosx": 1, "prompt": prompt, "subjects": subjects} | more)


def spelled(token_ids: list[int], tokens: list[int]) -> str:
    return "".join(TOKENIZER.convert_ids_to_tokens([token_ids[index] for index in tokens]))


def test_tokens_of_words() -> None:
    binding = people("the young man, the woman", "young man", "woman").bind(TOKENIZER)
    assert [spelled(binding.token_ids, words) for words in binding.words] == ["▁young▁man", "▁woman"]
    assert binding.prompt == "the young man, the woman"
    assert binding.token_ids[-1] == TOKENIZER.eos_token_id
    assert binding.subject_words is None
    assert [entity.id for entity in binding.references] == ["s0.face", "s1.face"]


def test_a_noun_shared_by_two_is_bound_per_occurrence() -> None:
    scene = people("the man, the man", "man", "man")
    first, second = scene.bind(TOKENIZER).words
    assert first
    assert second
    assert not set(first) & set(second)
    assert max(first) < min(second)


def test_release_rules_of_the_checkpoint_mark_every_occurrence() -> None:
    scene = people("the man, the man", "man", "man")
    first, second = scene.bind(TOKENIZER, rules="release").words
    assert first == second
    assert len(first) == 2
    assert first[0] == scene.bind(TOKENIZER).words[0][0]


def test_a_scene_that_states_its_rules_keeps_them() -> None:
    scene = people("the man, the man", "man", "man", binding={"rules": "paper"})
    assert scene.bind(TOKENIZER, rules="release").words == scene.bind(TOKENIZER).words


def test_occurrence_contradicts_a_checkpoint_of_release_rules() -> None:
    subject = {"id": "s", "word": "man", "face": PICTURES[0], "occurrence": 1}
    scene = Scene.from_dict({"lumosx": 1, "prompt": "the man, the man", "subjects": [subject]})
    assert len(scene.bind(TOKENIZER).words[0]) == 1
    with pytest.raises(SceneError, match="LX005"):
        scene.bind(TOKENIZER, rules="release")


def test_text_only_attributes_are_words_of_their_subject() -> None:
    subjects = [
        {"id": "a", "word": "man", "face": PICTURES[0], "attributes": [{"word": "red coat"}]},
        {"id": "b", "word": "woman", "face": PICTURES[1]},
    ]
    scene = Scene.from_dict({"lumosx": 1, "prompt": "a man in a red coat, a woman", "subjects": subjects})
    binding = scene.bind(TOKENIZER)
    assert [entity.id for entity in scene.entities] == ["a.face", "a.red coat", "b.face"]
    assert [entity.id for entity in binding.references] == ["a.face", "b.face"]
    assert binding.subject_words is not None
    assert [spelled(binding.token_ids, words) for words in binding.subject_words] == ["▁red▁coat", ""]


def test_words_of_a_subject_without_a_face_are_kept() -> None:
    subject = {"id": "a", "word": "man", "attributes": [{"word": "red coat", "image": PICTURES[0]}]}
    binding = Scene.from_dict({"lumosx": 1, "prompt": "a man in a red coat", "subjects": [subject]}).bind(TOKENIZER)
    assert [entity.id for entity in binding.references] == ["a.red coat"]
    assert binding.subject_words is not None
    assert [spelled(binding.token_ids, words) for words in binding.subject_words] == ["▁man"]


def test_cjk_words_in_one_token_are_refused() -> None:
    """男人 is one token of this vocabulary: 男 and 人 cannot belong to two subjects."""
    scene = people("男人", "男", "人")
    with pytest.raises(SceneError, match=r"LX112 .*meet in one token"):
        scene.bind(TOKENIZER)
    binding = people("一个男人和女人", "男人", "女人").bind(TOKENIZER)
    assert [spelled(binding.token_ids, words) for words in binding.words] == ["男人", "女人"]


@pytest.mark.parametrize("length", [8, 9])
def test_the_last_word_fits_or_is_an_error(length: int) -> None:
    """Seven words before the man, then the end token: nine tokens."""
    scene = people("a a a a a a a man", "man")
    assert len(scene.bind(TOKENIZER).token_ids) == 9
    if length == 9:
        assert scene.bind(TOKENIZER, length).words == [[7]]
    else:
        with pytest.warns(UserWarning, match="dropping 'man'"), pytest.raises(SceneError, match="LX113"):
            scene.bind(TOKENIZER, length)


def test_a_long_prompt_whose_words_all_fit_is_cut_with_a_warning() -> None:
    scene = people("man a a a a a a a", "man")
    with pytest.warns(UserWarning, match="9 tokens; cut to 5"):
        binding = scene.bind(TOKENIZER, 5)
    assert (len(binding.token_ids), binding.words) == (5, [[0]])
    assert binding.token_ids[-1] == TOKENIZER.eos_token_id


def test_a_tokenizer_without_offsets_is_refused() -> None:
    with pytest.raises(TypeError, match="use a fast tokenizer"):
        people("a man", "man").bind(object())


@given(st.lists(st.sampled_from(["the", "man", "red coat", "wo", "young", ",", "été", "x"]), max_size=10))
def test_tokens_cover_each_mention_and_nothing_else(parts: list[str]) -> None:
    prompt = " ".join([*parts, "young man"])
    scene = people(prompt, "young man")
    binding = scene.bind(TOKENIZER)
    offsets = TOKENIZER(prompt, return_offsets_mapping=True)["offset_mapping"]
    covered = {position for index in binding.words[0] for position in range(*offsets[index])}
    letters = {i for span in scene.entities[0].spans for i in range(*span) if not prompt[i].isspace()}
    assert letters == {i for i in covered if not prompt[i].isspace()}
