"""What the transformer costs: parameters, FLOPs and activations, from its configuration and layouts alone.

Nothing is built or run, so a plan for the largest model takes no time and no memory. Tests hold every formula to
PyTorch's own counters. A multiplication and an addition are two FLOPs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from lumosx.relations import TokenLayout
from lumosx.relations.batch import CHANNELS, Part
from lumosx.relations.mcam import CELL

Config = Mapping[str, Any]  # of `LumosXTransformer3DModel`, all keys
FLOAT32 = 4  # bytes


class Flops(NamedTuple):
    """FLOPs of one pass, part by part."""

    embeddings: int  # of patches, text and time, and the head
    linear: int  # the blocks' matrix products with weights
    self_attention: int
    cross_attention: int  # without MCAM
    mcam: int  # pooled similarity, and the channels that carry the bias

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self)

    @property
    def products(self) -> int:
        """Matrix products with weights; the rest is attention."""
        return self.embeddings + self.linear

    @property
    def attention(self) -> int:
        """What fused attention kernels do."""
        return self.total - self.products


FLOP_NAMES = {  # of the fields of `Flops`, for a reader
    "embeddings": "patches, embeddings, head",
    "linear": "linear layers of the blocks",
    "self_attention": "self-attention",
    "cross_attention": "cross-attention",
    "mcam": "MCAM",
}


class Activations(NamedTuple):
    """Bytes that a training pass holds at its peak, as the backward pass begins."""

    kept: int  # by all blocks until the backward pass reaches them
    block: int  # of the one block that is computed again just then; 0 without checkpointing
    passing: int  # gradients on their way through a block; with checkpointing those of its output
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


def flops_by_part(
    config: Config, layouts: Sequence[TokenLayout], copies: int = 1, part: Part = "joint", text_cached: bool = False
) -> Flops:
    """FLOPs of a pass through the blocks.

    In the last block references have keys and values only, because nothing behind it reads the rest of them.

    Args:
        layouts: one a scene, all of one batch.
        copies: videos of each scene, which share its references.
        part: "joint": videos and references, as in training, or where references change with the timestep. "video":
            the references' keys and values are cached. "references": the pass that fills that cache.
        text_cached: keys and values of the text are, too (`text_flops`).
    """
    related = has_relations(config, layouts)
    parts = (_scene_flops(config, layout, copies, part, text_cached, related) for layout in layouts)
    zero = config["reference_timestep"] == "zero" and part != "video" and any(lo.references for lo in layouts)
    total = sum_flops(parts)
    return total._replace(embeddings=total.embeddings + zero * _time_flops(config))


def sum_flops(passes: Iterable[Flops]) -> Flops:
    """Of all passes together."""
    return Flops(*map(sum, zip((0,) * len(Flops._fields), *passes, strict=True)))


def text_flops(config: Config, text: int) -> Flops:
    """FLOPs of the text's embedding and of its keys and values in all blocks, once a clip and branch.

    Args:
        text: tokens.
    """
    return Flops(_embedding_flops(config, text), config["num_layers"] * text * 4 * width(config) ** 2, 0, 0, 0)


def paper_flops(config: Config, layout: TokenLayout) -> int:
    """FLOPs of a pass as the paper counts them: linear layers alone, the references' in the last block too."""
    dim, whole = width(config), _block_flops_of_token(config)
    blocks = config["num_layers"] * (len(layout) * whole + layout.text_length * 4 * dim**2)
    return blocks + _outside_flops(config, layout, 1, "joint", False)


def has_relations(config: Config, layouts: Sequence[TokenLayout]) -> bool:
    """Whether MCAM acts on a batch: on all of it, or nowhere, where no word names anything or its ratio is 0."""
    ratios = [config["mcam_ratio"] if layout.mcam_ratio is None else layout.mcam_ratio for layout in layouts]
    return any(ratio and layout.text_weights.any() for ratio, layout in zip(ratios, layouts, strict=True))


def _block_flops_of_token(config: Config) -> int:
    """Of one block's linear layers: queries, keys, values and output of self-attention, queries and output of
    cross-attention, two of width `ffn_dim`."""
    dim = width(config)
    return 2 * (6 * dim**2 + 2 * dim * config["ffn_dim"])


