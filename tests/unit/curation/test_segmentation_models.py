"""Segmenters: tiny random SAMs, saved by transformers and loaded by the adapters, and GrabCut on plain pictures."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_clip import noise
from torch.nn import functional
from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2Model,
    Sam2PromptEncoderConfig,
    Sam2VideoConfig,
    Sam2VideoModel,
    Sam2VisionConfig,
    SamConfig,
    SamImageProcessorPil,
    SamMaskDecoderConfig,
    SamModel,
    SamPromptEncoderConfig,
    SamVisionConfig,
)

from lumosx.errors import InputError
from lumosx.vision.segmentation import GrabCut, Sam2Segmenter, SamSegmenter

SIDE = 64  # of the pictures that the tiny models see
WIDE = noise(40, 80)  # a picture of 80 x 40 pixels
BOXES = [(10.0, 5.0, 50.0, 35.0), (0.0, 0.0, 80.0, 40.0)]
DECODER = {
    "hidden_size": 32, "mlp_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "iou_head_depth": 2,
    "iou_head_hidden_dim": 16,
}  # fmt: skip
PROMPTS = {"hidden_size": 32, "image_size": SIDE, "patch_size": 16}


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam")
    vision = SamVisionConfig(
        hidden_size=16, output_channels=32, num_hidden_layers=1, num_attention_heads=2, image_size=SIDE, patch_size=16,
        window_size=2, global_attn_indexes=[0], mlp_dim=16, num_pos_feats=16,
    )  # fmt: skip
    torch.manual_seed(0)
    SamModel(
        SamConfig(
            vision_config=vision,
            prompt_encoder_config=SamPromptEncoderConfig(**PROMPTS, image_embedding_size=SIDE // 16),
            mask_decoder_config=SamMaskDecoderConfig(**DECODER),
        )
    ).save_pretrained(folder)
    SamImageProcessorPil(size={"longest_edge": SIDE}, pad_size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


def sam2_parts() -> dict:
    backbone = Sam2HieraDetConfig(
        hidden_size=8, image_size=[SIDE, SIDE], blocks_per_stage=[1, 2, 2, 1], embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 1, 1], window_size_per_stage=[2, 2, 2, 2], global_attention_blocks=[2],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    return {
        "vision_config": Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
            backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        ),
        "prompt_encoder_config": Sam2PromptEncoderConfig(**PROMPTS).to_dict(),
        "mask_decoder_config": Sam2MaskDecoderConfig(**DECODER).to_dict(),
    }  # fmt: skip


@pytest.fixture(scope="module")
def sam2_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sam2")
    torch.manual_seed(0)
    Sam2Model(Sam2Config(**sam2_parts())).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sam2_video_folder(tmp_path_factory) -> Path:
    """As the authors' repositories are: a model for videos."""
    folder = tmp_path_factory.mktemp("sam2_video")
    parts = sam2_parts()
    for name in ("prompt_encoder_config", "mask_decoder_config"):
        parts[name].pop("model_type")
    small = {
        "image_size": SIDE, "memory_attention_hidden_size": 32, "memory_attention_num_layers": 1,
        "memory_attention_feed_forward_hidden_size": 16, "memory_attention_rope_feat_sizes": [4, 4],
        "memory_encoder_hidden_size": 32, "memory_encoder_output_channels": 8, "mask_downsampler_embed_dim": 32,
        "memory_fuser_embed_dim": 32, "memory_fuser_intermediate_dim": 16,
    }  # fmt: skip
    torch.manual_seed(0)
    Sam2VideoModel(Sam2VideoConfig(**parts, **small)).save_pretrained(folder)
    return folder


def answers(segmenter, masks: np.ndarray, fits: list) -> dict:
    """Masks bool [box, 3, h, w] and expected fits [box][3] in place of the network's; what it is asked."""
    asked = {}

    def forward(**inputs):
        asked.update(inputs)
        logits = torch.from_numpy(np.where(masks, 5.0, -5.0).astype(np.float32))[None]
        return SimpleNamespace(pred_masks=logits, iou_scores=torch.tensor([fits]))

    segmenter._model.forward = forward
    return asked


def test_sam_takes_the_mask_that_fits_best_and_undoes_the_padding(sam_folder):
    """80 x 40 pixels become 64 x 32 of 64 x 64, so the upper left quarter of a mask is the picture's left half."""
    masks = np.zeros((2, 3, 16, 16), bool)
    masks[0, 1, :8, :8] = True
    masks[1, 2, :, 8:] = True
    masks[1, 0] = True
    sam = SamSegmenter(sam_folder)
    asked = answers(sam, masks, [[0.1, 0.9, 0.3], [0.2, 0.1, 0.8]])
    left, right = sam.segment(WIDE, BOXES)
    expected = np.zeros((40, 80), bool)
    expected[:, :40] = True
    assert (left == expected).mean() > 0.97, "the edge of a mask of 16 x 16 is soft"
    assert (right == ~expected).mean() > 0.97
    assert left.dtype == bool
    np.testing.assert_allclose(asked["input_boxes"].numpy(), [[(8, 4, 40, 28), (0, 0, 64, 32)]], rtol=1e-6)


