"""The tables that explain a layout say what the layout does: against cases worked out by hand, and against its mask."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lumosx.attention.dense import dense_mask
from lumosx.relations import Reference, TokenLayout
from lumosx.relations.tables import CsamRow, McamRow, SegmentRow, layout_tables

VIDEO = (2, 2, 3)  # 12 tokens; a reference has 6
REFERENCES = [Reference("background"), Reference("member", 0), Reference("member", 0), Reference("member", 1)]
NAMES = ["background", "ben.face", "ben.hat", "carl.face"]
#        park    ben    with   hat    carl
WORDS = torch.tensor([[1, 0, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 1]], dtype=torch.bool)


def test_segments_have_the_positions_of_equation_1() -> None:
    tables = layout_tables(TokenLayout(VIDEO, REFERENCES, WORDS), NAMES)
    assert tables.segments == (
        SegmentRow("video", None, 0, 12, t=(0, 1), h=(0, 1), w=(0, 2)),
        SegmentRow("background", None, 12, 18, t=(2, 2), h=(0, 1), w=(0, 2)),
        SegmentRow("ben.face", 0, 18, 24, t=(3, 3), h=(0, 1), w=(0, 2)),
        SegmentRow("ben.hat", 0, 24, 30, t=(3, 3), h=(2, 3), w=(3, 5)),
        SegmentRow("carl.face", 1, 30, 36, t=(4, 4), h=(0, 1), w=(0, 2)),
    )


def test_positions_without_r2pe() -> None:
    tables = layout_tables(TokenLayout(VIDEO, REFERENCES, WORDS, r2pe=False), NAMES)
    assert [row.t for row in tables.segments] == [(0, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    assert {(row.h, row.w) for row in tables.segments} == {((0, 1), (0, 2))}


def test_csam_rows_have_the_ranges_of_equation_2() -> None:
    tables = layout_tables(TokenLayout(VIDEO, REFERENCES, WORDS), NAMES)
    ben = (False, False, True, True, False)
    assert tables.csam == (
        CsamRow("video", (0, 12), ((0, 36),), (True,) * 5),
        CsamRow("background", (12, 18), ((12, 18),), (False, True, False, False, False)),
        CsamRow("ben.face", (18, 24), ((18, 30),), ben),
        CsamRow("ben.hat", (24, 30), ((18, 30),), ben),
        CsamRow("carl.face", (30, 36), ((30, 36),), (False, False, False, False, True)),
    )


def test_without_csam_everything_sees_everything() -> None:
    tables = layout_tables(TokenLayout(VIDEO, REFERENCES, WORDS, csam=False), NAMES)
    assert {(row.keys, row.sees) for row in tables.csam} == {(((0, 36),), (True,) * 5)}


def test_mcam_has_the_levels_of_equation_3_on_the_words_that_name_anything() -> None:
    tables = layout_tables(TokenLayout(VIDEO, REFERENCES, WORDS), NAMES)
    assert tables.columns == (0, 1, 3, 4)
    assert tables.mcam == (
        McamRow("background", None, (1, 0, 0, 0)),
        McamRow("ben.face", 0, (0, 1, 1, -1)),
        McamRow("ben.hat", 0, (0, 1, 1, -1)),
        McamRow("carl.face", 1, (0, -1, -1, 1)),
    )


def test_words_that_cancel_under_release_stay_in_the_table() -> None:
    shared = torch.tensor([[1, 0], [1, 1]], dtype=torch.bool)
    references = [Reference("member", 0), Reference("member", 1)]
    tables = layout_tables(TokenLayout(VIDEO, references, shared, rules="release"), ["a", "b"])
    assert tables.columns == (0, 1)
    assert [row.levels for row in tables.mcam] == [(0, -1), (0, 1)]


def test_words_of_a_subject_without_picture_are_columns() -> None:
    words = torch.tensor([[1, 0, 0], [0, 0, 0]], dtype=torch.bool)
    references = [Reference("member", 0, strength=0.5), Reference("member", 1)]
    own = torch.tensor([[0, 0, 1], [0, 0, 0]], dtype=torch.bool)
    tables = layout_tables(TokenLayout(VIDEO, references, words, subject_words=own), ["a", "b"])
    assert tables.columns == (0, 2)
    assert [row.levels for row in tables.mcam] == [(0.5, 0.5), (-1, -1)]


def test_no_references() -> None:
    tables = layout_tables(TokenLayout(VIDEO, [], torch.zeros(0, 4, dtype=torch.bool)), [])
    assert [row.name for row in tables.segments] == ["video"]
    assert (tables.columns, tables.mcam) == ((), ())
    assert tables.csam == (CsamRow("video", (0, 12), ((0, 12),), (True,)),)


def test_every_reference_needs_a_name() -> None:
    with pytest.raises(ValueError, match="4 references need as many names, not 1"):
        layout_tables(TokenLayout(VIDEO, REFERENCES, WORDS), ["background"])


@given(
    scenery=st.integers(0, 3),
    groups=st.lists(st.integers(1, 3), max_size=3),
    csam=st.booleans(),
    frames=st.integers(1, 3),
)
def test_what_a_segment_sees_is_what_the_mask_lets_it_see(
    scenery: int, groups: list[int], csam: bool, frames: int
) -> None:
    references = [Reference("object")] * scenery
    references += [Reference("member", group) for group, size in enumerate(groups) for _ in range(size)]
    words = torch.zeros(len(references), 1, dtype=torch.bool)
    layout = TokenLayout((frames, 2, 2), references, words, csam=csam)
    tables = layout_tables(layout, [str(index) for index in range(len(references))])
    mask = dense_mask(layout.attention_ranges, len(layout), len(layout))
    for row in tables.csam:
        rows = mask[slice(*row.queries)]
        for sees, other in zip(row.sees, tables.segments, strict=True):
            block = rows[:, other.start : other.stop]
            assert bool(block.all()) is sees
            assert bool(block.any()) is sees
