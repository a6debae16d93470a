"""`lumosx bench backends`: what it measures, what it refuses, and that its errors show a wrong kernel."""

import pytest
import torch
import typer
from torch import Tensor
from typer.testing import CliRunner

from lumosx.attention import MODULES, compare, sdpa
from lumosx.attention.compare import PLAIN, Row
from lumosx.cli.bench_backends import command
from lumosx.errors import InputError

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(command)
CPU = torch.device("cpu")
RANGES = [(0, 32, 0, 56), (32, 40, 32, 40), (40, 56, 40, 56)]
# What a full attention would see, at two matrix products of 2 FLOPs each, 2 heads of 16.
FLOPS = 4 * 2 * 16 * (32 * 56 + 8 * 8 + 16 * 16)

pytestmark = pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")


def measured(**changes: object) -> dict[str, Row]:
    options = {"ranges": RANGES, "heads": 2, "head_dim": 16, "device": CPU, "dtype": torch.float32, "seconds": 0.001}
    return {row.backend: row for row in compare.compare(**{**options, **changes})}


def test_every_backend_is_measured_or_says_why_not() -> None:
    rows = measured()
    assert list(rows) == [PLAIN, *MODULES]
    for name in ("dense", "sdpa", "flex"):
        row = rows[name]
        assert row.problem is None and row.forward and row.forward > 0 and row.flops == FLOPS
        assert row.rate == FLOPS / row.forward and row.error is not None and row.error < 1e-5
        assert (row.backward is None) == (name == "flex")  # which has no backward pass on a CPU
    assert rows[PLAIN].flops == 4 * 2 * 16 * 56**2 and rows[PLAIN].error < 1e-5
    assert rows["flash"].problem == "cannot run here: it needs a CUDA device"
    assert "MagiAttention is not installed" in rows["magi"].problem
    assert rows["flash"].forward is rows["flash"].rate is None


def test_a_wrong_kernel_shows_in_the_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """In any of the ranges: here those of one row of keys more or less."""
    forward = sdpa.CPU_FLASH.forward

    def forgetful(q: Tensor, k: Tensor, v: Tensor, keep_lse: bool) -> tuple[Tensor, Tensor]:
        return forward(q, k[:, :, :-1], v[:, :, :-1], keep_lse) if q.shape[2] == 8 else forward(q, k, v, keep_lse)

    kernel = sdpa.CPU_FLASH._replace(forward=forgetful)
    monkeypatch.setattr(sdpa, "kernel_for", lambda device, dtype: kernel)
    assert measured()["sdpa"].error > 0.01


def test_one_that_fails_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> tuple[Tensor, Tensor]:
        raise RuntimeError("no\nkernel image")

    kernel = sdpa.CPU_FLASH._replace(forward=failing)
    monkeypatch.setattr(sdpa, "kernel_for", lambda device, dtype: kernel)
    rows = measured()
    assert rows["sdpa"].problem == "failed: RuntimeError: no kernel image" and rows["sdpa"].forward is None
    assert rows["flex"].forward


def test_scores_of_all_pairs_are_held_at_small_sizes_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "LARGEST_TABLE", 4 * 2 * 56**2 - 1)
    rows = measured()
    assert "would hold the scores of all pairs" in rows["dense"].problem
    assert "would hold the scores of all pairs" in rows["flex"].problem
    assert rows["sdpa"].error < 1e-5  # some rows of the oracle are enough for it


def test_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def quick(*arguments: object) -> list[Row]:
        seen.extend(arguments)
        return [
            Row(PLAIN, "one", 4 * 10**9, 0.004, 0.01, 1e-7),
            Row("sdpa", "two", 3 * 10**9, 0.002, None, 2e-7),
            Row("magi", "-", 3 * 10**9, problem="cannot run here: [it] is not there"),
        ]

    monkeypatch.setattr("lumosx.attention.compare.compare", quick)
    arguments = "--size 64x32 --frames 5 --references 5 --heads 3 --head-dim 8 --device cpu"
    result = CliRunner().invoke(app, arguments.split())
    assert result.exit_code == 0, result.output
    # 2 x 2 x 4 tokens of video, 8 a picture: a background, a person of three and the face of another.
    assert seen[0] == [(0, 16, 0, 56), (16, 24, 16, 24), (24, 48, 24, 48), (48, 56, 48, 56)]
    assert seen[1:] == [3, 8, CPU, torch.float32]
    assert "64x32x5, 5 references: 56 tokens, 3 heads of 8, float32" in " ".join(result.output.split())
    table = {line.split()[0]: line.split() for line in result.output.splitlines() if line.strip()}
    assert table["sdpa"] == ["sdpa", "two", "2.00", "-", "1.5", "0.50", "2.0e-07"]
    assert "magi cannot run here: [it] is not there" in result.output
    assert "the FLOPs are 0.75 of its" in result.output
    assert result.output.splitlines()[-1].startswith("auto takes sdpa: exact, nothing to build, CPU flash attention")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--size 64", "--size 64: give WIDTHxHEIGHT, such as 832x480"),
        ("--size 65x32", "width 65 is not a multiple of 16; nearest: 64 or 80"),
        ("--frames 6 --size 64x32", "frames 6 is not 1 . a multiple of 4; nearest: 5 or 9"),
    ],
)
def test_sizes_that_no_clip_has(arguments: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        CliRunner().invoke(app, [*arguments.split(), "--device", "cpu"], catch_exceptions=False)
