"""What the transformer costs: parameters, FLOPs and activations, from its configuration and layouts alone.

Nothing is built or run, so a plan for the largest model takes no time and no memory. Tests hold every formula to
PyTorch's own counters. A multiplication and an addition are two FLOPs.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from lumosx.relations import TokenLayout
from lumosx.relations.mcam import CELL

Config = Mapping[str, Any]  # of `LumosXTransformer3DModel`, all keys
FLOAT32 = 4  # bytes


class Flops(NamedTuple):
    """FLOPs of one pass, part by part."""

    linear: int  # matrix products with weights
    self_attention: int
    cross_attention: int  # without MCAM
    mcam: int  # pooled similarity, and the channels that carry the bias

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self)

    @property
    def attention(self) -> int:
        """What fused attention kernels do."""
        return self.total - self.linear


class Activations(NamedTuple):
    """Bytes that a training pass holds at its peak, as the backward pass begins."""

    kept: int  # by all blocks until the backward pass reaches them
    block: int  # of the one block that is computed again just then; 0 without checkpointing
    passing: int  # gradients on their way through a block
    rest: int  # before and behind the blocks

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self)


def width(config: Config) -> int:
    """Channels of a token."""
    return config["num_attention_heads"] * config["attention_head_dim"]


def parameters(config: Config) -> dict[str, int]:
    """Numbers of parameters, part by part."""
    dim, ffn, layers = width(config), config["ffn_dim"], config["num_layers"]
    patch = math.prod(config["patch_size"])
    norm2 = 2 * dim if config["cross_attn_norm"] else 0
    return {
        "patches and head": _linear(config["in_channels"] * patch, dim)
        + _linear(dim, config["out_channels"] * patch)
        + 2 * dim,
        "text embedding": _linear(config["text_dim"], dim) + _linear(dim, dim),
        "time embedding": _linear(config["freq_dim"], dim) + _linear(dim, dim) + _linear(dim, 6 * dim),
        "self-attention": layers * (4 * _linear(dim, dim) + 2 * dim),
        "cross-attention": layers * (4 * _linear(dim, dim) + 2 * dim),
        "feed-forward": layers * (_linear(dim, ffn) + _linear(ffn, dim)),
        "norms and modulation": layers * (norm2 + 6 * dim),
    }


def block_parameters(config: Config) -> int:
    """Parameters of one block."""
    parts = parameters(config)
    return sum(parts[part] for part in _BLOCK_PARTS) // config["num_layers"]


_BLOCK_PARTS = ("self-attention", "cross-attention", "feed-forward", "norms and modulation")


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def flops_by_part(config: Config, layouts: Sequence[TokenLayout], copies: int = 1) -> Flops:
    """FLOPs of a forward pass.

    Args:
        layouts: one a scene.
        copies: videos of each scene, which share its references.
    """
    return Flops(*map(sum, zip(*(_scene_flops(config, layout, copies) for layout in layouts), strict=True)))


def _scene_flops(config: Config, layout: TokenLayout, copies: int) -> Flops:
    dim, layers, text = width(config), config["num_layers"], layout.text_length
    video, references = copies * layout.video_tokens, len(layout.references) * layout.reference_tokens
    cells = _cells(layout)
    pooled = len(layout.references) * cells  # rows of the pooled queries
    bias_channels = 2 * cells * config["num_attention_heads"]  # beside the heads' own, in queries and in values
    return Flops(
        linear=_outer_flops(config, layout, copies)
        + layers * ((video + references) * 2 * (6 * dim**2 + 2 * dim * config["ffn_dim"]) + text * 4 * dim**2),
        self_attention=layers * 4 * dim * _attended_pairs(layout, copies),
        cross_attention=layers * 4 * dim * (video + references) * text,
        mcam=layers * (2 * dim * pooled * (layout.reference_tokens + text) + 2 * bias_channels * references * text),
    )


def _outer_flops(config: Config, layout: TokenLayout, copies: int) -> int:
    """Patches, text embedding, time embedding and head."""
    dim, patch = width(config), math.prod(config["patch_size"])
    video, references = copies * layout.video_tokens, len(layout.references) * layout.reference_tokens
    patches = (video + references) * config["in_channels"] * patch * dim
    head = video * config["out_channels"] * patch * dim
    text = layout.text_length * (config["text_dim"] * dim + dim**2)
    time = copies * (config["freq_dim"] * dim + 7 * dim**2)
    return 2 * (patches + head + text + time)


def _attended_pairs(layout: TokenLayout, copies: int) -> int:
    """Pairs of a query and a key: every video attends for itself, references once for all."""
    pairs = 0
    for q0, q1, k0, k1 in layout.attention_ranges:
        of_video = min(q1, layout.video_tokens) - min(q0, layout.video_tokens)
        pairs += (copies * of_video + (q1 - q0 - of_video)) * (k1 - k0)
    return pairs


def _cells(layout: TokenLayout) -> int:
    return math.ceil(layout.video[1] / CELL) * math.ceil(layout.video[2] / CELL)


def training_flops(forward: Flops, frozen: bool = False) -> int:
    """FLOPs that a training step needs: three forward passes, one of them for the gradients of the weights.

    Args:
        frozen: the weights have none (low-rank adapters).
    """
    return 3 * forward.total - (forward.linear if frozen else 0)


def hardware_flops(forward: Flops, checkpointing: str, frozen: bool = False) -> int:
    """FLOPs that a training step computes: `training_flops`, and what is computed again.

    Fused attention computes its scores again in any backward pass. Checkpointing repeats a block's forward pass,
    "selective" without attention, whose outputs it keeps.
    """
    scores = forward.attention // 2
    again = {"none": 0, "selective": forward.linear, "full": forward.total}[checkpointing]
    return training_flops(forward, frozen) + scores + again


def activations(
    config: Config, layouts: Sequence[TokenLayout], copies: int, checkpointing: str, precision: str
) -> Activations:
    """Bytes of activations of a training pass without compilation, which keeps less.

    Args:
        layouts, copies: as for `flops_by_part`.
        checkpointing: "none", "full" or "selective".
        precision: "fp32" or "bf16".
    """
    size = FLOAT32 if precision == "fp32" else 2
    dim, layers = width(config), config["num_layers"]
    tokens = sum(copies * layout.video_tokens + len(layout) - layout.video_tokens for layout in layouts)
    block = sum(_block_bytes(config, layout, copies, size) for layout in layouts)
    if precision == "bf16":
        block += 2 * block_parameters(config)  # autocast's copies of the weights
    inputs = tokens * dim * size
    attended = tokens * (dim * size + config["num_attention_heads"] * FLOAT32)  # output and log-sum-exp
    kept, again = {
        "none": (block, 0),
        "selective": (inputs + attended, block - attended),
        "full": (inputs, block),
    }[checkpointing]
    return Activations(
        kept=layers * kept,
        block=again,
        passing=tokens * (config["ffn_dim"] * size + 2 * dim * FLOAT32),
        rest=sum(_outer_bytes(config, layout, copies, size) for layout in layouts),
    )


def _block_bytes(config: Config, layout: TokenLayout, copies: int, size: int) -> int:
    """What autograd saves in one block of one scene.

    Of width `dim` and float32 for each token: 5 in norms, 2 in gates, 6 in the norms of queries and keys. In the
    precision of the pass: the inputs of 3 groups of linear layers, queries, keys, values and output of
    self-attention, queries and output of cross-attention, and two of width `ffn_dim`.
    """
    dim, heads, text = width(config), config["num_attention_heads"], layout.text_length
    video, references = copies * layout.video_tokens, len(layout.references) * layout.reference_tokens
    tokens = video + references
    with_bias = dim + _cells(layout) * heads  # channels of MCAM's queries, keys and values
    texts = len(layout.references)  # each reference reads keys and values of its own
    return (
        tokens * (13 * dim * FLOAT32 + 7 * dim * size + 2 * config["ffn_dim"] * size + 2 * heads * FLOAT32)
        + video * 2 * dim * size
        + references * (2 * with_bias + dim) * size
        + text * (2 * dim * FLOAT32 + 2 * dim * size + texts * 2 * with_bias * size)
    )


def _outer_bytes(config: Config, layout: TokenLayout, copies: int, size: int) -> int:
    """Text and its embedding, the head, and latents as they are noised, predicted and compared."""
    dim, video = width(config), copies * layout.video_tokens
    latents = video * config["out_channels"] * math.prod(config["patch_size"])
    text = layout.text_length * (config["text_dim"] + 3 * dim)
    return text * size + video * dim * (2 * FLOAT32 + size) + 3 * latents * FLOAT32
