"""Qwen's vision-language models: tiny random ones, saved by transformers and loaded by the adapter, and answers put in
their mouths."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    CLIPConfig,
    GenerationConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)
from transformers.convert_slow_tokenizer import bytes_to_unicode

from lumosx.errors import InputError
from lumosx.vision import Question
from lumosx.vision.talk import QwenVl

SPECIAL = ("endoftext", "im_start", "im_end", "vision_start", "vision_end", "image_pad", "video_pad")
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{% for part in message.content %}"
    "{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}"
    "{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = {
    "vocab_size": 263, "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "bos_token_id": None, "eos_token_id": 258,
}  # fmt: skip
ROPE = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 10000.0}
TOKENS = {"image_token_id": 261, "video_token_id": 262, "vision_start_token_id": 259, "vision_end_token_id": 260}


def tokenizer() -> Qwen2Tokenizer:
    """A token a byte, then the special ones from 256 on."""
    letters = {letter: number for number, letter in enumerate(bytes_to_unicode().values())}
    words = [f"<|{name}|>" for name in SPECIAL]
    made = Qwen2Tokenizer(vocab=letters | {words[0]: 256}, merges=[], additional_special_tokens=words[1:])
    assert made.convert_tokens_to_ids(words) == list(range(256, 263))
    made.chat_template = TEMPLATE
    return made


def tiny(kind: str) -> torch.nn.Module:
    torch.manual_seed(0)
    if kind == "qwen2_5_vl":
        vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
                  "fullatt_block_indexes": [1]}  # fmt: skip
        config = Qwen2_5_VLConfig(text_config=TEXT | {"rope_parameters": ROPE}, vision_config=vision, **TOKENS)
        return Qwen2_5_VLForConditionalGeneration(config)
    vision = {"depth": 2, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16,
              "patch_size": 14, "num_position_embeddings": 16, "deepstack_visual_indexes": [0]}  # fmt: skip
    text = TEXT | {"head_dim": 8, "rope_parameters": ROPE | {"mrope_interleaved": True}}
    return Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision, **TOKENS))


def save(kind: str, folder: Path, ends: int = 258) -> Path:
    """A repository whose own settings would sample and punish repetition."""
    model = tiny(kind)
    torch.nn.init.normal_(model.lm_head.weight)  # else all tokens are about as likely
    model.generation_config = GenerationConfig(
        do_sample=True, temperature=2.0, repetition_penalty=50.0, eos_token_id=[ends, 256], pad_token_id=256
    )
    model.save_pretrained(folder)
    Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 84 * 84}).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def pictures() -> list[np.ndarray]:
    """One of 84 x 56 pixels, which is 6 x 4 patches and 6 tokens, and one of 28 x 28, a single token."""
    noise = np.random.default_rng(0)
    return [noise.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in ((56, 84), (28, 28))]


def written(prompt: str) -> str:
    """The prompt with these pictures, as the model gets it."""
    shown = "".join(f"<|vision_start|>{'<|image_pad|>' * count}<|vision_end|>" for count in (6, 1))
    return f"<|im_start|>user\n{shown}{prompt}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module", params=["qwen2_5_vl", "qwen3_vl"])
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory) -> Path:
    return save(kind, tmp_path_factory.mktemp(kind))


def greedy(model: torch.nn.Module, prompt: str, count: int) -> list[int]:
    """The likeliest tokens one after the other, each by a pass over all before it."""
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 28 * 28, "longest_edge": 84 * 84})
    seen = processor([Image.fromarray(picture) for picture in pictures()], return_tensors="pt")
    ids = tokenizer()(written(prompt)).input_ids
    start = len(ids)
    for _ in range(count):
        tokens = torch.tensor([ids])
        with torch.no_grad():
            output = model.eval()(input_ids=tokens, mm_token_type_ids=(tokens == 261).int(), use_cache=False, **seen)
        ids.append(int(output.logits[0, -1].argmax()))
    return ids[start:]


def test_the_likeliest_answer_whatever_the_repository_prefers(kind, folder, tmp_path):
    model = type(tiny(kind)).from_pretrained(folder)
    told = greedy(model, "Who?", 12)
    last = max(told.index(token) for token in set(told))  # the latest token that is new
    assert last >= 2
    talker = QwenVl(save(kind, tmp_path, ends=told[last]))
    expected = tokenizer().decode(told[: last + 1], skip_special_tokens=True).strip()
    assert talker.answer(Question(pictures(), "Who?")) == expected
    assert talker.answer(Question(pictures(), "Who?")) == expected


def put(talker: QwenVl, answer: str, monkeypatch) -> list:
    """An answer in the place of the network's; what it was asked."""
    asked = []

    def generate(input_ids, **inputs):
        asked.append((talker._processor.tokenizer.decode(input_ids[0]), inputs))
        return torch.cat([input_ids, torch.tensor([tokenizer()(answer).input_ids])], dim=1)

    monkeypatch.setattr(talker._model, "generate", generate)
    return asked


