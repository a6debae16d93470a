"""Scores of quality and aesthetics: Q-Align's formula with tiny random models, and its server and client against each
other, over a socket."""

import ast
import math
import re
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import q_align_server
import torch
from PIL import Image
from tiny_qwen import IMAGE, KINDS, LETTERS, LEVELS, pictures, processor, save, tiny, tokenizer

from lumosx.curation.models import MODELS, REGISTRY
from lumosx.errors import InputError, TransientError
from lumosx.vision.scoring import QAlign
from lumosx.vision.talk import QwenVl


def by_hand(model: torch.nn.Module, picture: np.ndarray, tokens: int, aspect: str) -> float:
    """The formula from the logits of a whole pass."""
    text = (
        f"<|im_start|>user\n<|vision_start|>{'<|image_pad|>' * tokens}<|vision_end|>"
        f"How would you rate the {aspect} of this image?<|im_end|>\n<|im_start|>assistant\nThe {aspect} of the image is"
    )
    ids = torch.tensor([tokenizer(LETTERS)(text).input_ids])
    seen = processor()([Image.fromarray(picture)], return_tensors="pt")
    with torch.no_grad():
        logits = model(input_ids=ids, mm_token_type_ids=(ids == IMAGE).int(), use_cache=False, **seen).logits[0, -1]
    weights = [math.exp(float(logits[token])) for token in LEVELS]
    return sum(weight * worth for weight, worth in zip(weights, (5, 4, 3, 2, 1), strict=True)) / sum(weights)


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_the_mean_worth_of_the_levels(kind, tmp_path):
    model, scorer, (large, small) = tiny(kind), QwenVl(save(kind, tmp_path, LETTERS)), pictures()
    expected = [
        [by_hand(model, picture, tokens, aspect) for aspect in ("quality", "aesthetics")]
        for picture, tokens in ((large, 6), (small, 1))
    ]
    assert np.ptp(expected, axis=0).min() > 0.001 and np.ptp(expected, axis=1).min() > 0.001  # none stands for another
    assert scorer.score([large]) == pytest.approx(expected[0], abs=1e-5)
    assert scorer.score([large, small]) == pytest.approx(np.mean(expected, axis=0), abs=1e-5)


def test_levels_that_begin_alike_cannot_be_told_apart(tmp_path):
    scorer = QwenVl(save("qwen2_5_vl", tmp_path, letters="eg"))
    with pytest.raises(InputError, match=r"same token \(excellent 263, good 264, fair 220, poor 220, bad 220\)"):
        scorer.score(pictures())


