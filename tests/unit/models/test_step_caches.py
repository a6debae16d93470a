"""diffusers' step caches around LumosX's blocks: what they skip, and that a clip leaves nothing behind."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

import pytest
import torch
from diffusers import FirstBlockCacheConfig, MagCacheConfig
from diffusers.hooks import HookRegistry, ModelHook
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from tiny_models import tiny_pipeline, tiny_scene
from tiny_transformer import CONFIG
from torch import Tensor
from torch._dynamo.utils import counters
from torch.fx.experimental import _config as shape_config

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.pipelines.step_cache import StepCache, step_cache
from lumosx.relations import Reference, TokenLayout

STEPS, BLOCKS, TEXT = 10, 4, 5
REFERENCES = ("cached", "joint", "none")
SKIPPING = ("first-block:0.3", "taylorseer:3")
MAG = MagCacheConfig(num_inference_steps=STEPS, mag_ratios=[1.0] * STEPS)  # of a network that changes nothing


class Clip(NamedTuple):
    """What a clip is sampled from."""

    net: LumosXTransformer3DModel
    branches: list[dict[str, Any]]  # of guidance: arguments of the network that are the same at every step


def make_clip(references: str, guidance: str = "one", dtype: torch.dtype = torch.float32, **changes: Any) -> Clip:
    """A network of random weights and what it passes at every step: one branch, or two apart or together."""
    torch.manual_seed(0)
    reference_timestep = "zero" if references == "cached" else "shared"
    own = {**CONFIG, "num_layers": BLOCKS, "reference_timestep": reference_timestep, **changes}
    net = LumosXTransformer3DModel(**own).eval().to(dtype)
    count = 0 if references == "none" else 2
    layout = TokenLayout((2, 2, 2), [Reference("member", 0)] * count, torch.eye(2, TEXT)[:count])
    layouts, text = (layout, layout.without_words()), torch.randn(2, TEXT, 8).to(dtype)
    latents = [torch.randn(4, count, 4, 4).to(dtype)] * 2
    parts = {"one": [slice(0, 1)], "apart": [slice(0, 1), slice(1, 2)], "together": [slice(0, 2)]}[guidance]
    return Clip(net, [branch_of(net, references, text[part], layouts[part], latents[part]) for part in parts])


@torch.no_grad()
def branch_of(
    net: LumosXTransformer3DModel,
    references: str,
    text: Tensor,
    layouts: tuple[TokenLayout, ...],
    latents: list[Tensor],
) -> dict[str, Any]:
    """Arguments of the network; text, and references where they can be, are encoded."""
    encoded = net.encode_text(text)
    known = {"encoder_hidden_states": encoded, "layouts": layouts}
    if references == "cached":
        return known | {"reference_cache": net.encode_references(latents, encoded, layouts)}
    return known | ({"references": latents} if references == "joint" else {})


@torch.no_grad()
def denoise(clip: Clip, seed: int = 0) -> Iterator[Tensor]:
    """Latents [1, C, T, h, w] after each of Euler's steps with guidance 2, as the pipeline passes the branches."""
    latents = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(seed))
    for step in range(STEPS):
        velocities = []
        for index, branch in enumerate(clip.branches):
            layouts = len(branch["layouts"])
            with clip.net.cache_context(str(index)):
                timestep = torch.tensor([1000 * (1 - step / STEPS)])
                noisy = latents.to(clip.net.dtype).repeat(layouts, 1, 1, 1, 1)
                velocities += clip.net(noisy, timestep.expand(layouts), **branch).sample.float().split(1)
        guided = velocities[-1] + 2 * (velocities[0] - velocities[-1])
        latents = latents - guided / STEPS
        yield latents


def sample(clip: Clip, cache: str | None = None, seed: int = 0) -> Tensor:
    with step_cache(clip.net, StepCache.parse(cache), STEPS):
        return list(denoise(clip, seed))[-1]


