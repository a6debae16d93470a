"""Clips and texts as vectors in one space: VideoCLIP-XL, which the paper measures with, and X-CLIP, which is free.

They are not interchangeable: a score of one carries another name than a score of the other. Neither has run on the
published weights in this repository's tests: X-CLIP runs as a tiny random model of the same class, VideoCLIP-XL as a
stand-in with the entry points of the authors' code.
"""

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer, XCLIPModel

from lumosx.errors import InputError
from lumosx.vision import ModelCard
from lumosx.vision.pictures import pixel_values, tokenized, unit
from lumosx.vision.places import (
    UNREADABLE,
    Place,
    find,
    library,
    load_image_processor,
    load_model,
    load_part,
)

XL_FRAMES = 8
XL_SIZE = 224  # pixels of a side
MEAN = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet
STD = np.array([0.229, 0.224, 0.225], np.float32)
AUTHORS_PACKAGES = ("modeling", "utils")  # top-level names that VideoCLIP-XL's code takes


class XClip:
    """X-CLIP (Ni et al. 2022), such as microsoft/xclip-base-patch32.

    Its plain features of clip and text: the step that bends the text towards the clip before they are compared, which
    X-CLIP adds for classification, would make a text's vector depend on the clip.

    Args:
        place: a folder as transformers saves it, or a downloaded hub repository.
        device: of torch.
        revision: of a hub repository.

    Raises:
        InputError: nothing is there, or no X-CLIP.
    """

    def __init__(self, place: str | Path, device: str = "cpu", revision: str | None = None) -> None:
        found = find(place, revision)
        self.card = ModelCard("X-CLIP", found.source, found.revision, "MIT", True)
        self._model = load_model(XCLIPModel, found, device)
        self._processor = load_image_processor(found)
        self._tokenizer = load_part(AutoTokenizer, found)

    @torch.inference_mode()
    def embed_video(self, frames: np.ndarray) -> np.ndarray:
        """float32 [D] of length 1, of as many frames as the model takes (8 or 16, `evenly`), each cropped to the square
        in its middle."""
        vision = self._model.config.vision_config
        # the published processors state one size, of which transformers resizes to it but crops to 224
        side = {"size": {"shortest_edge": vision.image_size}, "crop_size": vision.image_size}
        pixels = pixel_values(self._processor, list(evenly(frames, vision.num_frames)), self._model.device, **side)
        # VideoMAE's image processor, which the published models name, may take the frames for one clip
        return unit(self._model.get_video_features(pixels.reshape(1, -1, *pixels.shape[-3:])))[0]

    @torch.inference_mode()
    def embed_text(self, text: str) -> np.ndarray:
        """float32 [D] of length 1. A text longer than the model's 77 tokens is cut there."""
        return unit(self._model.get_text_features(**tokenized(self._tokenizer, [text], self._model)))[0]


class VideoClipXL:
    """VideoCLIP-XL (Wang et al. 2024), for long descriptions; the release uses version 2. Not for commercial use.

    The model is code in the authors' hub repository (alibaba-pai/VideoCLIP-XL-v2), which runs with the user's rights:
    read it, then say `trust_code`. Taken from there are `modeling.VideoCLIP_XL` with `vision_model.get_vid_features`
    and `text_model.encode_text`, and `utils.text_encoder.text_encoder.tokenize`. That code imports torchvision, and
    `pkg_resources`, which setuptools dropped. The weights are a pickle, of which nothing but tensors is loaded.

    Args:
        place: the folder that was downloaded, or the name of the repository in the hub's cache.
        device: of torch.
        revision: of a hub repository.
        trust_code: whether to run the Python code in the folder.

    Raises:
        InputError: nothing is there, the code is not trusted or does not run, or the weights do not fit it.
    """

    def __init__(
        self, place: str | Path, device: str = "cpu", revision: str | None = None, trust_code: bool = False
    ) -> None:
        found = find(place, revision, marker="modeling.py", weights=("VideoCLIP-XL*.bin",))
        if not trust_code:
            raise InputError(
                f"{found.source}: VideoCLIP-XL runs Python code of its repository. Read modeling.py and utils/ in "
                f"{found.path}, then allow it (trust_code=True)"
            )
        if len(found.files) > 1:
            raise InputError(
                f"{found.path}: holds several weights ({', '.join(f.name for f in found.files)}); keep one"
            )
        (weights,) = found.files
        self.card = ModelCard(weights.stem, found.source, found.revision, "CC-BY-NC-SA-4.0", False)
        self._device = device
        self._model, self._tokenize = _authors_code(found)
        try:
            self._model.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
        except UNREADABLE as error:
            raise InputError(f"{weights}: no weights of the VideoCLIP_XL beside it: {error}") from error
        self._model.to(device).eval()

    @torch.inference_mode()
    def embed_video(self, frames: np.ndarray) -> np.ndarray:
        """float32 [D] of length 1, of 8 frames (`evenly`), each squeezed to 224 x 224."""
        chosen = evenly(frames, XL_FRAMES)
        return unit(self._model.vision_model.get_vid_features(_squeezed(chosen).to(self._device)))[0]

    @torch.inference_mode()
    def embed_text(self, text: str) -> np.ndarray:
        """float32 [D] of length 1. A text longer than 248 tokens is cut there."""
        return unit(self._model.text_model.encode_text(self._tokenize([text], truncate=True).to(self._device)))[0]


def evenly(frames: np.ndarray, count: int) -> np.ndarray:
    """`count` frames evenly spread from the first to the last; of fewer some come twice, in order."""
    return frames[np.linspace(0, len(frames) - 1, count).round().astype(int)]


def _squeezed(frames: np.ndarray) -> Tensor:
    """Frames as VideoCLIP-XL takes them: float32 [1, F, 3, 224, 224], by OpenCV's bilinear filter like the authors."""
    cv2 = library("cv2", "'lumosx[bench]'")
    small = np.stack([cv2.resize(frame, (XL_SIZE, XL_SIZE)) for frame in frames])
    pixels = (small.astype(np.float32) / 255 - MEAN) / STD
    return torch.from_numpy(pixels).permute(0, 3, 1, 2)[None]


def _authors_code(place: Place) -> tuple[Any, Callable[..., Tensor]]:
    """The untrained model, and what makes tokens of texts."""
    try:
        with _importing_from(place.path):
            model = importlib.import_module("modeling").VideoCLIP_XL()
            return model, importlib.import_module("utils.text_encoder.text_encoder").tokenize
    except ImportError as error:
        raise InputError(
            f"{place.source}: its code cannot be imported ({error}). It needs torchvision, timm, ftfy, regex, einops "
            "and, for pkg_resources, 'setuptools<81'"
        ) from error
    except AttributeError as error:
        raise InputError(f"{place.source}: not the code of VideoCLIP-XL that is known here: {error}") from error


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """Imports the authors' packages from a folder. Their names are everybody's, so afterwards they are free again."""
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name.split(".")[0] in AUTHORS_PACKAGES}
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.split(".")[0] in AUTHORS_PACKAGES]:
            del sys.modules[name]
        sys.modules.update(hidden)
