"""The plan of a clip: against published figures, against the pipeline itself, and on cards of all sizes."""

import json
import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tiny_models import TEXT_LENGTH, tiny_scene
from torch.utils.flop_counter import FlopCounterMode

from lumosx import LumosXPipeline, Scene
from lumosx.errors import InputError
from lumosx.models.gpus import GPUS, find_gpu, this_cpu
from lumosx.paths import checkpoint_path, configs_dir
from lumosx.pipelines.advice import advise, auto, best_split
from lumosx.pipelines.branches import SHARE, Branch, go_together
from lumosx.pipelines.parallel import Split
from lumosx.pipelines.plan import BUILT_IN, Plan, make_plan, read_model
from lumosx.pipelines.settings import Settings
from lumosx.pipelines.ways import Way, fits, memory, peak, seconds, weights
from lumosx.relations.typical import typical_layout

GIB = 2**30
H200, A100, RTX = find_gpu("H200"), find_gpu("A100"), find_gpu("4090")
TINY = "checkpoints/lumosx-tiny"


@cache
def wan(references: int = 4, timestep: str = "shared", seeds: int = 1, **settings: Any) -> Plan:
    """Of Wan's 1.3B at 480p x 81."""
    model = read_model(BUILT_IN)
    model = replace(model, transformer={**model.transformer, "reference_timestep": timestep})
    plan = Plan(model, Settings(**settings), seeds, typical_layout((21, 30, 52), references, 512), ())
    if (references, timestep, seeds, settings) != (4, "shared", 1, {}):  # what is the same for all is counted once
        plan.__dict__.update({name: getattr(wan(), name) for name in ("codec", "decoding", "picture", "text_encoder")})
    return plan


@cache
def two_friends() -> Scene:
    return Scene.load(configs_dir() / "scenes" / "two_friends" / "scene.yaml")


def without_weights(folder: Path, **transformer: Any) -> Path:
    """The shipped checkpoint's configuration alone."""
    for file in checkpoint_path(TINY).rglob("*.json"):
        if file.name in ("config.json", "model_index.json"):
            target = folder / file.relative_to(checkpoint_path(TINY))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | transformer))
    return folder


def test_a_step_is_counted_in_both_conventions() -> None:
    plan = wan(4)
    assert plan.paper_step == pytest.approx(195.40e12, abs=5e9)
    # all of the four references in one last block less (0.92 T linear), the text's keys and values once (0.31 T)
    assert plan.step().products == pytest.approx(194.17e12, abs=5e9)
    assert plan.step().total == pytest.approx(681.32e12, abs=5e9)
    assert wan(0).step().total == pytest.approx(566.0e12 - 0.31e12, abs=5e10)


def test_cached_references_are_computed_once() -> None:
    shared, zero = wan(4), wan(4, "zero")
    assert shared.once.reference_cache == 0
    assert zero.step().total == pytest.approx(641.1e12, abs=0.1e12)
    # in each pass the shared ones are computed with the video, and a step has the two passes that fill the cache once
    assert shared.step().total - zero.step().total == pytest.approx(zero.once.reference_cache, rel=1e-4)


def test_seeds_share_references_in_a_step() -> None:
    saved = 4 * wan(8).step().total - wan(8).step(4).total
    assert saved == pytest.approx(3 * wan(8, "zero").once.reference_cache, rel=1e-4)
    assert wan(8, "zero").step(4).total == 4 * wan(8, "zero").step().total


@pytest.mark.parametrize("references", [1, 4, 12])
def test_caches_have_their_known_size(references: int) -> None:
    parts = memory(wan(references, "zero"), Way(), H200)["denoising"]
    assert parts["references' keys and values"] == pytest.approx(2 * references * 287.5e6, rel=1e-3)
    assert parts["text's keys and values"] == pytest.approx(2 * 94.4e6, rel=1e-3)
    assert "references' keys and values" not in {k for k, v in memory(wan(), Way(), H200)["denoising"].items() if v}


def test_weights_are_where_sampling_has_them() -> None:
    plan, sizes = wan(), weights(wan(), Way(), 2)
    assert sizes == {"transformer": 2 * 1_418_996_800, "text encoder": 2 * 5_680_910_336, "codec": 4 * 126_892_531}
    held = {
        (offload, stage): sum(size for part, size in parts.items() if part in sizes)
        for offload in ("none", "model", "group")
        for stage, parts in memory(plan, Way(offload), H200).items()  # pyright: ignore[reportArgumentType]
    }
    assert held["none", "text"] == sum(sizes.values())
    assert held["none", "denoising"] == sizes["transformer"] + sizes["codec"] == held["none", "decoding"]
    assert held["model", "text"] == sizes["text encoder"]
    assert held["model", "denoising"] == sizes["transformer"]
    embedding, outside, block = 256384 * 4096, 25_775_680, 46_440_704
    assert held["group", "text"] == 2 * (embedding + outside) + sizes["codec"]
    assert held["group", "denoising"] == 2 * (outside + 2 * block) + sizes["codec"]
    smaller = weights(plan, Way(quantize="int8"), 2)["transformer"]
    assert smaller == 30 * block + 2 * outside


