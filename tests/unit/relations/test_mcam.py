"""MCAM: equations (3) to (5) against transcriptions that materialise everything."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lumosx.relations.mcam import dynamic_scale, pooling_maps, relation_levels, relational_cross_attention

RULES = ["paper", "release"]


def level(words: Tensor, subjects: list[int | None], query: int, key: int, rules: str) -> float:
    """M(q, k) of equation (3) for reference `query` and text token `key`, and the release's own reading of it."""
    if subjects[query] is None:
        return float(words[query, key])
    owners = {s for row, s in zip(words, subjects, strict=True) if s is not None and row[key]}
    own, others = subjects[query] in owners, owners - {subjects[query]}
    if rules == "paper":
        return 1.0 if own else -1.0 if others else 0.0
    groups = len(set(subjects) - {None})
    return float(own) - (len(others) / (groups - 1) if groups > 1 else 0.0)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[Tensor, list[int | None]]:
    groups = draw(st.lists(st.integers(1, 3), max_size=4))
    subjects = [None] * draw(st.integers(0, 2)) + [g for g, size in enumerate(groups) for _ in range(size)]
    bits = draw(st.lists(st.booleans(), min_size=5 * len(subjects), max_size=5 * len(subjects)))
    return torch.tensor(bits, dtype=torch.bool).view(len(subjects), 5), subjects


@pytest.mark.parametrize("rules", RULES)
@settings(max_examples=80, deadline=None)
@given(scene=scenes())
def test_levels_are_equation_3(rules: str, scene: tuple[Tensor, list[int | None]]) -> None:
    words, subjects = scene
    expected = [[level(words, subjects, q, k, rules) for k in range(5)] for q in range(len(subjects))]
    made = relation_levels(words, subjects, rules=rules)
    torch.testing.assert_close(made, torch.tensor(expected, dtype=torch.float32).view(len(subjects), 5))


def test_a_word_that_subjects_share() -> None:
    words = torch.tensor([[True], [True], [False]])
    assert relation_levels(words, [0, 1, 2], rules="paper").flatten().tolist() == [1, 1, -1]
    assert relation_levels(words, [0, 1, 2], rules="release").flatten().tolist() == [0.5, 0.5, -1]
    assert relation_levels(words[:2], [0, 1], rules="release").flatten().tolist() == [0, 0]


def test_release_rules_count_subjects_that_have_references() -> None:
    """Subject 1 is words alone: it repels under the paper's rules, and neither repels nor dilutes in the release."""
    words = torch.tensor([[1, 0, 0], [0, 0, 1]]).bool()
    alone = torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]]).bool()
    assert relation_levels(words, [0, 2], alone, rules="paper").tolist() == [[1, -1, -1], [-1, -1, 1]]
    assert relation_levels(words, [0, 2], alone, rules="release").tolist() == [[1, 0, -1], [-1, 0, 1]]


def oracle(q: Tensor, k: Tensor, v: Tensor, levels: Tensor, height: int, width: int, rules: str) -> Tensor:
    """Equations (4) and (5) for [M, P, heads, d] and [M, text, heads, d], the bias materialised token by token."""
    rows, columns = math.ceil(height / 8), math.ceil(width / 8)
    cells = torch.arange(height * width).view(height, width)
    similarity = torch.zeros(q.shape[0], q.shape[2], rows, columns, k.shape[1], dtype=q.dtype)
    for row in range(rows):
        for column in range(columns):
            inside = cells[8 * row : 8 * row + 8, 8 * column : 8 * column + 8].flatten()
            pooled = q[:, inside].sum(1) / (64 if rules == "release" else len(inside))
            similarity[:, :, row, column] = torch.einsum("mhd,mkhd->mhk", pooled, k)
    full = similarity.repeat_interleave(8, 2).repeat_interleave(8, 3)  # nearest upsampling
    if rules == "paper":
        full = full[:, :, :height, :width]
    scale = q.shape[-1] ** -0.5
    dynamic = (full.flatten(2, 3)[:, :, : height * width] * scale).abs()
    logits = torch.einsum("mphd,mkhd->mhpk", q, k) * scale + dynamic * levels[:, None, None]
    return torch.einsum("mhpk,mkhd->mphd", logits.softmax(-1), v)


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("size", [(1, 1), (3, 5), (8, 8), (9, 16), (6, 10), (15, 26)])
def test_attention_is_equations_4_and_5(size: tuple[int, int], rules: str) -> None:
    torch.manual_seed(0)
    tokens = size[0] * size[1]
    q, k, v = (torch.randn(3, n, 2, 4, dtype=torch.float64, requires_grad=True) for n in (tokens, 7, 7))
    levels = torch.randint(-1, 2, (3, 7)).double() * 0.5
    pool, upsample = (table.double() for table in pooling_maps(*size, rules))
    if rules == "paper":
        pool = pool / pool.sum(1, keepdim=True)  # the table is float32: 1 / 15 to double precision
    ours = relational_cross_attention(q, k, v, levels, pool, upsample)
    expected = oracle(q, k, v, levels, *size, rules)
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
    weight = torch.randn_like(ours)
    for mine, theirs in zip(
        torch.autograd.grad(ours, (q, k, v), weight), torch.autograd.grad(expected, (q, k, v), weight), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-12)


def test_the_rules_differ_where_the_width_is_no_multiple_of_8() -> None:
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, n, 1, 4) for n in (150, 5, 5))
    levels = torch.tensor([[0.5, -0.5, 0.0, 0.5, 0.0]])
    outputs = [relational_cross_attention(q, k, v, levels, *pooling_maps(10, 15, rules)) for rules in RULES]
    assert (outputs[0] - outputs[1]).abs().max() > 1e-3


def test_levels_of_zero_are_plain_attention() -> None:
    q, k, v = (torch.randn(2, n, 3, 8) for n in (20, 6, 6))
    ours = relational_cross_attention(q, k, v, torch.zeros(2, 6), *pooling_maps(4, 5))
    plain = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (q, k, v)))
    torch.testing.assert_close(ours, plain.transpose(1, 2))


def test_dynamic_scale_is_per_cell_and_never_negative() -> None:
    pool, upsample = pooling_maps(9, 17)
    assert pool.shape == (6, 153) and upsample.shape == (153, 6)
    torch.testing.assert_close(pool.sum(1), torch.ones(6))
    assert upsample.sum(1).eq(1).all() and upsample[17 * 8 + 16].argmax() == 5
    scale = dynamic_scale(torch.randn(2, 153, 3, 4), torch.randn(2, 7, 3, 4), pool)
    assert scale.shape == (2, 3, 6, 7) and (scale >= 0).all()


def test_release_rules_dilute_border_cells_and_shift_rows() -> None:
    pool, upsample = pooling_maps(30, 52, "release")
    torch.testing.assert_close(pool.sum(1)[-1].item(), 6 / 8 * 4 / 8)
    token = 52  # (1, 0)
    assert upsample[token].argmax() == 6  # and not cell 0
    aligned = pooling_maps(30, 52)[1]
    wrong = (upsample.argmax(1) != aligned.argmax(1)).float().mean().item()
    assert wrong == pytest.approx(0.818, abs=5e-4)
