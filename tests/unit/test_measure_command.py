"""`lumosx playground measure`: a pipeline in, scores out, with wrong words refused before anything is loaded."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from lumosx.cli import main as cli
from lumosx.pipelines import LumosXPipeline
from lumosx.playground import World
from lumosx.scene import Scene

WORLD = World()


class TruePipeline:
    """Draws the clip that a scene of the test split was made from, and notes how it was called."""

    config = SimpleNamespace(generation={"size": "32x32", "frames": 9})

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    def __call__(self, scene: Scene, **options: Any) -> SimpleNamespace:
        self.calls.append(options | {"mcam": scene.binding.mcam, "subjects": len(scene.subjects)})
        for placed in (True, False):
            asked = {"subjects": len(scene.subjects), "placed": placed}
            clip = WORLD.render([options["seed"]], split="test", **asked)
            if Scene.from_dict(clip.scenes[0]).prompt == scene.prompt:
                return SimpleNamespace(frames=clip.frames(0))
        raise AssertionError(f"not a caption of clip {options['seed']}: {scene.prompt}")


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch) -> TruePipeline:
    loaded = TruePipeline()
    monkeypatch.setattr(LumosXPipeline, "from_pretrained", lambda model: loaded)
    return loaded


def measure(*arguments: object) -> int:
    result = CliRunner().invoke(cli.app, ["playground", "measure", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code


def test_all_conditions_are_measured_and_written(pipeline: TruePipeline, tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    assert measure("--clips", 2, "--seed", 5, "--steps", 3, "--cfg", 1.5, "--out", out) == 0
    report = json.loads(out.read_text())
    assert report["settings"] == {
        "clips": 2, "subjects": 2, "seed": 5, "split": "test", "steps": 3, "cfg": 1.5,
    }  # fmt: skip
    names = [item["condition"] for item in report["scores"]]
    assert names == ["placed", "unplaced", "placed, MCAM off", "unplaced, MCAM off"]
    assert all(item["clips"] == 2 and item["binding"]["mean"] == 1.0 for item in report["scores"])
    assert [item["placed_right"] for item in report["scores"]] == [1.0, None, 1.0, None]
    expected = [
        {"seed": seed, "steps": 3, "cfg": 1.5, "progress": False, "mcam": mcam, "subjects": 2}
        for mcam in (None, None, False, False)
        for seed in (5, 6)
    ]
    assert pipeline.calls == expected


def test_chosen_conditions_and_subjects_only(pipeline: TruePipeline, tmp_path: Path) -> None:
    out = tmp_path / "binding.json"
    assert measure("--clips", 1, "--subjects", 3, "--condition", "unplaced", "--out", out) == 0
    assert [item["condition"] for item in json.loads(out.read_text())["scores"]] == ["unplaced"]
    assert [call["subjects"] for call in pipeline.calls] == [3]


def test_scores_are_shown_without_a_file(pipeline: TruePipeline, tmp_path: Path) -> None:
    arguments = ["playground", "measure", "--clips", "1", "--condition", "placed"]
    result = CliRunner().invoke(cli.app, arguments, env={"COLUMNS": "140"})
    row = next(line for line in result.stdout.splitlines() if "placed" in line and "1.000" in line)
    assert [cell.strip() for cell in row.split("│")[1:3]] == ["placed", "1"]
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_condition_is_refused_before_loading(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["lumosx", "playground", "measure", "--model", "no/such", "--condition", "unplacd"]
    monkeypatch.setattr(sys, "argv", arguments)
    monkeypatch.setenv("LUMOSX_DEBUG", "0")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    said = capsys.readouterr().err
    assert "no condition unplacd: choose from placed, unplaced, placed, MCAM off" in said


def test_help_lists_it() -> None:
    result = CliRunner().invoke(cli.app, ["playground", "--help"])
    assert result.exit_code == 0
    assert "measure" in result.output and "render" in result.output
