"""The cost formulas against PyTorch's own counters: built models, counted FLOPs, live tensors."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from lumosx import LumosXTransformer3DModel
from lumosx.models import cost
from lumosx.models.counting import LiveBytes
from lumosx.relations import Reference, TokenLayout

CLIP, PICTURE = (21, 30, 52), (1, 30, 52)  # tokens of 81 frames and of one at 832 x 480
TINY = {"num_attention_heads": 4, "attention_head_dim": 32, "text_dim": 64, "freq_dim": 64, "ffn_dim": 512,
        "num_layers": 3}  # fmt: skip
PERSON = [Reference("background"), Reference("member", 0), Reference("member", 0), Reference("member", 0)]
SINGLE_AND_PAIR = [Reference("background"), Reference("object"), Reference("member", 0), Reference("member", 0)]
FOUR = [Reference("member", 0)] * 4
PEOPLE = [Reference("object"), Reference("member", 0), Reference("member", 1), Reference("member", 1)]


def built(device: str, **options: Any) -> LumosXTransformer3DModel:
    with torch.device(device):
        return LumosXTransformer3DModel(**options)


def layout(video: tuple[int, int, int], references: list[Reference], text: int, **options: Any) -> TokenLayout:
    """Each reference is named by a word of its own."""
    words = torch.eye(max(len(references), 1), text)[: len(references)]
    return TokenLayout(video, references, words, **options)


def inputs(model: Any, layouts: list[TokenLayout], copies: int, device: str) -> dict[str, Any]:
    """Random arguments of a forward pass; patches are 1 x 2 x 2."""
    frames, height, width = layouts[0].video
    channels, size = model.config.in_channels, (2 * height, 2 * width)
    make: Callable[..., Tensor] = lambda *shape: torch.randn(*shape, device=device)  # noqa: E731
    return {
        "hidden_states": make(len(layouts) * copies, channels, frames, *size),
        "timestep": torch.full((len(layouts) * copies,), 500.0, device=device),
        "encoder_hidden_states": make(len(layouts), layouts[0].text_length, model.config.text_dim),
        "layouts": layouts,
        "references": [make(channels, len(lo.references), *size) for lo in layouts],
    }


def counted(run: Callable[..., Any], *arguments: Any, **named: Any) -> dict[str, int]:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run(*arguments, **named)
    return {str(op): int(flops) for op, flops in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("options", [{}, TINY, TINY | {"cross_attn_norm": False, "in_channels": 192}])
def test_parameters_are_those_of_the_built_model(options: dict[str, Any]) -> None:
    model = built("meta", **options)
    assert sum(cost.parameters(model.config).values()) == sum(p.numel() for p in model.parameters())
    assert cost.block_parameters(model.config) == sum(p.numel() for p in model.blocks[0].parameters())


def test_wan_has_its_known_number_of_parameters() -> None:
    assert sum(cost.parameters(built("meta").config).values()) == 1_418_996_800


@pytest.mark.parametrize("named", [True, False], ids=["words", "no words"])
@pytest.mark.parametrize("branches", [1, 2])
def test_flops_of_a_joint_pass_of_the_1_3b_are_those_of_the_counter(branches: int, named: bool) -> None:
    model = built("meta")
    scene = layout(CLIP, PERSON, 512, mcam_ratio=None if named else 0.0)
    layouts = [scene, scene.without_words()][:branches]
    flops = cost.flops_by_part(model.config, layouts)
    count = counted(model, **inputs(model, layouts, 1, "meta"))
    # on the meta device PyTorch decomposes cross-attention into plain products, so nothing is missing
    assert flops.total == sum(count.values())
    assert flops.self_attention == count["lumosx.attend"]
    assert flops.cross_attention + flops.mcam == count["aten.bmm"]
    assert (flops.mcam > 0) == named


def test_flops_of_cached_passes_of_the_1_3b_are_those_of_the_counter() -> None:
    model, layouts = built("meta", reference_timestep="zero"), [layout(CLIP, PERSON, 512)]
    arguments = inputs(model, layouts, 1, "meta")
    references, text = arguments.pop("references"), arguments.pop("encoder_hidden_states")
    assert cost.text_flops(model.config, 512).total == sum(counted(model.encode_text, text).values())
    fill = counted(model.encode_references, references, text, layouts)
    assert cost.flops_by_part(model.config, layouts, part="references").total == sum(fill.values())
    with torch.no_grad():
        known = {"encoder_hidden_states": model.encode_text(text)}
        fill = counted(model.encode_references, references, known["encoder_hidden_states"], layouts)
        known["reference_cache"] = model.encode_references(references, known["encoder_hidden_states"], layouts)
    flops = cost.flops_by_part(model.config, layouts, part="references", text_cached=True)
    assert flops.total == sum(fill.values())
    flops = cost.flops_by_part(model.config, layouts, part="video", text_cached=True)
    assert flops.total == sum(counted(model, **arguments, **known).values())


def test_the_papers_count_is_that_of_linear_layers() -> None:
    """Table 13 says 195.44 TFLOPs a step for four references; by our count of linear layers that is 195.40."""
    config = built("meta").config
    assert 2 * cost.paper_flops(config, layout(CLIP, PERSON, 512)) == pytest.approx(195.40e12, abs=5e9)


@pytest.mark.parametrize(
    ("references", "group_squares", "whole"),
    [(SINGLE_AND_PAIR, 1 + 1 + 2**2, 679.1e12), (FOUR, 4**2, 688.1e12)],
)
def test_a_step_is_the_papers_less_what_nothing_reads(
    references: list[Reference], group_squares: int, whole: float
) -> None:
    """`whole` counts attention and all of the last block. Two branches; the numbers are those of Wan's 1.3B."""
    dim, ffn, tokens, text, members = 1536, 8960, 1560, 512, 4
    last = (
        2 * members * tokens * (4 * dim**2 + 2 * dim * ffn)  # queries, 3 outputs and the feed-forward network
        + 4 * dim * group_squares * tokens**2  # self-attention
        + 4 * dim * members * tokens * text  # cross-attention
    )
    once_a_clip = 2 * text * (4096 * dim + dim**2) + 30 * 4 * text * dim**2  # the text's embedding, keys, values
    scene = layout(CLIP, references, text, mcam_ratio=0.0)
    flops = cost.flops_by_part(built("meta").config, [scene], text_cached=True)
    assert 2 * (flops.total + last + once_a_clip) == pytest.approx(whole, abs=0.05e12)


