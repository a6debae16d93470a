"""The token sequence: written out by hand for small scenes, and equal to the equations for random ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.attention.dense import dense_mask
from lumosx.relations import Reference, Segment, TokenLayout

TEXT = 4
BACKGROUND, OBJECT = Reference("background"), Reference("object")


def member(subject: int) -> Reference:
    return Reference("member", subject=subject)


def layout(references: list[Reference], video: tuple[int, int, int] = (2, 1, 2), **options: object) -> TokenLayout:
    return TokenLayout(video, references, torch.zeros(len(references), TEXT), **options)


# (T, H, W), references, rows of position_ids at the references' first and last tokens, attention_ranges
GOLDENS = {
    "no subject": (
        [BACKGROUND, OBJECT],
        [(2, 0, 0), (2, 0, 1), (3, 0, 0), (3, 0, 1)],
        [(0, 4, 0, 8), (4, 6, 4, 6), (6, 8, 6, 8)],
    ),
    "one subject": (
        [member(0), member(0)],
        [(2, 0, 0), (2, 0, 1), (2, 1, 2), (2, 1, 3)],
        [(0, 4, 0, 8), (4, 8, 4, 8)],
    ),
    "two subjects and a background": (
        [BACKGROUND, member(0), member(0), member(1)],
        [(2, 0, 0), (2, 0, 1), (3, 0, 0), (3, 0, 1), (3, 1, 2), (3, 1, 3), (4, 0, 0), (4, 0, 1)],
        [(0, 4, 0, 12), (4, 6, 4, 6), (6, 10, 6, 10), (10, 12, 10, 12)],
    ),
    "three subjects and an object": (
        [OBJECT, member(0), member(1), member(2), member(2)],
        [(2, 0, 0), (2, 0, 1), (3, 0, 0), (3, 0, 1), (4, 0, 0), (4, 0, 1), (5, 0, 0), (5, 0, 1), (5, 1, 2), (5, 1, 3)],
        [(0, 4, 0, 14), (4, 6, 4, 6), (6, 8, 6, 8), (8, 10, 8, 10), (10, 14, 10, 14)],
    ),
}


@pytest.mark.parametrize("name", GOLDENS)
def test_by_hand(name: str) -> None:
    references, positions, ranges = GOLDENS[name]
    made = layout(references)
    video = [(t, 0, w) for t in (0, 1) for w in (0, 1)]
    assert made.position_ids.dtype == torch.int64
    assert made.position_ids.tolist() == [list(row) for row in video + positions]
    assert made.attention_ranges == ranges
    assert len(made) == 4 + 2 * len(references)


def test_no_references() -> None:
    made = TokenLayout((2, 1, 2), [], [])
    assert made.position_ids.tolist() == [[0, 0, 0], [0, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert made.attention_ranges == [(0, 4, 0, 4)]
    assert made.text_weights.shape == (0, 0)
    assert made.segments == [Segment("video", None, None, 0, 4)]


@pytest.mark.parametrize(("frames", "members"), [(1, 1), (1, 3), (3, 3)], ids=["image", "image, group", "T = group"])
def test_a_reference_block_is_never_taken_for_the_video(frames: int, members: int) -> None:
    """The release tells the video by its number of frames, and goes wrong here."""
    made = layout([OBJECT] + [member(0)] * members, video=(frames, 1, 1))
    stop = frames + 1 + members
    expected = [(0, frames, 0, stop), (frames, frames + 1, frames, frames + 1), (frames + 1, stop, frames + 1, stop)]
    assert made.attention_ranges == expected


def test_segments_count_members_within_their_subject() -> None:
    made = layout([BACKGROUND, member(0), member(0), member(2)])
    assert made.segments == [
        Segment("video", None, None, 0, 4),
        Segment("background", None, None, 4, 6),
        Segment("member", 0, 0, 6, 8),
        Segment("member", 0, 1, 8, 10),
        Segment("member", 2, 0, 10, 12),
    ]


def test_mechanisms_off() -> None:
    references = [BACKGROUND, member(0), member(0)]
    assert layout(references, csam=False).attention_ranges == [(0, 10, 0, 10)]
    plain = layout(references, r2pe=False).position_ids[4::2].tolist()
    assert plain == [[2, 0, 0], [3, 0, 0], [4, 0, 0]]  # a temporal index each, no shift


def test_words_by_hand() -> None:
    """man(0) wears hat(1); man(2) wears scarf, in words alone(3)."""
    words = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]
    references = [member(0), member(0), member(1), member(1)]
    made = TokenLayout((1, 1, 1), references, words, subject_words=[[0, 0, 0, 0], [0, 0, 0, 1]])
    assert made.text_weights.tolist() == [[1, 1, -1, -1], [1, 1, -1, -1], [-1, -1, 1, 1], [-1, -1, 1, 1]]


def test_words_may_be_a_list_of_tensors() -> None:
    rows = [[True, False, False], [False, True, True]]
    references = [Reference("member", 0), Reference("member", 1)]
    assert TokenLayout((1, 1, 1), references, [torch.tensor(row) for row in rows]) == TokenLayout(
        (1, 1, 1), references, rows
    )


def test_mechanisms_may_be_given_in_the_order_of_the_signature() -> None:
    made = TokenLayout((1, 1, 1), [member(0)], [[1, 0]], None, False, False, 0.25, "release")
    assert (made.r2pe, made.csam, made.mcam_ratio, made.rules) == (False, False, 0.25, "release")


def test_a_subject_without_a_picture_still_repels() -> None:
    made = TokenLayout((1, 1, 1), [member(0)], [[1, 0]], subject_words=[[0, 0], [0, 1]])
    assert made.text_weights.tolist() == [[1, -1]]


def test_a_reference_without_words_has_those_of_its_subject() -> None:
    words = [[0, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, 1]]
    made = TokenLayout((1, 1, 1), [BACKGROUND, member(0), member(0), member(1)], words)
    assert made.text_weights.tolist() == [[0, 0, 0], [0, 1, -1], [0, 1, -1], [0, -1, 1]]


def test_strength_scales_the_own_row_where_it_is_positive() -> None:
    references = [Reference("member", 0, strength=0.5), member(0), Reference("member", 1, strength=3.0)]
    made = TokenLayout((1, 1, 1), references, [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    assert made.text_weights.tolist() == [[0.5, 0.5, -1], [1, 1, -1], [-1, -1, 3]]


def test_without_words() -> None:
    words = torch.eye(2, dtype=torch.bool)
    options = {"subject_words": [[0, 1]], "csam": False, "r2pe": False, "mcam_ratio": 0.3}
    paper = TokenLayout((1, 2, 2), [BACKGROUND, member(0)], words, **options)
    empty = paper.without_words()
    assert not empty.text_weights.any() and empty.text_weights.shape == (2, 2)
    assert (empty.csam, empty.r2pe, empty.mcam_ratio) == (False, False, 0.3)
    assert torch.equal(empty.position_ids, paper.position_ids)
    release = TokenLayout((1, 2, 2), [BACKGROUND, member(0)], words, rules="release")
    assert release.without_words() == release


def test_equality_and_hash_go_by_content() -> None:
    def make(**changes: object) -> TokenLayout:
        arguments = {"video": (1, 2, 2), "references": [BACKGROUND, member(0)], "words": [[1, 0], [0, 1]], **changes}
        return TokenLayout(**arguments)

    same = make(words=torch.eye(2, dtype=torch.bool), references=(BACKGROUND, member(0)))
    assert make() == same and hash(make()) == hash(same)
    changed = [
        make(video=(2, 2, 2)),
        make(references=[OBJECT, member(0)]),
        make(references=[BACKGROUND, Reference("member", 0, strength=2.0)]),
        make(words=[[1, 1], [0, 1]]),
        make(words=[[1, 0, 0], [0, 1, 0]]),
        make(subject_words=[[0, 0]]),
        make(r2pe=False),
        make(csam=False),
        make(mcam_ratio=0.5),
        make(rules="release"),
    ]
    assert all(other != make() for other in changed)
    assert len({make(), *changed}) == 1 + len(changed)
    assert make() != "a layout"


def test_later_changes_of_the_words_do_not_reach_the_layout() -> None:
    words = torch.zeros(1, 2, dtype=torch.bool)
    made = TokenLayout((1, 1, 1), [OBJECT], words)
    words[0, 0] = True
    assert not made.words.any()


@pytest.mark.parametrize(
    "references",
    [[member(0), OBJECT], [member(1), member(0)], [member(0), member(1), member(0)]],
    ids=["object after member", "subjects descend", "subject torn apart"],
)
def test_wrong_order(references: list[Reference]) -> None:
    with pytest.raises(ValueError, match="references come in token order"):
        layout(references)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": (0, 1, 1)}, "each at least 1"),
        ({"video": (1, 1)}, r"video is \(T, H, W\)"),
        ({"words": [[1, 0], [0, 1]]}, r"words is a table \[1, text tokens\], not of shape \(2, 2\)"),
        ({"words": [1, 0]}, r"words is a table \[1, text tokens\]"),
        ({"words": []}, r"words is a table \[1, text tokens\]"),
        ({"subject_words": [[1]]}, "texts of different lengths"),
        ({"subject_words": [1, 0]}, "subject_words is a table"),
        ({"rules": "papers"}, "rules are 'paper' or 'release', not 'papers'"),
    ],
)
def test_wrong_shapes(changes: dict, message: str) -> None:
    arguments = {"video": (1, 1, 1), "references": [OBJECT], "words": [[1, 0]], **changes}
    with pytest.raises(ValueError, match=message):
        TokenLayout(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("face",), "not 'face'"),
        (("member",), "a member names its subject"),
        (("object", 0), "nothing else does"),
        (("member", -1), "numbered from 0"),
    ],
)
def test_wrong_references(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Reference(*arguments)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[tuple[int, int, int], list[int | None]]:
    """A video size and the subjects of references in token order."""
    video = tuple(draw(st.integers(1, 3)) for _ in range(3))
    scenery = draw(st.integers(0, 3))
    groups = draw(st.lists(st.integers(1, 3), max_size=3))
    return video, [None] * scenery + [subject for subject, size in enumerate(groups) for _ in range(size)]


def made_from(scene: tuple[tuple[int, int, int], list[int | None]]) -> TokenLayout:
    video, subjects = scene
    return layout([OBJECT if s is None else member(s) for s in subjects], video=video)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_ranges_are_disjoint_and_cover_every_query(scene: tuple) -> None:
    made = made_from(scene)
    rows = [row for q0, q1, _, _ in made.attention_ranges for row in range(q0, q1)]
    assert rows == list(range(len(made)))
    assert [segment.start for segment in made.segments[1:]] == [segment.stop for segment in made.segments[:-1]]


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_csam_is_equation_2(scene: tuple) -> None:
    (frames, height, width), subjects = scene
    tokens = ["video"] * (frames * height * width)
    for reference, subject in enumerate(subjects):
        owner = ("reference", reference) if subject is None else ("subject", subject)
        tokens += [owner] * (height * width)
    expected = torch.tensor([[q == "video" or q == k for k in tokens] for q in tokens])
    made = made_from(scene)
    assert torch.equal(dense_mask(made.attention_ranges, len(made), len(made)), expected)


@settings(max_examples=60, deadline=None)
@given(scenes())
def test_r2pe_is_equation_1(scene: tuple) -> None:
    (frames, height, width), subjects = scene
    cells = [(i, j) for i in range(height) for j in range(width)]
    expected = [(tau, i, j) for tau in range(frames) for i, j in cells]
    scenery = subjects.count(None)
    for n in range(scenery):
        expected += [(frames + n, i, j) for i, j in cells]
    for g in range(len(set(subjects) - {None})):
        for m in range(subjects.count(g)):
            expected += [(frames + scenery + g, m * height + i, m * width + j) for i, j in cells]
    assert made_from(scene).position_ids.tolist() == [list(row) for row in expected]
