"""Inpainters: tiny random pipelines, saved by diffusers and loaded by the adapters, and Telea's method on plain
pictures."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxFillPipeline,
    FluxTransformer2DModel,
    ZImageInpaintPipeline,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_clip import TEXT, TOKENS, byte_tokenizer, noise
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    PreTrainedTokenizerFast,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
    T5TokenizerFast,
)

from lumosx.errors import InputError
from lumosx.vision.inpainting import FluxFill, Telea, ZImageInpaint

CHANNELS = 4  # of the latents
PICTURE = noise(30, 46)  # neither side is a multiple of what the pipelines need
HOLE = np.zeros((30, 46), bool)
HOLE[8:20, 30:] = True


def vae() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, latent_channels=CHANNELS, norm_num_groups=2,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, shift_factor=0.1,
        scaling_factor=0.4, use_quant_conv=False, use_post_quant_conv=False,
    )  # fmt: skip


@pytest.fixture(scope="module")
def flux_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("flux")
    torch.manual_seed(0)
    clip = byte_tokenizer()
    clip.model_max_length = TOKENS
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *((chr(n), -2.0) for n in range(33, 127))]
    text = T5Config(
        vocab_size=len(pieces) + 100, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, decoder_start_token_id=0
    )
    FluxFillPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        vae=vae(),
        text_encoder=CLIPTextModel(CLIPTextConfig(**TEXT)),
        tokenizer=clip,
        text_encoder_2=T5EncoderModel(text),
        tokenizer_2=T5TokenizerFast(vocab=pieces),
        transformer=FluxTransformer2DModel(
            patch_size=1, in_channels=4 * CHANNELS * 2 + 4 * 2 * 2, out_channels=4 * CHANNELS, num_layers=1,
            num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=16,
            pooled_projection_dim=16, guidance_embeds=True, axes_dims_rope=(4, 4, 8),
        ),
    ).save_pretrained(folder)  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def z_folder(tmp_path_factory) -> Path:
    """As its authors publish it: a pipeline without inpainting."""
    folder = tmp_path_factory.mktemp("z")
    torch.manual_seed(0)
    words = {word: number for number, word in enumerate(["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    bytes_ = Tokenizer(models.BPE(vocab=words, merges=[]))
    bytes_.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bytes_, pad_token="<pad>")
    tokenizer.chat_template = "{% for m in messages %}user: {{ m['content'] }}{% endfor %}"
    text = Qwen3Config(
        vocab_size=len(words), hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, head_dim=8, pad_token_id=0,
    )  # fmt: skip
    transformer = ZImageTransformer2DModel(
        in_channels=CHANNELS, dim=32, n_layers=1, n_refiner_layers=1, n_heads=2, n_kv_heads=2, cap_feat_dim=16,
        axes_dims=[4, 6, 6], axes_lens=[1024, 64, 64],
    )  # fmt: skip
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter, std=0.05)  # some are made empty
    ZImagePipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(),
        text_encoder=Qwen3Model(text),
        tokenizer=tokenizer,
        transformer=transformer,
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def flux(flux_folder) -> FluxFill:
    return FluxFill(flux_folder, steps=2)


@pytest.fixture(scope="module")
def z_image(z_folder) -> ZImageInpaint:
    return ZImageInpaint(z_folder, steps=2)


@pytest.fixture(params=["flux", "z_image"])
def inpainter(request):
    return request.getfixturevalue(request.param)


def test_only_the_hole_changes_and_the_seed_decides_how(inpainter):
    first = inpainter.paint(PICTURE, HOLE, "a beach", 1)
    assert first.shape == PICTURE.shape and first.dtype == np.uint8
    np.testing.assert_array_equal(first[~HOLE], PICTURE[~HOLE])
    assert (first[HOLE] != PICTURE[HOLE]).mean() > 0.9
    np.testing.assert_array_equal(inpainter.paint(PICTURE, HOLE, "a beach", 1), first)
    assert (inpainter.paint(PICTURE, HOLE, "a beach", 2) != first).any()


def test_the_hole_is_the_pipelines_own(flux, z_image, flux_folder, z_folder):
    """On a size that needs no padding, against the pipelines called by hand."""
    picture, hole = PICTURE[:28, :44], HOLE[:28, :44]
    asked = {
        "prompt": "a beach", "image": Image.fromarray(picture), "mask_image": Image.fromarray(hole), "height": 28,
        "width": 44, "num_inference_steps": 2, "strength": 1.0,
    }  # fmt: skip
    for inpainter, pipeline, guidance in [
        (flux, FluxFillPipeline.from_pretrained(flux_folder), 30.0),
        (z_image, ZImageInpaintPipeline.from_pretrained(z_folder), 0.0),
    ]:
        generator = torch.Generator().manual_seed(5)
        (expected,) = pipeline(**asked, guidance_scale=guidance, generator=generator).images
        np.testing.assert_array_equal(inpainter.paint(picture, hole, "a beach", 5)[hole], np.asarray(expected)[hole])


def test_what_is_under_the_hole_does_not_matter(inpainter):
    """So nobody who is painted over shines through."""
    blank = np.where(HOLE[..., None], 0, PICTURE).astype(np.uint8)
    seen = [inpainter.paint(picture, HOLE, "a beach", 1) for picture in (PICTURE, blank)]
    if isinstance(inpainter, FluxFill):
        np.testing.assert_array_equal(*seen)
    else:  # what surrounds the hole is put back as latents of the whole picture, which see a few pixels into it
        inner = HOLE & (np.arange(46) >= 40)
        assert (
            np.abs(seen[0][inner].astype(int) - seen[1][inner]).mean()
            < 0.1 * np.abs(PICTURE[inner].astype(int) - blank[inner]).mean()
        )


def test_pictures_are_padded_by_their_edges(flux_folder, monkeypatch):
    """46 x 30 pixels become 48 x 32, and a hole at the right edge goes on there."""
    inpainter, asked = FluxFill(flux_folder), {}

    def pipeline(**options):
        asked.update(options)
        return SimpleNamespace(images=[Image.new("RGB", options["image"].size, (9, 9, 9))])

    pipeline.vae_scale_factor = 8
    monkeypatch.setitem(vars(inpainter), "_loaded", pipeline)
    painted = inpainter.paint(PICTURE, HOLE, "a beach", 1)
    assert (painted[HOLE] == 9).all() and (painted[~HOLE] == PICTURE[~HOLE]).all()
    assert (asked["height"], asked["width"], asked["num_inference_steps"]) == (32, 48, 50)
    image, mask = np.asarray(asked["image"]), np.asarray(asked["mask_image"])
    assert image.shape == (32, 48, 3) and mask.shape == (32, 48)
    np.testing.assert_array_equal(image[:30, :46], PICTURE)
    np.testing.assert_array_equal(image[30:, :46], PICTURE[-1:].repeat(2, axis=0))
    np.testing.assert_array_equal(mask[:30], np.concatenate([HOLE, HOLE[:, -1:], HOLE[:, -1:]], axis=1))
    assert (asked["guidance_scale"], asked["max_sequence_length"], asked["strength"]) == (30.0, 512, 1.0)
    assert asked["prompt"] == "a beach"


def test_without_a_hole_nothing_is_loaded(flux_folder):
    inpainter = FluxFill(flux_folder)
    np.testing.assert_array_equal(inpainter.paint(PICTURE, np.zeros_like(HOLE), "a beach", 1), PICTURE)
    assert "_loaded" not in vars(inpainter)


def test_another_pipeline_is_refused(flux_folder, z_folder, tmp_path):
    with pytest.raises(InputError, match="class ZImagePipeline; wanted is FluxFillPipeline"):
        FluxFill(z_folder).paint(PICTURE, HOLE, "a beach", 1)
    with pytest.raises(InputError, match="class FluxFillPipeline; wanted is ZImagePipeline"):
        ZImageInpaint(flux_folder).paint(PICTURE, HOLE, "a beach", 1)
    with pytest.raises(InputError, match="holds no weights"):
        FluxFill(tmp_path)


@pytest.mark.parametrize("part", ["transformer", "text_encoder"])
def test_a_pipeline_that_lacks_a_tensor_is_refused(z_folder, tmp_path, part):
    """The libraries would go on with random numbers."""
    folder = tmp_path / "z"
    shutil.copytree(z_folder, folder)
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    del tensors[next(name for name in tensors if "norm" in name)]
    save_file(tensors, file, {"format": "pt"})
    with pytest.raises(InputError, match="lacks 1 tensors of"):
        ZImageInpaint(folder).paint(PICTURE, HOLE, "a beach", 1)


def test_cards_say_what_may_be_sold(flux, z_image, flux_folder):
    assert (flux.card.name, flux.card.commercial) == ("FLUX.1 Fill [dev]", False)
    assert "Non-Commercial" in flux.card.licence
    assert (z_image.card.licence, z_image.card.commercial) == ("Apache-2.0", True)
    assert Telea().card.commercial
    assert json.loads((flux_folder / "model_index.json").read_text())["_class_name"] == "FluxFillPipeline"


def test_revisions_tell_weights_apart(flux, z_image, z_folder, tmp_path):
    shutil.copytree(z_folder, tmp_path / "z")
    assert ZImageInpaint(tmp_path / "z").card.revision == z_image.card.revision != flux.card.revision
    file = next((tmp_path / "z" / "vae").glob("*.safetensors"))
    save_file({name: tensor + 1 for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    assert ZImageInpaint(tmp_path / "z").card.revision != z_image.card.revision


def test_telea_continues_what_is_around():
    """A wall of one colour behind a red square; a slope from left to right goes on within the hole."""
    wall = np.full((40, 60, 3), (90, 120, 150), np.uint8)
    hole = np.zeros((40, 60), bool)
    hole[10:25, 20:40] = True
    red = np.where(hole[..., None], (250, 0, 0), wall).astype(np.uint8)
    np.testing.assert_allclose(Telea().paint(red, hole, "a wall", 0).astype(int), wall, atol=3)
    slope = np.broadcast_to(np.arange(60, dtype=np.uint8)[None, :, None] * 4, (40, 60, 3))
    painted = Telea().paint(slope, hole, "", 1)
    np.testing.assert_array_equal(painted[~hole], slope[~hole])
    middle = painted[12:23, 20:40, 0].mean(axis=0)
    assert np.abs(middle - slope[0, 20:40, 0]).mean() < 15, "the colours at both ends of the hole, mixed"
