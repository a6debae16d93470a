"""Pictures (and texts) as vectors: CLIP and DINO, by transformers.

None of these has run on the published weights in this repository's tests: they run tiny random models of the same
classes, saved and loaded the same way.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoTokenizer, CLIPModel, Dinov2Model, DINOv3ViTModel

from lumosx.errors import InputError
from lumosx.vision import ModelCard, Picture
from lumosx.vision.places import find, load_image_processor, load_model, load_part, model_type

BATCH = 16  # pictures that go through a model at once

# By model type: class, name, licence of the authors' weights. Both licences allow commercial use.
DINO = {
    "dinov2": (Dinov2Model, "DINOv2", "Apache-2.0"),
    "dinov3_vit": (DINOv3ViTModel, "DINOv3", "DINOv3 License (gated)"),
}


class ClipEncoder:
    """CLIP (Radford et al. 2021). The release uses openai/clip-vit-large-patch14, VBench a ViT-B/32.

    Args:
        place: a folder as transformers saves it, or a downloaded hub repository.
        device: of torch.
        revision: of a hub repository.

    Raises:
        InputError: nothing is there, or no CLIP.
    """

    def __init__(self, place: str | Path, device: str = "cpu", revision: str | None = None) -> None:
        found = find(place, revision)
        self.card = ModelCard("CLIP", found.source, found.revision, "MIT (OpenAI's weights)", True)
        self._model = load_model(CLIPModel, found, device)
        self._processor = load_image_processor(found)
        self._tokenizer = load_part(AutoTokenizer, found)

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        """float32 [n, D], of length 1. Of an oblong picture CLIP sees the square in its middle."""
        width = self._model.config.projection_dim
        return _embedded(pictures, self._processor, self._model.get_image_features, self._model.device, width)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        """float32 [n, D], of length 1. A text longer than the model's 77 tokens is cut there."""
        with torch.inference_mode():
            return unit(self._model.get_text_features(**tokenized(self._tokenizer, texts, self._model)))


class DinoEncoder:
    """DINOv2 (Oquab et al. 2023) or DINOv3: the normalised class token (`pooler_output`), as the release takes it from
    facebook/dinov2-base. DINOv3's image processor needs torchvision.

    Args and errors as `ClipEncoder`.
    """

    def __init__(self, place: str | Path, device: str = "cpu", revision: str | None = None) -> None:
        found = find(place, revision)
        type_ = model_type(found)
        if type_ not in DINO:
            raise InputError(f"{found.source}: a model of type {type_}; wanted is {' or '.join(DINO)}")
        kind, name, licence = DINO[type_]
        self.card = ModelCard(name, found.source, found.revision, licence, True)
        self._model = load_model(kind, found, device)
        self._processor = load_image_processor(found)

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        """float32 [n, D], of length 1."""
        return _embedded(pictures, self._processor, self._model, self._model.device, self._model.config.hidden_size)


def unit(features: Any) -> np.ndarray:
    """float32 [n, D] of length 1. transformers 5 gives an object where 4 gave the tensor of features."""
    features = getattr(features, "pooler_output", features)
    return torch.nn.functional.normalize(features.float(), dim=-1).cpu().numpy()


def tokenized(tokenizer: Any, texts: Sequence[str], model: Any) -> Any:
    """Tokens of texts for a model with a text tower, padded to the longest and cut at what the tower takes."""
    longest = model.config.text_config.max_position_embeddings
    tokens = tokenizer(list(texts), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    return {name: tokens[name].to(model.device) for name in ("input_ids", "attention_mask")}


def pixel_values(processor: Any, pictures: Sequence[Picture], device: torch.device | str, **options: Any) -> Tensor:
    """Pictures of any sizes as a model's processor prepares them, with `options` in the place of its own."""
    # of an array transformers guesses which axis is colour, wrongly where a crop is three pixels high
    shown = [Image.fromarray(picture) for picture in pictures]
    return processor(images=shown, return_tensors="pt", **options)["pixel_values"].to(device)


@torch.inference_mode()
def _embedded(
    pictures: Sequence[Picture], processor: Any, features: Callable[[Tensor], Any], device: torch.device, width: int
) -> np.ndarray:
    parts = [np.zeros((0, width), np.float32)]
    for start in range(0, len(pictures), BATCH):
        parts.append(unit(features(pixel_values(processor, pictures[start : start + BATCH], device))))
    return np.concatenate(parts)
