"""Grounding DINO: a tiny random model, saved by transformers and loaded by the adapter, and answers in its mouth."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import noise
from transformers import (
    BertConfig,
    BertTokenizerFast,
    GroundingDinoConfig,
    GroundingDinoForObjectDetection,
    GroundingDinoImageProcessorPil,
    SwinConfig,
)
from transformers.models.grounding_dino.modeling_grounding_dino import GroundingDinoObjectDetectionOutput

from lumosx.errors import InputError
from lumosx.vision.detection import GroundingDino

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", ".", "?", "red", "hat", "lamp", "a"]
WIDE = noise(120, 240)  # a picture of 240 x 120 pixels
LONGEST = 16  # tokens of a question


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("grounding")
    text = BertConfig(
        vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    backbone = SwinConfig(
        image_size=160, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=4,
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = GroundingDinoConfig(
        backbone_config=backbone, text_config=text, d_model=32, encoder_layers=1, decoder_layers=2, num_queries=10,
        encoder_ffn_dim=16, decoder_ffn_dim=16, encoder_attention_heads=2, decoder_attention_heads=2,
        max_text_len=LONGEST,
    )  # fmt: skip
    torch.manual_seed(0)
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    GroundingDinoImageProcessorPil(size={"shortest_edge": 160, "longest_edge": 320}).save_pretrained(folder)
    BertTokenizerFast(vocab={word: number for number, word in enumerate(WORDS)}).save_pretrained(folder)
    return folder


def answers(detector: GroundingDino, boxes: list, scores: list) -> list[dict]:
    """`boxes` (centre, size) and `scores` [box][token] in place of the network's; what it is asked."""
    asked = []

    def forward(**inputs):
        asked.append(inputs)
        logits = torch.full((1, len(boxes), LONGEST), -torch.inf)
        for row, of_box in enumerate(scores):
            logits[0, row, : len(of_box)] = torch.logit(torch.tensor(of_box))
        return GroundingDinoObjectDetectionOutput(logits=logits, pred_boxes=torch.tensor([boxes]))

    detector._model.forward = forward
    return asked


def test_asks_one_phrase_after_the_other_in_lower_case_with_a_full_stop(folder):
    detector = GroundingDino(folder)
    asked = answers(detector, [[0.5, 0.5, 1.0, 1.0]], [[0.0, 0.0, 0.0]])
    assert detector.find(WIDE, ["Red hat.", " a LAMP "]) == [[], []]
    assert [detector._processor.decode(each["input_ids"][0]) for each in asked] == [
        "[CLS] red hat. [SEP]",
        "[CLS] a lamp. [SEP]",
    ]
    assert detector.find(WIDE, []) == []


def test_boxes_are_in_pixels_the_surest_first_and_above_the_threshold(folder):
    detector = GroundingDino(folder)
    # tokens: [CLS] red hat . [SEP]
    answers(
        detector,
        [[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0], [0.5, 0.5, 0.1, 0.1]],
        [[0.0, 0.1, 0.6, 0, 0], [0.0, 0.8, 0.2, 0, 0], [0.0, 0.49, 0.3, 0, 0]],
    )
    ((first, second),) = detector.find(WIDE, ["red hat"])
    assert first.box == pytest.approx((0, 0, 120, 120)) and first.score == pytest.approx(0.8)
    assert second.box == pytest.approx((60, 30, 180, 90)) and second.score == pytest.approx(0.6)


def test_a_box_must_be_named_by_a_word_of_the_phrase(folder):
    """Not by the marks around it, nor by a word below the text threshold."""
    detector = GroundingDino(folder)
    boxes = [[0.5, 0.5, 0.5, 0.5]] * 4
    scores = [[0.9, 0.1, 0.1, 0, 0], [0, 0.1, 0.1, 0.9, 0], [0, 0.44, 0.1, 0.8, 0], [0, 0.46, 0.1, 0.7, 0]]
    answers(detector, boxes, scores)
    ((found,),) = detector.find(WIDE, ["red hat"])
    assert found.score == pytest.approx(0.7)


def test_of_the_network_itself(folder):
    model = GroundingDinoForObjectDetection.from_pretrained(folder).eval()
    pixels = GroundingDinoImageProcessorPil.from_pretrained(folder)(Image.fromarray(WIDE), return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=pixels.pixel_values, input_ids=torch.tensor([[2, 7, 8, 5, 3]]))
    words = output.logits[0].sigmoid()
    best = int(words.max(1).values.argmax())
    x, y, w, h = output.pred_boxes[0, best].tolist()
    detector = GroundingDino(folder, threshold=0.0, text_threshold=0.0)
    (found, other) = detector.find(WIDE, ["red hat", "lamp"])
    assert len(found) == 10
    assert found[0].score == pytest.approx(words.max().item(), abs=1e-5)
    expected = [240 * (x - w / 2), 120 * (y - h / 2), 240 * (x + w / 2), 120 * (y + h / 2)]
    np.testing.assert_allclose(found[0].box, expected, atol=1e-2)
    np.testing.assert_allclose([one.score for one in detector.find(WIDE, ["lamp"])[0]], [one.score for one in other])


def test_loads_when_first_asked_and_refuses_other_models(folder, tmp_path):
    detector = GroundingDino(folder, threshold=0.3)
    assert "_model" not in vars(detector)
    assert (detector.card.licence, detector.card.commercial) == ("Apache-2.0", True)
    assert detector.card.name == "Grounding DINO (box 0.3, text 0.45)", "which boxes it gives depends on both"
    SwinConfig().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(InputError, match="type swin; wanted is grounding-dino"):
        GroundingDino(tmp_path).find(WIDE, ["hat"])
