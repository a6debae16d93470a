"""The frozen encoder: as the pipeline encodes, and every clip, picture and text the same bits in whatever batch."""

import json
from pathlib import Path

import pytest
import torch
from tiny_models import TEXT_LENGTH, save_tiny, tiny_pipeline, tiny_scene
from torch import Tensor
from torch.testing import assert_close
from transformers import UMT5Config, UMT5EncoderModel

from lumosx import LumosXPipeline
from lumosx.data.batch import Batch
from lumosx.data.encoder import Encoder
from lumosx.errors import InputError
from lumosx.models.codec import SpaceToDepthCodec, decode_latents, encode_latents
from lumosx.relations import bound_pictures

CPU = torch.device("cpu")
TEXTS = ["A woman with a red hat", "Two men stand on a street.", ""]


@pytest.fixture(scope="module")
def pipeline() -> LumosXPipeline:
    """Its codec is a random AutoencoderKLWan whose latents are not normalised already."""
    pipeline = tiny_pipeline()
    pipeline.vae.register_to_config(latents_mean=[0.3] * 16, latents_std=[0.5] * 16)
    return pipeline


@pytest.fixture(scope="module")
def encoder(pipeline: LumosXPipeline) -> Encoder:
    return Encoder(pipeline.tokenizer, pipeline.text_encoder, pipeline.vae, CPU)


def noise(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(1)) * 2 - 1


def tokens(encoder: Encoder, texts: list[str]) -> tuple[Tensor, Tensor]:
    padded = encoder.tokenizer(
        texts, padding="max_length", max_length=TEXT_LENGTH, return_attention_mask=True, return_tensors="pt"
    )
    return padded.input_ids, padded.attention_mask


def test_references_and_text_are_those_of_the_pipeline(pipeline: LumosXPipeline, encoder: Encoder) -> None:
    binding = tiny_scene().bind(pipeline.tokenizer, TEXT_LENGTH)
    expected = pipeline.encode_references(binding, 32, 48)
    assert torch.equal(encoder.references(bound_pictures(binding, 32, 48)), expected)
    assert_close(encoder.text(*tokens(encoder, TEXTS)), pipeline.encode_text(TEXTS))


def test_decoding_gives_the_clip_back(pipeline: LumosXPipeline) -> None:
    codec = SpaceToDepthCodec(latents_mean=[0.3] * 192, latents_std=[0.5] * 192)
    encoder = Encoder(pipeline.tokenizer, pipeline.text_encoder, codec, CPU)
    video = noise(1, 3, 5, 16, 16)
    assert_close(decode_latents(encoder.codec, encoder.video(video)), video)


@pytest.mark.parametrize("part", ["video", "references", "text"])
def test_each_item_of_a_batch_equals_itself_alone(encoder: Encoder, part: str) -> None:
    if part == "text":
        ids, mask = tokens(encoder, TEXTS)
        together = encoder.text(ids, mask)
        alone = [encoder.text(ids[row : row + 1], mask[row : row + 1]) for row in range(len(TEXTS))]
    elif part == "video":
        clips = noise(3, 3, 5, 32, 48)
        together, alone = encoder.video(clips), [encoder.video(clip) for clip in clips.split(1)]
    else:
        pictures = noise(3, 3, 32, 48)
        together, alone = encoder.references(pictures), [encoder.references(one) for one in pictures.split(1)]
    assert torch.equal(together, torch.cat(alone, dim=1 if part == "references" else 0))


def test_a_batch_is_encoded_with_its_layouts_and_its_pictures_in_order(encoder: Encoder) -> None:
    ids, mask = tokens(encoder, TEXTS[:2])
    pictures = [noise(2, 3, 32, 48), noise(0, 3, 32, 48)]
    encoded = encoder(Batch(["a#0", "b#0"], noise(2, 3, 5, 32, 48), pictures, ids, mask, []))
    assert encoded.samples == ["a#0", "b#0"]
    assert encoded.latents.shape == (2, 16, 2, 4, 6)
    assert [tuple(r.shape) for r in encoded.references] == [(16, 2, 4, 6), (16, 0, 4, 6)]
    assert torch.equal(encoded.references[0][:, 1:], encoder.references(pictures[0][1:]))
    assert encoded.text.shape == (2, TEXT_LENGTH, 24) and not encoded.text.requires_grad


def test_text_is_zero_behind_its_last_token(encoder: Encoder) -> None:
    ids, mask = tokens(encoder, TEXTS)
    text = encoder.text(ids, mask)
    assert text[mask.bool()].any(dim=1).all()
    assert not text[~mask.bool()].any()


def test_bytes_are_brought_to_the_range_of_pictures(encoder: Encoder) -> None:
    video = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1, 1).expand(1, 3, 5, 16, 16)
    scaled = torch.tensor([-1.0, -0.6, 1.0]).view(1, 3, 1, 1, 1).expand(1, 3, 5, 16, 16)
    assert_close(encoder.video(video), encoder.video(scaled))


def test_latents_are_normalised_by_the_codec_s_statistics(pipeline: LumosXPipeline) -> None:
    video = noise(1, 3, 5, 16, 16)
    raw = pipeline.vae.encode(video).latent_dist.mode()
    assert_close(encode_latents(pipeline.vae, video), (raw - 0.3) / 0.5)


def test_embeddings_of_a_half_precision_text_encoder_are_float32() -> None:
    encoder = Encoder.open("lumosx-tiny", "lumosx-tiny", CPU, torch.bfloat16)
    assert encoder.codec.dtype == torch.float32
    assert encoder.text(*tokens(encoder, TEXTS)).dtype == torch.float32


def test_opens_folders_with_the_codec_that_they_name(tmp_path: Path, pipeline: LumosXPipeline) -> None:
    save_tiny(tmp_path)
    encoder = Encoder.open(str(tmp_path), str(tmp_path), CPU)
    assert type(encoder.codec) is type(pipeline.vae)
    assert not any(parameter.requires_grad for parameter in encoder.codec.parameters())


def test_a_codec_of_another_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text(json.dumps({"_class_name": "AutoencoderKL"}))
    with pytest.raises(InputError, match="is of class AutoencoderKL; known are AutoencoderKLWan"):
        Encoder.open("lumosx-tiny", str(tmp_path), CPU)


def test_a_folder_without_its_parts_is_refused_by_the_name_of_the_setting(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.codec: .*no file or folder"):
        Encoder.open("lumosx-tiny", str(tmp_path / "absent"), CPU)
    (tmp_path / "tokenizer").mkdir()
    with pytest.raises(InputError, match=r"model\.text_encoder: .* has no folder text_encoder"):
        Encoder.open(str(tmp_path), "lumosx-tiny", CPU)


def test_a_text_encoder_that_lacks_tensors_is_refused(tmp_path: Path) -> None:
    save_tiny(tmp_path)
    larger = UMT5EncoderModel(UMT5Config(vocab_size=99, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2)).config
    larger.vocab_size = len(tiny_pipeline().tokenizer)
    larger.save_pretrained(tmp_path / "text_encoder")
    with pytest.raises(InputError, match=r"lacks .* tensors of UMT5EncoderModel: encoder\.block\.1"):
        Encoder.open(str(tmp_path), "lumosx-tiny", CPU)
