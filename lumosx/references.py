"""Prepares reference pictures for the model: one way to fit them to a clip, for sampling and training.

A model that trained on one preprocessing and samples with another sees strangers, so there is no second one.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from PIL import Image, ImageColor, ImageEnhance, ImageFilter, ImageOps
from torch import Tensor

from lumosx.errors import InputError

Fit = Literal["pad", "crop"]


@dataclass
class Augmentation:
    """How strongly reference pictures are varied in training (paper B.2); 0 switches a part off.

    Raises:
        InputError: a value outside its range.
    """

    brightness: float = 0.05
    contrast: float = 0.05
    saturation: float = 0.05
    blur: float = 0.5  # greatest standard deviation in pixels
    rotate: float = 20.0  # degrees; this and all below on subjects and objects only
    shear: float = 0.05  # pixels that a row slides for each row to the middle
    crop: float = 0.67  # least share of the picture's area that a random crop keeps; 1: no crop
    shrink: int = 0  # least long side in pixels of a random down-scaling
    flip: float = 0.5  # probability
    probability: float = 0.9  # of each of the others

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            greatest = math.inf if name in ("blur", "rotate", "shear", "shrink") else 1
            if not 0 <= value <= greatest:
                raise InputError(f"data.augment.{name} is {value}, which is not between 0 and {greatest}")
        if self.crop == 0:
            raise InputError("data.augment.crop is the share that stays: 1 switches it off, 0 would leave nothing")


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
    image = image.convert("RGB")
    size = fitted_size(image, width, height, fit)
    resized = image.resize(size, Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", (width, height), ImageColor.getrgb(pad))
    canvas.paste(resized, ((width - size[0]) // 2, (height - size[1]) // 2))
    return canvas


def augment(image: Image.Image, settings: Augmentation, generator: torch.Generator, geometric: bool) -> Image.Image:
    """A random variation of a reference picture for training (paper B.2), RGB.

    It comes before `letterbox`, and what a rotation uncovers is white, like the letterbox's canvas. The authors'
    release resizes to fit the clip first, varies, and puts the picture on the canvas last. Here pixels (`blur`,
    `shrink`) are those of the picture as given, a crop keeps the aspect, and a down-scaled picture stays small in the
    clip because white surrounds it. In the release a crop always happens, contrast and saturation happen together,
    and backgrounds are turned and cropped too, which the paper denies.

    Args:
        image: any size; converted to RGB.
        settings: how strongly.
        generator: gives all draws, always the same number: a part that is switched off leaves the others as they were.
        geometric: subjects and objects; False: a background, of which only brightness, contrast, saturation and
            sharpness vary.
    """
    image = image.convert("RGB")
    happens = torch.rand(len(_PARTS), generator=generator) < settings.probability
    strength = torch.rand(len(_PARTS), generator=generator) * 2 - 1
    far = dict(zip(_PARTS, (happens * strength).tolist(), strict=True))  # in [-1, 1), 0 is not at all
    flip, left, top = torch.rand(3, generator=generator).tolist()
    if geometric:
        image = _cropped(image, 1 - (1 - settings.crop) * abs(far["crop"]), left, top)
        image = _shrunk(image, settings.shrink, abs(far["shrink"]))
        image = _turned(image, settings.rotate * far["rotate"], settings.shear * far["shear"])
        if flip < settings.flip:
            image = ImageOps.mirror(image)
    image = ImageEnhance.Brightness(image).enhance(1 + settings.brightness * far["brightness"])
    image = ImageEnhance.Contrast(image).enhance(1 + settings.contrast * far["contrast"])
    image = ImageEnhance.Color(image).enhance(1 + settings.saturation * far["saturation"])
    return image.filter(ImageFilter.GaussianBlur(settings.blur * abs(far["blur"])))


_PARTS = ("crop", "shrink", "rotate", "shear", "brightness", "contrast", "saturation", "blur")


def _cropped(image: Image.Image, share: float, left: float, top: float) -> Image.Image:
    """A window of at least that share of the area; `left` and `top` in [0, 1) place it."""
    width, height = (math.ceil(side * math.sqrt(share)) for side in image.size)
    x, y = int(left * (image.width - width + 1)), int(top * (image.height - height + 1))
    return image.crop((x, y, x + width, y + height))


def _shrunk(image: Image.Image, least: int, amount: float) -> Image.Image:
    """The picture smaller on a white canvas of its size: at amount 1 its long side has `least` pixels."""
    long = max(image.size)
    if not 0 < least < long:
        return image
    scale = 1 - amount * (1 - least / long)
    small = image.resize([max(1, round(side * scale)) for side in image.size], Image.Resampling.BICUBIC)
    canvas = Image.new("RGB", image.size, "white")
    canvas.paste(small, ((image.width - small.width) // 2, (image.height - small.height) // 2))
    return canvas


def _turned(image: Image.Image, degrees: float, shear: float) -> Image.Image:
    """Rotated and sheared about the centre on white; `shear` is how far a row slides for each row above it."""
    if degrees == 0 and shear == 0:
        return image
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # Pillow asks where each pixel of the result comes from: x' = a x + b y + c, y' = d x + e y + f
    a, b, d, e = cos, cos * shear - sin, sin, sin * shear + cos
    x, y = image.width / 2, image.height / 2
    matrix = (a, b, x - a * x - b * y, d, e, y - d * x - e * y)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor="white")


def fitted_size(image: Image.Image, width: int, height: int, fit: Fit) -> tuple[int, int]:
    """Width and height that `letterbox` brings a picture to.

    Raises:
        InputError: `fit` is neither "pad" nor "crop".
    """
    if fit not in ("pad", "crop"):
        raise InputError(f"fit is 'pad' or 'crop', not {fit!r}")
    ratios = (width / image.width, height / image.height)
    if fit == "pad":
        ratio = min(ratios)
        return max(1, int(image.width * ratio)), max(1, int(image.height * ratio))
    ratio = max(ratios)
    return max(width, int(image.width * ratio)), max(height, int(image.height * ratio))


def to_tensor(image: Image.Image) -> Tensor:
    """An RGB picture as float32 [3, H, W] in [-1, 1]."""
    pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
    return (pixels.float() / 255 - 0.5) / 0.5