@pytest.mark.parametrize("references", [4, 12])
@pytest.mark.parametrize("timestep", ["shared", "zero"])
def test_480p_with_81_frames_fits_into_8_gb(references: int, timestep: str) -> None:
    small = replace(RTX, memory=8 * GIB)
    plan = wan(references, timestep)
    advice = advise(plan, small)
    if (references, timestep) == (12, "zero"):
        assert not advice.fits  # the cache alone is 6.9 GB
    else:
        assert advice.fits and advice.way.offload == "group" and advice.way.tiling
        assert peak(plan, advice.way, small) <= 0.9 * 8 * GIB
    assert not fits(plan, Way("group"), small) and not fits(plan, Way("none", tiling=True), small)


@pytest.mark.parametrize(("gibibytes", "offload"), [(12, "group"), (16, "none"), (24, "none"), (80, "none")])
def test_weights_move_no_more_than_they_must(gibibytes: int, offload: str) -> None:
    advice = advise(wan(), replace(RTX, memory=gibibytes * GIB))
    assert advice.fits and advice.way.offload == offload and not advice.way.tiling and advice.way.quantize == "none"


def test_what_is_stated_stays() -> None:
    advice = advise(wan(), RTX, "model", "apart")
    assert advice.way.offload == "model" and not advice.way.together
    assert advise(wan(), RTX, guidance="together").way.together
    assert not advise(wan(cfg=1.0), RTX, guidance="together").way.together


def test_a_card_that_is_too_small_is_told() -> None:
    advice = advise(wan(), replace(RTX, memory=2 * GIB))
    assert not advice.fits and advice.way.offload == "group" and advice.way.tiling


@pytest.mark.parametrize("gpu", GPUS.values(), ids=GPUS)
@pytest.mark.parametrize("references", [0, 4, 12])
def test_every_card_samples_it(gpu: Any, references: int) -> None:
    plan = wan(references)
    advice = advise(plan, gpu)
    assert advice.fits and fits(plan, advice.way, gpu)
    assert not (advice.way.compile and advice.way.offload == "group")


def clip_seconds(plan: Plan, way: Way, gpu: Any) -> float:
    expected = seconds(plan, way, gpu)
    return sum(expected.values()) - expected["step"]


def test_times_are_those_of_published_runs() -> None:
    """Wan's 1.3B at 480p x 81, 50 steps with guidance: its authors on a 4090, TeaCache's on an A800, both in seconds;
    the third is put together from published kernel times (cuDNN, four references)."""
    assert clip_seconds(wan(0), Way(), RTX) == pytest.approx(261.4, rel=0.03)
    assert clip_seconds(wan(0), Way(), A100) == pytest.approx(175, rel=0.03)
    assert seconds(wan(4), Way(compile=True), H200)["step"] == pytest.approx(1.144, rel=0.02)


def test_offloading_costs_time() -> None:
    times = [clip_seconds(wan(), Way(offload), H200) for offload in ("none", "model")]  # pyright: ignore
    assert times[0] < times[1] < times[0] + 1
    small = Plan(wan().model, Settings(size="256x256", frames=5), 1, typical_layout((2, 16, 16), 1, 512), ())
    brought = 2 * 2 * 1_418_996_800 / 20e9  # the weights for both passes
    assert seconds(small, Way("group"), H200)["step"] == pytest.approx(brought)


@pytest.mark.parametrize(
    ("cfg", "world", "split"),
    [(6.0, 1, (1, 1)), (6.0, 2, (2, 1)), (6.0, 5, (2, 2)), (6.0, 8, (2, 4)), (6.0, 12, (2, 6)), (1.0, 8, (1, 6))],
)
def test_gpus_share_branches_and_then_tokens(cfg: float, world: int, split: tuple[int, int]) -> None:
    """12 heads, 32,760 and 1,560 tokens are shared by 1, 2, 3, 4, 6 or 12."""
    plan = wan(cfg=cfg)
    assert best_split(plan, world) == split
    alone, shared = (seconds(plan, Way(), H200, s)["step"] for s in (Split(1, 1), Split(*split)))
    assert shared == pytest.approx(alone / (split[0] * split[1]), rel=2e-3)  # MCAM is in one branch


def test_seeds_go_together_where_they_share_and_fit() -> None:
    assert advise(wan(8, seeds=3), H200).way.batch == 3
    assert advise(wan(8, "zero", seeds=3), H200).way.batch == 1  # nothing left to share
    assert advise(wan(8, seeds=3), replace(RTX, memory=10 * GIB)).way.batch < 3


def test_compilation_must_pay() -> None:
    assert advise(wan(seeds=20), H200).way.compile
    assert not advise(wan(steps=4), H200).way.compile


