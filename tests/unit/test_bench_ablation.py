"""`lumosx bench ablation` on real runs of two steps: trains, reads, reports, and goes on where it was."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lumosx.cli.bench_ablation import load_form
from lumosx.cli.main import app
from lumosx.errors import InputError
from lumosx.evaluation.ablation import ROWS
from lumosx.paths import configs_dir
from lumosx.training.config import load_config

FORM = """
label: two steps of training
seeds: [3]
clips: 2
subjects: [2]
all: [model.generation.size=32x32, model.generation.frames=1, "data.buckets=[32x32x1]", data.noises=1, train.batch=2,
      model.transformer.num_layers=1, "model.transformer.patch_size=[1,1,1]", model.generation.steps=2]
base: [train.steps=2]
rows: [train.steps=2]
"""


def test_rows_and_seeds_add_up(tmp_path: Path) -> None:
    form = tmp_path / "two.yaml"
    form.write_text(FORM)
    options = ["--form", str(form), "--root", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
    first = CliRunner().invoke(app, ["bench", "ablation", *options, "--row", "scattered"])
    assert first.exit_code == 0, first.output
    assert "not in the report yet: none, seed 3" in first.output
    readings = tmp_path / "runs" / "two" / "seed-3" / "scattered.readings.jsonl"
    before = readings.read_bytes()
    readings.write_bytes(before[:-40])  # killed while the last clip's reading was written
    second = CliRunner().invoke(app, ["bench", "ablation", *options, "--row", "scattered", "--row", "mcam_0.5"])
    assert second.exit_code == 0, second.output
    assert len(readings.read_bytes().splitlines()) == len(before.splitlines())
    data = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["row"] for row in data["rows"]] == ["scattered", "mcam_0.5"]
    runs = {"base": 2, "seed-3/scattered": 2, "seed-3/mcam_0.5": 2}
    assert {run["run"]: run["steps"] for run in data["runs"]} == runs
    config = tmp_path / "runs" / "two" / "seed-3" / "scattered" / "export" / "transformer" / "config.json"
    assert json.loads(config.read_text())["csam"] is False  # a checkpoint knows how it was trained

    form.write_text(FORM.replace("train.batch=2", "train.batch=3"))
    changed = CliRunner().invoke(app, ["bench", "ablation", *options, "--row", "scattered"])
    assert isinstance(changed.exception, InputError) and "train.batch: 2 -> 3" in str(changed.exception)


def test_rows_differ_in_their_mechanism_alone() -> None:
    """What each experiment of a row states beyond the one before it."""

    def settings(name: str) -> tuple:
        config = load_config([f"experiment=ablation/{name}"], configs_dir())
        assert config.model.init_from == "ablation/base"
        return config.model.r2pe, config.model.csam, config.model.transformer["mcam_ratio"], config.data.scatter

    assert {row.name: settings(row.name) for row in ROWS} == {
        "none": (False, False, 0.0, False),
        "scattered": (False, False, 0.0, True),
        "r2pe": (True, False, 0.0, False),
        "csam": (True, True, 0.0, False),
        "mcam_0.1": (True, True, 0.1, False),
        "mcam_0.5": (True, True, 0.5, False),
        "mcam_1.0": (True, True, 1.0, False),
    }


@pytest.mark.parametrize("form", ["full", "small", "short"])
def test_shipped_forms_can_be_trained(form: str) -> None:
    size = load_form(form)
    for name, own in (("base", size.base), ("none", size.rows)):
        load_config([f"experiment=ablation/{name}", *size.all, *own], configs_dir())
    assert size.clips * len(size.subjects) >= (200 if form != "short" else 0) and size.subjects == [1, 2, 3, 4]


def test_a_misspelt_form_or_row_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="choose full, short, small"):
        load_form("smal")
    (tmp_path / "bad.yaml").write_text("label: x\nseeds: [0]\nclips: many\nsubjects: [1]\n")
    with pytest.raises(InputError, match="clips"):
        load_form(str(tmp_path / "bad.yaml"))
    result = CliRunner().invoke(app, ["bench", "ablation", "--row", "rope"])
    assert isinstance(result.exception, InputError) and "r2pe" in str(result.exception)
