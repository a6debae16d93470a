"""`lumosx bench run` and `compare`: videos in, scores out, from the command line; no real model is opened."""

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

import bench_fakes as fakes

from lumosx.cli import bench_run
from lumosx.cli import main as cli
from lumosx.evaluation.models import Models
from lumosx.evaluation.results import Results, read_results, write_rows
from lumosx.evaluation.runner import Suite
from lumosx.files import write_json
from lumosx.pipelines import LumosXPipeline, Result
from lumosx.scene import Scene

NAMES = [f"c{number}" for number in range(7)]
BENCH = ["bench", "run"]


@pytest.fixture
def cases(tmp_path: Path) -> Path:
    """A folder of scenes of one person each."""
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number, name in enumerate(NAMES):
        Image.new("RGB", (64, 64), (30 * number, 90, 10)).save(folder / f"{name}.png")
        scene = {
            "lumosx": 1, "id": name, "prompt": "A man walks.", "output": {"sidecar": False, "name": "other"},
            "subjects": [{"id": "man", "word": "man", "face": f"{name}.png"}],
        }  # fmt: skip
        (folder / f"{name}.yaml").write_text(json.dumps(scene))
    return folder


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch) -> fakes.Brightness:
    """The measure that scores, in the place of those of the profile."""
    measure = fakes.Brightness()
    monkeypatch.setattr(bench_run.Chosen, "open", lambda chosen: fakes.make_suite(measure, looks=chosen.looks))
    return measure


def clips(folder: Path, names: list[str] = NAMES, level: int = 100) -> Path:
    for number, name in enumerate(names):
        fakes.make_video(folder / f"{name}_s0.mp4", level + 5 * number)
    return folder


def lumosx(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, [*map(str, arguments)], env={"COLUMNS": "100"})
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout


def refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 2
) -> str:
    """What the program says when it refuses the arguments, or fails."""
    monkeypatch.setattr(sys, "argv", ["lumosx", *map(str, arguments)])
    monkeypatch.setenv("LUMOSX_DEBUG", "0")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    return capsys.readouterr().err


def test_videos_are_scored_and_shown(cases: Path, measure: fakes.Brightness, tmp_path: Path) -> None:
    videos, out = clips(tmp_path / "videos", NAMES[:-1]), tmp_path / "out"
    fakes.make_video(videos / "c1_s0_old.mp4", 9)
    (videos / "c2_s0.mp4").write_bytes(b"no video")
    code, shown = lumosx(*BENCH, cases, "--videos", videos, "--out", out)
    assert code == 0
    rows = [line.split() for line in shown.splitlines()]
    assert ["darkness", "<"] in [row[:2] for row in rows]
    [bright] = [row for row in rows if row[:1] == ["brightness"]]
    assert bright[-3:] == ["7", "1", "1"]
    run = read_results(out)
    values = [row.value for row in run.rows if row.metric == "brightness" and row.value is not None]
    assert len(values) == 5 and float(bright[1]) == pytest.approx(sum(values) / 7, abs=6e-4)
    assert float(bright[2]) == pytest.approx(sum(values) / 5, abs=6e-4)
    assert "no video: c6, seed 0" in shown and "errors: c2, seed 0; the first: video: InputError" in shown
    assert "c1_s0_old.mp4" in shown
    assert run.card["videos of no case"] == [str(videos / "c1_s0_old.mp4")]
    assert (run.card["cases"]["count"], run.card["profile"], run.card["seeds"]) == (7, "offline", [0])


def test_repeated_it_goes_on(cases: Path, measure: fakes.Brightness, tmp_path: Path) -> None:
    arguments = [*BENCH, cases, "--videos", clips(tmp_path / "videos"), "--out", tmp_path / "out"]
    assert lumosx(*arguments)[0] == 0
    before = (tmp_path / "out" / "results.parquet").read_bytes()
    fakes.make_video(tmp_path / "videos" / "c3_s0.mp4", 7)
    assert lumosx(*arguments)[0] == 0
    assert measure.scored == [*NAMES, "c3"]
    assert (tmp_path / "out" / "results.parquet").read_bytes() != before


