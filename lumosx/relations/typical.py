"""Layouts for planning ahead, before there is a scene or a clip: the references that most clips have."""

import torch

from lumosx.relations.layout import Reference, TokenLayout

PARTS_OF_A_PERSON = 3  # a face and two attributes


def typical_references(count: int) -> list[Reference]:
    """`count` references: a background, then people, of each a face and two attributes while they last."""
    members = [Reference("member", index // PARTS_OF_A_PERSON) for index in range(count - 1)]
    return [Reference("background"), *members][:count]


def typical_layout(
    video: tuple[int, int, int],
    references: int,
    text_length: int,
    r2pe: bool = True,
    csam: bool = True,
    mcam_ratio: float | None = None,
) -> TokenLayout:
    """A layout with `references` of `typical_references`, each named by a word of its own.

    Args:
        video, text_length, r2pe, csam, mcam_ratio: as for `TokenLayout`.
    """
    words = torch.eye(max(references, 1), text_length, dtype=torch.bool)[:references]
    return TokenLayout(video, typical_references(references), words, r2pe=r2pe, csam=csam, mcam_ratio=mcam_ratio)