def _scene_flops(
    config: Config, layout: TokenLayout, copies: int, part: Part, text_cached: bool, related: bool
) -> Flops:
    dim, layers, text, whole = width(config), config["num_layers"], layout.text_length, _block_flops_of_token(config)
    video, references = _tokens(layout, copies, part)
    read_text = 0 if text_cached else layers - (part == "references")  # blocks that need its keys and values
    of_video, of_references = _attended_pairs(layout, copies)
    cells = _cells(layout)
    pooled = len(layout.references) * cells  # rows of the pooled queries
    bias_channels = 2 * cells * config["num_attention_heads"]  # beside the heads' own, in queries and in values
    mcam = 2 * dim * pooled * (layout.reference_tokens + text) + 2 * bias_channels * references * text
    return Flops(
        embeddings=_outside_flops(config, layout, copies, part, text_cached),
        linear=layers * video * whole
        + (layers - 1) * references * whole
        + references * 4 * dim**2
        + read_text * text * 4 * dim**2,
        self_attention=4 * dim * (layers * of_video * (video > 0) + (layers - 1) * of_references * (references > 0)),
        cross_attention=4 * dim * (layers * video + (layers - 1) * references) * text,
        mcam=(layers - 1) * mcam * (related and references > 0),
    )


def _tokens(layout: TokenLayout, copies: int, part: Part) -> tuple[int, int]:
    """Those of the videos and of the references that pass the blocks."""
    video, references = copies * layout.video_tokens, len(layout.references) * layout.reference_tokens
    return video if part != "references" else 0, references if part != "video" else 0


def _outside_flops(config: Config, layout: TokenLayout, copies: int, part: Part, text_cached: bool) -> int:
    dim, patch = width(config), math.prod(config["patch_size"])
    video, references = _tokens(layout, copies, part)
    patches = (video + references) * config["in_channels"] * patch * dim
    head = video * config["out_channels"] * patch * dim
    text = 0 if text_cached else _embedding_flops(config, layout.text_length)
    return 2 * (patches + head) + text + (video > 0) * copies * _time_flops(config)


def _embedding_flops(config: Config, text: int) -> int:
    return 2 * text * (config["text_dim"] * width(config) + width(config) ** 2)


def _time_flops(config: Config) -> int:
    return 2 * (config["freq_dim"] * width(config) + 7 * width(config) ** 2)


def _attended_pairs(layout: TokenLayout, copies: int) -> tuple[int, int]:
    """Pairs of a query and a key, the query of a video or of a reference.

    Every video attends for itself, references once for all.
    """
    of_video, of_references = 0, 0
    for q0, q1, k0, k1 in layout.attention_ranges:
        queries = max(min(q1, layout.video_tokens) - q0, 0)
        of_video += copies * queries * (k1 - k0)
        of_references += (q1 - q0 - queries) * (k1 - k0)
    return of_video, of_references


def _cells(layout: TokenLayout) -> int:
    """Of one reference, those that fill up to the kernels' multiple included."""
    cells = math.ceil(layout.video[1] / CELL) * math.ceil(layout.video[2] / CELL)
    return math.ceil(cells / CHANNELS) * CHANNELS


def training_flops(forward: Flops, frozen: bool = False) -> int:
    """FLOPs that a training step needs: three forward passes, one of them for the gradients of the weights.

    Args:
        frozen: the weights have none (low-rank adapters).
    """
    return 3 * forward.total - (forward.products if frozen else 0)


def hardware_flops(forward: Flops, checkpointing: str, frozen: bool = False) -> int:
    """FLOPs that a training step computes: `training_flops`, and what is computed again.

    Fused attention computes its scores again in any backward pass. Checkpointing repeats a block's forward pass,
    "selective" without attention, whose outputs it keeps.
    """
    scores = forward.attention // 2
    again = {"none": 0, "selective": forward.products, "full": forward.total}[checkpointing]
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
    tokens = sum(sum(_tokens(layout, copies, "joint")) for layout in layouts)
    weights = 2 * block_parameters(config) if precision == "bf16" else 0  # autocast's copies of them
    whole, last = (_block_bytes(config, layouts, copies, size, last=last) + weights for last in (False, True))
    inputs = tokens * dim * size
    row = dim * size + config["num_attention_heads"] * FLOAT32  # output and log-sum-exp of a query
    attended = tokens * row
    attended_last = row * sum(copies * layout.video_tokens for layout in layouts)
    kept, kept_last, again, again_last = {
        "none": (whole, last, 0, 0),
        "selective": (inputs + attended, inputs + attended_last, whole - attended, last - attended_last),
        "full": (inputs, inputs, whole, last),
    }[checkpointing]
    return Activations(
        kept=(layers - 1) * kept + kept_last,
        block=max(again_last, again - kept_last),  # the last block, or the one before, when the last is done with
        passing=tokens * (dim * size if checkpointing != "none" else config["ffn_dim"] * size + 2 * dim * FLOAT32),
        rest=sum(_outer_bytes(config, layout, copies, size) for layout in layouts),
    )