def distance(ours: Tensor, exact: Tensor) -> float:
    return ((ours - exact).norm() / exact.norm()).item()


class Watch(ModelHook):
    """Keeps what a block gives when it is really computed."""

    def __init__(self) -> None:
        super().__init__()
        self.outputs: list[tuple[Tensor, Tensor]] = []

    def post_forward(self, module: torch.nn.Module, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        self.outputs.append(output)
        return output


def watch(net: LumosXTransformer3DModel) -> list[Watch]:
    """Inside of the hooks of caches that are enabled from now on."""
    hooks = [Watch() for _ in net.blocks]
    for block, hook in zip(net.blocks, hooks, strict=True):
        HookRegistry.check_if_exists_or_initialize(block).register_hook(hook, "watch")
    return hooks


@contextmanager
def enabled(net: LumosXTransformer3DModel, config: Any) -> Iterator[None]:
    """A cache that the caller has switched on by himself."""
    net.enable_cache(config)
    try:
        yield
    finally:
        net.disable_cache()


@pytest.mark.parametrize("cache", ["first-block:0", "taylorseer:1"])
@pytest.mark.parametrize("guidance", ["one", "apart", "together"])
@pytest.mark.parametrize("references", REFERENCES)
def test_a_cache_that_skips_nothing_changes_nothing(references: str, guidance: str, cache: str) -> None:
    clip = make_clip(references, guidance)
    assert torch.equal(sample(clip, cache), sample(clip))


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
@pytest.mark.parametrize("guidance", ["one", "apart", "together"])
@pytest.mark.parametrize("references", REFERENCES)
@pytest.mark.parametrize("cache", SKIPPING)
def test_blocks_are_skipped_and_the_clip_stays_near(
    cache: str, references: str, guidance: str, prediction: str
) -> None:
    clip = make_clip(references, guidance, prediction=prediction)
    exact, passes = sample(clip), STEPS * len(clip.branches)
    first, *others = watch(clip.net)
    ours = sample(clip, cache)
    computed = [len(hook.outputs) for hook in others]
    assert len(set(computed)) == 1
    if cache == "taylorseer:3":  # steps 0, 1, 2, then every third, and the last
        assert [len(first.outputs), computed[0]] == [6 * len(clip.branches)] * 2
    else:
        assert len(first.outputs) == passes and len(clip.branches) <= computed[0] <= passes / 2
    assert 0 < distance(ours, exact) < 0.25  # of random weights; the clip of another seed is 1.4 away


@pytest.mark.parametrize("references", REFERENCES)
def test_skipped_blocks_add_what_they_added_at_the_last_whole_step(references: str) -> None:
    clip = make_clip(references)
    first, *_, last = watch(clip.net)
    passed: list[Tensor] = []  # by the last block on to the head, computed or not
    clip.net.blocks[-1].register_forward_hook(lambda module, inputs, output: passed.append(output[0]))
    sample(clip, "first-block:1e9")  # only step 0 is whole
    assert len(last.outputs) == 1 and len(first.outputs) == len(passed) == STEPS
    added = last.outputs[0][0] - first.outputs[0][0]
    for (video, _), onward in zip(first.outputs, passed, strict=True):
        torch.testing.assert_close(onward, video + added)


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_taylorseer_continues_what_the_head_gave_along_a_straight_line(prediction: str) -> None:
    clip = make_clip("cached", prediction=prediction)
    given: list[Tensor] = []
    clip.net.proj_out.register_forward_hook(lambda module, inputs, output: given.append(output))
    sample(clip, "taylorseer:3")
    slope = (given[4] - given[2]) / 2
    torch.testing.assert_close(given[3], given[2] + (given[2] - given[1]))
    torch.testing.assert_close(given[5], given[4] + slope)
    torch.testing.assert_close(given[6], given[4] + 2 * slope)


@pytest.mark.parametrize("references", REFERENCES)
def test_branches_apart_give_what_they_give_together(references: str) -> None:
    apart, together = (make_clip(references, guidance) for guidance in ("apart", "together"))
    torch.testing.assert_close(sample(apart, "taylorseer:3"), sample(together, "taylorseer:3"), rtol=1e-4, atol=1e-4)


def test_branches_do_not_read_each_others_state() -> None:
    alone = make_clip("cached")
    twice = alone._replace(branches=alone.branches * 2)  # guidance between equals changes nothing
    assert torch.equal(sample(twice, "first-block:0.3"), sample(alone, "first-block:0.3"))


def interrupted(clip: Clip, enable: Callable[[], AbstractContextManager[None]]) -> None:
    """Half a clip, cancelled."""
    with pytest.raises(KeyboardInterrupt), enable():
        for step, _ in enumerate(denoise(clip, seed=5)):
            if step == STEPS // 2:
                raise KeyboardInterrupt


@pytest.mark.parametrize("cache", SKIPPING)
@pytest.mark.parametrize("references", REFERENCES)
def test_a_clip_does_not_depend_on_those_before(references: str, cache: str) -> None:
    clip = make_clip(references, "apart")
    expected, exact = sample(clip, cache), sample(clip)
    sample(clip, cache, seed=4)
    assert torch.equal(sample(clip, cache), expected)
    interrupted(clip, lambda: step_cache(clip.net, StepCache.parse(cache), STEPS))
    assert torch.equal(sample(clip, cache), expected)
    assert not clip.net.is_cache_enabled and torch.equal(sample(clip), exact)


@pytest.mark.parametrize("config", [FirstBlockCacheConfig(0.3), StepCache("taylorseer", 3).config(STEPS), MAG])
def test_a_cache_of_the_callers_forgets_the_clip_before(config: Any) -> None:
    clip = make_clip("cached", "apart")
    exact = sample(clip)
    with enabled(clip.net, config):
        expected = sample(clip)
        assert not torch.equal(expected, exact)
        sample(clip, seed=4)
        assert torch.equal(sample(clip), expected)
        interrupted(clip, lambda: step_cache(clip.net, None, STEPS))
        assert torch.equal(sample(clip), expected)
        assert clip.net.is_cache_enabled
    assert torch.equal(sample(clip), exact)


def test_a_generator_that_is_closed_leaves_no_cache_enabled() -> None:
    clip = make_clip("cached")

    def stream() -> Iterator[Tensor]:
        with step_cache(clip.net, StepCache("taylorseer", 3), STEPS):
            yield from denoise(clip)

    steps = stream()
    next(steps)
    assert clip.net.is_cache_enabled
    steps.close()
    assert not clip.net.is_cache_enabled


@pytest.mark.parametrize("references", REFERENCES)
def test_magcache_hooks_the_blocks_too(references: str) -> None:
    clip = make_clip(references, "apart")
    exact = sample(clip)
    hooks = watch(clip.net)
    with enabled(clip.net, MAG):
        ours = sample(clip)
    # steps 0 and 1, kept by its retention ratio, then every fourth
    assert {len(hook.outputs) for hook in hooks} == {4 * len(clip.branches)}
    assert 0 < distance(ours, exact) < 0.1


def test_magcache_calibrates(capsys: pytest.CaptureFixture[str]) -> None:
    clip = make_clip("cached")
    exact = sample(clip)
    with enabled(clip.net, MagCacheConfig(num_inference_steps=STEPS, calibrate=True)):
        assert torch.equal(sample(clip), exact)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("[1.0, ")]
    assert len(line.split(",")) == STEPS


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("cache", SKIPPING)
@pytest.mark.parametrize("references", REFERENCES)
def test_every_attention_backend_gives_the_same(references: str, cache: str) -> None:
    clip = make_clip(references, "together")
    expected = sample(clip, cache)
    for backend in ("dense", "flex"):
        clip.net.set_attention_backend(backend)
        torch.testing.assert_close(sample(clip, cache), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("cache", SKIPPING)
def test_adapters_go_with_caches(cache: str) -> None:
    clip = make_clip("joint")
    bare = sample(clip, cache)
    torch.manual_seed(2)
    clip.net.add_adapter(LoraConfig(r=2, target_modules=["to_k", "to_v", "proj_out"], init_lora_weights=False))
    names = set(clip.net.state_dict())
    exact, adapted = sample(clip), sample(clip, cache)
    assert distance(adapted, exact) < 0.1 < distance(adapted, bare)
    assert set(clip.net.state_dict()) == names
    clip.net.disable_adapters()
    assert torch.equal(sample(clip, cache), bare)


@pytest.fixture
def compiling() -> Iterator[None]:
    torch._dynamo.reset()
    counters.clear()
    with shape_config.patch(use_duck_shape=True):  # compile_repeated_blocks turns it off for good
        yield
    torch._dynamo.reset()


@pytest.mark.usefixtures("compiling")
@pytest.mark.parametrize("references", ["cached", "joint"])
def test_compiled_blocks_keep_their_graphs(references: str) -> None:
    clip = make_clip(references, "together")
    expected = {cache: sample(clip, cache) for cache in (None, *SKIPPING)}
    with enabled(clip.net, MAG):
        of_mag = sample(clip)
    clip.net.compile_repeated_blocks(backend="eager")  # a graph break is an error
    torch.testing.assert_close(sample(clip), expected[None], rtol=1e-4, atol=1e-4)
    graphs = counters["stats"]["unique_graphs"]
    for cache in (*SKIPPING, None):
        torch.testing.assert_close(sample(clip, cache), expected[cache], rtol=1e-4, atol=1e-4)
    with enabled(clip.net, MAG):
        torch.testing.assert_close(sample(clip), of_mag, rtol=1e-4, atol=1e-4)
    assert counters["stats"]["unique_graphs"] == graphs > 0
    assert all(block._compiled_call_impl is not None for block in clip.net.blocks)


@pytest.mark.parametrize("cache", SKIPPING)
def test_half_precision_stays_near_too(cache: str) -> None:
    exact, half = make_clip("cached"), make_clip("cached", dtype=torch.bfloat16)
    assert distance(sample(half, cache), sample(exact)) < 0.1


@pytest.mark.parametrize("guidance", ["apart", "together"])
@pytest.mark.parametrize("reference_timestep", ["zero", "shared"])
def test_the_pipeline_gives_every_branch_its_context(reference_timestep: str, guidance: str) -> None:
    pipeline = tiny_pipeline(reference_timestep=reference_timestep)
    call = {"guidance": guidance, "steps": 6, "seeds": [1, 2], "progress": False}
    exact = pipeline(tiny_scene(), **call)
    for cache in ("first-block:0", "taylorseer:1"):
        skipping_none = pipeline(tiny_scene(), step_cache=cache, **call)
        assert [ours.frames_sha256 for ours in skipping_none] == [theirs.frames_sha256 for theirs in exact]
    hooks = watch(pipeline.transformer)
    pipeline(tiny_scene(), step_cache="taylorseer:2", **call)
    branches = 2 if guidance == "apart" else 1
    steps = 5 * 2  # of the 6 steps of two seeds all are whole but the fourth
    encoded = 2 if reference_timestep == "zero" else 1  # text and perhaps references, once
    assert {len(hook.outputs) for hook in hooks} == {branches * (steps + encoded)}


def test_a_stream_that_is_cancelled_or_closed_leaves_no_cache() -> None:
    pipeline = tiny_pipeline(reference_timestep="zero")
    call = {"steps": 6, "seeds": [1, 2], "progress": False, "step_cache": "taylorseer:2"}
    expected = pipeline(tiny_scene(), **call)

    def cancel(pipe: Any, step: int, timestep: int, kept: dict[str, Tensor]) -> None:
        assert pipe.transformer.is_cache_enabled
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pipeline(tiny_scene(), callback_on_step_end=cancel, **call)
    assert not pipeline.transformer.is_cache_enabled
    clips = pipeline.stream(tiny_scene(), **call)
    next(clips)
    assert not pipeline.transformer.is_cache_enabled  # between clips
    clips.close()
    again = pipeline(tiny_scene(), **call)
    assert [ours.frames_sha256 for ours in again] == [theirs.frames_sha256 for theirs in expected]


def test_text_and_references_are_not_encoded_under_a_cache() -> None:
    clip = make_clip("cached")
    with step_cache(clip.net, StepCache("taylorseer", 3), STEPS), pytest.raises(ValueError, match="before a cache"):
        clip.net.encode_text(torch.zeros(1, TEXT, 8))


def test_ranks_that_share_tokens_do_not_decide_apart() -> None:
    class TwoRanks:
        def size(self) -> int:
            return 2

    net = make_clip("none").net
    net.set_sequence_parallel(TwoRanks())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"does not go with sequence parallelism.*TaylorSeer"):
        net.enable_cache(FirstBlockCacheConfig(0.1))
    with step_cache(net, StepCache("taylorseer", 3), STEPS):
        assert net.is_cache_enabled


