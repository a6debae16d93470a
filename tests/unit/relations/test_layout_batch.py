"""A batch of layouts: what is packed where, and what must not be packed."""

import pytest
import torch

from lumosx.attention.dense import dense_mask
from lumosx.relations import LayoutBatch, Reference, TokenLayout, batch_layouts

CPU = torch.device("cpu")
OBJECT, FACE = Reference("object"), Reference("member", subject=0)


def layout(references: list[Reference], video: tuple[int, int, int] = (2, 1, 2), **options: object) -> TokenLayout:
    return TokenLayout(video, references, torch.zeros(len(references), 3), **options)


def batch(*layouts: TokenLayout, copies: int = 1, part: str = "joint", **changes: object) -> LayoutBatch:
    options = {"head_dim": 16, "mcam_ratio": 0.5, "table_length": 1024, "ntk_scaling": False}
    options |= {"device": CPU, "dtype": torch.float32}
    return batch_layouts(layouts, copies, part, **(options | changes))


def keys_of(made: LayoutBatch, names: list[str]) -> dict[str, str]:
    """The names of the keys that every query sees, given the names of the queries."""
    keys = names if made.key_index is None else [names[i] for i in made.key_index.tolist()]
    mask = dense_mask(made.ranges.tolist(), len(names), len(keys))
    return {name: "".join(keys[i] for i in row.nonzero()) for name, row in zip(names, mask, strict=True)}


def test_one_sample_needs_no_gather() -> None:
    made = batch(layout([OBJECT, FACE, FACE]))
    assert made.key_index is None
    assert made.ranges.tolist() == [[0, 4, 0, 10], [4, 6, 4, 6], [6, 10, 6, 10]]


def test_two_samples_see_their_own_references() -> None:
    made = batch(layout([OBJECT], video=(1, 1, 1)), layout([FACE, FACE], video=(1, 1, 1)))
    seen = keys_of(made, ["a", "b", "A", "B", "C"])  # videos, then references
    assert seen == {"a": "aA", "b": "bBC", "A": "A", "B": "BC", "C": "BC"}
    assert made.scene_of_reference.tolist() == [0, 1, 1]


def test_copies_share_their_references() -> None:
    made = batch(layout([OBJECT], video=(1, 1, 1)), layout([FACE, FACE], video=(1, 1, 1)), copies=2)
    seen = keys_of(made, ["a", "b", "c", "d", "A", "B", "C"])
    assert seen == {"a": "aA", "b": "bA", "c": "cBC", "d": "dBC", "A": "A", "B": "BC", "C": "BC"}


def test_without_csam_everything_of_a_sample_sees_everything_of_it() -> None:
    made = batch(layout([OBJECT], video=(1, 1, 1), csam=False), layout([FACE], video=(1, 1, 1)))
    assert keys_of(made, ["a", "b", "A", "B"]) == {"a": "aA", "b": "bB", "A": "aA", "B": "B"}


def test_the_parts_of_a_cached_pass() -> None:
    layouts = [layout([OBJECT], video=(1, 1, 1)), layout([FACE, FACE], video=(1, 1, 1))]
    references = batch(*layouts, part="references")
    assert references.key_index is None
    assert references.ranges.tolist() == [[0, 1, 0, 1], [1, 3, 1, 3]]
    video = batch(*layouts, copies=2, part="video")
    assert video.ranges.tolist() == [[0, 1, 0, 2], [1, 2, 2, 4], [2, 3, 4, 7], [3, 4, 7, 10]]
    assert video.key_index is not None
    assert video.key_index.tolist() == [0, 4, 1, 4, 2, 5, 6, 3, 5, 6]  # videos 0-3, references 4-6


def test_levels_carry_r() -> None:
    words = torch.eye(1, 3)
    plain = TokenLayout((1, 1, 1), [OBJECT], words)
    stated = TokenLayout((1, 1, 1), [OBJECT], words, mcam_ratio=0.2)
    torch.testing.assert_close(batch(plain, stated).levels, torch.tensor([[0.5, 0, 0], [0.2, 0, 0]]))