@pytest.mark.parametrize("csam", [True, False])
def test_flops_of_a_batch_on_the_cpu_are_those_of_the_counter(csam: bool) -> None:
    model = built("cpu", **TINY)
    layouts = [layout((3, 6, 9), references, 40, csam=csam) for references in (PERSON, PEOPLE, [])]
    flops = cost.flops_by_part(model.config, layouts)
    count = counted(model, **inputs(model, layouts, 1, "cpu"))
    assert flops.self_attention == count.pop("lumosx.attend")
    # PyTorch counts the CPU's fused cross-attention as nothing: what is left are pooled similarity and weights
    assert flops.products == pytest.approx(sum(count.values()), rel=0.01)


def test_copies_share_their_references() -> None:
    model = built("cpu", **TINY, reference_timestep="zero")
    scene = layout((3, 6, 9), PERSON, 40)
    flops = cost.flops_by_part(model.config, [scene], copies=3)
    count = counted(model, **inputs(model, [scene], 3, "cpu"))
    assert flops.self_attention == count.pop("lumosx.attend")
    assert flops.products == pytest.approx(sum(count.values()), rel=0.01)


def test_a_step_is_three_passes_and_checkpointing_adds_what_it_repeats() -> None:
    forward = cost.Flops(embeddings=10, linear=90, self_attention=40, cross_attention=8, mcam=2)
    assert cost.training_flops(forward) == 450
    assert cost.training_flops(forward, frozen=True) == 350
    assert cost.hardware_flops(forward, "none") == 475
    assert cost.hardware_flops(forward, "selective") == 575
    assert cost.hardware_flops(forward, "full") == 625


@pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("checkpointing", ["none", "selective", "full"])
def test_activations_are_the_memory_that_a_step_takes(checkpointing: str, precision: str) -> None:
    model = built("cpu", **TINY)
    model.set_activation_checkpointing(checkpointing)
    layouts = [layout((4, 12, 20), references, 40) for references in (PERSON, [])]
    expected = cost.activations(model.config, layouts, 1, checkpointing, precision)
    arguments = inputs(model, layouts, 1, "cpu")
    context = torch.autocast("cpu", torch.bfloat16, cache_enabled=False) if precision == "bf16" else nullcontext()
    with LiveBytes([*model.parameters(), *(x for x in tree_leaves(arguments) if isinstance(x, Tensor))]) as live:
        with context:
            velocity = model(**arguments).sample
        loss = (velocity.float() - arguments["hidden_states"]).square().mean()
        assert expected.kept + expected.rest == pytest.approx(live.now, rel=0.1)
        loss.backward()
    assert expected.total == pytest.approx(live.peak, rel=0.1)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=["bf16", "fp32"])
