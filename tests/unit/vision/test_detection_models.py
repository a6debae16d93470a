"""Detectors: tiny random models, saved by transformers and loaded by the adapters, and answers put in their mouths."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import TEXT, VISION, byte_tokenizer, noise
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPImageProcessorPil,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
    Owlv2Config,
    Owlv2ForObjectDetection,
    Owlv2ImageProcessorPil,
    PreTrainedTokenizerFast,
    RTDetrImageProcessorPil,
    RTDetrResNetConfig,
    RTDetrV2Config,
    RTDetrV2ForObjectDetection,
)
from transformers.models.owlv2.modeling_owlv2 import Owlv2ObjectDetectionOutput
from transformers.models.rt_detr_v2.modeling_rt_detr_v2 import RTDetrV2ObjectDetectionOutput

from lumosx.errors import InputError
from lumosx.vision import Found
from lumosx.vision.detection import FlorenceDetector, OwlDetector, RtDetrPeople

WIDE = noise(40, 80)  # a picture of 80 x 40 pixels


@pytest.fixture(scope="module")
def owl_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("owl")
    torch.manual_seed(0)
    model = Owlv2ForObjectDetection(Owlv2Config(text_config=TEXT, vision_config=VISION, projection_dim=16))
    for layer in (model.class_head.logit_scale, model.class_head.logit_shift):
        torch.nn.init.normal_(layer.weight, std=0.01)  # else all scores are 0 or 1
        torch.nn.init.zeros_(layer.bias)
    model.save_pretrained(folder)
    Owlv2ImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def owl(owl_folder) -> OwlDetector:
    return OwlDetector(owl_folder)


def logit(probability: float) -> float:
    return float(np.log(probability / (1 - probability)))


def owl_answers(owl: OwlDetector, boxes: list, scores: list) -> None:
    """`boxes` (centre, size) and `scores` [box][phrase] in place of the network's."""
    output = Owlv2ObjectDetectionOutput(
        logits=torch.tensor([[[logit(score) for score in row] for row in scores]]), pred_boxes=torch.tensor([boxes])
    )
    owl._model.forward = lambda **_: output


def test_owl_scales_boxes_by_the_longer_side(owl):
    """OWLv2 pads the picture at its bottom to a square: a box of its upper left quarter is 40 x 40 of 80 x 40."""
    owl_answers(owl, [[0.25, 0.25, 0.5, 0.5], [0.75, 0.125, 0.5, 0.25]], [[0.9], [0.5]])
    ((first, second),) = owl.find(WIDE, ["hat"])
    assert first.box == pytest.approx((0, 0, 40, 40)) and second.box == pytest.approx((40, 0, 80, 20))
    assert (first.score, second.score) == (pytest.approx(0.9), pytest.approx(0.5))


def test_owl_gives_the_surest_first_and_none_below_the_threshold(owl):
    owl_answers(owl, [[0.5, 0.5, 0.1 * n, 0.1] for n in range(1, 5)], [[0.3], [0.09], [0.8], [0.11]])
    ((*found,),) = owl.find(WIDE, ["hat"])
    assert [one.score for one in found] == pytest.approx([0.8, 0.3, 0.11])


def test_owl_lets_two_phrases_share_a_box(owl):
    owl_answers(owl, [[0.5, 0.5, 0.2, 0.2]], [[0.6, 0.7]])
    assert [[one.score for one in found] for found in owl.find(WIDE, ["hat", "red hat"])] == [
        [pytest.approx(0.6)],
        [pytest.approx(0.7)],
    ]


def test_owl_asks_each_phrase_as_if_alone(owl_folder):
    owl = OwlDetector(owl_folder, threshold=0.0)
    together = owl.find(WIDE, ["hat", "a lamp"])
    assert [len(found) for found in together] == [16, 16]  # a box for each of 4 x 4 patches
    for phrase, found in zip(["hat", "a lamp"], together, strict=True):
        (alone,) = owl.find(WIDE, [phrase])
        np.testing.assert_allclose([one.box for one in found], [one.box for one in alone], atol=1e-3)
        np.testing.assert_allclose([one.score for one in found], [one.score for one in alone], atol=1e-5)
    assert together[0][0].score != together[1][0].score


