"""Branches: the passes of the transformer that a step of guidance is made of, one after another or in one batch."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from lumosx.errors import InputError
from lumosx.flow import classifier_free, image_guided
from lumosx.models import LumosXTransformer3DModel, ReferenceCache, TextCache
from lumosx.models.caching import are_cacheable
from lumosx.models.cost import fits_together
from lumosx.pipelines.settings import Settings
from lumosx.relations import TokenLayout

Guidance = Literal["auto", "together", "apart"]
SHARE = 2  # activations of branches in one batch may take one part in this of a GPU's memory
CACHES = 2**25  # bytes: on a CPU fewer calls pay only while what they work on stays near it (scripts/benchmark.py)


@dataclass(frozen=True)
class Branch:
    """One pass of the transformer in every step: the prompt's, a negative one's, or several of them in one batch.

    The caches hold for all steps and seeds of a clip; without them text and references are computed at every step.
    """

    text: Tensor  # [S, text, D]
    layouts: tuple[TokenLayout, ...]  # S
    references: tuple[Tensor, ...]  # S of [C, R, h, w]
    text_cache: TextCache | None = None
    cache: ReferenceCache | None = None

    def inputs(self) -> dict[str, Any]:
        """Arguments of the transformer that are the same at every step."""
        text = self.text if self.text_cache is None else self.text_cache
        known = {"references": self.references} if self.cache is None else {"reference_cache": self.cache}
        return {"encoder_hidden_states": text, "layouts": self.layouts, **known}

    def without_caches(self) -> "Branch":
        """The same, computed anew at every step."""
        return replace(self, text_cache=None, cache=None)


def branch_layouts(layout: TokenLayout, settings: Settings) -> list[TokenLayout]:
    """Of the passes that a step needs: the prompt's; with guidance, the negative prompt's; with separate image
    guidance, also the negative prompt's without references."""
    by_images = settings.cfg_image not in (None, 1) and bool(layout.references)
    layouts = [layout]
    if settings.cfg != 1 or by_images:
        layouts.append(layout.without_words())
    if by_images:
        layouts.append(TokenLayout(layout.video, [], layout.words[:0], rules=layout.rules))
    return layouts


def go_together(
    branches: Sequence[Branch], guidance: Guidance, batch: int, transformer: LumosXTransformer3DModel
) -> bool:
    """Whether branches are passed as one batch; "auto": where memory allows, whatever else runs on the device.

    Args:
        batch: clips that are passed together.

    Raises:
        InputError: no such way of guidance.
    """
    if guidance not in get_args(Guidance):
        raise InputError(f"guidance is one of {', '.join(get_args(Guidance))}, not {guidance!r}")
    if guidance != "auto" or len(branches) == 1:
        return guidance == "together" and len(branches) > 1
    layouts = [layout for branch in branches for layout in branch.layouts]
    bytes_each = torch.finfo(transformer.dtype).bits // 8
    device = branches[0].text.device
    memory = torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
    free = memory_of_batch(memory)
    return fits_together(transformer.config, layouts, batch, "joint", bytes_each, free)


def memory_of_batch(memory: int | None) -> int:
    """Bytes that activations of branches in one batch may take, of a GPU's memory or, None, on a CPU."""
    return CACHES if memory is None else memory // SHARE


def together(branches: Sequence[Branch]) -> Branch:
    """Branches without caches as one."""
    return Branch(
        torch.cat([branch.text for branch in branches]),
        tuple(layout for branch in branches for layout in branch.layouts),
        tuple(latents for branch in branches for latents in branch.references),
    )


def with_caches(branch: Branch, transformer: LumosXTransformer3DModel) -> Branch:
    """Computes the text's keys and values, and those of references that do not change from step to step."""
    text = transformer.encode_text(branch.text)
    if not are_cacheable(branch.layouts, transformer.config.reference_timestep):
        return replace(branch, text_cache=text)
    cache = transformer.encode_references(branch.references, text, branch.layouts)
    return replace(branch, text_cache=text, cache=cache)


def guided(velocities: Sequence[Tensor], settings: Settings) -> Tensor:
    """One velocity from those of the branches, in their order."""
    if len(velocities) == 1:
        return velocities[0]
    if len(velocities) == 2:
        return classifier_free(velocities[0], velocities[1], settings.cfg)
    full, references, nothing = velocities
    assert settings.cfg_image is not None
    return image_guided(full, references, nothing, settings.cfg, settings.cfg_image)
