"""The shipped model's card: its figures are those that were measured, and the README gets the same."""

import hashlib
import importlib
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from omegaconf import OmegaConf

from lumosx.evaluation.binding import Condition, Outcome, scores

SCRIPTS = Path(__file__).parents[2] / "scripts"
GENERATION: dict[str, Any] = {"steps": 3, "solver": "euler", "cfg": 2.0}  # of the tests' tiny checkpoint
MACHINE = {"processor": "a processor", "threads": 2}
RIGHT, WRONG = (
    {"binding": [True, True], "verdicts": ["right"] * 2},
    {"binding": [True, False], "verdicts": ["right", "swapped"]},
)


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("tiny_figures")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("tiny_card")


def outcomes(condition: Condition, wrong: int, clips: int = 8, samples: int = 1) -> list[Outcome]:
    """Of `clips` clips, every second with two people of one noun, `wrong` with one of two attributes swapped."""
    made = Outcome(
        condition, clip=0, sample=0, seconds=0.5, threads=2, same_noun=False, binding=[], verdicts=[],
        identity=[0.8, 0.6], attribute_likeness=[0.9, 0.7], placed=None, passed=None, all_right=True,
    )  # fmt: skip
    read = [WRONG if clip < wrong else RIGHT for clip in range(clips)]
    return [
        replace(made, clip=clip, sample=sample, same_noun=clip % 2 == 0, all_right=read[clip] is RIGHT, **read[clip])
        for clip in range(clips)
        for sample in range(samples)
    ]


def measured(*rows: list[Outcome]) -> dict[str, Any]:
    """As `lumosx playground measure` writes it."""
    found = [score.to_dict() for score in scores([outcome for row in rows for outcome in row])]
    return {"settings": {}, "machine": MACHINE, "scores": found}


def line_of(text: str, start: str, number: int = 0) -> str:
    return [line for line in text.splitlines() if line.startswith(start)][number]


def test_rows_hold_what_was_measured(tables: ModuleType) -> None:
    text = tables.figures(measured(outcomes(Condition("unplaced", 2, **GENERATION), wrong=4)), GENERATION, 1.0)
    first, second = (line_of(text, "| two people, unplaced |", number) for number in (0, 1))
    assert first.split(" | ")[1] == "8 x 1"
    assert [cell[:5] for cell in first.split(" | ")[2:6]] == ["0.750", "0.750", "0.750", "0.500"]
    assert [cell[:5] for cell in second.split(" | ")[1:]] == ["0.250", "0.000", "0.000", "0.000", "0.700", "0.800"]


def test_an_interval_without_ends_is_a_question(tables: ModuleType) -> None:
    text = tables.figures(measured(outcomes(Condition("placed", 2, **GENERATION), wrong=0)), GENERATION, 1.0)
    likenesses = line_of(text, "| two people, placed |", 1).rstrip(" |").split(" | ")[-2:]
    assert likenesses == ["0.700 (?)", "0.800 (?)"]


def test_only_what_the_checkpoint_does_by_itself_is_its_figure(tables: ModuleType) -> None:
    own = Condition("placed", 2, **GENERATION)
    report = measured(outcomes(own, wrong=0), outcomes(replace(own, steps=20), wrong=8))
    assert line_of(tables.figures(report, GENERATION, 1.0), "| two people, placed |").split(" | ")[2][:5] == "1.000"
    steps = tables.steps_table(report["scores"])
    assert "| 3 euler | 8 x 1 | 1.000" in steps and "| 20 euler | 8 x 1 | 0.500" in steps


def test_each_bar_gets_its_verdict(tables: ModuleType) -> None:
    rows = [
        outcomes(Condition("placed", 2, **GENERATION), wrong=0, clips=400, samples=3),
        outcomes(Condition("unplaced", 2, **GENERATION), wrong=200, clips=400, samples=3),
        outcomes(Condition("unplaced", 3, **GENERATION), wrong=0),
    ]
    text = tables.figures(measured(*rows), GENERATION, 25.0)
    assert line_of(text, "- binding, two people, placed, same noun").endswith("asked 0.95: met.")
    assert line_of(text, "- binding, two people, unplaced, distinct nouns").endswith("asked 0.90: **missed** by 0.15.")
    assert "(on 8 x 1 clips; 400 x 3 are asked)" in line_of(text, "- binding, three people, unplaced")
    assert line_of(text, "- binding, three people, placed").endswith("asked 0.85, **not measured**.")
    assert line_of(text, "- on disk: 25.0 MB").endswith("**missed** by 5.")
    assert tables.findings()[1] in text