def test_a_second_cache_is_refused() -> None:
    net = make_clip("none").net
    with (
        enabled(net, MAG),
        pytest.raises(InputError, match=r"taylorseer:3: the transformer has another one enabled.*disable_cache\(\)"),
        step_cache(net, StepCache("taylorseer", 3), STEPS),
    ):
        pass
    with enabled(net, MAG), pytest.raises(ValueError, match="already been enabled"):
        net.enable_cache(FirstBlockCacheConfig(0.1))


def test_groups_that_are_offloaded_are_refused() -> None:
    net = make_clip("none").net
    net.enable_group_offload(torch.device("cpu"), offload_type="block_level", num_blocks_per_group=1)
    cache = StepCache("first-block", 0.1)
    with pytest.raises(InputError, match="does not go with offload group"), step_cache(net, cache, STEPS):
        pass
    assert not net.is_cache_enabled


@given(
    st.tuples(st.just("first-block"), st.floats(0, 1e6))
    | st.tuples(st.just("taylorseer"), st.integers(1, 10**7).map(float))
)
def test_names_are_read_as_they_are_written(of: tuple[str, float]) -> None:
    cache = StepCache(*of)
    assert StepCache.parse(str(cache)) == cache
    assert cache.record(STEPS)["name"] == str(cache)


