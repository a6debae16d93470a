"""From a bound scene to what the model reads: its token layout, and its pictures in the layout's order.

The one place where words that were found become rows of a table and pictures become pixels, for sampling and training.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lumosx.references import letterbox, to_tensor
from lumosx.relations.layout import Reference, TokenLayout
from lumosx.relations.mcam import Rules
from lumosx.scene import Binding
from lumosx.scene.spec import BindingOptions


def bound_layout(
    binding: Binding,
    tokens: tuple[int, int, int],
    text_length: int,
    *,
    r2pe: bool = True,
    csam: bool = True,
    mcam_ratio: float | None = None,
    rules: Rules = "paper",
) -> TokenLayout:
    """The layout of a scene whose words were bound to `text_length` tokens, for a video of `tokens` (T, H, W)."""
    references = []
    for entity in binding.references:
        role = "member" if entity.subject is not None else entity.kind
        references.append(Reference(role, entity.subject, entity.strength))  # pyright: ignore[reportArgumentType]
    subject_words = None
    if binding.subject_words is not None:
        subject_words = _marked(binding.subject_words, text_length)
    return TokenLayout(
        tokens,
        references,
        _marked(binding.words, text_length),
        subject_words,
        r2pe=r2pe,
        csam=csam,
        mcam_ratio=mcam_ratio,
        rules=rules,
    )


def chosen_relations(options: BindingOptions, own: Mapping[str, Any]) -> dict[str, Any]:
    """What a scene's switches choose, as arguments of `TokenLayout` but for its rules.

    Args:
        own: the checkpoint's configuration, which holds for what they leave open.
    """
    return {
        "r2pe": own["r2pe"] if options.r2pe is None else options.r2pe,
        "csam": own["csam"] if options.csam is None else options.csam,
        "mcam_ratio": 0.0 if options.mcam is False else options.mcam_ratio,
    }


def bound_pictures(binding: Binding, width: int, height: int) -> Tensor:
    """The pictures of a bound scene's references, prepared for a clip of that size: float32 [R, 3, H, W] in [-1, 1]."""
    pictures = [torch.zeros(0, 3, height, width)]
    for entity in binding.references:
        image = entity.image
        assert image is not None  # what makes it a reference
        pictures.append(to_tensor(letterbox(image.open(), width, height, fit=image.fit, pad=image.pad))[None])
    return torch.cat(pictures)


def _marked(indices: Sequence[Sequence[int]], length: int) -> Tensor:
    table = torch.zeros(len(indices), length, dtype=torch.bool)
    for row, tokens in zip(table, indices, strict=True):
        row[list(tokens)] = True
    return table
