"""The pipeline's stages, and what several seeds, guidance and the reference cache may and may not change."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import FirstBlockCacheConfig
from tiny_models import TEXT_LENGTH, in_memory, tiny_pipeline, tiny_scene

from lumosx import LumosXPipeline
from lumosx.errors import InputError
from lumosx.flow import make_solver
from lumosx.references import letterbox, to_tensor

QUIET = {"progress": False}


@pytest.fixture(scope="module", params=["shared", "zero"])
def pipe(request: pytest.FixtureRequest) -> LumosXPipeline:
    return tiny_pipeline(reference_timestep=request.param)


@pytest.fixture(scope="module")
def zero() -> LumosXPipeline:
    return tiny_pipeline(reference_timestep="zero")


@pytest.fixture
def passes(zero: LumosXPipeline, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, int]]:
    """Counts passes of the transformer, and caches of references and texts made."""
    counts = {"passes": 0, "caches": 0, "texts": 0}

    def count(name: str, function: Any) -> Any:
        def counted(*args: Any, **kwargs: Any) -> Any:
            counts[name] += 1
            return function(*args, **kwargs)

        return counted

    for name, method in (("passes", "forward"), ("caches", "encode_references"), ("texts", "encode_text")):
        monkeypatch.setattr(zero.transformer, method, count(name, getattr(zero.transformer, method)))
    yield counts


def test_frames_are_as_large_as_the_checkpoint_says(pipe: LumosXPipeline) -> None:
    result = pipe(tiny_scene(), **QUIET)
    assert result.frames.shape == (5, 32, 32, 3)
    assert result.frames.dtype == np.uint8
    assert result.seed == 7


def test_several_seeds_are_the_same_clips_as_one_by_one(pipe: LumosXPipeline) -> None:
    scene = tiny_scene()
    together = pipe(scene, seeds=[3, 4, 5], **QUIET)
    alone = [pipe(scene, seed=seed, **QUIET) for seed in (3, 4, 5)]
    assert [r.frames_sha256 for r in together] == [r.frames_sha256 for r in alone]
    assert len({r.frames_sha256 for r in together}) == 3


def test_seeds_of_the_scene_give_a_list_and_a_seed_of_the_call_one_result(zero: LumosXPipeline) -> None:
    scene = tiny_scene(generation={"seeds": [1, 2]})
    assert [result.seed for result in zero(scene, **QUIET)] == [1, 2]
    assert zero(scene, seed=2, **QUIET).seed == 2


def test_cached_references_give_the_same_latents(zero: LumosXPipeline) -> None:
    job = zero.prepare(tiny_scene())
    branches = zero.make_branches(job)
    assert all(branch.cache is not None for branch in branches)
    uncached = [branch.without_caches() for branch in branches]
    expected = zero.denoise(uncached, job.settings, [0])
    torch.testing.assert_close(zero.denoise(branches, job.settings, [0]), expected, atol=1e-5, rtol=1e-5)


def test_without_csam_the_text_is_cached_and_references_are_not(zero: LumosXPipeline) -> None:
    branches = zero.make_branches(zero.prepare(tiny_scene(binding={"csam": False})), guidance="apart")
    assert [branch.cache for branch in branches] == [None, None]
    assert all(branch.text_cache is not None for branch in branches)


@pytest.mark.parametrize("mechanism", ["r2pe", "csam"])
def test_a_checkpoint_knows_what_it_was_trained_without_and_a_scene_may_ask_for_it(mechanism: str) -> None:
    pipe = tiny_pipeline(**{mechanism: False})
    assert getattr(pipe.prepare(tiny_scene()).layout, mechanism) is False
    assert getattr(pipe.prepare(tiny_scene(binding={mechanism: True})).layout, mechanism) is True


@pytest.mark.parametrize(
    ("settings", "each_step", "caches"),
    [({"cfg": 1}, 1, 1), ({"cfg": 2}, 2, 2), ({"cfg": 2, "cfg_image": 1}, 2, 2), ({"cfg": 2, "cfg_image": 3}, 3, 2)],
)
def test_guidance_decides_the_passes_and_each_branch_caches_once(
    zero: LumosXPipeline, passes: dict[str, int], settings: dict[str, float], each_step: int, caches: int
) -> None:
    zero(tiny_scene(), seeds=[1, 2], steps=3, guidance="apart", **settings, **QUIET)
    assert passes == {"passes": 2 * 3 * each_step, "caches": caches, "texts": each_step}


@pytest.mark.parametrize("settings", [{"cfg": 1}, {"cfg": 2}, {"cfg": 2, "cfg_image": 3}], ids=str)
def test_together_all_branches_are_one_pass_and_all_seeds_of_a_batch(
    zero: LumosXPipeline, passes: dict[str, int], settings: dict[str, float]
) -> None:
    zero(tiny_scene(), seeds=[1, 2, 3], steps=3, guidance="together", batch=2, **settings, **QUIET)
    assert passes == {"passes": 2 * 3, "caches": 1, "texts": 1}


@pytest.mark.parametrize("rules", ["paper", "release"])
@pytest.mark.parametrize("settings", [{"cfg": 2}, {"cfg": 2, "cfg_image": 3}], ids=str)
@pytest.mark.parametrize("timestep", ["shared", "zero"])
def test_neither_guidance_nor_batch_changes_the_clips(timestep: str, settings: dict[str, float], rules: str) -> None:
    pipe = tiny_pipeline(reference_timestep=timestep, rules=rules)
    colours = {"first": "red", "second": "blue"}
    faces = [{"id": word, "word": f"{word} man", "face": in_memory(colour)} for word, colour in colours.items()]
    job = pipe.prepare(tiny_scene(subjects=faces), seeds=[3, 4], **settings)
    apart, joined = (pipe.make_branches(job, how) for how in ("apart", "together"))
    one_by_one = torch.cat([pipe.denoise(apart, job.settings, [seed]) for seed in job.seeds])
    for branches in (apart, joined):
        ours = pipe.denoise(branches, job.settings, job.seeds)
        torch.testing.assert_close(ours, one_by_one, atol=1e-4, rtol=1e-4)
    assert (one_by_one[0] - one_by_one[1]).abs().max() > 0.1


@pytest.mark.parametrize(("memory", "way"), [(10**12, "together"), (10**3, "apart")])
def test_branches_go_together_where_memory_allows(monkeypatch: pytest.MonkeyPatch, memory: int, way: str) -> None:
    monkeypatch.setattr("lumosx.pipelines.branches.memory_of_batch", lambda _: memory)
    pipe = tiny_pipeline()
    assert pipe(tiny_scene(), steps=1, **QUIET).record["runtime"]["guidance"] == way
    assert pipe(tiny_scene(), steps=1, guidance="apart", **QUIET).record["runtime"]["guidance"] == "apart"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"guidance": "both"}, "guidance is one of auto, together, apart, not 'both'"),
        ({"batch": 0}, "batch is .* not 0"),
    ],
)
def test_a_way_of_sampling_that_does_not_exist(zero: LumosXPipeline, call: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        zero(tiny_scene(), **call, **QUIET)


def test_where_references_see_the_video_seeds_are_sampled_one_by_one(zero: LumosXPipeline) -> None:
    free = tiny_scene(binding={"csam": False})
    results = zero(free, seeds=[1, 2], batch=2, **QUIET)
    assert [r.frames_sha256 for r in results] == [zero(free, seed=seed, **QUIET).frames_sha256 for seed in (1, 2)]
    assert results[0].record["runtime"]["batch"] == 1
    bare = tiny_scene(subjects=None, background=None, binding={"csam": False})
    assert zero(bare, seeds=[1, 2], batch=2, **QUIET)[0].record["runtime"]["batch"] == 2


def test_streams_that_are_read_in_turns_keep_to_themselves(zero: LumosXPipeline) -> None:
    seen: dict[str, set[str]] = {"flex": set(), "dense": set()}

    def stream(backend: str) -> Iterator[Any]:
        def note(pipe: LumosXPipeline, *_: Any) -> None:
            seen[backend].add(pipe.transformer.attention_backend)

        return zero.stream(tiny_scene(), seeds=[1, 2], steps=1, backend=backend, callback_on_step_end=note, **QUIET)

    for clips in zip(stream("flex"), stream("dense"), strict=True):
        assert [clip.record["runtime"]["attention"]["backend"] for clip in clips] == ["flex", "dense"]
    assert seen == {"flex": {"flex"}, "dense": {"dense"}}
    assert zero.transformer.attention_backend == "auto"


def test_a_cache_that_the_caller_enabled_is_an_error_that_says_what_to_do(zero: LumosXPipeline) -> None:
    zero.transformer.enable_cache(FirstBlockCacheConfig(0.1))
    try:
        with pytest.raises(InputError, match=r"disable_cache\(\) and say step_cache"):
            zero(tiny_scene(), **QUIET)
    finally:
        zero.transformer.disable_cache()


def test_processes_that_nobody_started_are_an_error(zero: LumosXPipeline) -> None:
    with pytest.raises(InputError, match="ranks=2: 1 process joined; start as many with torchrun"):
        zero(tiny_scene(), ranks=2, **QUIET)


def test_image_guidance_without_references_is_ordinary_guidance(zero: LumosXPipeline, passes: dict[str, int]) -> None:
    zero(tiny_scene(subjects=None, background=None), cfg=2, cfg_image=3, steps=1, guidance="apart", **QUIET)
    assert passes == {"passes": 2, "caches": 0, "texts": 2}


def test_a_step_is_the_guided_velocity_times_the_step(zero: LumosXPipeline) -> None:
    job = zero.prepare(tiny_scene(), steps=1, cfg=2.5, cfg_image=1.5)
    branches = zero.make_branches(job)
    noise = torch.randn((1, 16, 2, 4, 4), generator=torch.Generator().manual_seed(11))
    solver = make_solver("euler", 1, 3.0)
    with torch.no_grad():
        full, references, nothing = (v for b in branches for v in zero.predict(b, noise, solver.timesteps[0]))
    velocity = nothing + 1.5 * (references - nothing) + 2.5 * (full - references)
    torch.testing.assert_close(zero.denoise(branches, job.settings, [11]), noise - velocity)


@pytest.mark.parametrize(("rules", "kept"), [("paper", False), ("release", True)])
def test_the_negative_branch_names_nothing_but_under_release_rules(rules: str, kept: bool) -> None:
    pipe = tiny_pipeline(rules=rules)
    faces = [
        {"id": "a", "word": "first man", "face": in_memory("red")},
        {"id": "b", "word": "second man", "face": in_memory("blue")},
    ]
    (both,) = pipe.make_branches(pipe.prepare(tiny_scene(subjects=faces)), guidance="together")
    positive, negative = both.layouts
    assert positive.words.any()
    assert bool(negative.words.any()) is kept
    assert both.references[0] is both.references[1]


def test_the_checkpoints_rules_hold_where_the_scene_is_silent() -> None:
    pipe = tiny_pipeline(rules="release", mcam_ratio=0.25)
    silent = tiny_scene(prompt="A man and a man on a street.", subjects=[
        {"id": name, "word": "man", "face": in_memory(colour)} for name, colour in (("a", "red"), ("b", "blue"))
    ])  # fmt: skip
    layout = pipe.prepare(silent).layout
    assert layout.rules == "release"
    assert torch.equal(layout.words[1], layout.words[2])  # every occurrence of "man", for both
    assert pipe(silent, **QUIET).record["binding"]["mcam_ratio"] == 0.25
    stated = pipe.prepare(tiny_scene(binding={"rules": "paper", "mcam": False})).layout  # paper knows occurrences
    assert (stated.rules, stated.mcam_ratio) == ("paper", 0.0)


def test_text_is_encoded_as_if_there_were_no_padding(zero: LumosXPipeline) -> None:
    prompts = ["A woman with a red hat", "blurry"]
    embeddings = zero.encode_text(prompts)
    assert embeddings.shape == (2, TEXT_LENGTH, 24)
    for prompt, row in zip(prompts, embeddings, strict=True):
        ids = torch.tensor([zero.tokenizer(prompt)["input_ids"]])
        alone = zero.text_encoder(ids).last_hidden_state[0]
        torch.testing.assert_close(row[: len(alone)], alone)
        assert not row[len(alone) :].any()


def test_references_are_normalised_latents_of_one_frame_each(zero: LumosXPipeline) -> None:
    binding = zero.prepare(tiny_scene()).binding
    latents = zero.encode_references(binding, 48, 32)
    assert latents.shape == (16, 5, 4, 6)
    assert [entity.id for entity in binding.references][1] == "ben.face"
    clip = to_tensor(letterbox(in_memory("red"), 48, 32))[None, :, None]
    mean, std = (torch.tensor(zero.vae.config[key]) for key in ("latents_mean", "latents_std"))
    expected = (zero.vae.encode(clip).latent_dist.mode()[0, :, 0] - mean[:, None, None]) / std[:, None, None]
    torch.testing.assert_close(latents[:, 1], expected)


def test_layout_follows_the_binding(zero: LumosXPipeline) -> None:
    scene = tiny_scene(subjects=[
        {"id": "ben", "word": "man", "occurrence": 1, "face": in_memory("red"), "strength": 1.5,
         "attributes": [{"word": "white jacket"}]},
        {"id": "carl", "word": "man", "occurrence": 2, "face": in_memory("blue")},
    ])  # fmt: skip
    job = zero.prepare(scene, size="64x32", frames=9)
    assert job.layout.video == (3, 2, 4)
    roles = [(r.role, r.subject, r.strength) for r in job.layout.references]
    assert roles == [("background", None, 1.0), ("member", 0, 1.5), ("member", 1, 1.0)]
    assert [row.nonzero().flatten().tolist() for row in job.layout.words] == job.binding.words
    tokens = zero.tokenizer.convert_ids_to_tokens(job.binding.token_ids)
    assert job.layout.subject_words is not None
    named = "".join(tokens[i] for i in job.layout.subject_words[0].nonzero().flatten())
    assert named.replace("▁", "") == "whitejacket"


def test_plain_text_to_video_and_single_frames(zero: LumosXPipeline) -> None:
    scene = tiny_scene(subjects=None, background=None, generation={"frames": 1, "size": "48x16"})
    assert zero(scene, **QUIET).frames.shape == (1, 16, 48, 3)
    assert zero(tiny_scene(), frames=1, **QUIET).frames.shape == (1, 32, 32, 3)


def test_the_callback_sees_every_step_and_may_change_the_latents(zero: LumosXPipeline) -> None:
    seen = []

    def watch(pipe: Any, step: int, timestep: int, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        seen.append((step, timestep))
        return {"latents": torch.zeros_like(tensors["latents"])}

    result = zero(tiny_scene(), callback_on_step_end=watch, **QUIET)
    assert seen == list(enumerate(make_solver("euler", 3, 3.0).timesteps.tolist()))
    assert np.array_equal(result.frames, zero.decode(torch.zeros(1, 16, 2, 4, 4)))


def test_the_callback_cancels_by_raising(zero: LumosXPipeline, passes: dict[str, int]) -> None:
    def cancel(*args: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        zero(tiny_scene(), seeds=[1, 2], cfg=1, callback_on_step_end=cancel, **QUIET)
    assert passes["passes"] == 1


def test_progress_counts_the_steps_of_all_seeds(zero: LumosXPipeline, capsys: pytest.CaptureFixture[str]) -> None:
    zero(tiny_scene(), seeds=[1, 2], steps=4)
    shown = capsys.readouterr().err
    assert "two_men" in shown and "8/8" in shown
    zero(tiny_scene(), **QUIET)
    assert capsys.readouterr().err == ""


def test_an_unknown_backend_is_an_error_and_the_old_one_stays(zero: LumosXPipeline) -> None:
    with pytest.raises(InputError, match="nonsense"):
        zero(tiny_scene(), backend="nonsense", **QUIET)
    result = zero(tiny_scene(), backend="dense", **QUIET)
    assert result.record["runtime"]["attention"]["backend"] == "dense"
    assert zero.transformer.attention_backend == "auto"


@pytest.mark.parametrize("end", ["done", "cancelled", "closed"])
def test_however_a_call_ends_the_pipeline_is_left_as_it_was(
    zero: LumosXPipeline, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    freed = []
    monkeypatch.setattr(zero, "maybe_free_model_hooks", lambda: freed.append(zero.transformer.attention_backend))

    def step(*args: Any) -> None:
        assert zero.transformer.attention_backend == "dense"
        if end == "cancelled":
            raise KeyboardInterrupt

    clips = zero.stream(tiny_scene(), seeds=[1, 2], steps=1, backend="dense", callback_on_step_end=step, **QUIET)
    if end == "cancelled":
        with pytest.raises(KeyboardInterrupt):
            next(clips)
    elif end == "closed":
        next(clips)
        clips.close()  # pyright: ignore[reportAttributeAccessIssue]
    else:
        assert len(list(clips)) == 2
    assert freed[-1] == "auto"


def test_positions_beyond_the_models_are_an_error_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    pipe = tiny_pipeline(rope_max_seq_len=4)
    fits = tiny_pipeline(rope_max_seq_len=5).prepare(tiny_scene())
    assert fits.layout.position_ids.amax() == 4  # on axis t: 2 frames, a street, two men
    monkeypatch.setattr(pipe, "make_branches", lambda *_: pytest.fail("the text encoder ran"))
    with pytest.raises(InputError, match=r"R2PE needs \d positions on axis"):
        pipe(tiny_scene(), **QUIET)


@pytest.mark.gpu
def test_on_a_gpu_the_text_encoder_makes_room_and_frames_are_alike() -> None:
    pipe = tiny_pipeline(reference_timestep="zero")
    expected = pipe(tiny_scene(), **QUIET).frames
    found = pipe.to("cuda")(tiny_scene(), **QUIET).frames
    assert pipe.text_encoder.device.type == "cpu"
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 2
    again = pipe(tiny_scene(), **QUIET)
    assert np.array_equal(again.frames, found)
    assert again.record["runtime"]["device"] == "cuda"
