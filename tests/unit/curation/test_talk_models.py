"""Qwen's vision-language models: tiny random ones, saved by transformers and loaded by the adapter, and answers put in
their mouths."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_qwen import IMAGE, KINDS, TEMPLATE, pictures, processor, save, tiny, tokenizer
from transformers import CLIPConfig, Qwen2_5_VLConfig, Qwen3VLConfig

from lumosx.errors import InputError
from lumosx.vision import BadAnswer, Question
from lumosx.vision.talk import QwenVl


def written(prompt: str) -> str:
    """The prompt with these pictures, as the model gets it."""
    shown = "".join(f"<|vision_start|>{'<|image_pad|>' * count}<|vision_end|>" for count in (6, 1))
    return f"<|im_start|>user\n{shown}{prompt}<|im_end|>\n<|im_start|>assistant\n"


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind, tmp_path_factory) -> Path:
    return save(kind, tmp_path_factory.mktemp(kind))


def greedy(model: torch.nn.Module, prompt: str, count: int) -> list[int]:
    """The likeliest tokens one after the other, each by a pass over all before it."""
    seen = processor()([Image.fromarray(picture) for picture in pictures()], return_tensors="pt")
    ids = tokenizer()(written(prompt)).input_ids
    start = len(ids)
    for _ in range(count):
        tokens = torch.tensor([ids])
        with torch.no_grad():
            output = model.eval()(input_ids=tokens, mm_token_type_ids=(tokens == IMAGE).int(), use_cache=False, **seen)
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
    with pytest.raises(BadAnswer, match=r"did not end within 7 tokens: .*a man in a") as raised:
        talker.answer(Question([], "Well?"))
    assert raised.value.text == "a man in a"


def test_the_network_makes_no_more_tokens_than_it_may(kind, folder, tmp_path):
    told = greedy(type(tiny(kind)).from_pretrained(folder), "Who?", 3)
    never = next(token for token in range(256) if token not in told)
    with pytest.raises(BadAnswer, match="did not end within 3 tokens"):
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
    with pytest.raises(BadAnswer, match="did not end within 2 tokens"):
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
