"""Where attention goes: what share of it each token gives to each segment and to each entity's words, layer by layer.

A share is what attention itself answers when the values say which group a key belongs to (one-hot). So the block's own
functions are asked, with its own queries and keys: masks and biases are respected exactly, and no map of all tokens by
all tokens is ever made.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.attention import attend
from lumosx.models.block import LumosXBlock, Pass
from lumosx.models.transformer import LumosXTransformer3DModel
from lumosx.relations import TokenLayout


@dataclass(frozen=True)
class AttentionMap:
    """One layer's attention, averaged over its heads: each token's shares, which sum to 1.

    to_segments: float32 [L, S], self-attention, in the layout's order of tokens and segments.
    to_words: float32 [L, W], cross-attention, in the order of the columns asked for.
    """

    to_segments: Tensor
    to_words: Tensor


@contextmanager
def observe_attention(
    model: LumosXTransformer3DModel, layout: TokenLayout, words: Tensor
) -> Iterator[list[AttentionMap]]:
    """Maps of the forward pass that is made in the block, one a layer. It computes what it always does.

    Args:
        layout: of the one video that is passed; its references are passed too, not taken from a cache.
        words: float [text, W], what share of each text token belongs to each column, such as of `word_columns`.

    Raises:
        ValueError: the ranks of a group share the model's tokens; in the forward pass: more than one video, or a cache.
    """
    if model.sequence_group is not None:
        raise ValueError("attention is observed on whole sequences: switch sequence parallelism off")
    maps: list[AttentionMap] = []
    with ExitStack() as stack:
        stack.callback(setattr, model, "references_to_the_end", model.references_to_the_end)
        model.references_to_the_end = True
        for block in model.blocks:
            assert isinstance(block, LumosXBlock)
            for handle in _hooks(block, layout, words.float(), maps):
                stack.callback(handle.remove)
        yield maps


def _hooks(block: LumosXBlock, layout: TokenLayout, words: Tensor, maps: list[AttentionMap]) -> list[Any]:
    inputs = defaultdict[str, list[Tensor]](list)  # of the two query projections, stream by stream

    def noting(name: str) -> Callable[..., None]:
        return lambda _, arguments: inputs[name].append(arguments[0])

    def begin(_: LumosXBlock, arguments: tuple[Any, ...]) -> None:
        inputs.clear()
        video, cached = arguments[0], arguments[4]
        if cached is not None or video is None or len(video) != 1:
            raise ValueError("attention is observed of one video at a time, with its references and without a cache")

    def end(_: LumosXBlock, arguments: tuple[Any, ...], __: object) -> None:
        with torch.no_grad(), torch.autocast(arguments[0].device.type, enabled=False):
            normed, queried = inputs["attn1"][:], inputs["attn2"][:]  # the projections are used again
            to_segments = _to_segments(block, normed, arguments, layout)
            maps.append(AttentionMap(to_segments, _to_words(block, queried, arguments, words)))

    return [
        block.register_forward_pre_hook(begin),
        block.attn1.to_q.register_forward_pre_hook(noting("attn1")),
        block.attn2.to_q.register_forward_pre_hook(noting("attn2")),
        block.register_forward_hook(end),
    ]


def _to_segments(block: LumosXBlock, normed: list[Tensor], arguments: tuple[Any, ...], layout: TokenLayout) -> Tensor:
    shared: Pass = arguments[3]
    heads = [block._heads(x, stream.rotary) for x, stream in zip(normed, shared.streams, strict=True)]
    key, query = (torch.cat([h[part].flatten(0, 1).float() for h in heads]) for part in (0, 2))
    ranges = shared.batch.ranges
    segments = F.one_hot(_segment_of_token(layout), len(layout.segments)).float().to(query.device)
    return _shares(lambda values: attend(query, key, values, ranges), segments, key.shape[1:])


def _to_words(block: LumosXBlock, queried: list[Tensor], arguments: tuple[Any, ...], words: Tensor) -> Tensor:
    attn, text, batch = block.attn2, arguments[2], arguments[3].batch
    key = (text if isinstance(text, tuple) else block.text_heads(text))[0].float()
    queries = [attn.norm_q(attn.to_q(x)).unflatten(-1, (attn.heads, -1)).float() for x in queried]

    def attention(values: Tensor) -> Tensor:
        video, keys, whose = (x.transpose(1, 2) for x in (queries[0], key, values[None]))
        seen = F.scaled_dot_product_attention(video, keys, whose)
        rows = [seen.transpose(1, 2), *(block._mcam(query, key, values[None], batch) for query in queries[1:])]
        return torch.cat([row.flatten(0, 1) for row in rows])

    return _shares(attention, words.to(key.device), key.shape[2:])


def _shares(attention: Callable[[Tensor], Tensor], groups: Tensor, head_shape: Sequence[int]) -> Tensor:
    """The share of each query's attention on each group, mean over heads, on the CPU.

    Args:
        attention: values [keys, heads, head_dim] -> [queries, heads, head_dim].
        groups: [keys, n], what share of a key belongs to each group.
    """
    heads, head_dim = head_shape
    found = []
    for part in groups.split(head_dim, dim=1):  # values are as wide as a head, for every kernel
        values = F.pad(part, (0, head_dim - part.shape[1]))[:, None].expand(-1, heads, -1)
        found.append(attention(values).mean(dim=1)[:, : part.shape[1]].cpu())
    return torch.cat(found, dim=1)


def by_segment(shares: Tensor, layout: TokenLayout) -> Tensor:
    """Means over the tokens of each segment: [L, n] -> [S, n]."""
    return torch.stack([shares[segment.start : segment.stop].mean(dim=0) for segment in layout.segments])


def word_columns(layout: TokenLayout, prompt_tokens: int) -> Tensor:
    """Whose each text token is, for `observe_attention`: float [text, R + G + 2], rows sum to 1.

    Columns: each reference's words; each subject's words without a picture (none: G = 0); the prompt's other tokens;
    those from `prompt_tokens` on, its end and the padding. A token that names several is shared out equally.
    """
    named = layout.words if layout.subject_words is None else torch.cat([layout.words, layout.subject_words])
    free, behind = ~named.any(dim=0), torch.arange(layout.text_length) >= prompt_tokens
    columns = torch.cat([named, (free & ~behind)[None], (free & behind)[None]]).float()
    return (columns / columns.sum(dim=0)).T.contiguous()


def co_attention(to_segments: Tensor, layout: TokenLayout, attributes: Sequence[int], faces: Sequence[int]) -> Tensor:
    """On whose part of the video does it look at an attribute: float32 [attributes, faces], rows sum to 1.

    Row a, column g: sum over video tokens v of A[v, a] * A[v, face g] / sum over u of A[u, face g], divided by the
    row's sum, where A[v, r] is the share of v's self-attention on reference r. Each face's attention is a distribution
    over the video, so that a face that is looked at more from everywhere gains nothing by it. It is an indication and
    no measurement: video tokens may look at a face without drawing that person, and a model may bind in other ways.

    Args:
        to_segments: of an `AttentionMap`.
        attributes, faces: numbers of references.
    """
    video = to_segments[: layout.video_tokens, 1:].double()
    places = video[:, list(faces)] / video[:, list(faces)].sum(dim=0)
    together = video[:, list(attributes)].T @ places
    return (together / together.sum(dim=1, keepdim=True)).float()


def _segment_of_token(layout: TokenLayout) -> Tensor:
    lengths = torch.tensor([segment.stop - segment.start for segment in layout.segments])
    return torch.arange(len(lengths)).repeat_interleave(lengths)
