"""MCAM, the multilevel cross-attention mask: equations (3), (4) and (5).

The bias r * S * M touches reference rows only and is constant over 8 x 8 cells of a reference's grid. So it is written
into a few extra channels of queries and keys, q' = [q, onehot(cell)] and k' = [k, bias / scale], and plain attention
over them is equation (4) exactly: no bias of the size of the attention map exists, and every fused kernel applies.
"""

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Rules = Literal["paper", "release"]
CELL = 8  # the pooling factor of equation (5)


def relation_levels(
    words: Tensor,
    subjects: list[int | None],
    subject_words: Tensor | None = None,
    strengths: list[float] | None = None,
    rules: Rules = "paper",
) -> Tensor:
    """The levels M of equation (3): how each reference relates to each text token.

    Args:
        words: bool [R, text], which text tokens name reference r.
        subjects: one entry a reference: None for a background or an object, else its subject's number.
        subject_words: bool [G, text] or None, words of a subject that have no picture (text-only attributes).
        strengths: one factor a reference on its own positive levels.
        rules: "paper": -1 on words that only other subjects own. "release": minus the mean over the other subjects
            that have references, added to the own +1, as the authors' code does (a noun that two subjects share
            cancels to 0).

    Returns:
        float32 [R, text]; +1 own words, -1 other subjects' words, 0 anything else.
    """
    count = 1 + max([s for s in subjects if s is not None], default=-1)
    if subject_words is not None:
        count = max(count, len(subject_words))
    owned = torch.zeros(count, words.shape[-1], dtype=torch.bool)
    if subject_words is not None:
        owned[: len(subject_words)] |= subject_words
    for row, subject in zip(words, subjects, strict=True):
        if subject is not None:
            owned[subject] |= row
    pictured = {subject for subject in subjects if subject is not None}
    counted = pictured if rules == "release" else range(count)
    levels = words.float()  # what a background or an object owns; members own what their subject does
    for index, subject in enumerate(subjects):
        if subject is not None:
            others = owned[[other for other in counted if other != subject]]
            levels[index] = _subject_levels(owned[subject].float(), others.float(), rules)
    if strengths is not None:
        factors = torch.tensor(strengths, dtype=torch.float32).view(-1, 1)
        levels = torch.where(levels > 0, levels * factors, levels)
    return levels


def _subject_levels(own: Tensor, others: Tensor, rules: Rules) -> Tensor:
    if not len(others):
        return own
    if rules == "release":
        return own - others.mean(dim=0)
    return own - others.amax(dim=0) * (1 - own)


def pooling_maps(height: int, width: int, rules: Rules = "paper") -> tuple[Tensor, Tensor]:
    """The two linear maps of equation (5): pool a reference's grid into cells, and copy cells back to tokens.

    Args:
        height, width: the reference's size in tokens.
        rules: "paper" averages real tokens only and reads each token's own cell. "release" divides by the whole cell
            (zero padding included) and reads the upsampled map flattened and cut, so that rows shift when `width` is
            not a multiple of 8.

    Returns:
        (pool [cells, height * width], upsample [height * width, cells]), float32; `upsample` is one-hot.
    """
    rows, columns = math.ceil(height / CELL), math.ceil(width / CELL)
    token = torch.arange(height * width)
    own_cell = (token // width // CELL) * columns + (token % width) // CELL
    members = F.one_hot(own_cell, rows * columns).float()
    if rules == "release":
        padded = columns * CELL
        read_cell = (token // padded // CELL) * columns + (token % padded) // CELL
        return members.T / CELL**2, F.one_hot(read_cell, rows * columns).float()
    return members.T / members.sum(dim=0)[:, None], members


def dynamic_scale(queries: Tensor, keys: Tensor, pool: Tensor) -> Tensor:
    """S of equation (5) at the resolution of the cells: |pool(Q) K^T / sqrt(d)|.

    Args:
        queries: [M, P, heads, d], keys: [M, text, heads, d], pool: [cells, P].

    Returns:
        [M, heads, cells, text].
    """
    pooled = torch.einsum("cp,mphd->mhcd", pool, queries)
    similarity = torch.einsum("mhcd,mkhd->mhck", pooled, keys)
    return (similarity * queries.shape[-1] ** -0.5).abs()


def relational_cross_attention(
    queries: Tensor, keys: Tensor, values: Tensor, levels: Tensor, pool: Tensor, upsample: Tensor
) -> Tensor:
    """Equation (4) for the tokens of references: softmax(Q K^T / sqrt(d) + r * S * M) V.

    Args:
        queries: [M, P, heads, d], one row block a reference.
        keys, values: [M, text, heads, d], the text of each reference's scene.
        levels: [M, text], r * M.
        pool, upsample: of `pooling_maps`.

    Returns:
        [M, P, heads, d].
    """
    head_dim = queries.shape[-1]
    scale = head_dim**-0.5
    bias = dynamic_scale(queries, keys, pool) * levels[:, None, None, :]
    cells = upsample[None, :, None, :].expand(*queries.shape[:-1], -1)
    queries = torch.cat([queries, cells], dim=-1).transpose(1, 2)
    keys = torch.cat([keys.transpose(1, 2), bias.transpose(2, 3) / scale], dim=-1)
    values = F.pad(values, (0, cells.shape[-1])).transpose(1, 2)  # fused kernels want one head size
    attended = F.scaled_dot_product_attention(queries, keys, values, scale=scale)
    return attended.transpose(1, 2)[..., :head_dim]