def _block_bytes(config: Config, layouts: Sequence[TokenLayout], copies: int, size: int, last: bool) -> int:
    """What autograd saves in one block.

    Of width `dim` and float32 for each token: 5 in norms, 2 in gates, 6 in the norms of queries and keys. In the
    precision of the pass: the inputs of 3 groups of linear layers, queries, keys, values and output of
    self-attention, queries and output of cross-attention, and two of width `ffn_dim`. A reference of the last block
    gets as far as its keys and values.
    """
    dim, heads, ffn = width(config), config["num_attention_heads"], config["ffn_dim"]
    related = has_relations(config, layouts)
    total = 0
    for layout in layouts:
        video, references = _tokens(layout, copies, "joint")
        text, passing = layout.text_length, video + references * (not last)
        with_bias = dim + _cells(layout) * heads * related  # channels of MCAM's queries, keys and values
        texts = len(layout.references) * (not last)  # each reference reads keys and values of its own
        total += (
            passing * (13 * dim * FLOAT32 + 7 * dim * size + 2 * ffn * size + 2 * heads * FLOAT32)
            + video * 2 * dim * size
            + (references * (4 * dim * FLOAT32 + 3 * dim * size) if last else 0)
            + (0 if last else references * (2 * with_bias + dim * related) * size)
            + text * (2 * dim * FLOAT32 + 2 * dim * size + texts * 2 * with_bias * size)
        )
    return total


def _outer_bytes(config: Config, layout: TokenLayout, copies: int, size: int) -> int:
    """Text and its embedding, the head, and latents as they are noised, predicted and compared."""
    dim, video = width(config), copies * layout.video_tokens
    latents = video * config["out_channels"] * math.prod(config["patch_size"])
    text = layout.text_length * (config["text_dim"] + 3 * dim)
    return text * size + video * dim * (2 * FLOAT32 + size) + 3 * latents * FLOAT32


def sampling_activations(
    config: Config, layouts: Sequence[TokenLayout], copies: int = 1, part: Part = "joint", size: int = 2
) -> int:
    """Bytes of activations of a pass without gradients, without compilation, beside weights and caches.

    They are most in a block's feed-forward network, whose width should be 3 `dim` or more: twice its width for the
    stream that is in it. Only of many references and a short video, self-attention takes more: its keys are copied.

    Args:
        layouts, copies, part: as for `flops_by_part`.
        size: bytes of a number: 2 in bf16.
    """
    video, references = map(sum, zip(*(_tokens(layout, copies, part) for layout in layouts), strict=True))
    dim, largest = width(config), max(video, references)
    done = video if references > video else 0  # the other stream's output
    feed_forward = largest * (dim + 2 * config["ffn_dim"]) + (2 * (video + references) + done) * dim
    attention = (HELD * (video + references) + _attention_rows(layouts, copies, part)) * dim
    tables = sum(len(layout) for layout in layouts) * config["attention_head_dim"] * FLOAT32  # rotary
    return size * max(feed_forward, attention) + tables


HELD = 5  # times all tokens, as a block attends: as they came in, normed, and as queries, keys and values


def _attention_rows(layouts: Sequence[TokenLayout], copies: int, part: Part) -> int:
    """Rows of width `dim` that self-attention makes: queries and keys packed, keys and values gathered, output."""
    video, references = map(sum, zip(*(_tokens(layout, copies, "joint") for layout in layouts), strict=True))
    if part == "references" or not references:  # one stream is packed as it is
        return 2 * (references if part == "references" else video)
    queries = video + references if part == "joint" else video
    keys = 2 * (video + references)
    several = len(layouts) * copies > 1  # videos, each to be followed by its own references
    gathered = 2 * several * copies * sum(len(layout) for layout in layouts)
    return (part == "joint") * queries + max(keys + gathered, (gathered or keys) + 2 * queries)


def reference_cache_bytes(config: Config, layout: TokenLayout, size: int = 2) -> int:
    """Bytes of the references' keys and values in all layers."""
    return _cache_bytes(config, len(layout.references) * layout.reference_tokens, size)


def text_cache_bytes(config: Config, text: int, size: int = 2) -> int:
    """Bytes of the keys and values of `text` tokens in all layers."""
    return _cache_bytes(config, text, size)


def _cache_bytes(config: Config, tokens: int, size: int) -> int:
    return 2 * config["num_layers"] * tokens * width(config) * size


def fits_together(
    config: Config, layouts: Sequence[TokenLayout], copies: int, part: Part, size: int, free: int
) -> bool:
    """Whether a pass of all branches of guidance as one batch fits into memory beside weights and caches.

    Args:
        layouts: of the branches.
        copies, part, size: as for `sampling_activations`.
        free: bytes that a pass may take.
    """
    return sampling_activations(config, layouts, copies, part, size) <= free
