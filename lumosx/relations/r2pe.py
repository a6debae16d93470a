"""R2PE, relational rotary position encoding: equation (1) and the rotation that it feeds.

R2PE is only a table of positions. The members of one subject share a temporal index and are laid out along the diagonal
of the spatial plane, so that attention sees "same person, next picture" as one constant offset, whoever the person is.
"""

import torch
from torch import Tensor

AXES = ("t", "h", "w")
TABLE_LENGTH = 1024  # positions per axis that Wan2.1 was trained with
THETA = 10000.0


def relational_positions(video: tuple[int, int, int], subjects: list[int | None], *, r2pe: bool = True) -> Tensor:
    """Positions (t, h, w) of every token, equation (1).

    Args:
        video: (T, H, W), the video's size in tokens. Every reference has H x W tokens.
        subjects: one entry a reference, in token order: None for a background or an object, else its subject's number.
        r2pe: False gives every reference a temporal index of its own and no shift (the ablation's first row).

    Returns:
        int64 [L, 3], video first.
    """
    frames, height, width = video
    grid = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"), dim=-1)
    blocks = [(frame, 0) for frame in range(frames)]
    scenery = sum(subject is None for subject in subjects)
    groups = list(dict.fromkeys(subject for subject in subjects if subject is not None))
    members_seen = dict.fromkeys(groups, 0)
    for index, subject in enumerate(subjects):
        if subject is None or not r2pe:
            blocks.append((frames + index, 0))  # (T + n, i, j)
        else:
            blocks.append((frames + scenery + groups.index(subject), members_seen[subject]))
            members_seen[subject] += 1
    shift = torch.tensor([height, width])
    # (T + N_b + g, m H + i, m W + j); the video and the scenery are the case m = 0
    spatial = torch.stack([grid + member * shift for _, member in blocks])
    temporal = torch.tensor([time for time, _ in blocks]).view(-1, 1, 1, 1).expand(-1, height, width, 1)
    return torch.cat([temporal, spatial], dim=-1).reshape(-1, 3)


def rotary_table(
    position_ids: Tensor, head_dim: int, *, ntk_scaling: bool = False, table_length: int = TABLE_LENGTH
) -> Tensor:
    """Cosines and sines of the rotation of every token.

    Args:
        position_ids: int64 [..., 3].
        head_dim: channels of one head; they split into t, h, w as in Wan (44/42/42 of 128).
        ntk_scaling: stretch an axis that needs more than `table_length` positions by NTK-aware scaling of its base
            (the paper's plan for more than three subjects), instead of refusing it.

    Returns:
        float32 [..., head_dim / 2, 2]: (cos, sin) of each channel pair.

    Raises:
        ValueError: an axis needs more than `table_length` positions and `ntk_scaling` is off.
    """
    spatial = 2 * (head_dim // 6)
    angles = []
    for axis, channels in enumerate((head_dim - 2 * spatial, spatial, spatial)):
        positions = position_ids[..., axis].double()
        needed = int(positions.max()) + 1 if positions.numel() else 0
        theta = THETA
        if needed > table_length:
            if not ntk_scaling:
                raise ValueError(
                    f"R2PE needs {needed} positions on axis '{AXES[axis]}' but the model was trained with "
                    f"{table_length}: use fewer pictures a subject (or frames), a smaller size, or the model's config "
                    "rope_ntk_scaling=true"
                )
            theta *= (needed / table_length) ** (channels / (channels - 2))
        exponents = torch.arange(0, channels, 2, dtype=torch.float64, device=positions.device) / channels
        angles.append(positions[..., None] * theta**-exponents)
    angle = torch.cat(angles, dim=-1)
    return torch.stack([angle.cos(), angle.sin()], dim=-1).float()


def apply_rotary(x: Tensor, rotary: Tensor) -> Tensor:
    """Rotates adjacent channel pairs of queries or keys [..., heads, head_dim] by `rotary` [..., 1, head_dim / 2, 2].

    As a product of complex numbers it is one kernel; a compiler cannot see into those, but fuses their real form.
    """
    pairs = x.to(torch.promote_types(x.dtype, torch.float32)).unflatten(-1, (-1, 2))
    if torch.compiler.is_compiling():
        (real, imaginary), (cos, sin) = pairs.unbind(-1), rotary.unbind(-1)
        rotated = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    else:
        rotated = torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(rotary))
    return rotated.flatten(-2).type_as(x)