def test_owl_against_its_network_called_by_hand(owl_folder):
    model = Owlv2ForObjectDetection.from_pretrained(owl_folder).eval()
    pixels = Owlv2ImageProcessorPil.from_pretrained(owl_folder)(Image.fromarray(WIDE), return_tensors="pt").pixel_values
    with torch.no_grad():
        output = model(input_ids=torch.tensor([byte_tokenizer()("hat").input_ids]), pixel_values=pixels)
    best = int(output.logits[0, :, 0].argmax())
    x, y, w, h = output.pred_boxes[0, best].tolist()
    (found,) = OwlDetector(owl_folder, threshold=0.0).find(WIDE, ["hat"])
    assert found[0].box == pytest.approx([80 * v for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)], abs=1e-3)
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-output.logits[0, best, 0].item())))


def test_owl_cuts_long_phrases_and_takes_none(owl):
    owl.threshold = 0.0
    assert owl.find(WIDE, ["abcdefghijklmn"]) == owl.find(WIDE, ["abcdefghijklmnopq"])
    assert owl.find(WIDE, []) == []


@pytest.fixture(scope="module")
def florence_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("florence")
    words = ["<s>", "<pad>", "</s>", "<unk>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytes_ = Tokenizer(models.BPE(vocab={word: number for number, word in enumerate(words)}, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bytes_,
        bos_token="<s>",
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    )
    tokenizer.add_tokens([f"<loc_{number}>" for number in range(1000)])
    pictures = CLIPImageProcessorPil(size={"height": 32, "width": 32}, do_center_crop=False, image_seq_length=17)
    parsing = {"description_with_bboxes_or_polygons": {}}
    Florence2Processor(pictures, tokenizer, post_processor_config=parsing).save_pretrained(folder)
    ends = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2}
    text = {
        "model_type": "bart", "vocab_size": len(tokenizer), "d_model": 16, "encoder_layers": 1, "decoder_layers": 1,
        "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16,
        "max_position_embeddings": 128, "decoder_start_token_id": 2, **ends,
    }  # fmt: skip
    vision = {
        "depths": [1, 1], "patch_size": [7, 3], "patch_stride": [4, 2], "patch_padding": [3, 1], "embed_dim": [8, 16],
        "patch_prenorm": [False, True], "num_heads": [2, 2], "num_groups": [2, 2], "window_size": 4,
        "projection_dim": 16,
    }  # fmt: skip
    torch.manual_seed(0)
    config = Florence2Config(text_config=text, vision_config=vision, image_token_id=tokenizer.image_token_id, **ends)
    Florence2ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture
def florence(florence_folder) -> FlorenceDetector:
    return FlorenceDetector(florence_folder)


def test_florence_reads_boxes_from_the_answer(florence, monkeypatch):
    """Places are thousandths of the width and of the height, in the order of the answer."""
    asked = []

    def generate(input_ids, **options):
        asked.append((florence._processor.tokenizer.decode(input_ids[0]), options))
        answer = "</s><s>hat<loc_500><loc_250><loc_750><loc_500><loc_0><loc_0><loc_100><loc_999></s>"
        return torch.tensor([florence._processor.tokenizer(answer, add_special_tokens=False).input_ids])

    monkeypatch.setattr(florence._model, "generate", generate)
    picture = noise(400, 800)
    first, second = florence.find(picture, ["red hat", "lamp"])
    assert first == second == [Found((400, 100, 600, 200), 1.0), Found((0, 0, 80, 399), 1.0)]
    assert [prompt.split("<s>")[1] for prompt, _ in asked] == [
        "Locate red hat in the image.</s>",
        "Locate lamp in the image.</s>",
    ]
    options = asked[0][1]
    assert (options["num_beams"], options["max_new_tokens"], options["do_sample"]) == (3, 1024, False)
    assert options["pixel_values"].shape == (1, 3, 32, 32)


