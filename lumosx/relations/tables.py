"""The tables that explain a TokenLayout: where each segment is, what it sees, and how it relates to each word.

Plain data read off the layout itself, never computed a second time, so that what is shown is what the network gets.
Rendering is the caller's: a terminal, a page or a figure.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from lumosx.relations.layout import TokenLayout

Extent = tuple[int, int]


@dataclass(frozen=True)
class SegmentRow:
    """A segment and its R2PE positions, equation (1): the first and the last one on each axis."""

    name: str
    subject: int | None
    start: int
    stop: int
    t: Extent
    h: Extent
    w: Extent


@dataclass(frozen=True)
class CsamRow:
    """What the queries of one segment see, equation (2): key ranges [k0, k1), and whether each segment is seen."""

    name: str
    queries: Extent
    keys: tuple[Extent, ...]
    sees: tuple[bool, ...]


@dataclass(frozen=True)
class McamRow:
    """The levels of one reference, equation (3), one for each column of the table."""

    name: str
    subject: int | None
    levels: tuple[float, ...]


@dataclass(frozen=True)
class LayoutTables:
    """`columns` are the text positions that MCAM's rows speak of: those that name anything at all."""

    segments: tuple[SegmentRow, ...]
    csam: tuple[CsamRow, ...]
    columns: tuple[int, ...]
    mcam: tuple[McamRow, ...]


def layout_tables(layout: TokenLayout, names: Sequence[str]) -> LayoutTables:
    """The three tables of `layout`.

    Args:
        layout: any token layout; its text may be tokens or, for reading, words.
        names: what the references are called, in token order.

    Raises:
        ValueError: not one name for each reference.
    """
    if len(names) != len(layout.references):
        raise ValueError(f"{len(layout.references)} references need as many names, not {len(names)}")
    all_names = ("video", *names)
    columns = _named_columns(layout)
    return LayoutTables(
        segments=_segment_rows(layout, all_names),
        csam=_csam_rows(layout, all_names),
        columns=columns,
        mcam=tuple(
            McamRow(name, subject, tuple(levels))
            for name, subject, levels in zip(
                names, layout.subjects, layout.text_weights[:, list(columns)].tolist(), strict=True
            )
        ),
    )


def _segment_rows(layout: TokenLayout, names: Sequence[str]) -> tuple[SegmentRow, ...]:
    rows = []
    for name, segment in zip(names, layout.segments, strict=True):
        positions = layout.position_ids[segment.start : segment.stop]
        first, last = positions.amin(dim=0).tolist(), positions.amax(dim=0).tolist()
        t, h, w = zip(first, last, strict=True)
        rows.append(SegmentRow(name, segment.subject, segment.start, segment.stop, t, h, w))
    return tuple(rows)


def _csam_rows(layout: TokenLayout, names: Sequence[str]) -> tuple[CsamRow, ...]:
    rows = []
    for name, segment in zip(names, layout.segments, strict=True):
        keys = tuple((k0, k1) for q0, q1, k0, k1 in layout.attention_ranges if q0 < segment.stop and segment.start < q1)
        sees = tuple(any(k0 < other.stop and other.start < k1 for k0, k1 in keys) for other in layout.segments)
        rows.append(CsamRow(name, (segment.start, segment.stop), keys, sees))
    return tuple(rows)


def _named_columns(layout: TokenLayout) -> tuple[int, ...]:
    """Words whose levels cancel to 0 stay in the table: that they do nothing is what a reader must see."""
    named = layout.words.any(dim=0)
    if layout.subject_words is not None:
        named = named | layout.subject_words.any(dim=0)
    return tuple(named.nonzero().flatten().tolist())
