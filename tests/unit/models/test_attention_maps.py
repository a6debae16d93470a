"""Attention maps against the dense oracle and against what the blocks themselves computed."""

from dataclasses import replace

import pytest
import torch
from tiny_transformer import CONFIG
from torch import Tensor, nn

from lumosx.attention.dense import dense_mask
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.attention_maps import AttentionMap, by_segment, co_attention, observe_attention, word_columns
from lumosx.relations import Reference, TokenLayout

TEXT = 15  # more than the channels of a head, so that values are passed in parts
REFERENCES = [Reference("background"), Reference("member", 0), Reference("member", 0), Reference("member", 1)]


def layout(**switches: object) -> TokenLayout:
    words = torch.zeros(4, TEXT, dtype=torch.bool)
    for row, token in enumerate((1, 3, 5, 8)):
        words[row, token] = True
    return TokenLayout((2, 2, 2), REFERENCES, words, **switches)  # pyright: ignore[reportArgumentType]


def model(**changes: object) -> LumosXTransformer3DModel:
    torch.manual_seed(0)
    net = LumosXTransformer3DModel(**{**CONFIG, "mcam_ratio": 2.0, **changes}).eval()
    for parameter in net.parameters():  # so large that attention is far from even
        parameter.data.mul_(2)
    return net


def inputs(of: TokenLayout) -> dict:
    torch.manual_seed(1)
    return {
        "hidden_states": torch.randn(1, 4, 2, 4, 4),
        "timestep": torch.tensor([600.0]),
        "encoder_hidden_states": torch.randn(1, TEXT, 8),
        "layouts": [of],
        "references": [torch.randn(4, len(of.references), 4, 4)],
    }


@torch.no_grad()
def observed(net: LumosXTransformer3DModel, of: TokenLayout, words: Tensor | None = None) -> list[AttentionMap]:
    with observe_attention(net, of, torch.eye(TEXT) if words is None else words) as maps:
        net(**inputs(of))
    return maps


class Spy:
    """What went into and came out of modules, each in a list of its calls."""

    def __init__(self, *modules: nn.Module) -> None:
        self.inputs: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}
        self.outputs: dict[nn.Module, list[Tensor]] = {module: [] for module in modules}
        self._handles = [module.register_forward_hook(self._note) for module in modules]

    def _note(self, module: nn.Module, arguments: tuple[Tensor], output: Tensor) -> None:
        self.inputs[module].append(arguments[0])
        self.outputs[module].append(output)

    def sequence(self, of: list[Tensor]) -> Tensor:
        """Video and references packed."""
        return torch.cat([tensor.flatten(0, 1) for tensor in of])

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()


@torch.no_grad()
def watched(net: LumosXTransformer3DModel, of: TokenLayout, *modules: nn.Module) -> Spy:
    spy = Spy(*modules)
    net.references_to_the_end = True  # also what nothing reads
    net(**inputs(of))
    net.references_to_the_end = False
    spy.remove()
    return spy


@pytest.mark.parametrize("csam", [True, False])
def test_self_attention_shares_are_those_of_a_dense_masked_softmax(csam: bool) -> None:
    """From the block's own projections; with one position for all tokens, so that nothing is rotated."""
    of, net = layout(csam=csam, r2pe=False), model()
    net._batch = unrotated(net._batch)  # pyright: ignore[reportAttributeAccessIssue]
    for block, found in zip(net.blocks, observed(net, of), strict=True):
        attn = block.attn1
        spy = watched(net, of, attn.norm_q, attn.norm_k)
        query, key = (spy.sequence(spy.outputs[m]).unflatten(-1, (2, -1)) for m in (attn.norm_q, attn.norm_k))
        scores = torch.einsum("qhd,khd->hqk", query, key) / query.shape[-1] ** 0.5
        mask = dense_mask(of.attention_ranges, len(of), len(of))
        weights = scores.masked_fill(~mask, -torch.inf).softmax(-1).mean(0)
        expected = torch.stack([weights[:, s.start : s.stop].sum(1) for s in of.segments], dim=1)
        torch.testing.assert_close(found.to_segments, expected, atol=1e-6, rtol=1e-5)


def unrotated(build):
    def without(*arguments: object):
        batch = build(*arguments)
        none = torch.tensor([1.0, 0.0])  # cosine and sine
        names = ("video_rotary", "reference_rotary")
        return replace(batch, **{name: none.expand_as(getattr(batch, name)).contiguous() for name in names})

    return without


def test_values_summed_by_the_maps_are_what_the_block_attends_to() -> None:
    """With one head a map over single text tokens is the attention itself: it gives the block's output."""
    of, net = layout(), model(num_attention_heads=1, attention_head_dim=24)
    for block, found in zip(net.blocks, observed(net, of), strict=True):
        spy = watched(net, of, block.attn2.to_v, block.attn2.to_out[0])
        value = spy.outputs[block.attn2.to_v][0][0]
        attended = spy.sequence(spy.inputs[block.attn2.to_out[0]])
        torch.testing.assert_close(found.to_words @ value, attended, atol=1e-5, rtol=1e-4)