def test_florence_finds_nothing(florence):
    """The network itself runs, with beams, and ends its answer at once."""
    with torch.no_grad():
        florence._model.model.language_model.shared.weight.zero_()  # every word is as likely, so that the bias decides
        florence._model.lm_head.bias = torch.nn.Parameter(torch.zeros(florence._model.config.text_config.vocab_size))
        florence._model.lm_head.bias[florence._model.config.text_config.eos_token_id] = 50
    assert florence.find(WIDE, ["hat"]) == [[]]


@pytest.fixture(scope="module")
def people_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("people")
    backbone = RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 8, 8], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = RTDetrV2Config(
        backbone_config=backbone, encoder_in_channels=[8, 8, 8], d_model=16, encoder_hidden_dim=16, encoder_layers=1,
        encoder_ffn_dim=16, encoder_attention_heads=2, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=16,
        decoder_in_channels=[16, 16, 16], num_queries=10, num_denoising=4,
        id2label={0: "dog", 1: "person"}, label2id={"dog": 0, "person": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    RTDetrV2ForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    return folder


def test_people_are_the_class_person_in_pixels_of_the_picture(people_folder):
    people = RtDetrPeople(people_folder)
    scores = [[0.1, 0.6], [0.9, 0.2], [0.1, 0.8], [0.1, 0.4]]  # of dog and person
    output = RTDetrV2ObjectDetectionOutput(
        logits=torch.tensor([[[logit(score) for score in row] for row in scores]]),
        pred_boxes=torch.tensor(
            [[[0.5, 0.5, 1, 1], [0.1, 0.1, 0.1, 0.1], [0.25, 0.5, 0.5, 0.5], [0.5, 0.5, 0.2, 0.2]]]
        ),
    )
    people._model.forward = lambda **_: output
    first, second = people.detect(WIDE)
    assert (first.score, second.score) == (pytest.approx(0.8), pytest.approx(0.6))
    assert first.box == pytest.approx((0, 10, 40, 30)) and second.box == pytest.approx((0, 0, 80, 40))


def test_people_of_the_network_itself(people_folder):
    """Ten queries, each with a score as person; the ten best of all classes are looked at."""
    model = RTDetrV2ForObjectDetection.from_pretrained(people_folder).eval()
    pixels = RTDetrImageProcessorPil.from_pretrained(people_folder)(Image.fromarray(WIDE), return_tensors="pt")
    with torch.no_grad():
        scores = model(pixel_values=pixels.pixel_values).logits[0].sigmoid()
    least = scores.flatten().sort(descending=True).values[9]
    expected = sorted((score for score in scores[:, 1].tolist() if score >= least), reverse=True)
    assert expected
    found = RtDetrPeople(people_folder, threshold=0.0).detect(WIDE)
    assert [one.score for one in found] == pytest.approx(expected, abs=1e-6)


def test_a_detector_without_people(people_folder, tmp_path):
    model = RTDetrV2ForObjectDetection.from_pretrained(people_folder)
    model.config.id2label = {0: "dog", 1: "cat"}
    model.save_pretrained(tmp_path)
    RTDetrImageProcessorPil().save_pretrained(tmp_path)
    with pytest.raises(InputError, match="without the class 'person'"):
        RtDetrPeople(tmp_path)


def test_cards_name_model_and_licence(owl, florence, people_folder):
    cards = [owl.card, florence.card, RtDetrPeople(people_folder).card]
    assert [(card.name, card.licence, card.commercial) for card in cards] == [
        ("OWLv2", "Apache-2.0", True),
        ("Florence-2", "MIT", True),
        ("RT-DETRv2", "Apache-2.0", True),
    ]
