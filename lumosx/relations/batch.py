"""A batch of layouts as the tensors that the network reads, made once and reused by every layer and step.

Samples with different references need no padding: every reference has H * W tokens, so the references of the whole
batch are one dense stream [M, H * W, dim] beside the videos [B, V, dim], and an index says whose they are. One layout
may serve several consecutive videos (noises or seeds of one scene), which then share its references.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from lumosx.relations.layout import TokenLayout
from lumosx.relations.mcam import pooling_maps
from lumosx.relations.r2pe import rotary_table

Part = Literal["joint", "video", "references"]
CHANNELS = 8  # fused kernels take multiples of it and copy anything else


@dataclass(frozen=True, eq=False)  # no tuple: libraries move tuples of tensors to a device, and ranges stay
class LayoutBatch:
    """What attention needs to know about S scenes with B = S * copies videos, M references and text tokens.

    Queries are packed [all videos | all references]. Keys are packed video by video, each followed by its scene's
    references; `key_index` gathers them from the queries' order and is None where the two orders agree.
    """

    video_rotary: Tensor  # (cos, sin) [1 or B, V, 1, head_dim / 2, 2]
    reference_rotary: Tensor  # (cos, sin) [M, P, 1, head_dim / 2, 2]
    scene_of_reference: Tensor  # int64 [M]
    ranges: Tensor  # int64 [n, 4], (q0, q1, k0, k1); always on the CPU: it steers kernels
    video_ranges: Tensor  # those of the videos' queries alone; on the CPU
    key_index: Tensor | None  # int64 [keys]
    levels: Tensor | None  # [M, text], r * M of equation (4); None where all of it is zero, then MCAM does nothing
    pool: Tensor  # [cells, P]; with empty cells up to a multiple of 8, as fused kernels want their channels
    upsample: Tensor  # [P, cells]


@lru_cache(maxsize=8)  # the branches of one scene; each entry holds rotary tables of ten megabytes on the device
@torch.inference_mode(False)  # what is cached may be used in training later
def batch_layouts(
    layouts: tuple[TokenLayout, ...],
    copies: int,
    part: Part,
    head_dim: int,
    mcam_ratio: float,
    table_length: int,
    ntk_scaling: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> LayoutBatch:
    """Batches `layouts`, each serving `copies` consecutive videos.

    Args:
        part: "joint" for videos and references together; "video" where the references' keys come from a cache;
            "references" for making that cache.
        mcam_ratio: r for layouts that do not state their own.
        head_dim, table_length, ntk_scaling: of `rotary_table`.
        dtype: of MCAM's tables, that of queries and keys.

    Raises:
        ValueError: layouts of different sizes, text lengths or rules; see also `rotary_table`.
    """
    first = layouts[0]
    for layout in layouts[1:]:
        if (layout.video, layout.text_length, layout.rules) != (first.video, first.text_length, first.rules):
            raise ValueError(
                f"one batch holds samples of one size, text length and rule set, not {first} beside {layout}"
            )
    if any(layout.sees_video for layout in layouts) and (copies > 1 or part != "joint"):
        raise ValueError("without CSAM references see the video: they can be neither cached nor shared by copies")
    rotary = [
        rotary_table(lo.position_ids, head_dim, ntk_scaling=ntk_scaling, table_length=table_length) for lo in layouts
    ]
    video_rotary, reference_rotary = _split_rotary(rotary, first.video_tokens, first.reference_tokens, copies)
    ratios = [mcam_ratio if lo.mcam_ratio is None else lo.mcam_ratio for lo in layouts]
    ranges, key_index = _pack(layouts, copies, part)
    videos_end = 0 if part == "references" else len(layouts) * copies * first.video_tokens
    levels = torch.cat([r * lo.text_weights for r, lo in zip(ratios, layouts, strict=True)])
    pool, upsample = pooling_maps(*first.video[1:], first.rules)
    empty = -len(pool) % CHANNELS
    counts = torch.tensor([len(lo.references) for lo in layouts])
    return LayoutBatch(
        video_rotary=video_rotary.to(device),
        reference_rotary=reference_rotary.to(device),
        scene_of_reference=torch.arange(len(layouts)).repeat_interleave(counts).to(device),
        ranges=ranges,
        video_ranges=ranges[ranges[:, 1] <= videos_end].clone(),
        key_index=None if key_index is None else key_index.to(device),
        levels=levels.to(device, dtype) if levels.any() else None,
        pool=F.pad(pool, (0, 0, 0, empty)).to(device, dtype),
        upsample=F.pad(upsample, (0, empty)).to(device, dtype),
    )


def _split_rotary(tables: list[Tensor], video_tokens: int, reference_tokens: int, copies: int) -> tuple[Tensor, Tensor]:
    """Of the videos and of the references. Videos differ only where NTK scaling stretched some of them."""
    video = torch.stack([table[:video_tokens] for table in tables]).unsqueeze(2)
    same = bool((video == video[:1]).all())
    references = torch.cat([table[video_tokens:].unflatten(0, (-1, reference_tokens)) for table in tables])
    return video[:1] if same else video.repeat_interleave(copies, dim=0), references.unsqueeze(2)


def _pack(layouts: Sequence[TokenLayout], copies: int, part: Part) -> tuple[Tensor, Tensor | None]:
    """Ranges in packed coordinates, and the gather that packs the keys."""
    video_tokens = layouts[0].video_tokens
    videos = 0 if part == "references" else len(layouts) * copies
    reference_start = videos * video_tokens  # of this scene's references, among the packed queries
    ranges, keys, key_start = [], [], 0
    for scene, layout in enumerate(layouts):
        references = torch.arange(len(layout) - video_tokens) + reference_start
        for copy in range(copies if videos else 1):
            video_start = (scene * copies + copy) * video_tokens
            shift = key_start if videos else key_start - video_tokens
            for q0, q1, k0, k1 in layout.attention_ranges:
                if videos and q0 < video_tokens:
                    block = (video_start + q0, video_start + min(q1, video_tokens))
                    ranges.append((*block, k0 + shift, k1 + shift))
                if part != "video" and copy == 0 and q1 > video_tokens:
                    offset = reference_start - video_tokens
                    ranges.append((max(q0, video_tokens) + offset, q1 + offset, k0 + shift, k1 + shift))
            if videos:
                keys.append(torch.arange(video_start, video_start + video_tokens))
            keys.append(references)
            key_start += len(references) + (video_tokens if videos else 0)
        reference_start += len(references)
    index = torch.cat(keys)
    in_order = bool((index == torch.arange(len(index))).all())
    return torch.tensor(ranges, dtype=torch.int64).view(-1, 4), None if in_order else index