def test_levels_that_are_all_zero_are_none() -> None:
    """So that MCAM is skipped: without words, with r = 0, and where other people's words cancel a person's own."""
    named = torch.ones(1, 3)
    assert batch(layout([OBJECT])).levels is None
    assert batch(TokenLayout((1, 1, 1), [OBJECT], named, mcam_ratio=0)).levels is None
    assert (
        batch(TokenLayout((1, 1, 1), [FACE, Reference("member", 1)], torch.ones(2, 3), rules="release")).levels is None
    )
    assert batch(TokenLayout((1, 1, 1), [OBJECT], named)).levels is not None


def test_the_videos_ranges_are_those_that_the_last_layer_needs() -> None:
    made = batch(layout([OBJECT]), layout([FACE, FACE]), copies=2)
    videos = 4 * layout([]).video_tokens
    assert made.video_ranges.tolist() == [row for row in made.ranges.tolist() if row[1] <= videos]
    assert sorted(row[:2] for row in made.video_ranges.tolist()) == [[0, 4], [4, 8], [8, 12], [12, 16]]
    assert not len(batch(layout([OBJECT]), part="references").video_ranges)
    everywhere = batch(layout([OBJECT], csam=False))  # one rectangle in the layout
    assert everywhere.video_ranges.tolist() == [[0, 4, 0, 6]]


@pytest.mark.parametrize(("size", "cells"), [((1, 30, 52), 28), ((1, 4, 4), 1), ((1, 64, 8), 8)])
def test_cells_are_filled_up_to_a_multiple_of_8_with_empty_ones(size: tuple[int, int, int], cells: int) -> None:
    made = batch(layout([OBJECT], video=size))
    assert len(made.pool) == made.upsample.shape[1] == -(-cells // 8) * 8
    assert made.pool[:cells].any(1).all() and not made.pool[cells:].any() and not made.upsample[:, cells:].any()


def test_rotary_goes_with_the_tokens() -> None:
    made = batch(layout([OBJECT]), layout([FACE, FACE]))
    assert made.video_rotary.shape == (1, 4, 1, 8, 2)
    assert made.reference_rotary.shape == (3, 2, 1, 8, 2)
    single = batch(layout([FACE, FACE]))
    assert torch.equal(made.reference_rotary[1:], single.reference_rotary)


def test_ntk_scaling_of_one_sample_leaves_the_others_alone() -> None:
    near, far = layout([FACE]), layout([FACE] * 4)  # 8 columns where the table has 5
    options = {"ntk_scaling": True, "table_length": 5, "head_dim": 24}
    made = batch(near, far, copies=2, **options)
    assert made.video_rotary.shape[0] == 4
    for index, single in ((0, near), (1, near), (2, far), (3, far)):
        assert torch.equal(made.video_rotary[index], batch(single, **options).video_rotary[0])
    assert not torch.equal(made.video_rotary[0], made.video_rotary[2])


def test_a_batch_made_for_inference_serves_training() -> None:
    unseen = layout([OBJECT], video=(3, 1, 2))
    with torch.inference_mode():
        made = batch(unseen)
    assert batch(unseen) is made  # cached
    assert not any(x.is_inference() for x in (made.pool, made.ranges, made.video_ranges, made.video_rotary))


@pytest.mark.parametrize("other", [{"video": (1, 1, 2)}, {"rules": "release"}], ids=["size", "rules"])
def test_samples_that_do_not_fit_together(other: dict) -> None:
    with pytest.raises(ValueError, match="one batch holds samples of one size, text length and rule set"):
        batch(layout([OBJECT]), layout([OBJECT], **other))


@pytest.mark.parametrize("options", [{"copies": 2}, {"part": "video"}, {"part": "references"}])
def test_without_csam_references_are_neither_cached_nor_shared(options: dict) -> None:
    with pytest.raises(ValueError, match="references see the video: they can be neither cached nor shared"):
        batch(layout([OBJECT], csam=False), **options)
