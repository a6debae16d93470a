"""Parts of a picture painted anew: FLUX.1 Fill and Z-Image by diffusers, and Telea's method by OpenCV.

Neither pipeline has run on the published weights in this repository's tests: they run tiny random pipelines of the
same classes, saved and loaded the same way.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import diffusers
import numpy as np
import torch
from PIL import Image

from lumosx.completeness import expect_complete
from lumosx.errors import InputError
from lumosx.vision import ModelCard, Picture
from lumosx.vision.places import UNREADABLE, Place, find, library

MARKER = "model_index.json"
WEIGHTS = ("*/*.safetensors",)
TELEA_RADIUS = 5  # pixels around one that it is painted from


class _Pipeline:
    """A pipeline of diffusers that takes a picture, a mask and a prompt.

    Subclasses say its class and its card, and what `options` it is called with.

    Args:
        place: a folder as diffusers saves it, or a downloaded hub repository. Of a folder all weights are read to tell
            which they are, which takes a minute for the largest; a hub repository knows its commit.
        device: of torch. On "cuda" it runs in bfloat16, else in float32.
        steps: of the solver; None: as many as the model is made for.
        revision: of a hub repository.

    Raises:
        InputError: nothing is there. That it is no such pipeline shows when it first paints.
    """

    pipeline: ClassVar[str]
    published: ClassVar[tuple[str, ...]]  # classes that its repositories state
    name: ClassVar[str]
    licence: ClassVar[str]
    commercial: ClassVar[bool]
    steps: ClassVar[int]
    options: ClassVar[dict[str, Any]]

    def __init__(
        self, place: str | Path, device: str = "cpu", steps: int | None = None, revision: str | None = None
    ) -> None:
        self._found = find(place, revision, marker=MARKER, weights=WEIGHTS)
        self._device, self._steps = device, steps or self.steps
        self.card = ModelCard(self.name, self._found.source, self._found.revision, self.licence, self.commercial)

    @cached_property
    def _loaded(self) -> Any:
        return _load(getattr(diffusers, self.pipeline), self.published, self._found, self._device)

    def paint(self, picture: Picture, mask: np.ndarray, prompt: str, seed: int) -> Picture:
        """The picture with what is in `mask` (bool [H, W]) painted anew; all other pixels stay as they are."""
        if not mask.any():
            return picture
        height, width = mask.shape
        multiple = 2 * self._loaded.vae_scale_factor
        more = ((0, -height % multiple), (0, -width % multiple))
        # edges are repeated in both, so that what is painted anew at an edge does not go on beyond it
        padded, hole = np.pad(picture, (*more, (0, 0)), mode="edge"), np.pad(mask, more, mode="edge")
        (image,) = self._loaded(
            prompt=prompt,
            image=Image.fromarray(padded),
            mask_image=Image.fromarray(hole),
            height=hole.shape[0],
            width=hole.shape[1],
            strength=1.0,
            num_inference_steps=self._steps,
            generator=torch.Generator("cpu").manual_seed(seed),  # the same noise on every device
            **self.options,
        ).images
        return np.where(mask[..., None], np.asarray(image)[:height, :width], picture)


class FluxFill(_Pipeline):
    """FLUX.1 Fill (Black Forest Labs 2024), trained to fill holes; the paper's (section 3.2). Its weights,
    black-forest-labs/FLUX.1-Fill-dev, are gated and not for commercial use. In bfloat16 it takes 34 GB."""

    pipeline = "FluxFillPipeline"
    published = ("FluxFillPipeline",)
    name = "FLUX.1 Fill [dev]"
    licence = "FLUX.1 [dev] Non-Commercial License"
    commercial = False
    steps = 50
    options: ClassVar[dict[str, Any]] = {"guidance_scale": 30.0, "max_sequence_length": 512}  # as its card states


class ZImageInpaint(_Pipeline):
    """Z-Image-Turbo (Tongyi-MAI 2025), such as Tongyi-MAI/Z-Image-Turbo. In bfloat16 it takes 21 GB.

    It was not trained to fill holes: in every step what surrounds the hole is put back at that step's noise, so a hole
    may fit its surroundings less well than one filled by `FluxFill`. It needs 8 steps instead of 50.
    """

    pipeline = "ZImageInpaintPipeline"
    published = ("ZImagePipeline", "ZImageInpaintPipeline")
    name = "Z-Image-Turbo"
    licence = "Apache-2.0"
    commercial = True
    steps = 8  # that it was distilled to
    options: ClassVar[dict[str, Any]] = {"guidance_scale": 0.0, "max_sequence_length": 512}


class Telea:
    """Telea's method (2004) by OpenCV: colours grow into the hole from its edge. It knows no prompt and no chance.

    It serves where no weights are; large holes become smears.
    """

    def __init__(self) -> None:
        self._cv2 = library("cv2", "'lumosx[curate]'")
        self.card = ModelCard("Telea", "opencv", self._cv2.__version__, "Apache-2.0", True)

    def paint(self, picture: Picture, mask: np.ndarray, prompt: str, seed: int) -> Picture:
        """The picture with what is in `mask` (bool [H, W]) painted anew; all other pixels stay as they are."""
        del prompt, seed
        painted = self._cv2.inpaint(
            np.ascontiguousarray(picture), mask.astype(np.uint8), TELEA_RADIUS, self._cv2.INPAINT_TELEA
        )
        return np.where(mask[..., None], painted, picture)


def _load(kind: Any, allowed: Sequence[str], place: Place, device: str) -> Any:
    """A pipeline of a class of diffusers, out of a repository that states one of the `allowed` classes, for inference.

    Raises:
        InputError: it is of another class, cannot be read, or lacks tensors.
    """
    try:
        stated = kind.load_config(place.path).get("_class_name")
        if stated not in allowed:
            raise InputError(f"{place.source}: a pipeline of class {stated}; wanted is {' or '.join(allowed)}")
        dtype = torch.bfloat16 if torch.device(device).type == "cuda" else torch.float32
        pipeline = kind.from_pretrained(place.path, dtype=dtype, local_files_only=True)
    except UNREADABLE as error:
        raise InputError(f"{place.source}: {kind.__name__} cannot be loaded: {error}") from error
    expect_complete(place.path, pipeline.components)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(device)
