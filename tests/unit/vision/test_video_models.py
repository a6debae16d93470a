"""Clip encoders: X-CLIP as a tiny random model, VideoCLIP-XL as a stand-in with the authors' entry points."""

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tiny_clip import TEXT, VISION, byte_tokenizer, noise
from transformers import CLIPImageProcessorPil, VideoMAEImageProcessorPil, XCLIPConfig, XCLIPModel

from lumosx.errors import InputError
from lumosx.vision.videos import VideoClipXL, XClip, evenly

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def clip_of(count: int, height: int = 40, width: int = 64) -> np.ndarray:
    return np.stack([noise(height, width, seed=number) for number in range(count)])


@pytest.mark.parametrize(
    ("total", "chosen"),
    [
        (8, [0, 1, 2, 3, 4, 5, 6, 7]),
        (15, [0, 2, 4, 6, 8, 10, 12, 14]),
        (71, [0, 10, 20, 30, 40, 50, 60, 70]),
        (4, [0, 0, 1, 1, 2, 2, 3, 3]),
        (1, [0] * 8),
    ],
)
def test_frames_are_chosen_evenly(total, chosen):
    assert evenly(np.arange(total), 8).tolist() == chosen


@given(total=st.integers(1, 500), count=st.integers(2, 32))
def test_chosen_frames_keep_order_ends_and_distance(total, count):
    chosen = evenly(np.arange(total), count)
    assert len(chosen) == count and (chosen[0], chosen[-1]) == (0, total - 1)
    steps = np.diff(chosen)
    assert steps.min() >= 0 and steps.max() - steps.min() <= 1


@pytest.fixture(scope="module")
def x_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("xclip")
    mit = {"mit_hidden_size": 8, "mit_intermediate_size": 8, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
    vision = VISION | mit | {"num_frames": 4}
    prompts = {"prompt_layers": 1, "prompt_num_attention_heads": 2}
    torch.manual_seed(0)
    config = XCLIPConfig(text_config=TEXT, vision_config=vision, projection_dim=8, **prompts)
    XCLIPModel(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    # as the published models say it, in the words of older versions
    says = {"feature_extractor_type": "VideoMAEFeatureExtractor", "processor_class": "XCLIPProcessor", "size": 32}
    (folder / "preprocessor_config.json").write_text(json.dumps(says | {"image_mean": MEAN, "image_std": STD}))
    return folder


def test_x_clip_against_its_network_called_by_hand(x_folder):
    """Four of seven frames, each its middle square."""
    frames = clip_of(7, 32, 48)
    pixels = (frames[[0, 2, 4, 6], :, 8:40] / 255 - MEAN) / STD
    model = XCLIPModel.from_pretrained(x_folder).eval()
    with torch.no_grad():
        video = model.get_video_features(torch.tensor(pixels).permute(0, 3, 1, 2)[None].float()).pooler_output[0]
        text = model.get_text_features(torch.tensor([byte_tokenizer()("a hat").input_ids])).pooler_output[0]
    encoder = XClip(x_folder)
    np.testing.assert_allclose(encoder.embed_video(frames), video / video.norm(), atol=1e-5)
    np.testing.assert_allclose(encoder.embed_text("a hat"), text / text.norm(), atol=1e-5)
    assert encoder.embed_video(frames).dtype == encoder.embed_text("a hat").dtype == np.float32


def test_x_clip_takes_either_image_processor(x_folder, tmp_path):
    """VideoMAE's gives one clip, CLIP's gives pictures."""
    frames, size = clip_of(4), {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
    embedded = []
    for number, kind in enumerate((VideoMAEImageProcessorPil, CLIPImageProcessorPil)):
        folder = tmp_path / str(number)
        XCLIPModel.from_pretrained(x_folder).save_pretrained(folder)
        byte_tokenizer().save_pretrained(folder)
        kind(**size, resample=Image.Resampling.BILINEAR, image_mean=MEAN, image_std=STD).save_pretrained(folder)
        embedded.append(XClip(folder).embed_video(frames))
    np.testing.assert_allclose(*embedded, atol=1e-5)


def test_x_clip_cuts_long_texts_and_has_a_free_licence(x_folder):
    encoder = XClip(x_folder)
    np.testing.assert_array_equal(encoder.embed_text("abcdefghijklmn"), encoder.embed_text("abcdefghijklmnopq"))
    assert (encoder.card.name, encoder.card.licence, encoder.card.commercial) == ("X-CLIP", "MIT", True)


MODELING = """
from torch import nn
from utils.text_encoder import text_encoder

class Vision(nn.Module):
    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(3, 4)

    def get_vid_features(self, frames):
        self.seen = frames
        return self.mix(frames.mean((1, 3, 4)))

class Text(nn.Module):
    def __init__(self):
        super().__init__()
        self.words = nn.Embedding(256, 4)

    def encode_text(self, tokens):
        return self.words(tokens).sum(1)

class VideoCLIP_XL(nn.Module):
    def __init__(self):
        super().__init__()
        self.text_model, self.vision_model = Text(), Vision()
"""
TOKENIZE = """
import torch

def tokenize(texts, context_length=248, truncate=False):
    tokens = [list(text.encode()) for text in texts]
    if not truncate and max(map(len, tokens)) > context_length:
        raise RuntimeError("too long")
    return torch.tensor([row[:context_length] for row in tokens])
"""


@pytest.fixture
def xl_folder(tmp_path) -> Path:
    (tmp_path / "modeling.py").write_text(MODELING)
    (tmp_path / "utils/text_encoder").mkdir(parents=True)
    (tmp_path / "utils/__init__.py").touch()
    (tmp_path / "utils/text_encoder/__init__.py").write_text("from .text_encoder import *")
    (tmp_path / "utils/text_encoder/text_encoder.py").write_text(TOKENIZE)
    mix = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]])
    words = torch.eye(4).repeat(64, 1)
    weights = {
        "text_model.words.weight": words,
        "vision_model.mix.weight": mix,
        "vision_model.mix.bias": torch.zeros(4),
    }
    torch.save(weights, tmp_path / "VideoCLIP-XL-v2.bin")
    return tmp_path


