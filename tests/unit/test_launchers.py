"""The launch scripts and the benchmark of a step, as far as they run without a cluster and a GPU."""

import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from script_modules import load_script

SCRIPTS = Path(__file__).parents[2] / "scripts"
LAUNCHERS = sorted((SCRIPTS / "launch").iterdir())


@pytest.mark.parametrize("script", LAUNCHERS, ids=lambda script: script.name)
def test_launchers_are_valid_and_executable(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True)
    assert os.access(script, os.X_OK)


def test_several_machines_need_to_know_each_other() -> None:
    environment = {"PATH": os.environ["PATH"], "NODES": "2", "NODE_RANK": "0"}
    script = SCRIPTS / "launch" / "torchrun_nodes.sh"
    result = subprocess.run([script, "experiment=tiny"], env=environment, capture_output=True, text=True)
    assert result.returncode != 0 and "MASTER_ADDR" in result.stderr


@pytest.mark.parametrize(("code", "queued_again"), [(143, True), (0, False), (1, False)])
def test_slurm_queues_a_stopped_run_again(tmp_path: Path, code: int, queued_again: bool) -> None:
    commands = {
        "srun": f'echo "$@" > {tmp_path}/srun.log; exit {code}',
        "scontrol": f'echo "$@" >> {tmp_path}/scontrol.log; echo first-host',
    }
    for name, body in commands.items():
        (tmp_path / name).write_text(f"#!/usr/bin/env bash\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_ID": "77",
    }  # fmt: skip
    script = SCRIPTS / "launch" / "slurm.sbatch"
    result = subprocess.run([script, "experiment=tiny", "run.name=a b"], env=environment)
    assert result.returncode == code
    assert ("requeue 77" in (tmp_path / "scontrol.log").read_text()) is queued_again
    assert (tmp_path / "srun.log").read_text().strip().endswith("python experiment=tiny run.name=a b")


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load_script("step_benchmark", monkeypatch)


def lines(benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, *options: str) -> list:
    monkeypatch.setattr(sys, "argv", ["step_benchmark.py", *options])
    benchmark.main()
    return capsys.readouterr().out.splitlines()


def test_the_benchmark_tells_what_it_expects_without_a_gpu(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    table = lines(benchmark, monkeypatch, capsys, "--dry-run", "--gpu", "H200")
    assert table[0] == "LumosX 1.3B, 832x480x81, 4 references, batch 1, expected of one H200"
    assert [row.split("|")[1].strip() for row in table[4:]] == ["full", "selective"]
    assert all(row.count("%") == 1 for row in table[4:])


def test_the_benchmark_trains_the_tiny_model_anywhere(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    table = lines(benchmark, monkeypatch, capsys, "--tiny", "--eager", "--steps", "1")
    assert "4 references" in table[0] and "PyTorch" in table[0]
    seconds = [float(row.split("|")[3]) for row in table[4:]]
    assert len(seconds) == 2 and min(seconds) > 0
