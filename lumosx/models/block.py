"""One transformer block of LumosX: Wan's own parameters, with relational attention over two streams.

The video and the references pass one `forward` together, because sharding, checkpointing, offload, compilation and
diffusers' caches hook exactly that call. Without references the block equals Wan's; without the video it fills the
reference cache; without both, the text's.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from lumosx.attention import attend
from lumosx.models.sequence import Group, own_heads, whole_heads, whole_sequence
from lumosx.relations.batch import LayoutBatch
from lumosx.relations.mcam import relational_cross_attention
from lumosx.relations.r2pe import apply_rotary

KeysValues = tuple[Tensor, Tensor]  # two [n, tokens, heads, head_dim]

# What the backward pass finds of a block: everything, its inputs alone, or those and what self-attention gave.
# The values are options of PyTorch's `checkpoint`, None to go without it.
CHECKPOINTING: dict[str, dict[str, Any] | None] = {
    "none": None,
    "full": {},
    "selective": {"context_fn": partial(create_selective_checkpoint_contexts, [torch.ops.lumosx.attend.default])},
}


class Stream(NamedTuple):
    """What rides along with the tokens of the videos (n = B) or of the references (n = M) through all blocks."""

    modulation: Tensor  # [n, 6, dim]
    rotary: Tensor  # [1 or n, tokens, 1, head_dim / 2, 2]


class Pass(NamedTuple):
    """What all blocks of one pass share."""

    streams: tuple[Stream, ...]  # of the videos, if any, then of the references, if any
    batch: LayoutBatch
    backend: str  # of `lumosx.attention`


def _checkpointed(forward: Callable[..., Any]) -> Callable[..., Any]:
    """Applies `block.checkpointing` inside a block's forward pass, so that sharding and compilation act around it."""

    @wraps(forward)
    def run(block: "LumosXBlock", *inputs: Any) -> Any:
        options = CHECKPOINTING[block.checkpointing]
        if options is None:
            return forward(block, *inputs)
        return checkpoint(forward, block, *inputs, use_reentrant=False, **options)

    return run