def test_what_would_meet_the_bars_is_said_only_where_one_is_missed(tables: ModuleType) -> None:
    conditions = [Condition(name, people, **GENERATION) for name in ("placed", "unplaced") for people in (2, 3)]
    rows = [outcomes(condition, wrong=0) for condition in conditions]
    assert tables.findings()[1] not in tables.figures(measured(*rows), GENERATION, 1.0)


def test_figures_go_between_the_markers_and_nowhere_else(card: ModuleType) -> None:
    page = f"before\n{card.BEGIN}\nold\n{card.END}\nafter\n"
    new = card.with_figures(page, "new")
    assert new == f"before\n{card.BEGIN}\nnew\n{card.END}\nafter\n"
    assert card.with_figures(new, "new") == new
    with pytest.raises(ValueError, match="no place"):
        card.with_figures("a page without markers", "new")


def test_the_checkpoint_is_the_last_run_with_a_card_that_the_readme_agrees_with(
    card: ModuleType, tiny_checkpoint: Path, tmp_path: Path
) -> None:
    runs = [trained(tmp_path / f"tiny-{phase}", tiny_checkpoint) for phase in (1, 2)]
    report = measured(outcomes(Condition("placed", 2, **GENERATION), wrong=2))
    (runs[1] / "binding.json").write_text(json.dumps(report))
    readme, out = tmp_path / "README.md", tmp_path / "shipped"
    readme.write_text(f"# A page\n{card.BEGIN}\n{card.END}\n")
    card.main(runs, out, readme)

    def shared(page: Path) -> str:
        return page.read_text().partition(card.BEGIN)[2].partition(card.END)[0]

    assert "| two people, placed | 8 x 1 | 0.875" in shared(readme) and shared(readme) == shared(out / "README.md")
    text = (out / "README.md").read_text()
    assert "phase 1 | 40 steps of 8 clips" in text and "phase 2 | 40 steps of 8 clips" in text
    assert "unseen clips 24.8 dB" in text and "owner 82.8%" in text
    assert [json.loads(line)["phase"] for line in (out / "training_log.jsonl").read_text().splitlines()] == [1, 2]
    lines = (out / "SHA256SUMS").read_text().splitlines()
    sums = {name: found for found, name in (line.split("  ", 1) for line in lines)}
    files = {
        str(path.relative_to(out)): path for path in out.rglob("*") if path.is_file() and path.name != "SHA256SUMS"
    }
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def trained(run: Path, checkpoint: Path) -> Path:
    """What a phase leaves behind, and its text encoder's and codec's runs beside it."""
    shutil.copytree(checkpoint, run / "export")
    for part, accuracy in (
        ("text", {"owner": 0.828, "place": 0.93}),
        ("codec", {"psnr_clips": 24.75, "psnr_references": 32.9}),
    ):
        export = run.parent / part / "export"
        export.mkdir(parents=True, exist_ok=True)
        (export.parent / "accuracy.json").write_text(json.dumps(accuracy))
        save({"text": {"captions": 8192}, "train": {"steps": 1200}}, export.parent)
    text, codec = run.parent / "text" / "export", run.parent / "codec" / "export"
    write(text / "text_encoder" / "config.json", {"num_layers": 3, "d_model": 64})
    shape = {"scale_factor_spatial": 8, "scale_factor_temporal": 4, "z_dim": 64}
    write(codec / "vae" / "config.json", {"_class_name": "LinearCodec", **shape})
    save(
        {
            "model": {"text_encoder": str(text), "codec": str(codec)},
            "data": {"buckets": ["64x64x17"], "noises": 3, "subjects": [0.2, 0.8], "placed": 0.4},
            "objective": {"distribution": "shifted", "mean": 0.0, "std": 1.0, "shift": 6.0},
            "optim": {"name": "adamw", "lr": 1.5e-3, "muon_lr": 0.02, "decay": 0.3},
            "train": {"batch": 8, "ema": 0.995},
        },
        run,
    )
    write(run / "log.jsonl", {"step": 40, "loss": 1.0, "seconds_per_step": 0.7})
    write(run / "machine.json", {"processor": "a processor", "threads": 1, "torch": "2", "device": "cpu"})
    return run


def save(config: dict[str, Any], run: Path) -> None:
    OmegaConf.save(OmegaConf.create(config), run / "config.yaml")


def write(path: Path, data: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data) + "\n")