def test_self_attention_too() -> None:
    """Values that are the same within a segment need no more than the shares of segments."""
    of, net = layout(), model(num_attention_heads=1, attention_head_dim=24)
    table = torch.randn(len(of.segments), 24, generator=torch.Generator().manual_seed(2))
    sizes = torch.tensor([s.stop - s.start for s in of.segments])
    values = table.repeat_interleave(sizes, dim=0)
    for block, found in zip(net.blocks, observed(net, of), strict=True):
        given = iter([values[None, : of.video_tokens], values[of.video_tokens :].unflatten(0, (4, -1))])
        handle = block.attn1.to_v.register_forward_hook(lambda *_, given=given: next(given))
        spy = watched(net, of, block.attn1.to_out[0])
        handle.remove()
        attended = spy.sequence(spy.inputs[block.attn1.to_out[0]])
        if block is net.blocks[0]:  # what later layers see has changed with the values
            torch.testing.assert_close(found.to_segments @ table, attended, atol=1e-5, rtol=1e-4)


def test_every_tokens_shares_sum_to_one() -> None:
    of = layout()
    for found in observed(model(), of, word_columns(of, 12)):
        for shares in (found.to_segments, found.to_words):
            torch.testing.assert_close(shares.sum(1), torch.ones(len(of)))


def test_forbidden_pairs_are_exactly_zero_with_csam_and_not_without() -> None:
    of, free = layout(), layout(csam=False)
    sees = torch.eye(5, dtype=torch.bool)
    sees[0] = True  # the video sees everything
    sees[2, 3] = sees[3, 2] = True  # two members of one subject
    net = model()
    for masked, unmasked in zip(observed(net, of), observed(net, free), strict=True):
        assert (by_segment(masked.to_segments, of)[~sees] == 0).all()
        assert (by_segment(masked.to_segments, of)[sees] > 0).all()
        assert (by_segment(unmasked.to_segments, free) > 0).all()


def test_mcams_bias_is_in_the_references_rows_and_in_no_others() -> None:
    with_mcam, without = layout(), layout(mcam_ratio=0.0)
    net = model()
    first, plain = observed(net, with_mcam)[0], observed(net, without)[0]  # the input of later layers differs
    video = with_mcam.video_tokens
    assert torch.equal(first.to_words[:video], plain.to_words[:video])
    gain = by_segment(first.to_words - plain.to_words, with_mcam)
    for row, (own, others) in {2: ([3, 5], [8]), 3: ([3, 5], [8]), 4: ([8], [3, 5])}.items():
        assert gain[row, own].sum() > 0
        assert gain[row, others].sum() < 0


def test_observing_changes_nothing_and_leaves_no_hook() -> None:
    of, net = layout(), model()
    with torch.no_grad():
        before = net(**inputs(of)).sample
        with observe_attention(net, of, torch.eye(TEXT)):
            during = net(**inputs(of)).sample
    assert torch.equal(before, during)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())


def test_words_columns_share_out_every_token() -> None:
    words = torch.zeros(4, 6, dtype=torch.bool)
    words[1, 1] = words[3, 1] = words[2, 2] = True
    extra = torch.zeros(2, 6, dtype=torch.bool)
    extra[1, 3] = True
    columns = word_columns(TokenLayout((1, 2, 2), REFERENCES, words, extra), 4)
    expected = torch.zeros(6, 8)
    expected[0, 6] = expected[2, 2] = expected[3, 5] = expected[4, 7] = expected[5, 7] = 1
    expected[1, 1] = expected[1, 3] = 0.5
    assert torch.equal(columns, expected)


def test_co_attention_is_with_the_face_that_the_same_tokens_look_at() -> None:
    """Two halves of the video, each looking at one face; three quarters of the attribute's share are in the first."""
    references = [Reference("member", 0), Reference("member", 0), Reference("member", 1)]
    of = TokenLayout((1, 2, 2), references, torch.zeros(3, 1))
    video = torch.tensor([[0.0, 0.4, 0.6, 0.0]] * 2 + [[0.6, 0.0, 0.2, 0.2]] * 2)
    shares = torch.cat([video, torch.full((12, 4), 0.25)])
    found = co_attention(shares, of, attributes=[1], faces=[0, 2])
    torch.testing.assert_close(found, torch.tensor([[0.75, 0.25]]))


def test_several_videos_caches_and_shared_tokens_are_refused() -> None:
    of, net = layout(), model(reference_timestep="zero")
    given = inputs(of)
    with torch.no_grad(), observe_attention(net, of, torch.eye(TEXT)), pytest.raises(ValueError, match="one video"):
        net(**given | {"hidden_states": torch.randn(2, 4, 2, 4, 4), "timestep": torch.tensor([600.0, 600.0])})
    with torch.no_grad():
        cache = net.encode_references(given.pop("references"), given["encoder_hidden_states"], [of])
        with observe_attention(net, of, torch.eye(TEXT)), pytest.raises(ValueError, match="without a cache"):
            net(**given, reference_cache=cache)
    net.sequence_group = object()  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match="parallelism"), observe_attention(net, of, torch.eye(TEXT)):
        pass
