"""Starts real processes over gloo, each running checks of a worker script, and brings back what became of them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def launch(worker: str, processes: int, checks: list[str], folder: Path, seconds: float = 200) -> dict[str, str]:
    """Runs `checks` of the worker one after the other on every process.

    Args:
        folder: where the checks may write; one of several launches finds what another left.

    Returns:
        For each check "" or what went wrong on some rank.
    """
    results = folder / f"results-{processes}.json"
    command = [sys.executable, str(HERE / worker), str(folder), str(results), str(processes), *checks]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": str(HERE.parent)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, start_new_session=True
    ) as run:
        try:
            output, _ = run.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)  # with its children, which would outlive it
            pytest.fail(f"{worker} {' '.join(checks)}: no end after {seconds} s\n{run.communicate()[0]}", pytrace=False)
    if run.returncode:
        pytest.fail(f"{' '.join(command)}\n{output}", pytrace=False)
    return json.loads(results.read_text())


def expect(results: dict[str, str], check: str) -> None:
    """Fails with what a rank said."""
    if results[check]:
        pytest.fail(results[check], pytrace=False)