class LumosXBlock(WanTransformerBlock):
    """`WanTransformerBlock` with CSAM and R2PE in its self-attention and MCAM in its cross-attention."""

    checkpointing = "none"  # of activations, a key of CHECKPOINTING
    sequence_group: Group = None  # the ranks that share the tokens

    @_checkpointed
    def forward(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        hidden_states: Tensor | None,
        encoder_hidden_states: Tensor | None,
        text: Tensor | KeysValues,
        shared: Pass | None,
        cached: KeysValues | None,
        last: bool,
    ) -> tuple[Tensor, ...]:
        """One block. Under sequence parallelism the tokens are this rank's slice of them.

        Args:
            hidden_states: the videos' tokens [B, V, dim], or None. The first two arguments have the names by which
                diffusers' caches know the two streams of a block.
            encoder_hidden_states: the references' tokens [M, P, dim], or None; passed on as they are where `shared` has
                no stream for them.
            text: [S, text, dim], or its keys and values in this block.
            shared: what all blocks share; None to get the text's keys and values.
            cached: this block's keys and values of the references, in their stream's place.
            last: of the references only keys and values are needed, because nothing behind this block reads them.

        Returns:
            The tokens of both streams. Without the video: the references' tokens, keys and values. Without both: the
            text's keys and values. Under sequence parallelism the references' are of all tokens and this rank's heads.
        """
        if shared is None:
            assert isinstance(text, Tensor)
            return self.text_heads(text)
        tokens = [x for x in (hidden_states, encoder_hidden_states) if x is not None][: len(shared.streams)]
        videos = int(hidden_states is not None)  # whether there is that stream
        onward = videos if last else len(tokens)  # streams that are read behind this block
        tables = [self._modulation(stream.modulation) for stream in shared.streams]

        moved, keys_values = self._self_attended(tokens, tables, shared, cached, onward, keep=not videos)
        if onward:
            moved = self._cross_attended(moved, videos > 0, text, shared.batch)
            tokens[:onward] = [self._feed_forward(x, table) for x, table in zip(moved, tables, strict=False)]
        if not videos:
            return tokens[0], *keys_values
        return tokens[0], tokens[1] if len(tokens) == 2 else encoder_hidden_states  # pyright: ignore[reportReturnType]

    def text_heads(self, text: Tensor) -> KeysValues:
        """Keys and values of cross-attention from the text [S, text, dim]."""
        attn = self.attn2
        key = attn.norm_k(attn.to_k(text)).unflatten(-1, (attn.heads, -1))
        return key, attn.to_v(text).unflatten(-1, (attn.heads, -1))

    def _modulation(self, modulation: Tensor) -> list[Tensor]:
        """Shift, 1 + scale and gate of self-attention, then of the feed-forward network; each [n, 1, dim], float32."""
        table = (self.scale_shift_table + modulation.float()).unsqueeze(2).unbind(dim=1)
        return [part + 1 if index in (1, 4) else part for index, part in enumerate(table)]

    def _heads(self, x: Tensor, rotary: Tensor, queries: bool = True) -> tuple[Tensor, ...]:
        """Rotated keys, values and, if wanted, rotated queries, [n, tokens, heads, head_dim]."""
        attn = self.attn1
        value = attn.to_v(x).unflatten(-1, (attn.heads, -1))

        def rotated(normed: Tensor) -> Tensor:
            # Under autocast the norms answer in float32, but attention wants one type.
            return apply_rotary(normed.unflatten(-1, (attn.heads, -1)), rotary).type_as(value)

        key = rotated(attn.norm_k(attn.to_k(x)))
        return (key, value, rotated(attn.norm_q(attn.to_q(x)))) if queries else (key, value)

    def _self_attended(
        self,
        tokens: list[Tensor],
        tables: list[list[Tensor]],
        shared: Pass,
        cached: KeysValues | None,
        onward: int,
        keep: bool,
    ) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        """The first `onward` streams with CSAM's output added, and if wanted the first one's keys and values.

        A function of its own so that, without gradients, nothing of it lives on through the wider feed-forward network.
        """
        group = self.sequence_group
        heads = []
        for index, (x, table, stream) in enumerate(zip(tokens, tables, shared.streams, strict=True)):
            normed = _modulated(self.norm1, x, table[0], table[1])
            heads.append(whole_sequence(*self._heads(normed, stream.rotary, queries=index < onward), group=group))
        if onward:
            ranges = shared.batch.ranges if onward == len(tokens) else shared.batch.video_ranges
            attended = self._self_attention(heads, cached, ranges, shared)
            tokens = [_gated(x, a, table[2]) for x, a, table in zip(tokens, attended, tables, strict=False)]
        return tokens, heads[0][:2] if keep else ()

    def _self_attention(
        self, heads: list[tuple[Tensor, ...]], cached: KeysValues | None, ranges: Tensor, shared: Pass
    ) -> list[Tensor]:
        """CSAM: queries of the streams that have any packed, keys packed video by video with each one's references."""
        queries = [parts[2] for parts in heads if len(parts) == 3]
        keys_values = [parts[:2] for parts in heads] + ([] if cached is None else [cached])
        query = _packed(queries)
        key, value = (_packed(parts) for parts in zip(*keys_values, strict=True))
        index = shared.batch.key_index
        if index is not None:
            key, value = key.index_select(0, index), value.index_select(0, index)
        out = attend(query, key, value, ranges, shared.backend)
        parts = out.split([q.shape[0] * q.shape[1] for q in queries])
        return [
            _output(self.attn1, whole_heads(part.reshape(q.shape), self.sequence_group))
            for part, q in zip(parts, queries, strict=True)
        ]

    def _cross_attended(
        self, streams: list[Tensor], has_video: bool, text: Tensor | KeysValues, batch: LayoutBatch
    ) -> list[Tensor]:
        """The streams with their cross-attention added: plain attention to the text for the video, MCAM for the
        references."""
        attn = self.attn2
        key, value = text if isinstance(text, tuple) else self.text_heads(text)
        outputs = []
        for index, x in enumerate(streams):
            query = attn.norm_q(attn.to_q(self.norm2(x.float()).type_as(x))).unflatten(-1, (attn.heads, -1))
            if has_video and index == 0:
                one_row_a_scene = query.unflatten(0, (len(key), -1)).flatten(1, 2)  # videos of one scene share its text
                attended = _plain_attention(one_row_a_scene, key, value).reshape(query.shape)
            else:
                attended = self._mcam(query, key, value, batch)
            outputs.append(x + _output(attn, attended))
        return outputs

    def _mcam(self, query: Tensor, key: Tensor, value: Tensor, batch: LayoutBatch) -> Tensor:
        """The references' cross-attention. MCAM pools whole references, a head at a time."""
        group, scene = self.sequence_group, batch.scene_of_reference
        (query,) = whole_sequence(query, group=group)
        key, value = (_of_references(own_heads(x, group), scene) for x in (key, value))
        if batch.levels is None:
            attended = _plain_attention(query, key, value)
        else:
            attended = relational_cross_attention(query, key, value, batch.levels, batch.pool, batch.upsample)
        return whole_heads(attended, group)

    def _feed_forward(self, x: Tensor, table: list[Tensor]) -> Tensor:
        return _gated(x, self.ffn(_modulated(self.norm3, x, table[3], table[4])), table[5])


def _modulated(norm: torch.nn.Module, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
    return torch.addcmul(shift, norm(x.float()), scale).type_as(x)


def _gated(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return torch.addcmul(x.float(), update.float(), gate).type_as(x)


def _packed(parts: "list[Tensor] | tuple[Tensor, ...]") -> Tensor:
    """[tokens of all, heads, head_dim] from several [n, tokens, heads, head_dim]."""
    rows = [part.flatten(0, 1) for part in parts]
    return rows[0] if len(rows) == 1 else torch.cat(rows)


def _of_references(x: Tensor, scene: Tensor) -> Tensor:
    """What each reference reads of [S, ...]: [M, ...]; of one scene without copying it."""
    if len(x) == 1:
        return x.expand(len(scene), *x.shape[1:])
    # not x[scene], whose backward pass adds in any order, so that runs would not repeat
    return x.index_select(0, scene)


def _plain_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """[n, queries, heads, head_dim] from [n, queries or keys, heads, head_dim]."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def _output(attn: WanAttention, attended: Tensor) -> Tensor:
    out, dropout = attn.to_out
    return dropout(out(attended.flatten(-2)))


# diffusers' FirstBlockCache, MagCache and TaylorSeer find the two streams of a block through this.
TransformerBlockRegistry.register(
    LumosXBlock, TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=1)
)
