"""R2PE's rotation: Wan's own for the video, refused or stretched beyond the table."""

import pytest
import torch
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed

from lumosx.relations.r2pe import apply_rotary, relational_positions, rotary_table


@pytest.mark.parametrize("head_dim", [12, 16, 32, 64, 128])
def test_the_video_has_wans_table(head_dim: int) -> None:
    frames, height, width = 3, 4, 5
    wan = WanRotaryPosEmbed(head_dim, (1, 2, 2), 1024)
    cos, sin = wan(torch.empty(1, 16, frames, 2 * height, 2 * width))  # every value twice, once a channel
    ours = rotary_table(relational_positions((frames, height, width), []), head_dim)
    torch.testing.assert_close(ours[..., 0], cos[0, :, 0, 0::2].float())
    torch.testing.assert_close(ours[..., 1], sin[0, :, 0, 1::2].float())


def test_128_channels_split_into_22_21_21_pairs() -> None:
    for axis, pairs in enumerate((22, 21, 21)):
        position = torch.zeros(1, 3, dtype=torch.int64)
        position[0, axis] = 1
        sin = rotary_table(position, 128)[..., 1]
        moved = sin[0].nonzero().flatten().tolist()
        start = (0, 22, 43)[axis]
        assert moved == list(range(start, start + pairs))


def test_rotation_depends_on_offsets_alone() -> None:
    query, key = torch.randn(2, 1, 1, 24, dtype=torch.float64).unbind()
    scores = []
    for shift in (0, 3):
        q = apply_rotary(query, rotary_table(torch.tensor([[5 + shift, 2 + shift, 7]]), 24))
        k = apply_rotary(key, rotary_table(torch.tensor([[1 + shift, 6 + shift, 7]]), 24))
        scores.append((q * k).sum())
    torch.testing.assert_close(scores[0], scores[1], atol=1e-6, rtol=1e-6)
    moved = apply_rotary(key, rotary_table(torch.tensor([[2, 6, 7]]), 24))
    assert abs((apply_rotary(query, rotary_table(torch.tensor([[5, 2, 7]]), 24)) * moved).sum() - scores[0]) > 1e-3


def test_rotation_keeps_type_and_length() -> None:
    x = torch.randn(4, 2, 16, dtype=torch.bfloat16)
    rotated = apply_rotary(x, rotary_table(torch.arange(12).view(4, 3), 16).unsqueeze(1))
    assert rotated.dtype == torch.bfloat16 and rotated.shape == x.shape
    torch.testing.assert_close(rotated.float().norm(dim=-1), x.float().norm(dim=-1), rtol=2e-2, atol=0)


def test_too_many_positions_is_an_error_that_names_the_axis() -> None:
    members = relational_positions((1, 30, 52), [0] * 20)  # 20 members of 52 columns each
    with pytest.raises(ValueError, match=r"R2PE needs 1040 positions on axis 'w' but .* 1024.*rope_ntk_scaling"):
        rotary_table(members, 128)
    rotary_table(relational_positions((1, 30, 52), [0] * 19), 128)


def test_ntk_scaling_stretches_the_axis_that_needs_it_and_no_other() -> None:
    positions = relational_positions((1, 30, 52), [0] * 20)
    cos, sin = rotary_table(positions, 128, ntk_scaling=True).unbind(-1)
    assert cos.isfinite().all() and sin.isfinite().all()
    wide = rotary_table(positions, 128, table_length=2048).unbind(-1)  # what a longer table holds, unscaled
    torch.testing.assert_close((cos[:, :43], sin[:, :43]), (wide[0][:, :43], wide[1][:, :43]), rtol=0, atol=0)
    assert (sin[:, 43:] - wide[1][:, 43:]).abs().max() > 0.1
    # NTK-aware scaling leaves the fastest pair as it is and stretches the slowest by needed / table.
    slowest = torch.atan2(sin[-1, 63], cos[-1, 63]) / torch.atan2(wide[1][-1, 63], wide[0][-1, 63])
    torch.testing.assert_close(slowest.item(), 1024 / 1040, rtol=1e-3, atol=0)
    torch.testing.assert_close(sin[:, 43], wide[1][:, 43], rtol=0, atol=0)


def test_within_the_table_ntk_scaling_changes_nothing() -> None:
    positions = relational_positions((3, 4, 5), [None, 0, 0])
    plain, scaled = rotary_table(positions, 32), rotary_table(positions, 32, ntk_scaling=True)
    assert torch.equal(plain, scaled)


def test_a_shorter_table_is_respected() -> None:
    with pytest.raises(ValueError, match=r"needs 5 positions on axis 't' but .* 4"):
        rotary_table(relational_positions((5, 1, 1), []), 16, table_length=4)