@pytest.mark.parametrize("memory_size", [4 * GIB, 8 * GIB, 80 * GIB])
def test_auto_guidance_is_the_pipelines(memory_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lumosx.pipelines.branches.memory_of_batch", lambda device: memory_size // SHARE)
    plan = wan()
    branches = [Branch(torch.zeros(1), (layout,), ()) for layout in plan.branches]
    transformer: Any = SimpleNamespace(config=plan.model.transformer, dtype=torch.bfloat16)
    assert go_together(branches, "auto", 1, transformer) == auto(plan, replace(RTX, memory=memory_size))


@pytest.mark.parametrize("settings", [{}, {"cfg": 3.0}, {"cfg": 3.0, "cfg_image": 2.0}])
def test_the_plan_has_the_pipelines_layouts(settings: dict[str, Any]) -> None:
    pipeline = LumosXPipeline.from_pretrained(TINY)
    job = pipeline.prepare(two_friends(), **settings)
    branches = pipeline.make_branches(job, guidance="apart")
    plan = make_plan(two_friends(), read_model(TINY), settings)
    assert plan.layout == job.layout and plan.settings == job.settings and plan.seeds == len(job.seeds)
    assert [(layout,) for layout in plan.branches] == [branch.layouts for branch in branches]
    assert [plan.part(b) == "video" for b in plan.branches] == [branch.cache is not None for branch in branches]


@pytest.mark.parametrize("timestep", ["zero", "shared"])
def test_flops_are_those_of_sampling(timestep: str) -> None:
    pipeline = LumosXPipeline.from_pretrained(TINY)
    pipeline.transformer.register_to_config(reference_timestep=timestep)
    model = read_model(TINY)
    model = replace(model, transformer={**model.transformer, "reference_timestep": timestep})
    call = {"steps": 3, "cfg": 2.0}
    with FlopCounterMode(display=False) as counter:
        pipeline(two_friends(), guidance="apart", progress=False, **call)
    plan = make_plan(two_friends(), model, call)
    step, once = plan.step(), plan.once
    expected = 3 * (step.products + step.self_attention) + sum(once)
    # PyTorch counts the CPU's fused cross-attention as nothing
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.05)


def test_a_folder_needs_no_weights_and_no_tokenizer(tmp_path: Path) -> None:
    bare, whole = (make_plan(two_friends(), read_model(str(f)), {}) for f in (without_weights(tmp_path), TINY))
    assert (bare.step(), bare.once, bare.settings) == (whole.step(), whole.once, whole.settings)
    assert bare.names == whole.names == ("background", "ball", *(entity for entity in whole.names[2:]))


def test_a_built_in_model_needs_nothing_at_all() -> None:
    plan = make_plan(tiny_scene(), read_model(BUILT_IN), {})
    assert plan.settings == Settings() and plan.layout.video == (21, 30, 52) and plan.layout.text_length == 512
    assert plan.names == ("background", "ben.face", "ben.white jacket", "carl.face", "carl.black jacket")


def test_typical_references_stand_in_for_the_scenes() -> None:
    plan = make_plan(tiny_scene(), read_model(BUILT_IN), {"size": "416x240", "frames": 5}, references=5)
    assert plan.layout.video == (2, 15, 26)
    assert plan.names == ("background", "person 1: face", "person 1: attribute 1", "person 1: attribute 2",
                          "person 2: face")  # fmt: skip
    assert plan.step().mcam > 0
    assert make_plan(tiny_scene(), read_model(BUILT_IN), {}, references=0).names == ()


def test_switches_of_the_scene_count(tiny_checkpoint: Path) -> None:
    model = read_model(str(tiny_checkpoint))
    assert model.text_length == TEXT_LENGTH
    off = make_plan(tiny_scene(binding={"mcam": False, "csam": False}), model, {})
    assert off.step().mcam == 0 and not off.layout.csam


@pytest.mark.parametrize(
    ("call", "message"),
    [({"size": "830x480"}, "nearest: 816 or 832"), ({"frames": 80}, "nearest"), ({"steps": 0}, "step")],
)
def test_settings_that_cannot_be_are_refused(call: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        make_plan(tiny_scene(), read_model(BUILT_IN), call)


def test_models_that_are_not_there_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"checkpoint no-such: .*lumosx-tiny"):
        read_model("no-such")
    with pytest.raises(InputError, match="not on this machine"):
        read_model("somebody/something")
    folder = without_weights(tmp_path)
    (folder / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL"}')
    with pytest.raises(InputError, match="codec is of class AutoencoderKL; known are AutoencoderKLWan"):
        read_model(str(folder))
    (folder / "model_index.json").write_text("{")
    with pytest.raises(InputError, match=r"model_index\.json cannot be read"):
        read_model(str(folder))


def test_a_processor_holds_everything_in_float32() -> None:
    cpu, plan = this_cpu(), wan()
    assert cpu.memory > GIB and cpu.peak > 1e8
    for parts in memory(plan, Way(), cpu).values():
        assert parts["transformer"] == 4 * 1_418_996_800 and parts["text encoder"] == 4 * 5_680_910_336
    assert advise(plan, replace(cpu, memory=200 * GIB)).way.offload == "none"
    assert seconds(plan, Way(), cpu)["step"] > plan.step().total / cpu.peak
    assert seconds(plan, Way(), replace(cpu, bandwidth=1e99, launch=0.0))["step"] == plan.step().total / cpu.peak
