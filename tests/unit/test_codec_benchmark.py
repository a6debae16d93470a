"""The comparison of codecs: a line for each candidate, its figures of the right codec."""

import sys
from types import ModuleType

import pytest
from script_modules import load_script


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With few candidates, timed once."""
    module = load_script("codec_benchmark", monkeypatch)
    monkeypatch.setattr(module, "LINEAR", {(8, 4): (32, 128)})
    monkeypatch.setattr(module, "TIMED", 1)
    return module


def test_every_candidate_has_a_line(
    benchmark: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--clips", "2", "--unseen", "1", "--wan-minutes", "1e-9"]
    monkeypatch.setattr(sys, "argv", ["codec_benchmark.py", *options])
    benchmark.main()
    table = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()[4:]]
    lossless, coarse, fine, wan = table
    assert lossless[:4] == ["SpaceToDepthCodec 8x8x4, lossless", "inf", "inf", "3,072"]
    assert coarse[0] == "LinearCodec 8x8x4, 32 components" and (coarse[3], fine[3]) == ("128", "512")
    assert 10 < float(coarse[1]) < float(fine[1]) and float(coarse[4]) < float(fine[4])
    assert wan[0].startswith("AutoencoderKLWan") and "0 steps" in wan[0] and wan[3] == "64"
    assert [len(line) for line in table] == [7] * 4