class StandIn:
    """In the place of Q-Align: red is quality, green beauty. `trouble` is raised first, each once."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[Image.Image], str]] = []
        self.trouble: list[Exception] = []
        self.factor = 4.0

    def score(self, images: list[Image.Image], task_: str, input_: str) -> torch.Tensor:
        assert input_ == "image"
        if self.trouble:
            raise self.trouble.pop(0)
        self.asked.append((images, task_))
        channel = ("quality", "aesthetics").index(task_)
        return torch.tensor([1 + self.factor * np.asarray(i)[..., channel].mean() / 255 for i in images]).half()


@pytest.fixture
def model() -> StandIn:
    return StandIn()


@pytest.fixture
def url(model, monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with q_align_server.Server(model, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def colour(red: int, green: int) -> np.ndarray:
    return np.full((4, 6, 3), (red, green, 7), np.uint8)


def test_client_and_server_understand_each_other(url, model):
    scorer, noise = QAlign(f"{url}/"), pictures()
    assert scorer.score([colour(255, 0), colour(0, 51)]) == pytest.approx((3.0, 1.4), abs=2e-3)
    assert scorer.score(noise)[0] == pytest.approx(3.0, abs=0.1)
    for images, _ in model.asked[2:]:
        for image, picture in zip(images, noise, strict=True):
            np.testing.assert_array_equal(np.asarray(image), picture)
    assert [task for _, task in model.asked] == ["quality", "aesthetics"] * 2
    assert scorer.card.to_dict() == q_align_server.CARD
    assert scorer.card.commercial and scorer.card.revision == q_align_server.REVISION


def test_what_the_model_fails_at_is_tried_again(url, model):
    scorer = QAlign(url, pauses=(0.0, 0.0))
    model.trouble = [MemoryError("of the GPU")] * 2
    assert scorer.score([colour(255, 255)]) == (5.0, 5.0)
    model.trouble = [MemoryError("of the GPU")] * 3
    with pytest.raises(TransientError, match=r"/score: no answer in 3 tries: 500 .*MemoryError: of the GPU"):
        scorer.score([colour(255, 255)])


def test_scores_that_are_no_numbers(url, model):
    model.factor = math.nan
    with pytest.raises(RuntimeError, match=r"Q-Align \(OneAlign\) gave .*nan"):
        QAlign(url).score([colour(1, 1)])


def test_what_cannot_be_scored_is_refused(url, model):
    with pytest.raises(InputError, match=r"/score: refused \(400\): .*no pictures"):
        QAlign(url).score([])
    for body in (b"", b"[]", b'{"pictures": ["?"]}', b'{"pictures": ["aGVsbG8="]}'):  # the last is no picture
        assert httpx.post(f"{url}/score", content=body).status_code == 400
    assert httpx.post(f"{url}/card").status_code == httpx.get(f"{url}/score").status_code == 404
    assert not model.asked


def test_another_server_is_none_of_q_align(url, monkeypatch):
    for card in ({"name": "x"}, q_align_server.CARD | {"commercial": "yes"}, ["a"]):
        monkeypatch.setattr(q_align_server, "CARD", card)
        with pytest.raises(InputError, match=r"/card: not what scripts/q_align_server.py says of itself"):
            QAlign(url)
    with pytest.raises(InputError, match=r"/v1/card: refused \(404\)"):
        QAlign(f"{url}/v1")


def test_answers_without_scores(url, monkeypatch):
    scorer = QAlign(url)
    for answer in ({}, {"quality": 3, "aesthetic": "good"}, [1, 2]):
        monkeypatch.setattr(q_align_server, "scores", lambda model, pictures, answer=answer: answer)
        with pytest.raises(InputError, match="/score: answers without scores"):
            scorer.score([colour(1, 1)])


def test_no_server_there(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with pytest.raises(InputError, match=r"127.0.0.1:9/card: no answer in 2 tries: ConnectError.*Start the server"):
        QAlign("http://127.0.0.1:9", pauses=(0.0,))  # the port of discard, which nobody serves
    with pytest.raises(InputError, match="give an address such as http://localhost:8765"):
        QAlign("localhost:8765")


def test_the_script_stands_alone():
    """In its own environment there is what it pins, and the standard library."""
    text = Path(q_align_server.__file__).read_text(encoding="utf-8")
    (block,) = re.findall(r"(?m)^# /// script\n((?:#.*\n)+?)# ///$", text)
    stated = tomllib.loads("".join(line[2:] or "\n" for line in block.splitlines(keepends=True)))
    assert stated["requires-python"] == "==3.11.*"
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", pinned) for pinned in stated["dependencies"])
    imports = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {(alias.name if isinstance(n, ast.Import) else n.module or "").split(".")[0]
             for n in imports for alias in n.names}  # fmt: skip
    pinned = {name.split("==")[0].replace("pillow", "PIL") for name in stated["dependencies"]}
    assert names - sys.stdlib_module_names == {"PIL", "torch", "transformers"} <= pinned
    assert re.fullmatch("[0-9a-f]{40}", q_align_server.REVISION)


def test_all_that_the_papers_models_need_is_said_at_once():
    with pytest.raises(InputError) as refused:
        REGISTRY.make(REGISTRY.load_profile("paper"))
    text = str(refused.value)
    for needed in ("--model scorer=q-align:...", "--allow flux-fill", "--allow videoclip-xl"):
        assert needed in text
    assert len(text.splitlines()) == 4  # and the line above those that are allowed


def test_papers_thresholds_are_those_of_the_stages():
    assert REGISTRY.load_profile("paper").settings == {}


@pytest.mark.parametrize("name", ["offline", "paper", "permissive"])
def test_profiles_choose_models_for_what_they_can_do(name):
    profile = REGISTRY.load_profile(name)
    for role, choice in vars(profile).items():
        if role != "settings" and choice:
            assert role in MODELS[choice.partition(":")[0]].roles


def test_one_network_scores_captions_and_tags():
    profile = REGISTRY.load_profile("permissive")
    assert profile.scorer == profile.captioner == profile.tagger
    assert profile.settings["quality"].keys() == {"least_quality", "least_aesthetic"}  # its scale is its own
