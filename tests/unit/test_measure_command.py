"""`lumosx playground measure`: a pipeline in, scores out; killed and repeated, it goes on where it was."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from lumosx.cli import main as cli
from lumosx.evaluation.binding import VARIANTS
from lumosx.pipelines import LumosXPipeline
from lumosx.playground import World
from lumosx.scene import Scene

WORLD = World()
GENERATION = {
    "size": f"{WORLD.size[0]}x{WORLD.size[1]}", "frames": WORLD.frames, "steps": 10, "solver": "euler", "cfg": 1.0,
    "shift": 3.0, "seed": 3,
}  # fmt: skip


class TruePipeline:
    """Draws the clip that a scene of the test split was made from, and notes how it was called."""

    config = SimpleNamespace(generation=GENERATION)

    def __init__(self, folder: Path) -> None:
        self.name_or_path, self.device = str(folder), torch.device("cpu")
        for part in ("transformer", "text_encoder", "tokenizer", "vae"):
            (folder / part).mkdir(parents=True)
            (folder / part / "config.json").write_text(part)
        self.calls: list[tuple[Any, ...]] = []
        self.left = 1000  # clips that it makes before it fails

    def to(self, device: torch.device) -> "TruePipeline":
        assert device == self.device
        return self

    def stream(self, scene: Scene, *, seeds: list[int], progress: bool, **call: Any) -> Iterator[SimpleNamespace]:
        assert not progress
        clip, count, placed = int(scene.id.removeprefix("test_")), len(scene.subjects), "on the left" in scene.prompt
        same_noun = clip % 2 == 0 if count > 1 else None
        true = WORLD.render([clip], split="test", subjects=count, placed=placed, same_noun=same_noun)
        for seed in seeds:
            self.left -= 1
            if self.left < 0:
                raise KeyboardInterrupt
            self.calls.append((clip, seed, count, placed, scene.binding.mcam, scene.binding.csam, call))
            yield SimpleNamespace(frames=true.frames(0))


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TruePipeline:
    loaded = TruePipeline(tmp_path / "model")
    monkeypatch.setattr(LumosXPipeline, "from_pretrained", lambda model, dtype: loaded)
    monkeypatch.setattr("lumosx.pipelines.memory.set_up", lambda pipeline, device: pipeline.to(device))
    return loaded


def measure(*arguments: object) -> int:
    result = CliRunner().invoke(cli.app, ["playground", "measure", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the program says when it refuses the arguments."""
    monkeypatch.setattr(sys, "argv", ["lumosx", "playground", "measure", *map(str, arguments)])
    monkeypatch.setenv("LUMOSX_DEBUG", "0")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    return capsys.readouterr().err


def scores_of(out: Path) -> list[dict[str, Any]]:
    return json.loads(out.read_text())["scores"]


def untimed(scores: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if key != "seconds"} for row in scores]


