"""One transformer block of LumosX: Wan's own parameters, with relational attention over two streams.

The video and the references pass one `forward` together, because sharding, checkpointing, offload and compilation hook
exactly that call. Either stream may be absent: without references the block equals Wan's, without the video it fills
the reference cache.
"""

from collections.abc import Callable
from functools import partial, wraps
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from diffusers.models.transformers.transformer_wan import WanAttention, WanTransformerBlock
from torch import Tensor
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from lumosx.attention import attend
from lumosx.models.sequence import Group, own_heads, whole_heads, whole_sequence
from lumosx.relations.batch import LayoutBatch
from lumosx.relations.mcam import relational_cross_attention
from lumosx.relations.r2pe import apply_rotary

# What the backward pass finds of a block: everything, its inputs alone, or those and what self-attention gave.
# The values are options of PyTorch's `checkpoint`, None to go without it.
CHECKPOINTING: dict[str, dict[str, Any] | None] = {
    "none": None,
    "full": {},
    "selective": {"context_fn": partial(create_selective_checkpoint_contexts, [torch.ops.lumosx.attend.default])},
}


class Stream(NamedTuple):
    """Tokens that pass the blocks together with what rides along: videos [B, V, dim] or references [M, P, dim]."""

    tokens: Tensor
    modulation: Tensor  # [n, 6, dim]
    rotary: tuple[Tensor, Tensor]


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
        video: Stream | None,
        references: Stream | None,
        text: Tensor,
        batch: LayoutBatch,
        cached: tuple[Tensor, Tensor] | None,
        backend: str,
    ) -> tuple[Tensor | None, Tensor | None, tuple[Tensor, Tensor] | None]:
        """One block. Under sequence parallelism its streams hold this rank's slice of the tokens.

        Args:
            video, references: the streams; the one that is absent is None.
            text: [S, text, dim].
            batch: relations of the batch.
            cached: this layer's keys and values of the references, in their stream's place.
            backend: of `lumosx.attention`.

        Returns:
            Tokens of the video, tokens of the references, and without a video the references' keys and values.
        """
        streams = [stream for stream in (video, references) if stream is not None]
        tables = [(self.scale_shift_table + s.modulation.float()).unbind(dim=1) for s in streams]
        tokens = [stream.tokens for stream in streams]

        normed = [self._modulated(self.norm1, x, m[0], m[1]) for x, m in zip(tokens, tables, strict=True)]
        heads = [self._heads(x, s.rotary) for x, s in zip(normed, streams, strict=True)]
        attended = self._self_attention(heads, cached, batch, backend)
        tokens = [self._gated(x, a, m[2]) for x, a, m in zip(tokens, attended, tables, strict=True)]

        normed = [self.norm2(x.float()).type_as(x) for x in tokens]
        attended = self._cross_attention(normed, video is not None, text, batch)
        tokens = [x + a for x, a in zip(tokens, attended, strict=True)]

        normed = [self._modulated(self.norm3, x, m[3], m[4]) for x, m in zip(tokens, tables, strict=True)]
        tokens = [self._gated(x, self.ffn(n), m[5]) for x, n, m in zip(tokens, normed, tables, strict=True)]
        return (
            None if video is None else tokens[0],
            None if references is None else tokens[-1],
            heads[0][1:] if video is None else None,
        )

    def _modulated(self, norm: torch.nn.Module, x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return (norm(x.float()) * (1 + scale.unsqueeze(1)) + shift.unsqueeze(1)).type_as(x)

    def _gated(self, x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
        return (x.float() + update.float() * gate.unsqueeze(1)).type_as(x)

    def _heads(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries and keys, and values, [n, tokens, heads, head_dim]."""
        attn = self.attn1
        query = attn.norm_q(attn.to_q(x)).unflatten(-1, (attn.heads, -1))
        key = attn.norm_k(attn.to_k(x)).unflatten(-1, (attn.heads, -1))
        value = attn.to_v(x).unflatten(-1, (attn.heads, -1))
        # Under autocast the norms answer in float32, but attention wants one type.
        return apply_rotary(query, rotary).type_as(value), apply_rotary(key, rotary).type_as(value), value

    def _self_attention(
        self,
        heads: list[tuple[Tensor, Tensor, Tensor]],
        cached: tuple[Tensor, Tensor] | None,
        batch: LayoutBatch,
        backend: str,
    ) -> list[Tensor]:
        """CSAM: queries of all streams packed, keys packed video by video with each one's references."""
        group = self.sequence_group
        whole = [whole_sequence(*h, group=group) for h in heads]
        keys_values = [h[1:] for h in whole] + ([] if cached is None else [whole_sequence(*cached, group=group)])
        query = torch.cat([q.flatten(0, 1) for q, _, _ in whole])
        key, value = (torch.cat([x.flatten(0, 1) for x in parts]) for parts in zip(*keys_values, strict=True))
        if batch.key_index is not None:
            key, value = key.index_select(0, batch.key_index), value.index_select(0, batch.key_index)
        out = attend(query, key, value, batch.ranges, backend)
        sizes = [q.shape[0] * q.shape[1] for q, _, _ in whole]
        parts = [o.reshape(q.shape) for o, (q, _, _) in zip(out.split(sizes), whole, strict=True)]
        return [_output(self.attn1, whole_heads(part, group)) for part in parts]

    def _cross_attention(
        self, streams: list[Tensor], has_video: bool, text: Tensor, batch: LayoutBatch
    ) -> list[Tensor]:
        """Plain attention to the text for the video, MCAM for the references."""
        attn = self.attn2
        key = attn.norm_k(attn.to_k(text)).unflatten(-1, (attn.heads, -1))
        value = attn.to_v(text).unflatten(-1, (attn.heads, -1))
        outputs = []
        for index, x in enumerate(streams):
            query = attn.norm_q(attn.to_q(x)).unflatten(-1, (attn.heads, -1))
            if has_video and index == 0:
                shared = query.unflatten(0, (len(text), -1)).flatten(1, 2)  # videos of one scene share its text
                attended = F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in (shared, key, value)))
                attended = attended.transpose(1, 2).reshape(query.shape)
            else:
                attended = self._mcam(query, key, value, batch)
            outputs.append(_output(attn, attended))
        return outputs

    def _mcam(self, query: Tensor, key: Tensor, value: Tensor, batch: LayoutBatch) -> Tensor:
        """The references' cross-attention. It pools whole references, a head at a time."""
        group, scene = self.sequence_group, batch.scene_of_reference
        (query,) = whole_sequence(query, group=group)
        # index_select, because the backward pass of key[scene] adds in any order and runs would not repeat
        key, value = (own_heads(x, group).index_select(0, scene) for x in (key, value))
        levels, pool, upsample = (x.to(query.dtype) for x in (batch.levels, batch.pool, batch.upsample))
        return whole_heads(relational_cross_attention(query, key, value, levels, pool, upsample), group)


def _output(attn: WanAttention, attended: Tensor) -> Tensor:
    out, dropout = attn.to_out
    return dropout(out(attended.flatten(-2)))
