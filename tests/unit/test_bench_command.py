"""`lumosx bench run` and `compare`: videos in, scores out, from the command line; no real model is opened."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parent / "evaluation"))

import bench_fakes as fakes

from lumosx.cli import bench_run
from lumosx.cli import main as cli
from lumosx.evaluation.results import Results, read_results, write_rows
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


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What the program says when it refuses the arguments."""
    monkeypatch.setattr(sys, "argv", ["lumosx", *map(str, arguments)])
    monkeypatch.setenv("LUMOSX_DEBUG", "0")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
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


def test_help_fits_a_screen_and_says_what_many_metrics_do() -> None:
    for command in ("run", "compare"):
        code, shown = lumosx("bench", command, "--help")
        assert code == 0 and len(shown.splitlines()) <= 50
        assert "Example: lumosx bench" in shown
    assert "one in twenty" in shown