def test_a_folder_of_another_protocol_is_refused(
    cases: Path, measure: fakes.Brightness, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    arguments = [*BENCH, cases, "--videos", clips(tmp_path / "videos"), "--out", tmp_path / "out"]
    assert lumosx(*arguments)[0] == 0
    before = (tmp_path / "out" / "results.parquet").read_bytes()
    said = refused(monkeypatch, capsys, *arguments, "--task", "identity")
    assert "holds scores of task subject, not identity; choose another --out" in said
    assert (tmp_path / "out" / "results.parquet").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "give either --videos DIR"),
        (["--videos", "v", "--checkpoint", "c"], "give either --videos DIR"),
        (["--checkpoint", "c", "--seeds", "1,x"], "--seeds 1,x: write whole numbers"),
        (["--checkpoint", "c", "--seeds", "1,1"], "--seeds 1,1: write whole numbers"),
    ],
)
def test_options_are_judged_first(
    arguments: list[str], said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in refused(monkeypatch, capsys, *BENCH, "no/such", "--out", "out", *arguments)


def test_videos_that_fit_no_case_are_refused(
    cases: Path, measure: fakes.Brightness, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    videos = clips(tmp_path / "videos", ["other"])
    said = refused(monkeypatch, capsys, *BENCH, cases, "--videos", videos, "--out", tmp_path / "out")
    assert "no video of any case; it holds other_s0.mp4, and a video of the first case would be c0.mp4" in said
    assert not (tmp_path / "out").exists()


def test_when_no_clip_can_be_scored_the_run_has_failed(
    cases: Path, measure: fakes.Brightness, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    for name in NAMES:
        (videos / f"{name}_s0.mp4").write_bytes(b"no video")
    said = refused(monkeypatch, capsys, *BENCH, cases, "--videos", videos, "--out", out, code=1)
    assert f"no clip could be scored; {out / 'results.parquet'} says why" in said
    assert "LUMOSX_DEBUG" not in said
    assert len(read_results(out).card["errors"]) >= len(NAMES)


def test_results_do_not_go_into_a_file(
    cases: Path, measure: fakes.Brightness, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    taken = tmp_path / "out"
    taken.write_text("mine")
    for out in (taken, taken / "scores"):
        said = refused(monkeypatch, capsys, *BENCH, cases, "--videos", clips(tmp_path / "videos"), "--out", out)
        assert f"--out {out}: {taken} is a file; choose a folder" in said
    assert taken.read_text() == "mine" and measure.scored == []


def test_a_checkpoint_that_is_not_there_leaves_the_folder_to_others(
    cases: Path, measure: fakes.Brightness, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def download(name: str) -> str:
        raise OSError("pass local_files_only=False; see the stacktrace above") from ConnectionError("no route")

    monkeypatch.setattr(LumosXPipeline, "download", download)
    for name in ("lumosx-tinny", "somebody/lumosx-tinny"):
        said = refused(monkeypatch, capsys, *BENCH, cases, "--checkpoint", name, "--out", tmp_path / "out")
        assert f"checkpoint {name}: no file or folder. Checkpoints that exist: " in said
        assert "local_files_only" not in said and "stacktrace" not in said
    assert "Nor was it found on the Hugging Face hub: no route" in said
    assert not (tmp_path / "out").exists()


def test_a_counterfactual_without_what_measures_binding_is_refused_before_scoring(
    cases: Path, measure: fakes.Brightness, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    subjects = [
        {"id": who, "word": who, "face": f"c{n}.png", "attributes": [{"word": "hat", "image": f"c{n + 2}.png"}]}
        for n, who in enumerate(("man", "woman"))
    ]
    scene = {"lumosx": 1, "id": "pair", "prompt": "A man in a hat and a woman in a hat.", "subjects": subjects}
    (cases / "pair.yaml").write_text(json.dumps(scene))
    arguments = [
        *BENCH,
        cases / "pair.yaml",
        "--videos",
        clips(tmp_path / "videos", ["pair"]),
        "--out",
        tmp_path / "out",
    ]
    said = refused(monkeypatch, capsys, *arguments, "--counterfactual")
    assert "--counterfactual needs a model that finds phrases and one that compares pictures" in said
    assert measure.scored == [] and not (tmp_path / "out").exists()


def test_what_no_model_measures_is_said(cases: Path, measure: fakes.Brightness, tmp_path: Path) -> None:
    code, shown = lumosx(*BENCH, cases, "--videos", clips(tmp_path / "videos"), "--out", tmp_path / "out")
    said = " ".join(shown.split())
    assert code == 0 and "not measured, no model for: phrases (" in said and "words (CLIP-T), videos (ViCLIP-T" in said


@pytest.mark.parametrize(("protocol", "task"), bench_run.ASKED)
def test_a_role_is_asked_for_if_metrics_go_without_it(
    protocol: bench_run.ProtocolName, task: bench_run.TaskName
) -> None:
    model: Any = SimpleNamespace(card=fakes.card("some model"))
    roles: dict[str, Any] = {role.name: model for role in fields(Models)}
    roles |= {"identities": {"ArcSim": model}, "likenesses": {"CLIP-I": model}}
    full = Suite.of(protocol, task, Models(**roles))
    assert bench_run.unfilled(protocol, task, full.models) == []
    for role in roles.keys() - {"faces", "identities"}:
        without = Suite.of(protocol, task, Models(**{**roles, role: {} if role == "likenesses" else None}))
        missing = bench_run.unfilled(protocol, task, without.models)
        assert bool(missing) == (without.metrics.keys() < full.metrics.keys()), role
        assert [each.split()[0] for each in missing] == ([role] if missing else [])


class GreyPipeline:
    """Makes grey clips, fails at the cases of `broken`, and notes what it was asked for."""

    def __init__(self, folder: Path) -> None:
        self.name_or_path, self.device = str(folder), torch.device("cpu")
        self.broken: set[str] = set()
        self.calls: list[tuple[str, list[int]]] = []

    def to(self, device: torch.device) -> "GreyPipeline":
        return self

    def stream(self, scene: Scene, *, seeds: list[int], progress: bool) -> Iterator[Result]:
        from lumosx.pipelines.provenance import embed, hash_files
        from lumosx.pipelines.settings import resolve_settings

        self.calls.append((scene.id, seeds))
        chosen, _ = resolve_settings(scene, {"size": "32x32", "frames": 5})
        model = {"files": hash_files(self.name_or_path), "dtype": "float32", "path": None, "adapters": []}
        runtime = {
            "device": "cpu",
            "device_name": "x86",
            "threads": 1,
            "versions": {},
            "attention": {"backend": "sdpa"},
        }
        made_of = {"scene": embed(scene), "settings": chosen.to_dict(), "model": model, "runtime": runtime}
        for seed in seeds:
            if scene.id in self.broken and seed > 0:
                raise RuntimeError("out of memory")
            record = {**made_of, "seed": seed, "layout": {}, "binding": {}}
            yield Result(np.full((5, 32, 32, 3), 60 + seed, np.uint8), scene, record)


@pytest.fixture
def pipeline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> GreyPipeline:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    loaded = GreyPipeline(folder)
    generation = {"generation": {"size": "32x32", "frames": 5}}
    monkeypatch.setattr(LumosXPipeline, "from_pretrained", lambda model, dtype: loaded)
    monkeypatch.setattr("lumosx.pipelines.memory.set_up", lambda pipeline, device: pipeline.to(device))
    monkeypatch.setattr(LumosXPipeline, "load_config", lambda model: generation)
    return loaded


def test_a_checkpoint_makes_the_videos_first(
    cases: Path, measure: fakes.Brightness, pipeline: GreyPipeline, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    made_with = ["--checkpoint", pipeline.name_or_path, "--seeds", "0,7", "--device", "cpu"]
    arguments = [*BENCH, cases, *made_with, "--out", out]
    pipeline.broken = {"c1"}
    code, shown = lumosx(*arguments)
    assert code == 0
    assert pipeline.calls == [(name, [0, 7]) for name in NAMES]
    made = {path.name for path in (out / "videos").glob("*.mp4")}
    assert made == {f"{name}_s{seed}.mp4" for name in NAMES for seed in (0, 7)} - {"c1_s7.mp4"}
    assert "errors: c1, seed 7; the first: generation: RuntimeError: out of memory" in shown
    run = read_results(out)
    assert {row.video for row in run.rows if row.case == "c1"} == {"videos/c1_s0.mp4", None}

    pipeline.broken, pipeline.calls = set(), []
    (out / "videos" / "c2_s0.mp4").unlink()
    assert lumosx(*arguments)[0] == 0
    assert pipeline.calls == [("c1", [7]), ("c2", [0])]
    assert read_results(out).card["errors"] == []


def test_a_case_that_cannot_be_made_is_an_error_row(
    cases: Path, measure: fakes.Brightness, pipeline: GreyPipeline, tmp_path: Path
) -> None:
    scene = cases / "c0.yaml"
    scene.write_text(scene.read_text().replace("A man walks.", "A woman walks."))  # the word cannot be bound
    arguments = [*BENCH, cases, "--checkpoint", pipeline.name_or_path, "--out", tmp_path / "out", "--device", "cpu"]
    code, shown = lumosx(*arguments)
    assert code == 0 and "errors: c0, seed 0; the first: generation: SceneError" in shown


def saved(run: Results, out: Path) -> Path:
    out.mkdir()
    write_json(run.card, out / "card.json")
    write_rows(run.rows, out)
    return out


def test_compare_fails_on_a_regression_alone(tmp_path: Path) -> None:
    values = {(f"c{number}", 0): 0.3 + number % 7 / 20 for number in range(20)}
    worse = {key: value - 0.1 - (index % 3) / 50 for index, (key, value) in enumerate(values.items())}
    a = saved(fakes.make_results({"ArcSim": values, "motion[x]": values}), tmp_path / "a")
    b = saved(fakes.make_results({"ArcSim": worse, "motion[x]": values}), tmp_path / "b")
    code, shown = lumosx("bench", "compare", a, b)
    assert code == 1 and "B is worse in ArcSim" in shown and "motion[x]" in shown
    assert lumosx("bench", "compare", b, a)[0] == 0
    assert lumosx("bench", "compare", a, a)[0] == 0
    assert lumosx("bench", "compare", a, b, "--metric", "motion[x]")[0] == 0
    assert lumosx("bench", "compare", a, b, "--metric", "motion[x]", "--metric", "ArcSim")[0] == 1


def test_compare_refuses_what_does_not_compare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    values = {(f"c{number}", 0): 0.5 for number in range(8)}
    a = saved(fakes.make_results({"m": values}), tmp_path / "a")
    b = saved(fakes.make_results({"m": dict(list(values.items())[2:])}), tmp_path / "b")
    assert "--common" in refused(monkeypatch, capsys, "bench", "compare", a, b)
    code, shown = lumosx("bench", "compare", a, b, "--common")
    assert code == 0 and "left out, as only one run has them: 2 cases" in shown
    assert "no metric q" in refused(monkeypatch, capsys, "bench", "compare", a, a, "--metric", "q")
    shutil.rmtree(b)
    assert "holds no finished results" in refused(monkeypatch, capsys, "bench", "compare", a, b)


@pytest.mark.parametrize("command", ["run", "report", "compare", "ablation", "attention"])
def test_help_fits_a_screen_of_80_columns(command: str) -> None:
    result = CliRunner().invoke(cli.app, ["bench", command, "--help"], env={"COLUMNS": "80"})
    assert result.exit_code == 0 and len(result.output.splitlines()) <= 40, result.output
    assert "Example: lumosx bench" in result.output


def test_help_says_what_many_metrics_do() -> None:
    assert "one in twenty" in lumosx("bench", "compare", "--help")[1]
