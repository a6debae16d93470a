"""The BlockMask made from ranges is the one that FlexAttention would find by evaluating the mask."""

from functools import partial

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn.attention.flex_attention import BlockMask, create_block_mask

from lumosx.attention import attend, flex
from lumosx.attention.dense import dense_mask

CPU = torch.device("cpu")
CASES = {
    "aligned": ([(0, 256, 0, 512), (256, 384, 256, 384), (384, 512, 384, 512)], 512, 512),
    "ragged": ([(0, 300, 0, 700), (300, 410, 300, 410), (410, 700, 410, 700)], 700, 700),
    "rows of no range": ([(130, 400, 5, 300), (400, 401, 290, 299)], 650, 300),
    "more keys than queries": ([(0, 200, 0, 500), (200, 270, 480, 513)], 270, 513),
    "two branches": (
        [(0, 200, 0, 330), (200, 400, 330, 660), (400, 530, 200, 330), (530, 660, 530, 660)],
        660,
        660,
    ),
    "within one block": ([(0, 3, 0, 5), (3, 5, 3, 5)], 5, 5),
}


def blocks(mask: BlockMask) -> tuple[Tensor, Tensor]:
    """[query blocks, key blocks], which are partly and which are wholly visible."""
    partial = torch.zeros(mask.kv_indices.shape[2:], dtype=torch.bool)
    full = partial.clone()
    for table, counts, indices in (
        (partial, mask.kv_num_blocks, mask.kv_indices),
        (full, mask.full_kv_num_blocks, mask.full_kv_indices),
    ):
        assert counts is not None and indices is not None
        for row, (count, order) in enumerate(zip(counts[0, 0].tolist(), indices[0, 0].tolist(), strict=True)):
            assert sorted(order[:count]) == order[:count]
            table[row, order[:count]] = True
    return partial, full


@pytest.mark.parametrize("name", CASES)
def test_the_block_mask(name: str) -> None:
    ranges, queries, keys = CASES[name]
    dense = dense_mask(ranges, queries, keys)
    made = flex.block_mask(tuple(ranges), queries, keys, CPU)
    found = create_block_mask(lambda b, h, q, k: dense[q, k], None, None, queries, keys, device="cpu")
    assert made.seq_lengths == found.seq_lengths == (queries, keys)
    for ours, theirs in zip(blocks(made), blocks(found), strict=True):
        assert torch.equal(ours, theirs)
    rows, columns = torch.arange(queries)[:, None], torch.arange(keys)[None]
    zero = torch.zeros((), dtype=torch.int64)
    assert torch.equal(made.mask_mod(zero, zero, rows, columns), dense)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_a_mask_of_many_blocks_is_dense() -> None:
    ranges, queries, keys = CASES["ragged"]
    q, k, v = (torch.randn(n, 1, 8) for n in (queries, keys, keys))
    torch.testing.assert_close(attend(q, k, v, ranges, "flex"), attend(q, k, v, ranges, "dense"))


def test_it_is_compiled_once_and_once_more_for_cached_references(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layouts of other sizes and ranges are no reason to compile again: there would be one a scene."""
    counter = CompileCounter()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    compiled = flex._compiled.__wrapped__()
    seen = []
    for name in ("aligned", "ragged", "two branches", "rows of no range", "more keys than queries"):
        ranges, queries, keys = CASES[name]
        q, k, v = (torch.randn(1, 2, n, 8) for n in (queries, keys, keys))
        with torch.no_grad():
            out = compiled(q, k, v, block_mask=flex.block_mask(tuple(ranges), queries, keys, CPU))
        expected = attend(*(x[0].transpose(0, 1) for x in (q, k, v)), ranges, "dense")
        torch.testing.assert_close(out[0].transpose(0, 1), expected)
        seen.append(counter.frame_count)
    assert seen == [1, 1, 1, 2, 2]  # as many queries as keys, then fewer or more


def test_no_backward_pass_on_a_cpu_is_said() -> None:
    q, k, v = (torch.randn(5, 1, 8, requires_grad=True) for _ in range(3))
    with pytest.raises(NotImplementedError, match="does not support backward on CPU"):
        attend(q, k, v, CASES["within one block"][0], "flex").sum().backward()


def test_what_it_needs() -> None:
    assert flex.unavailable(CPU, torch.float32) is None
    assert flex.unavailable(torch.device("mps"), torch.float32) == "FlexAttention does not run on mps"