def test_all_conditions_are_measured_and_written(pipeline: TruePipeline, tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    assert measure("--clips", 1, "--seed", 5, "--cfg", 1.5, "--out", out) == 0
    scores = scores_of(out)
    assert [row["condition"] for row in scores] == [name for name in VARIANTS if "scattered" not in name]
    assert all((row["clips"], row["samples"], row["binding"]["mean"]) == (1, 1, 1.0) for row in scores)
    assert all((row["subjects"], row["steps"], row["solver"], row["cfg"]) == (2, 10, "euler", 1.5) for row in scores)
    assert [row["placed_right"] is None for row in scores] == [False, True] * 3
    asked = [call[2:] for call in pipeline.calls]
    sampling = {"steps": 10, "solver": "euler", "cfg": 1.5}
    switches = [(None, None), (False, None), (None, False)]
    assert asked == [(2, placed, *switch, sampling) for switch in switches for placed in (True, False)]
    assert {call[0] for call in pipeline.calls} == {5}


def test_the_report_says_what_was_measured_on_what(pipeline: TruePipeline, tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    assert measure("--clips", 1, "--condition", "placed", "--out", out) == 0
    report = json.loads(out.read_text())
    settings = report["settings"]
    assert settings["model"].keys() == {"transformer", "text_encoder", "tokenizer", "vae"}
    assert all(len(digest) == 64 for digest in settings["model"].values())
    assert (settings["split"], settings["size"], settings["frames"]) == ("test", GENERATION["size"], WORLD.frames)
    assert settings["shift"] == 3.0
    assert report["machine"]["processor"] and "torch" in report["versions"]
    assert [report["machine"]["threads"]] == report["scores"][0]["threads"]


def test_every_combination_is_a_row(pipeline: TruePipeline, tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    options = ["--subjects", 1, "--subjects", 3, "--steps", 5, "--steps", 20, "--solver", "dpm++"]
    assert measure(*options, "--condition", "unplaced", "--clips", 1, "--out", out) == 0
    rows = [(row["subjects"], row["steps"], row["solver"], row["condition"]) for row in scores_of(out)]
    assert rows == [(people, steps, "dpm++", "unplaced") for people in (1, 3) for steps in (5, 20)]
    assert [(call[2], call[-1]["steps"]) for call in pipeline.calls] == [row[:2] for row in rows]


def test_killed_and_repeated_it_goes_on(pipeline: TruePipeline, tmp_path: Path) -> None:
    options = ["--clips", 2, "--samples", 3, "--condition", "placed"]
    whole, out = tmp_path / "whole.json", tmp_path / "binding.json"
    assert measure(*options, "--out", whole) == 0
    calls, pipeline.calls = pipeline.calls, []
    pipeline.left = 4
    assert measure(*options, "--out", out) == 130
    pipeline.left = 1000
    assert measure(*options, "--out", out) == 0
    assert pipeline.calls == calls
    assert untimed(scores_of(out)) == untimed(scores_of(whole))
    assert measure(*options, "--out", out) == 0
    assert pipeline.calls == calls  # nothing left to do


def test_several_commands_add_up_to_one_report(pipeline: TruePipeline, tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    assert measure("--clips", 1, "--condition", "placed", "--out", out) == 0
    assert measure("--clips", 1, "--condition", "unplaced", "--subjects", 3, "--out", out) == 0
    assert measure("--clips", 2, "--condition", "placed", "--out", out) == 0
    assert [(row["condition"], row["subjects"], row["clips"]) for row in scores_of(out)] == [
        ("placed", 2, 2),
        ("unplaced", 3, 1),
    ]
    assert len(pipeline.calls) == 3


def test_another_model_does_not_add_to_the_report(
    pipeline: TruePipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "binding.json"
    assert measure("--clips", 1, "--condition", "placed", "--out", out) == 0
    before = out.read_bytes()
    (Path(pipeline.name_or_path) / "transformer" / "config.json").write_text("other weights")
    said = refused(monkeypatch, capsys, "--clips", 1, "--condition", "placed", "--out", out)
    assert f"{out.with_name('binding.readings.jsonl')} holds readings of another model" in said
    assert out.read_bytes() == before


def test_scores_are_shown_without_a_file(pipeline: TruePipeline, tmp_path: Path) -> None:
    arguments = ["playground", "measure", "--clips", "1", "--condition", "placed"]
    shown = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "100"}).stdout
    assert "2 people, 10 euler" in shown
    row = next(line for line in shown.splitlines() if "1.000" in line)
    assert row.split()[:5] == ["placed", "1", "x", "1", "1.000"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_unknown_condition_is_refused_before_loading(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, "--model", "no/such", "--condition", "unplacd")
    assert "no condition unplacd: choose from placed; unplaced; placed, MCAM off" in said


def test_a_checkpoint_of_no_size_is_refused(
    pipeline: TruePipeline, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pipeline, "config", SimpleNamespace(generation=None))
    assert "no checkpoint of the playground's world" in refused(monkeypatch, capsys, "--model", "wan")


def test_help_lists_it() -> None:
    result = CliRunner().invoke(cli.app, ["playground", "--help"])
    assert result.exit_code == 0
    assert "measure" in result.output and "render" in result.output


def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = refused(monkeypatch, capsys, "--clips", 1, "--device", "nowhere")
    assert "--device nowhere cannot be used here" in said