def test_no_cache_has_two_names() -> None:
    assert StepCache.parse(None) is None and StepCache.parse("none") is None


def test_a_record_says_what_diffusers_was_given() -> None:
    assert StepCache("first-block", 0.05).record(STEPS)["parameters"] == {"threshold": 0.05}
    assert StepCache.parse("taylorseer:4").record(50)["parameters"] == {
        "cache_interval": 4,
        "disable_cache_before_step": 3,
        "disable_cache_after_step": 49,
        "max_order": 1,
        "taylor_factors_dtype": "torch.float32",
        "use_lite_mode": True,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("teacache", r"'teacache': choose none, first-block, taylorseer, with a strength.* first-block:0.05"),
        ("first_block:0.1", "choose none, first-block"),
        ("", "choose none, first-block"),
        ("none:1", "choose none, first-block"),
        ("first-block:", "'' behind the colon is no number"),
        ("taylorseer:often", "'often' behind the colon is no number"),
        ("first-block:-0.1", "a number, 0 or more"),
        ("first-block:nan", "a number, 0 or more"),
        ("first-block:inf", "a number, 0 or more"),
        ("taylorseer:0", "a whole number of steps, 1 or more"),
        ("taylorseer:2.5", "a whole number of steps, 1 or more"),
        ("taylorseer:inf", "a whole number of steps, 1 or more"),
    ],
)
def test_what_is_no_cache(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        StepCache.parse(text)