def test_sam_against_its_network_called_by_hand(sam_folder):
    model = SamModel.from_pretrained(sam_folder).eval()
    pixels = SamImageProcessorPil.from_pretrained(sam_folder)(WIDE, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        output = model(pixel_values=pixels, input_boxes=torch.tensor([[[8.0, 4.0, 40.0, 28.0], [0, 0, 64, 32]]]))
    best = output.iou_scores[0].argmax(1)
    low = output.pred_masks[0, torch.arange(2), best][None]
    full = functional.interpolate(low, (SIDE, SIDE), mode="bilinear")[..., :32, :]
    expected = functional.interpolate(full, (40, 80), mode="bilinear")[0] > 0
    found = SamSegmenter(sam_folder).segment(WIDE, BOXES)
    assert 0 < expected.float().mean() < 1
    assert (found == expected.numpy()).mean() > 0.999


def test_sam2_squeezes_the_picture_and_stretches_the_mask(sam2_folder):
    masks = np.zeros((1, 3, 16, 16), bool)
    masks[0, 2, :8, :8] = True
    sam2 = Sam2Segmenter(sam2_folder)
    asked = answers(sam2, masks, [[0.1, 0.2, 0.3]])
    (mask,) = sam2.segment(WIDE, BOXES[:1])
    expected = np.zeros((40, 80), bool)
    expected[:20, :40] = True
    assert (mask == expected).mean() > 0.97
    np.testing.assert_allclose(asked["input_boxes"].numpy(), [[(8, 8, 40, 56)]], rtol=1e-6)


def test_sam2_sees_colours_normalised_as_on_imagenet(sam2_folder):
    sam2 = Sam2Segmenter(sam2_folder)
    asked = answers(sam2, np.zeros((1, 3, 16, 16), bool), [[0.1, 0.2, 0.3]])
    sam2.segment(np.full((40, 80, 3), (255, 0, 51), np.uint8), BOXES[:1])
    seen = asked["pixel_values"]
    assert seen.shape == (1, 3, SIDE, SIDE) and seen.dtype == torch.float32
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    np.testing.assert_allclose(seen[0].flatten(1).T, np.tile(expected, (SIDE * SIDE, 1)), rtol=1e-5)


@pytest.mark.parametrize("kind", ["image", "video"])
def test_sam2_of_the_network_itself(kind, sam2_folder, sam2_video_folder):
    """A repository for videos holds the network for pictures too."""
    segmenter = Sam2Segmenter(sam2_folder if kind == "image" else sam2_video_folder)
    masks = segmenter.segment(WIDE, BOXES)
    assert masks.shape == (2, 40, 80) and masks.dtype == bool
    np.testing.assert_array_equal(masks, segmenter.segment(WIDE, BOXES))
    np.testing.assert_array_equal(masks[1], segmenter.segment(WIDE, BOXES[1:])[0])


def test_sam2_for_videos_has_the_tensors_of_its_file(sam2_video_folder):
    model = Sam2Segmenter(sam2_video_folder)._model
    stored = Sam2VideoModel.from_pretrained(sam2_video_folder).state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, stored[name]), name


def test_no_boxes_need_no_network(sam_folder, sam2_folder):
    for segmenter in (SamSegmenter(sam_folder), Sam2Segmenter(sam2_folder), GrabCut()):
        assert segmenter.segment(WIDE, []).shape == (0, 40, 80)
        assert "_model" not in vars(segmenter), "cards are known without a network"


def test_segmenters_refuse_other_models(sam_folder, sam2_folder, tmp_path):
    with pytest.raises(InputError, match="type sam2; wanted is sam"):
        SamSegmenter(sam2_folder).segment(WIDE, BOXES)
    with pytest.raises(InputError, match="type sam; wanted is sam2"):
        Sam2Segmenter(sam_folder).segment(WIDE, BOXES)
    with pytest.raises(InputError, match="holds no weights"):
        SamSegmenter(tmp_path)


def test_segmenters_have_cards(sam_folder, sam2_folder):
    cards = [SamSegmenter(sam_folder).card, Sam2Segmenter(sam2_folder).card, GrabCut().card]
    assert [(card.name, card.licence, card.commercial) for card in cards] == [
        ("SAM", "Apache-2.0", True),
        ("SAM 2", "Apache-2.0", True),
        ("GrabCut", "Apache-2.0", True),
    ]
    assert len({card.revision for card in cards}) == 3


def ellipse(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A red ellipse on a green meadow, and where it is; it fills the middle half of the picture."""
    y, x = np.mgrid[:height, :width]
    inside = ((x - width / 2) / (width / 4)) ** 2 + ((y - height / 2) / (height / 4)) ** 2 < 1
    grain = np.random.default_rng(0).integers(-20, 20, (height, width, 3))
    picture = np.where(inside[..., None], (200, 40, 30), (40, 160, 60)) + grain
    return picture.astype(np.uint8), inside


@pytest.mark.parametrize(("height", "width"), [(60, 80), (480, 640)])
def test_grab_cut_finds_an_outline(height, width):
    picture, inside = ellipse(height, width)
    box = (width * 0.22, height * 0.22, width * 0.78, height * 0.78)
    (mask,) = GrabCut().segment(picture, [box])
    assert (mask & inside).sum() / (mask | inside).sum() > 0.95


def test_grab_cut_stays_in_its_box_and_repeats_itself():
    picture, inside = ellipse(60, 80)
    boxes = [(15.0, 10.0, 66.0, 60.0), (-30.0, -10.0, 200.0, 100.0), (90.0, 70.0, 95.0, 75.0)]
    cut = GrabCut()
    tight, whole, outside = cut.segment(picture, boxes)
    assert not tight[:10].any() and not tight[:, :15].any() and not tight[:, 66:].any()
    assert (tight & inside).sum() > 0.9 * inside.sum()
    assert whole.all(), "where a box covers the picture, nothing is known of the background"
    assert not outside.any()
    np.testing.assert_array_equal(cut.segment(picture, boxes[::-1])[::-1], [tight, whole, outside])
