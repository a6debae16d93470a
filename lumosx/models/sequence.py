"""Sequence parallelism (Ulysses): the ranks of a group share the tokens of one clip.

Every rank carries a slice of the video's tokens and of each reference's through all blocks. Only attention needs what
the others hold: there tokens are exchanged for heads, so that a rank sees all tokens of its share of the heads, and
back. Layouts, ranges and MCAM's cells therefore mean the same as on one device. Without a group (None) nothing happens.

Every rank ends with the whole output and so with the same loss; its gradients are the part that its own tokens gave.
The sum over the group is the gradient of the loss.
"""

import math

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed._functional_collectives import all_to_all_single_autograd

Group = dist.ProcessGroup | None


def legal_degrees(heads: int, video_tokens: int, reference_tokens: int) -> list[int]:
    """How many ranks may share a clip: the numbers that divide the heads, a video's tokens and a reference's."""
    common = math.gcd(heads, video_tokens, reference_tokens)
    return [degree for degree in range(1, common + 1) if common % degree == 0]


def check_degree(degree: int, heads: int, video_tokens: int, reference_tokens: int) -> None:
    """Raises ValueError, with the nearest legal number, unless `degree` ranks can share a clip."""
    legal = legal_degrees(heads, video_tokens, reference_tokens)
    if degree not in legal:
        nearest = min(legal, key=lambda other: abs(other - degree))
        raise ValueError(
            f"{degree} ranks cannot share {heads} heads, {video_tokens} tokens of a video and {reference_tokens} of a "
            f"reference, because {degree} does not divide all of them; the nearest number that does is {nearest}"
        )


def size_of(group: Group) -> int:
    """How many ranks share a clip."""
    return 1 if group is None else group.size()


def own_tokens(x: Tensor, group: Group) -> Tensor:
    """This rank's slice of [n, tokens, ...], copied: a view would keep all of `x` in memory."""
    return x if group is None else x.chunk(group.size(), dim=1)[group.rank()].clone()


def own_heads(x: Tensor, group: Group) -> Tensor:
    """This rank's heads of [n, tokens, heads, head_dim]."""
    return x if group is None else x.chunk(group.size(), dim=2)[group.rank()]


def whole_sequence(*heads: Tensor, group: Group) -> tuple[Tensor, ...]:
    """Tokens for heads: tensors [n, tokens / ranks, heads, head_dim] to [n, tokens, heads / ranks, head_dim]."""
    if group is None:
        return heads
    sent = torch.cat(heads, dim=-1).unflatten(2, (group.size(), -1)).movedim(2, 0)
    received = all_to_all_single_autograd(sent.contiguous(), None, None, group)  # [from rank, n, tokens / ranks, ...]
    return received.movedim(0, 1).flatten(1, 2).chunk(len(heads), dim=-1)


def whole_heads(x: Tensor, group: Group) -> Tensor:
    """Heads for tokens: [n, tokens, heads / ranks, head_dim] to [n, tokens / ranks, heads, head_dim]."""
    if group is None:
        return x
    sent = x.unflatten(1, (group.size(), -1)).movedim(1, 0)
    received = all_to_all_single_autograd(sent.contiguous(), None, None, group)  # [from rank, n, ..., heads / ranks, _]
    return received.movedim(0, 2).flatten(2, 3)


def all_tokens(x: Tensor, group: Group) -> Tensor:
    """[n, tokens, dim] on every rank from the slices [n, tokens / ranks, dim]; backward keeps this rank's slice."""
    return x if group is None else _AllTokens.apply(x, group)  # pyright: ignore[reportReturnType]


class _AllTokens(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, group: dist.ProcessGroup) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.group = group
        x = x.contiguous()
        slices = [torch.empty_like(x) for _ in range(group.size())]
        dist.all_gather(slices, x, group=group)
        return torch.cat(slices, dim=1)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return own_tokens(grad, ctx.group), None
