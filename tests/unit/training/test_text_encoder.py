"""The tiny text encoder: its tokenizer, what captions are read to say, and that reading them is learnt."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedTokenizerFast, UMT5EncoderModel

from lumosx.errors import InputError
from lumosx.paths import configs_dir
from lumosx.playground import Truth, World
from lumosx.playground.looks import ATTRIBUTES, BACKGROUNDS, FACES, OBJECTS
from lumosx.playground.truth import Attribute, Motion, Subject
from lumosx.scene import Scene
from lumosx.training import text_encoder
from lumosx.training.config import Config, TextConfig, load_config
from lumosx.training.text_encoder import (
    EOS_ID,
    IGNORED,
    MASK_ID,
    PAD_ID,
    PLACE_NAMES,
    CaptionReader,
    Captions,
    read_captions,
    train_text_encoder,
    train_tokenizer,
)

LENGTH = 80  # of experiment=tiny_text
CLIPS = World(frames=1).render(range(48), split="captions")
PROMPTS = [Scene.from_dict(scene).prompt for scene in CLIPS.scenes]
TOKENIZER = train_tokenizer(PROMPTS)


def spelled(text: str) -> list[str]:
    """The text under each token, the end token left out."""
    return [text[start:stop] for start, stop in TOKENIZER(text, return_offsets_mapping=True)["offset_mapping"][:-1]]


def test_special_tokens_have_the_numbers_that_the_encoder_is_made_with() -> None:
    ids = (TOKENIZER.pad_token_id, TOKENIZER.eos_token_id, TOKENIZER.mask_token_id)
    assert ids == (PAD_ID, EOS_ID, MASK_ID)


def test_offsets_tell_where_a_token_stands_and_the_end_token_is_last() -> None:
    text = PROMPTS[0]
    ids = TOKENIZER(text).input_ids
    assert ids[-1] == EOS_ID and EOS_ID not in ids[:-1]
    assert "".join(spelled(text)) == text
    pieces = [piece.replace("▁", " ") for piece in TOKENIZER.convert_ids_to_tokens(ids[:-1])]
    assert [piece.strip() for piece in spelled(text)] == [piece.strip() for piece in pieces]


def test_every_word_of_the_world_is_one_token_and_punctuation_stands_alone() -> None:
    vocabulary = [*FACES, *(word for family in ATTRIBUTES.values() for word in family), *OBJECTS, *BACKGROUNDS]
    assert {f"▁{word}" for phrase in vocabulary for word in phrase.split()} <= set(TOKENIZER.get_vocab())
    for prompt in PROMPTS:
        assert [piece.strip() for piece in spelled(prompt)] == re.findall(r"\w+|[^\w\s]", prompt)


def test_entities_are_bound_to_the_tokens_of_their_words_exactly() -> None:
    for scene in map(Scene.from_dict, CLIPS.scenes):
        binding = scene.bind(TOKENIZER, LENGTH)
        pieces = spelled(binding.prompt)
        for entity, tokens in zip(binding.references, binding.words, strict=True):
            words = [word for start, stop in entity.spans for word in binding.prompt[start:stop].split()]
            assert [pieces[token].strip() for token in tokens] == words


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_any_ascii_text_is_known_and_covered(text: str) -> None:
    tokens = TOKENIZER(text, return_offsets_mapping=True)
    assert TOKENIZER.unk_token_id not in tokens["input_ids"]
    covered = {index for span in tokens["offset_mapping"] for index in range(*span)}
    assert all(index in covered for index, letter in enumerate(text) if letter != " ")


MOTION = Motion("wave", 0.0, 1)
GLASSES = Attribute("glasses", "glasses", {})
TWO_MEN = Truth(
    seed=0,
    split="by hand",
    size=(32, 32),
    frames=9,
    prompt="A {man:s2} on the left wears a cap today. Another {man:s1} on the right has a cap and glasses here. "
    "The second {man:s1} waves.",
    placed=True,
    told=(1, 0),
    subjects=(
        Subject("s1", "man", {}, (Attribute("hat", "cap", {}, (2,)), GLASSES), 1, 1, 0.0, 0.0, MOTION),
        Subject("s2", "man", {}, (Attribute("hat", "cap", {}, (1,)),), 0, 0, 0.0, 0.0, MOTION),
    ),
    object=None,
    background=None,
)
OWNERS = [  # told first: 1
    *[("A", 0), ("man", 1), ("on", 0), ("the", 0), ("left", 0), ("wears", 0), ("a", 0), ("cap", 1), ("today.", 0)],
    *[("Another", 0), ("man", 2), ("on", 0), ("the", 0), ("right", 0), ("has", 0), ("a", 0), ("cap", 2), ("and", 0)],
    *[("glasses", 2), ("here.", 0), ("The", 0), ("second", 0), ("man", 2), ("waves.", 0)],
]


def by_token(values: list[int]) -> list[int]:
    """A value a word as a value a token, with the end token's 0 and the padding's."""
    words = [word for word, _ in OWNERS]
    targets = [v for word, v in zip(words, values, strict=True) for _ in TOKENIZER(word).input_ids[:-1]]
    return [*targets, 0, *[IGNORED] * (LENGTH - len(targets) - 1)]


def test_targets_by_hand() -> None:
    captions = read_captions([TWO_MEN], TOKENIZER, LENGTH)
    owners = [owner for _, owner in OWNERS]
    left, right = (1 + PLACE_NAMES.index(f"on the {side}") for side in ("left", "right"))
    assert captions.owner[0].tolist() == by_token(owners)
    assert captions.place[0].tolist() == by_token([(0, left, right)[owner] for owner in owners])
    ids = TOKENIZER(" ".join(word for word, _ in OWNERS)).input_ids
    assert captions.ids[0].tolist() == ids + [PAD_ID] * (LENGTH - len(ids))
    assert captions.mask[0].tolist() == [1] * len(ids) + [0] * (LENGTH - len(ids))


def test_a_caption_that_tells_no_place_has_none() -> None:
    unplaced = Truth.from_dict(TWO_MEN.to_dict() | {"placed": False})
    captions = read_captions([TWO_MEN, unplaced], TOKENIZER, LENGTH)
    assert torch.equal(captions.owner[0], captions.owner[1])
    assert captions.place[1].tolist() == by_token([0] * len(OWNERS))


class Told(nn.Module):
    """Answers right about the tokens of subjects, and wrong about all others."""

    def __init__(self, captions: Captions) -> None:
        super().__init__()
        self.captions = captions

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        del ids, mask
        asked = self.captions.owner > 0
        answers = {"owner": (self.captions.owner, 5), "place": (self.captions.place, 1 + len(PLACE_NAMES))}
        return {
            name: nn.functional.one_hot(torch.where(asked, right, classes - 1), classes).float()
            for name, (right, classes) in answers.items()
        }


def test_accuracy_asks_about_the_tokens_of_subjects() -> None:
    captions = read_captions(CLIPS.truth, TOKENIZER, LENGTH)
    assert text_encoder._accuracy(Told(captions), captions) == {"owner": 1.0, "place": 1.0}
    torch.manual_seed(0)
    untrained = text_encoder._accuracy(CaptionReader(len(TOKENIZER), width=16, layers=1), captions)
    assert untrained["owner"] < 0.6 and untrained["place"] < 0.6


@pytest.fixture
def few_captions(monkeypatch: pytest.MonkeyPatch) -> None:
    truths = text_encoder._truths
    monkeypatch.setattr(text_encoder, "_truths", lambda split, count: truths(split, min(count, 64)))


@pytest.fixture
def config(tmp_path: Path) -> Config:
    changes = [f"run.root={tmp_path}", f"text.length={LENGTH}", "train.steps=24", "train.log_every=1"]
    return load_config(["experiment=tiny_text", *changes], configs_dir())


@pytest.mark.usefixtures("few_captions")
def test_training_lowers_every_loss_and_leaves_what_the_trainer_loads(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    export = train_text_encoder(config)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step")]
    assert len(lines) == 24
    for question in ("word", "owner", "place"):
        losses = [float(line.split(f"{question} ")[1].split()[0]) for line in lines]
        assert sum(losses[-4:]) < 0.85 * sum(losses[:4]), question
    assert export == config.folder / "export"
    accuracy = json.loads((config.folder / "accuracy.json").read_text())
    assert set(accuracy) == {"owner", "place"} and all(0 <= share <= 1 for share in accuracy.values())
    tokenizer = AutoTokenizer.from_pretrained(export / "tokenizer")
    assert isinstance(tokenizer, PreTrainedTokenizerFast)
    encoder = UMT5EncoderModel.from_pretrained(export / "text_encoder")
    states = encoder(**tokenizer("A man wears a cap.", return_tensors="pt")).last_hidden_state
    assert states.shape[2] == 64 and states.isfinite().all()
    assert encoder.config.vocab_size == len(tokenizer)


@pytest.mark.usefixtures("few_captions")
def test_the_same_command_leaves_a_trained_encoder_alone(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    short = replace(config, train=replace(config.train, steps=2))
    export = train_text_encoder(short)
    weights = export / "text_encoder" / "model.safetensors"
    before = (weights.stat().st_mtime_ns, weights.read_bytes())
    assert train_text_encoder(replace(short, train=replace(short.train, log_every=7, threads=1))) == export
    assert "already trained" in capsys.readouterr().out
    assert short.text is not None
    for other, named in (
        (replace(short, text=replace(short.text, width=32)), r"text\.width: 64 -> 32"),
        (replace(short, train=replace(short.train, steps=3)), r"train\.steps: 2 -> 3"),
    ):
        with pytest.raises(InputError, match=named):
            train_text_encoder(other)
    (config.folder / "config.yaml").unlink()  # an export of before there was one
    assert train_text_encoder(short) == export
    assert "does not say" in capsys.readouterr().out
    assert (weights.stat().st_mtime_ns, weights.read_bytes()) == before


@pytest.mark.usefixtures("few_captions")
def test_the_sizes_are_the_configurations(config: Config) -> None:
    text = TextConfig(width=32, layers=1, length=LENGTH, captions=64, batch=4)
    export = train_text_encoder(replace(config, text=text, train=replace(config.train, steps=2)))
    made = UMT5EncoderModel.from_pretrained(export / "text_encoder").config
    assert (made.d_model, made.num_layers) == (32, 1)


@pytest.mark.parametrize("override", ["optim.lr=1.0", "data.clips=3", "train.ema=0.5", "model.text_length=7"])
def test_a_value_that_is_not_read_is_an_error(override: str) -> None:
    with pytest.raises(InputError, match=override.split("=")[0]):
        train_text_encoder(load_config(["experiment=tiny_text", override], configs_dir()))
