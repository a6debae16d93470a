"""Prepares reference pictures for the model: one way to fit them to a clip, for sampling and training.

A model that trained on one preprocessing and samples with another sees strangers, so there is no second one.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageColor
from torch import Tensor

from lumosx.errors import InputError

Fit = Literal["pad", "crop"]


@dataclass(frozen=True)
class Augmentation:
    """How strongly reference pictures are varied in training (paper B.2); 0 switches a part off."""

    brightness: float = 0.05
    contrast: float = 0.05
    saturation: float = 0.05
    blur: float = 0.5  # greatest standard deviation in pixels
    rotate: float = 20.0  # degrees; this and all below on subjects and objects only
    shear: float = 0.05
    crop: float = 0.67  # least share of the picture's area that a random crop keeps; 1: no crop
    shrink: int = 0  # least long side in pixels of a random down-scaling
    flip: float = 0.5  # probability
    probability: float = 0.9  # of each of the others


def letterbox(image: Image.Image, width: int, height: int, *, fit: Fit = "pad", pad: str = "#ffffff") -> Image.Image:
    """The picture at the clip's size, its aspect kept, resized bicubically and centred.

    Args:
        image: any size; converted to RGB.
        width, height: of the clip in pixels.
        fit: "pad" shows the whole picture on a canvas of colour `pad` and cuts sizes and offsets to whole
            pixels, as the authors' release does; "crop" fills the canvas and cuts off what stands out.
        pad: colour of the canvas, "#rrggbb".

    Raises:
        InputError: `fit` is something else.
    """
    if fit not in ("pad", "crop"):
        raise InputError(f"fit is 'pad' or 'crop', not {fit!r}")
    image = image.convert("RGB")
    ratios = (width / image.width, height / image.height)
    if fit == "pad":
        ratio = min(ratios)
        size = max(1, int(image.width * ratio)), max(1, int(image.height * ratio))
    else:
        ratio = max(ratios)
        size = max(width, int(image.width * ratio)), max(height, int(image.height * ratio))
    resized = image.resize(size, Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (width, height), ImageColor.getrgb(pad))
    canvas.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as float32 [3, H, W] in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return (pixels.float() / 255 - 0.5) / 0.5
