"""CLIP and DINO encoders: tiny random models, saved by transformers and loaded by the adapters."""

import hashlib
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_clip import TEXT, VISION, byte_tokenizer, noise
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

from lumosx.errors import InputError
from lumosx.vision.pictures import BATCH, ClipEncoder, DinoEncoder, unit

SIZE = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    CLIPModel(CLIPConfig(text_config=TEXT, vision_config=VISION, projection_dim=8)).save_pretrained(folder)
    CLIPImageProcessorPil(**SIZE).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def clip(clip_folder) -> ClipEncoder:
    return ClipEncoder(clip_folder)


@pytest.fixture(scope="module", params=["dinov2", "dinov3"])
def dino_folder(request, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 32, "patch_size": 8}
    torch.manual_seed(0)
    if request.param == "dinov2":
        Dinov2Model(Dinov2Config(**sizes)).save_pretrained(folder)
    else:
        DINOv3ViTModel(DINOv3ViTConfig(**sizes, intermediate_size=16)).save_pretrained(folder)
    BitImageProcessorPil(**SIZE).save_pretrained(folder)
    return folder


@pytest.fixture
def clip_copy(clip_folder, tmp_path) -> Path:
    return Path(shutil.copytree(clip_folder, tmp_path / "copy"))


def normalised(vectors: torch.Tensor) -> np.ndarray:
    array = vectors.detach().numpy()
    return array / np.sqrt((array**2).sum(-1, keepdims=True))


def test_clip_embeds_each_picture_as_if_alone(clip, clip_folder):
    """Against the towers and the projection called by hand, one picture at a time."""
    pictures = [noise(20 + 7 * n, 90 - 3 * n, seed=n) for n in range(BATCH + 3)]
    model, processor = CLIPModel.from_pretrained(clip_folder), CLIPImageProcessorPil.from_pretrained(clip_folder)
    expected = []
    for picture in pictures:
        pixels = processor(Image.fromarray(picture), return_tensors="pt").pixel_values
        expected.append(model.vision_model(pixels).pooler_output[0] @ model.visual_projection.weight.T)
    found = clip.embed(pictures)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, normalised(torch.stack(expected)), atol=1e-5)


def test_a_strip_three_pixels_high_keeps_its_colours(clip):
    """Its array could also be read as three channels of 40 x 3; one colour looks the same at any size."""
    red = np.array([220, 30, 30], np.uint8)
    strip, square = np.broadcast_to(red, (3, 40, 3)).copy(), np.broadcast_to(red, (50, 50, 3)).copy()
    embedded = clip.embed([strip, square, square[..., ::-1].copy()])
    np.testing.assert_allclose(embedded[0], embedded[1], atol=1e-6)
    assert embedded[1] @ embedded[2] < 0.999  # blue is told from red


def test_clip_embeds_texts_as_if_alone(clip, clip_folder):
    model, tokenizer = CLIPModel.from_pretrained(clip_folder), byte_tokenizer()
    texts = ["hat", "a red hat"]
    expected = [
        model.text_model(torch.tensor([tokenizer(text).input_ids])).pooler_output[0] @ model.text_projection.weight.T
        for text in texts
    ]
    np.testing.assert_allclose(clip.embed_text(texts), normalised(torch.stack(expected)), atol=1e-5)


def test_a_long_text_is_cut(clip):
    long, longer, other = clip.embed_text(["abcdefghijklmn", "abcdefghijklmnopq", "abcdefghixxxxx"])
    np.testing.assert_array_equal(long, longer)
    assert abs(long - other).max() > 1e-4


def test_no_pictures_no_vectors(clip):
    assert clip.embed([]).shape == (0, 8)


def test_features_of_any_version_of_transformers():
    tensor = torch.tensor([[3.0, 4.0]])
    np.testing.assert_allclose(unit(tensor), [[0.6, 0.8]])
    np.testing.assert_allclose(unit(SimpleNamespace(pooler_output=tensor)), [[0.6, 0.8]])


