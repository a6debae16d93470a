"""Of `benchmark.py`: relational self-attention."""

from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch
import torch.nn.functional as F
from benchmark_compare import REFERENCES, Comparison, Parts, Setup, Variant
from benchmark_gpu import release
from torch import Tensor

from lumosx.attention import BACKENDS, attend
from lumosx.attention.dense import dense_mask
from lumosx.relations import TokenLayout
from lumosx.relations.typical import typical_layout

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]  # over queries, keys and values [tokens, heads, head_dim]
# beside "sdpa", which is the split, and the oracle, which is made for tests
OTHER_BACKENDS = [name for name in BACKENDS if name not in ("auto", "sdpa", "dense")]


def attention(setup: Setup) -> Parts:
    """CSAM by the split into dense calls, by one call with a mask and by other kernels; attention without CSAM."""
    heads = setup.transformer["num_attention_heads"], setup.transformer["attention_head_dim"]
    cases = {"attention forward": forward, "attention forward and backward": forward_and_backward}
    pairs = [(name, "split") for name in ("dense mask", *OTHER_BACKENDS)]
    pairs += [("split", "the video's call"), ("split", "full attention")]
    for references in REFERENCES:
        layout = typical_layout(setup.video, references, setup.text)
        ways = ways_to_attend(layout, setup.device)
        tokens = [torch.randn(len(layout), *heads, device=setup.device, dtype=setup.dtype) for _ in range(3)]
        for what, case in cases.items():
            variants = {
                name: Variant(partial(case, way, tokens), same_as, optional=same_as is not None)
                for name, (way, same_as) in ways.items()
            }
            found = Comparison(setup, what, references, variants)
            yield from found.notes
            yield from found.ratios(*pairs)
            yield from found.milliseconds("split")
            if case is forward:
                flops = 4 * layout.video_tokens * len(layout) * heads[0] * heads[1]
                seconds = median(found.seconds["the video's call"])
                yield found.figure("the video's call, TFLOP/s", flops / seconds / 1e12)
        release()


def ways_to_attend(layout: TokenLayout, device: torch.device) -> dict[str, tuple[Attention, str | None]]:
    """Attention by its name, and the name of the one whose result it has to give."""
    ranges, video = torch.tensor(layout.attention_ranges), layout.video_tokens
    mask = dense_mask(layout.attention_ranges, len(layout), len(layout)).to(device)
    return {
        "split": (partial(attend, ranges=ranges, backend="sdpa"), None),
        "dense mask": (partial(packed_attention, mask=mask), "split"),
        **{name: (partial(attend, ranges=ranges, backend=name), "split") for name in OTHER_BACKENDS},
        "full attention": (packed_attention, None),
        "the video's call": (lambda query, key, value: packed_attention(query[:video], key, value), None),
    }


def packed_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
    """PyTorch's attention over [tokens, heads, head_dim]; mask: bool [queries, keys]."""
    query, key, value = (x.transpose(0, 1).unsqueeze(0) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)[0].transpose(0, 1)


@torch.no_grad()
def forward(way: Attention, tokens: Sequence[Tensor]) -> Tensor:
    """The output."""
    return way(*tokens)


def forward_and_backward(way: Attention, tokens: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Gradients of queries, keys and values."""
    leaves = [x.detach().requires_grad_() for x in tokens]
    out = way(*leaves)
    return torch.autograd.grad(out, leaves, out.detach())
