"""A clip that several processes sample together is the one of one process."""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from launching import HERE, expect, launch
from tiny_models import save_tiny, tiny_pipeline, tiny_scene, write_scene

from lumosx import LumosXPipeline, Scene, processes
from lumosx.errors import InputError
from lumosx.pipelines import Result, replay
from lumosx.pipelines.parallel import ALONE, Split, expect_same_steps, split_ranks
from lumosx.pipelines.step_cache import StepCache

# by number of processes: guidance, timestep of the references (with "zero" they are cached), groups for its branches,
# processes of a group, which share the tokens
CHECKS = {
    2: [
        "as_one_process:text:zero:2:1",
        "as_one_process:text:shared:2:1",
        "as_one_process:none:zero:1:2",
        "as_one_process:none:shared:1:2",
        "as_one_process:images:zero:1:2",
        "several_clips",
    ],
    3: [
        "as_one_process:text:zero:1:3",
        "as_one_process:none:shared:1:3",
        "as_one_process:images:zero:3:1",
        "as_one_process:images:shared:3:1",
    ],
    4: ["as_one_process:text:zero:2:2", "as_one_process:text:shared:2:2", "impossible"],
}


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, str]]:
    """What became of the checks on so many processes."""
    return cache(lambda ranks: launch("sampling_worker.py", ranks, CHECKS[ranks], tmp_path_factory.mktemp("ranks")))


@pytest.mark.parametrize(("ranks", "check"), [(ranks, check) for ranks, checks in CHECKS.items() for check in checks])
def test_clips_are_those_of_one_process_or_refused(
    results: Callable[[int], dict[str, str]], ranks: int, check: str
) -> None:
    expect(results(ranks), check)


@pytest.mark.parametrize(
    ("ranks", "branches", "split"),
    [
        (1, 1, ALONE),
        (1, 2, ALONE),
        (2, 1, Split(1, 2)),
        (2, 2, Split(2, 1)),
        (3, 2, Split(1, 3)),
        (3, 3, Split(3, 1)),
        (4, 2, Split(2, 2)),
        (4, 3, Split(1, 4)),
        (6, 2, Split(2, 3)),
        (8, 2, Split(2, 4)),
        (9, 3, Split(3, 3)),
        (12, 1, Split(1, 12)),
        (24, 2, Split(2, 12)),
    ],
)
def test_guidance_is_split_before_tokens_at_480p(ranks: int, branches: int, split: Split) -> None:
    assert split_ranks(ranks, branches, heads=12, video_tokens=32760, reference_tokens=1560) == split


@pytest.mark.parametrize(
    ("ranks", "branches", "reference_tokens", "nearest"),
    [(8, 1, 1560, "6 or 4"), (5, 1, 1560, "4 or 6"), (8, 3, 1560, "9 or 6"), (4, 2, 39 * 39, "3 or 2")],
)
def test_what_does_not_divide_has_an_error_that_says_what_does(
    ranks: int, branches: int, reference_tokens: int, nearest: str
) -> None:
    with pytest.raises(InputError, match=rf"{ranks} processes cannot share .*; start {nearest} \(torchrun") as error:
        split_ranks(ranks, branches, 12, 21 * reference_tokens, reference_tokens)
    assert f"12 heads, {21 * reference_tokens} tokens of the video and {reference_tokens} of a reference" in str(error)


def test_a_split_is_known_without_the_processes() -> None:
    pipe = tiny_pipeline(num_attention_heads=6)
    assert pipe.prepare(tiny_scene(), ranks=4, size="192x64").split == Split(2, 2)
    with pytest.raises(InputError, match="8 processes cannot share"):
        pipe.prepare(tiny_scene(), ranks=8, size="192x64")


def test_a_cache_that_looks_at_tokens_is_refused_where_processes_share_them() -> None:
    for split, name in [(Split(2, 1), "first-block"), (Split(2, 4), "taylorseer"), (Split(2, 4), None)]:
        expect_same_steps(split, StepCache.parse(name))
    with pytest.raises(InputError, match=r"of which 4 processes have different ones.*taylorseer or none"):
        expect_same_steps(Split(2, 4), StepCache.parse("first-block"))


def test_one_process_exchanges_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("init_process_group", "all_gather", "all_gather_object", "barrier"):
        monkeypatch.delattr(dist, name)
    with processes.joined() as run:
        assert (run.rank, run.size, run.is_main, run.gather("own")) == (0, 1, True, ["own"])
        run.barrier()
        assert len(list(tiny_pipeline().stream(tiny_scene(), ranks=run.size, progress=False))) == 1


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    with pytest.raises(InputError, match="4 processes on a machine with 2 GPUs"), processes.joined():
        pass


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    """What a user starts; torchrun ends with 1 when a process fails."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(HERE.parent),
    }
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *command]
    return subprocess.run(run, env=environment, capture_output=True, text=True, timeout=200)


def test_an_error_on_one_process_ends_all() -> None:
    run = torchrun(str(HERE / "sampling_worker.py"))
    assert run.returncode == 1
    assert "RuntimeError: the second process is out of memory" in run.stderr, run.stderr
    assert "a clip" not in run.stdout


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("checkpoint"), num_attention_heads=6, reference_timestep="zero")


def sample(checkpoint: Path, scene: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    settings = ["--model", str(checkpoint), "--out", str(out), "--set", "generation.size=192x64", *options]
    return torchrun("-m", "lumosx.cli.main", "sample", str(scene), *settings)


def test_the_command_samples_with_all_processes_and_one_writes_and_tells(checkpoint: Path, tmp_path: Path) -> None:
    scene, out = write_scene(tmp_path / "scene"), tmp_path / "out"
    result = LumosXPipeline.from_pretrained(checkpoint)(Scene.load(scene), seed=0, size="192x64", progress=False)
    assert isinstance(result, Result)
    result.save(out / "two_men_s0.mp4")
    run = sample(checkpoint, scene, out, "--seed", "0", "--seed", "1", "--no-sheet")
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("two_men_s0.mp4: finished, skipped") == 1
    assert run.stdout.count("finished ") == run.stdout.count("attention:") == run.stderr.count("two_men:   0%") == 1
    comparison = replay(out / "two_men_s1.json", progress=False)
    assert comparison.identical
    assert "processes that share the clip: {'branches': 2, 'tokens': 1} then" in str(comparison)


def test_the_command_tells_wrong_input_once(checkpoint: Path, tmp_path: Path) -> None:
    scene = write_scene(tmp_path / "scene")
    run = sample(checkpoint, scene, tmp_path / "out", "--set", "generation.cfg=1", "--set", "generation.size=48x48")
    assert run.returncode == 1
    assert run.stderr.count("2 processes cannot share a clip of 6 heads, 18 tokens") == 1
    scene.write_text(scene.read_text().replace("red.png", "nowhere.png"))
    run = sample(checkpoint, scene, tmp_path / "out")
    assert run.returncode == 1
    assert run.stderr.count("nowhere.png") == 1
    assert not (tmp_path / "out").exists()
