"""The table of step caches: its figures are those of the clips that were sampled."""

import math
import sys
from types import ModuleType

import numpy as np
import pytest
import torch
from script_modules import load_script


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With few caches."""
    module = load_script("step_caches", monkeypatch)
    monkeypatch.setattr(module, "CACHES", ("none", "taylorseer:1", "taylorseer:3"))
    return module


def test_psnr_and_distance_of_known_errors(script: ModuleType) -> None:
    exact = np.full((2, 4, 4, 3), 100, np.uint8)
    assert script.psnr(exact, exact) == math.inf
    assert script.psnr(exact + 1, exact) == pytest.approx(48.13, abs=0.005)
    assert script.psnr(exact - 100, exact) == pytest.approx(20 * math.log10(2.55))
    assert script.distance(torch.tensor([3.0, 5.0]), torch.tensor([3.0, 4.0])) == pytest.approx(0.2)


def test_figures_are_sums_and_means_over_clips(script: ModuleType) -> None:
    frames = np.zeros((1, 1, 1, 3), np.uint8)
    exact = [script.Clip(torch.tensor([1.0]), frames, 10, 2.0), script.Clip(torch.tensor([2.0]), frames, 10, 6.0)]
    ours = [script.Clip(torch.tensor([1.1]), frames + 1, 4, 1.0), script.Clip(torch.tensor([2.6]), frames + 10, 8, 1.0)]
    assert script.figures(ours, exact) == ["60%", "25%", "0.200 (0.300)", "38.1 (28.1)"]


def test_every_cache_has_a_line_of_every_number_of_steps(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--steps", "4", "7", "--seeds", "1", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["step_caches.py", *options])
    threads = torch.get_num_threads()
    try:
        script.main()
    finally:
        torch.set_num_threads(threads)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("lumosx-tiny, two_friends, seeds 0: 64x64, 17 frames, euler")
    assert lines[2] == "python step_caches.py --steps 4 7 --seeds 1 --rounds 1"
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[6:]]
    # of 4 steps the first three and the last are whole; of 7 the sixth is skipped, and the fourth
    assert [[*row[:3]] for row in table] == [
        ["4", "none", "100%"], ["4", "taylorseer:1", "100%"], ["4", "taylorseer:3", "100%"],
        ["7", "none", "100%"], ["7", "taylorseer:1", "100%"], ["7", "taylorseer:3", "71%"],
    ]  # fmt: skip
    same = ["0.000 (0.000)", "inf (inf)"]
    assert [row[4:] == same for row in table] == [True, True, True, True, True, False]