def test_dino_is_the_normalised_class_token(dino_folder):
    pictures = [noise(40, 64), noise(33, 20, seed=1)]
    encoder = DinoEncoder(dino_folder)
    kind = {"DINOv2": Dinov2Model, "DINOv3": DINOv3ViTModel}[encoder.card.name]
    model = kind.from_pretrained(dino_folder).eval()
    processor = BitImageProcessorPil.from_pretrained(dino_folder)
    pixels = processor([Image.fromarray(picture) for picture in pictures], return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = normalised(model(pixels).last_hidden_state[:, 0])
    np.testing.assert_allclose(encoder.embed(pictures), expected, atol=1e-5)


def test_the_licence_goes_by_the_kind_of_model(dino_folder):
    card = DinoEncoder(dino_folder).card
    assert card.licence == {"DINOv2": "Apache-2.0", "DINOv3": "DINOv3 License (gated)"}[card.name]


def test_half_precision_weights_are_computed_in_full(clip_copy):
    CLIPModel.from_pretrained(clip_copy).half().save_pretrained(clip_copy)
    assert ClipEncoder(clip_copy)._model.dtype == torch.float32


def test_the_revision_of_a_folder_is_the_hash_of_its_weights(clip, clip_folder):
    expected = hashlib.sha256((clip_folder / "model.safetensors").read_bytes()).hexdigest()
    assert (clip.card.revision, clip.card.source) == (expected, str(clip_folder))


def test_the_revision_of_weights_in_parts_follows_every_part(clip_copy):
    model = CLIPModel.from_pretrained(clip_copy)
    (clip_copy / "model.safetensors").unlink()
    model.save_pretrained(clip_copy, max_shard_size="20KB")
    assert len(list(clip_copy.glob("model-*.safetensors"))) > 1
    before = ClipEncoder(clip_copy).card.revision
    with torch.no_grad():
        model.text_projection.weight[0, 0] += 1
    model.save_pretrained(clip_copy, max_shard_size="20KB")
    assert ClipEncoder(clip_copy).card.revision != before


@pytest.fixture
def hub(clip_folder, tmp_path, monkeypatch) -> None:
    """A local cache of the hub, where someone/clip was downloaded."""
    repository = tmp_path / "hub/models--someone--clip"
    shutil.copytree(clip_folder, repository / "snapshots" / COMMIT)
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text(COMMIT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize("revision", [None, COMMIT])
def test_a_downloaded_repository_is_known_by_its_commit(revision, clip):
    encoder = ClipEncoder("someone/clip", revision=revision)
    assert (encoder.card.source, encoder.card.revision) == ("someone/clip", COMMIT)
    np.testing.assert_array_equal(encoder.embed_text(["hat"]), clip.embed_text(["hat"]))


@pytest.mark.usefixtures("hub")
@pytest.mark.parametrize(
    ("place", "revision", "said"),
    [
        ("someone/other", None, "hf download someone/other'"),
        ("someone/clip", "v2", "hf download someone/clip --revision v2'"),
        ("./nowhere/clip", None, "no such file or folder"),
        ("clip", None, "no such file or folder"),
        ("some one/clip", None, "nor the name of a hub repository"),
    ],
)
def test_a_place_where_nothing_is(place, revision, said):
    with pytest.raises(InputError, match="(?s)" + said):
        ClipEncoder(place, revision=revision)


def test_a_folder_has_no_revisions(clip_folder):
    with pytest.raises(InputError, match="no revision v2"):
        ClipEncoder(clip_folder, revision="v2")


def test_a_folder_without_weights(clip_copy):
    (clip_copy / "model.safetensors").unlink()
    with pytest.raises(InputError, match=r"holds no weights .*model\.safetensors"):
        ClipEncoder(clip_copy)


def test_damaged_weights(clip_copy):
    file = clip_copy / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="CLIPModel cannot be loaded"):
        ClipEncoder(clip_copy)


def test_missing_tensors_are_not_made_up(clip_copy):
    model = CLIPModel.from_pretrained(clip_copy)
    state = {name: value for name, value in model.state_dict().items() if name != "text_projection.weight"}
    model.save_pretrained(clip_copy, state_dict=state)
    with pytest.raises(InputError, match=r"lacks 1 tensors of CLIPModel: text_projection\.weight"):
        ClipEncoder(clip_copy)


def test_a_folder_of_another_model(clip_folder, dino_folder):
    with pytest.raises(InputError, match="type clip; wanted is dinov2 or dinov3_vit"):
        DinoEncoder(clip_folder)
    with pytest.raises(InputError, match=r"type dinov.*; wanted is clip"):
        ClipEncoder(dino_folder)