def test_xl_sees_eight_small_frames_in_colours_of_imagenet(xl_folder):
    frames = np.zeros((15, 30, 50, 3), np.uint8)
    frames[:] = np.arange(15, dtype=np.uint8)[:, None, None, None] * np.array([16, 8, 1], np.uint8)
    encoder = VideoClipXL(xl_folder, trust_code=True)
    embedded = encoder.embed_video(frames)
    levels = np.arange(0, 15, 2)[:, None] * np.array([16, 8, 1]) / 255
    expected = (levels - MEAN) / STD
    seen = encoder._model.vision_model.seen
    assert seen.shape == (1, 8, 3, 224, 224) and seen.dtype == torch.float32
    np.testing.assert_allclose(seen[0, :, :, 100, 7], expected, atol=1e-5)
    mean = np.append(expected.mean(0), 0)
    np.testing.assert_allclose(embedded, mean / np.linalg.norm(mean), atol=1e-5)


def test_xl_squeezes_the_whole_frame(xl_folder):
    """Left half red, right half black: so it stays, at any aspect."""
    frames = np.zeros((8, 20, 100, 3), np.uint8)
    frames[:, :, :50, 0] = 255
    encoder = VideoClipXL(xl_folder, trust_code=True)
    encoder.embed_video(frames)
    red = encoder._model.vision_model.seen[0, 0, 0] * STD[0] + MEAN[0]
    np.testing.assert_allclose(red[:, :111], 1, atol=1e-5)
    np.testing.assert_allclose(red[:, 113:], 0, atol=1e-5)


def test_xl_embeds_texts_up_to_248_tokens(xl_folder):
    encoder = VideoClipXL(xl_folder, trust_code=True)
    np.testing.assert_allclose(encoder.embed_text("\0\1\1"), np.array([1, 2, 0, 0]) / 5**0.5, atol=1e-6)
    np.testing.assert_array_equal(encoder.embed_text("\2" * 248 + "\3" * 99), [0, 0, 1, 0])


def test_xl_runs_no_code_that_is_not_trusted(xl_folder):
    (xl_folder / "modeling.py").write_text("raise SystemExit('code ran')")
    with pytest.raises(InputError, match=r"runs Python code .*trust_code=True"):
        VideoClipXL(xl_folder)


def test_xl_unpickles_nothing_but_tensors(xl_folder):
    class Harm:
        def __reduce__(self):
            return Path.touch, (xl_folder / "harm",)

    with (xl_folder / "VideoCLIP-XL-v2.bin").open("wb") as file:
        pickle.dump(Harm(), file, protocol=2)  # torch's
    with pytest.raises(InputError, match="no weights of the VideoCLIP_XL"):
        VideoClipXL(xl_folder, trust_code=True)
    assert not (xl_folder / "harm").exists()


def test_xl_refuses_weights_that_do_not_fit(xl_folder):
    torch.save({"vision_model.mix.bias": torch.zeros(4)}, xl_folder / "VideoCLIP-XL-v2.bin")
    with pytest.raises(InputError, match="Missing key"):
        VideoClipXL(xl_folder, trust_code=True)


def test_xl_refuses_to_choose_between_weights(xl_folder):
    (xl_folder / "VideoCLIP-XL.bin").touch()
    with pytest.raises(InputError, match=r"VideoCLIP-XL-v2\.bin, VideoCLIP-XL\.bin.*keep one"):
        VideoClipXL(xl_folder, trust_code=True)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_that_name", "nothing_of_that_name.*It needs torchvision"),
        ("other = 1", "not the code of VideoCLIP-XL"),
    ],
)
def test_xl_says_why_the_code_does_not_run(xl_folder, code, said):
    (xl_folder / "modeling.py").write_text(code)
    with pytest.raises(InputError, match=said):
        VideoClipXL(xl_folder, trust_code=True)


def test_xl_leaves_others_the_names_of_its_modules(xl_folder, monkeypatch):
    mine = type(sys)("utils")
    monkeypatch.setitem(sys.modules, "utils", mine)
    path = list(sys.path)
    VideoClipXL(xl_folder, trust_code=True)
    assert sys.modules["utils"] is mine and sys.path == path
    assert not {"modeling", "utils.text_encoder"} & set(sys.modules)


def test_xl_is_not_for_commercial_use(xl_folder):
    card = VideoClipXL(xl_folder, trust_code=True).card
    assert (card.name, card.licence, card.commercial) == ("VideoCLIP-XL-v2", "CC-BY-NC-SA-4.0", False)