def test_pictures_come_before_the_prompt(folder, monkeypatch):
    talker = QwenVl(folder)
    asked = put(talker, ' {"wer": "Jürgen"}\n<|im_end|>', monkeypatch)
    assert talker.answer(Question(pictures(), "Who is it?\nJSON")) == '{"wer": "Jürgen"}'
    ((text, inputs),) = asked
    assert text == written("Who is it?\nJSON")
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 6], [1, 2, 2]]


def test_a_question_without_pictures(folder, monkeypatch):
    talker = QwenVl(folder)
    asked = put(talker, "yes<|im_end|>", monkeypatch)
    assert talker.answer(Question([], "Well?")) == "yes"
    assert asked[0][0] == "<|im_start|>user\nWell?<|im_end|>\n<|im_start|>assistant\n"


def test_an_answer_that_is_cut_off_is_none(folder, monkeypatch):
    talker = QwenVl(folder, tokens=7)
    put(talker, "a man in a", monkeypatch)
    with pytest.raises(RuntimeError, match=r"did not end within 7 tokens: .*a man in a"):
        talker.answer(Question([], "Well?"))


def test_the_network_makes_no_more_tokens_than_it_may(kind, folder, tmp_path):
    told = greedy(type(tiny(kind)).from_pretrained(folder), "Who?", 3)
    never = next(token for token in range(256) if token not in told)
    with pytest.raises(RuntimeError, match="did not end within 3 tokens"):
        QwenVl(save(kind, tmp_path, ends=never), tokens=3).answer(Question(pictures(), "Who?"))


def test_the_chat_template_may_lie_in_a_file_of_the_processor(folder, tmp_path, monkeypatch):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(InputError, match="has no chat template"):
        QwenVl(tmp_path).answer(Question([], "Well?"))
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "[" + TEMPLATE}))
    talker = QwenVl(tmp_path)
    asked = put(talker, "yes<|im_end|>", monkeypatch)
    talker.answer(Question([], "Well?"))
    assert asked[0][0].startswith("[<|im_start|>user")


def test_the_network_is_read_when_it_is_asked(folder, tmp_path):
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    talker = QwenVl(tmp_path)
    assert talker.card.licence == "Apache-2.0"
    with pytest.raises(InputError, match="cannot be loaded"):
        talker.answer(Question([], "Well?"))


def test_missing_tensors_are_an_error(kind, tmp_path):
    save(kind, tmp_path)
    model = tiny(kind)
    state = {name: tensor for name, tensor in model.state_dict().items() if name != "lm_head.weight"}
    model.save_pretrained(tmp_path, state_dict=state)
    with pytest.raises(InputError, match=r"lacks 1 tensors of .*lm_head"):
        QwenVl(tmp_path).answer(Question([], "Well?"))


def test_the_precision_is_that_of_the_file(kind, tmp_path):
    """Which is bfloat16 of the published ones, while pictures are prepared in float32."""
    save(kind, tmp_path)
    tiny(kind).to(torch.bfloat16).save_pretrained(tmp_path)
    talker = QwenVl(tmp_path, tokens=2)
    with pytest.raises(RuntimeError, match="did not end within 2 tokens"):
        talker.answer(Question(pictures(), "Who?"))
    assert talker._model.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("config", "width", "name", "licence", "commercial"),
    [
        (Qwen2_5_VLConfig, 2048, "Qwen2.5-VL", "Qwen Research License (3B)", False),
        (Qwen2_5_VLConfig, 3584, "Qwen2.5-VL", "Apache-2.0", True),
        (Qwen2_5_VLConfig, 5120, "Qwen2.5-VL", "Apache-2.0", True),
        (Qwen2_5_VLConfig, 8192, "Qwen2.5-VL", "Qwen License (72B)", True),
        (Qwen3VLConfig, 2048, "Qwen3-VL", "Apache-2.0", True),
    ],
)
def test_cards_know_the_licence_of_each_size(tmp_path, config, width, name, licence, commercial):
    config(text_config={"hidden_size": width}).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    card = QwenVl(tmp_path).card
    assert (card.name, card.commercial) == (name, commercial) and card.licence.startswith(licence)


def test_a_model_of_another_kind(tmp_path):
    CLIPConfig().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    with pytest.raises(InputError, match="type clip; wanted is qwen2_5_vl or qwen3_vl"):
        QwenVl(tmp_path)
