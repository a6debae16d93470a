"""Rows of a result put together from the parts that kernels gave, with no more memory traffic than it takes."""

from collections.abc import Iterable
from operator import itemgetter

import torch
from torch import Tensor

from lumosx.attention.dense import Range

Part = tuple[int, Tensor]  # the first row, and consecutive rows [n, ...] from there on


def sorted_ranges(ranges: Tensor) -> tuple[Range, ...]:
    """Those with any query and any key, by query rows. Made of a CPU tensor; hashable, to find again what is cached."""
    return tuple(sorted((q0, q1, k0, k1) for q0, q1, k0, k1 in ranges.tolist() if q1 > q0 and k1 > k0))


def assemble(parts: Iterable[Part], rows: int, like: Tensor) -> Tensor:
    """Disjoint parts as one tensor [rows, ...]; rows of no part are zero.

    A part that has all rows is returned as it is. Otherwise every row is written once.

    Args:
        like: gives type, device and all sizes but the first.
    """
    pieces, end = [], 0
    for start, part in sorted(parts, key=itemgetter(0)):
        if start > end:
            pieces.append(like.new_zeros(start - end, *like.shape[1:]))
        pieces.append(part)
        end = start + len(part)
    if end < rows or not pieces:
        pieces.append(like.new_zeros(rows - end, *like.shape[1:]))
    return pieces[0].contiguous() if len(pieces) == 1 else torch.cat(pieces)


def add_up(parts: list[Part], like: Tensor) -> Tensor:
    """The sum of parts that may overlap, of `like`'s shape. A part that has all rows is written over."""
    whole = next((part for _, part in parts if len(part) == len(like)), None)
    total = like.new_zeros(like.shape) if whole is None else whole.contiguous()
    for start, part in parts:
        if part is not whole:
            total[start : start + len(part)].add_(part)  # += would copy the rows onto themselves as well
    return total
