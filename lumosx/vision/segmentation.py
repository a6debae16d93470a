"""What fills a box: SAM and SAM 2 by transformers, and GrabCut by OpenCV, which needs no weights.

Neither SAM has run on the published weights in this repository's tests: they run tiny random models of the same
classes, saved and loaded the same way.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import Sam2Model, Sam2VideoConfig, SamModel, SamProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

from lumosx.vision import Box, ModelCard, Picture
from lumosx.vision.boxes import WholeBox, widened, within
from lumosx.vision.places import find, library, load_image_processor, load_model, model_type

GRAB_MARGIN = 0.5  # of a box's sides: how much of its surroundings GrabCut learns the background from
GRAB_SIDE = 384  # greatest side in pixels of what GrabCut works on
GRAB_STEPS = 5  # of its iteration


class SamSegmenter:
    """SAM (Kirillov et al. 2023), prompted by boxes; of its three masks the one that it expects to fit best.

    Args:
        place: a folder as transformers saves it, or a downloaded hub repository, such as facebook/sam-vit-huge.
        device: of torch.
        revision: of a hub repository.

    Raises:
        InputError: nothing is there. That it is no such model shows when it is first asked.
    """

    def __init__(self, place: str | Path, device: str = "cpu", revision: str | None = None) -> None:
        self._found, self._device = find(place, revision), device
        self.card = ModelCard("SAM", self._found.source, self._found.revision, "Apache-2.0", True)

    @cached_property
    def _model(self) -> Any:
        return load_model(SamModel, self._found, self._device)

    @cached_property
    def _processor(self) -> Any:
        return SamProcessor(load_image_processor(self._found))

    @torch.inference_mode()
    def segment(self, picture: Picture, boxes: Sequence[Box]) -> np.ndarray:
        """bool [n, H, W]. A mask may reach out of its box."""
        if not boxes:
            return _nothing(picture)
        model, processor = self._model, self._processor
        asked = processor(
            images=Image.fromarray(picture), input_boxes=[[list(box) for box in boxes]], return_tensors="pt"
        )
        output = model(
            pixel_values=asked["pixel_values"].to(self._device),
            input_boxes=asked["input_boxes"].to(self._device, torch.float32),
        )
        (masks,) = processor.post_process_masks(
            output.pred_masks.cpu(), asked["original_sizes"], asked["reshaped_input_sizes"]
        )
        return _best(masks, output.iou_scores[0])


class Sam2OfVideo(Sam2Model):
    """SAM 2 for pictures out of a repository of SAM 2 for videos, as which its authors' weights are published."""

    config_class = Sam2VideoConfig


class Sam2Segmenter:
    """SAM 2 (Ravi et al. 2024), prompted by boxes; of its three masks the one that it expects to fit best.

    Pictures are prepared here, as its `Sam2ImageProcessor` does, because that one needs torchvision.

    Args and errors as `SamSegmenter`; such as facebook/sam2.1-hiera-large.
    """

    def __init__(self, place: str | Path, device: str = "cpu", revision: str | None = None) -> None:
        self._found, self._device = find(place, revision), device
        self.card = ModelCard("SAM 2", self._found.source, self._found.revision, "Apache-2.0", True)

    @cached_property
    def _model(self) -> Any:
        of_video = model_type(self._found) == Sam2VideoConfig.model_type
        return load_model(Sam2OfVideo if of_video else Sam2Model, self._found, self._device)

    @torch.inference_mode()
    def segment(self, picture: Picture, boxes: Sequence[Box]) -> np.ndarray:
        """bool [n, H, W]. A mask may reach out of its box."""
        if not boxes:
            return _nothing(picture)
        height, width = picture.shape[:2]
        side = self._model.config.prompt_encoder_config.image_size
        scaled = np.array([boxes], np.float32) * np.array([side / width, side / height] * 2, np.float32)
        output = self._model(
            pixel_values=_squeezed(picture, side).to(self._device),
            input_boxes=torch.from_numpy(scaled).to(self._device),
        )
        masks = functional.interpolate(output.pred_masks[0].cpu(), (height, width), mode="bilinear") > 0
        return _best(masks, output.iou_scores[0])


class GrabCut:
    """GrabCut (Rother et al. 2004) by OpenCV: what differs in colour from the surroundings of its box.

    It knows nothing of things. It serves where no weights are, on plain pictures; on footage its outlines are rough.
    """

    def __init__(self) -> None:
        self._cv2 = library("cv2", "'lumosx[curate]'")
        self.card = ModelCard("GrabCut", "opencv", self._cv2.__version__, "Apache-2.0", True)

    def segment(self, picture: Picture, boxes: Sequence[Box]) -> np.ndarray:
        """bool [n, H, W], each mask inside its box."""
        masks = _nothing(picture, len(boxes))
        for mask, box in zip(masks, boxes, strict=True):
            inner, outer = within(box, picture.shape), within(widened(box, GRAB_MARGIN), picture.shape)
            if inner is not None and outer is not None:
                mask[outer[1] : outer[3], outer[0] : outer[2]] = self._cut(picture, inner, outer)
        return masks

    def _cut(self, picture: Picture, inner: WholeBox, outer: WholeBox) -> np.ndarray:
        """bool, of the size of `outer`: what is not its background, which shows between the two boxes."""
        x0, y0, x1, y1 = outer
        marks = np.full((y1 - y0, x1 - x0), self._cv2.GC_BGD, np.uint8)
        marks[inner[1] - y0 : inner[3] - y0, inner[0] - x0 : inner[2] - x0] = self._cv2.GC_PR_FGD
        inside = marks == self._cv2.GC_PR_FGD
        if inside.all():
            return inside  # nothing is known of the background
        scale = min(1.0, GRAB_SIDE / max(marks.shape))
        size = (math.ceil(marks.shape[1] * scale), math.ceil(marks.shape[0] * scale))
        small = self._cv2.resize(picture[y0:y1, x0:x1], size, interpolation=self._cv2.INTER_AREA)
        marks = self._cv2.resize(marks, size, interpolation=self._cv2.INTER_NEAREST)
        self._cv2.setRNGSeed(0)  # it begins with k-means from random centres
        empty = np.zeros((1, 65))
        self._cv2.grabCut(small, marks, None, empty, empty.copy(), GRAB_STEPS, self._cv2.GC_INIT_WITH_MASK)
        found = np.isin(marks, (self._cv2.GC_FGD, self._cv2.GC_PR_FGD)).astype(np.uint8)
        return inside & (self._cv2.resize(found, inside.shape[::-1], interpolation=self._cv2.INTER_NEAREST) > 0)


def _nothing(picture: Picture, count: int = 0) -> np.ndarray:
    return np.zeros((count, *picture.shape[:2]), bool)


def _best(masks: Tensor, fits: Tensor) -> np.ndarray:
    """Of masks [n, 3, H, W] those whose expected fit [n, 3] is the greatest, bool [n, H, W]."""
    best = fits.argmax(dim=1).cpu()
    return masks.cpu().numpy()[np.arange(len(best)), best.numpy()]


def _squeezed(picture: Picture, side: int) -> Tensor:
    """float32 [1, 3, side, side], normalised as on ImageNet; the aspect is not kept."""
    pixels = np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR), np.float32) / 255
    normalised = (pixels - np.array(IMAGENET_DEFAULT_MEAN)) / np.array(IMAGENET_DEFAULT_STD)
    return torch.from_numpy(normalised.astype(np.float32).transpose(2, 0, 1)[None])