@pytest.mark.parametrize(
    ("video", "part", "branches", "copies"),
    [
        (CLIP, "joint", 1, 1),
        (CLIP, "joint", 2, 1),
        (CLIP, "joint", 1, 2),
        (CLIP, "video", 2, 1),
        (CLIP, "references", 1, 1),
        (PICTURE, "joint", 1, 1),
        (PICTURE, "video", 1, 1),
        (PICTURE, "video", 2, 1),
    ],
)
def test_sampling_activations_of_the_1_3b_are_the_memory_of_a_pass(
    video: tuple[int, int, int], part: Any, branches: int, copies: int, dtype: torch.dtype
) -> None:
    """On fake tensors: no memory is taken, and the sizes are those that a device would give."""
    scene = layout(video, PERSON, 512)
    layouts, size = [scene, scene.without_words()][:branches], dtype.itemsize
    live, config = live_bytes(layouts, part, copies, dtype)
    expected = cost.sampling_activations(config, layouts, copies, part, size)
    if part == "references":  # what it makes is live too, but of the last two blocks
        layers = config.num_layers
        expected += cost.reference_cache_bytes(config, scene, size) * (layers - 2) // layers
    assert expected == pytest.approx(live, rel=0.07)


def live_bytes(layouts: list[TokenLayout], part: Any, copies: int, dtype: torch.dtype) -> tuple[int, Any]:
    fake = FakeTensorMode(allow_non_fake_inputs=True)
    torch.set_default_dtype(dtype)
    try:
        with fake:
            model = LumosXTransformer3DModel(reference_timestep="zero", num_layers=30 if part == "references" else 3)
    finally:
        torch.set_default_dtype(torch.float32)
    for made in ("video", "references", "joint"):  # relations are real tensors, and found again inside
        model._batch(tuple(layouts), 1 if made == "references" else copies, made, torch.zeros(0, dtype=dtype))
    with fake, torch.no_grad():
        arguments = inputs(model, layouts, copies, "cpu")
        references, text = arguments.pop("references"), arguments.pop("encoder_hidden_states")
        references, text = [latents.to(dtype) for latents in references], model.encode_text(text.to(dtype))
        filling = (references, text, layouts)
        known: dict[str, Any] = {"encoder_hidden_states": text, "references": references}
        caches = [text.keys_values]
        if part == "video":
            known = {"encoder_hidden_states": text, "reference_cache": model.encode_references(*filling)}
            caches.append(known["reference_cache"].keys_values)
        old = tree_leaves((model.state_dict(), arguments, references, caches))
        with LiveBytes(x for x in old if isinstance(x, Tensor)) as live:
            model.encode_references(*filling) if part == "references" else model(**arguments, **known)
    return live.peak, model.config


@pytest.mark.parametrize("together", [True, False])
def test_caches_are_as_large_as_calculated(together: bool) -> None:
    model = built("cpu", **TINY, reference_timestep="zero")
    scene = layout((3, 6, 9), PERSON, 40)
    layouts = [scene, scene.without_words()][: 1 + together]
    arguments = inputs(model, layouts, 1, "cpu")
    text = model.encode_text(arguments["encoder_hidden_states"])
    references = model.encode_references(arguments["references"], text, layouts)
    held = [sum(x.nbytes for x in tree_leaves(cache.keys_values)) for cache in (text, references)]
    assert held[0] == len(layouts) * cost.text_cache_bytes(model.config, 40, 4)
    assert held[1] == len(layouts) * cost.reference_cache_bytes(model.config, scene, 4)


def test_caches_of_the_1_3b_have_their_known_size() -> None:
    config = built("meta").config
    for references in ([Reference("background")], PERSON):
        size = cost.reference_cache_bytes(config, layout(CLIP, references, 512))
        assert size == pytest.approx(len(references) * 287.5e6, rel=1e-3)
    assert cost.text_cache_bytes(config, 512) == pytest.approx(94.4e6, rel=1e-3)


def test_branches_fit_together_where_there_is_the_memory() -> None:
    config, scene = built("meta").config, layout(CLIP, PERSON, 512)
    layouts = [scene, scene.without_words()]
    need = cost.sampling_activations(config, layouts)
    assert cost.fits_together(config, layouts, 1, "joint", 2, need)
    assert not cost.fits_together(config, layouts, 1, "joint", 2, need - 1)
    assert not cost.fits_together(config, layouts, 2, "joint", 2, need)
