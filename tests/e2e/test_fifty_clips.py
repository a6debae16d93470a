"""A person with 50 clips of two friends follows the README and trains a LoRA of the tiny model on them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from lumosx import LumosXPipeline, Scene
from lumosx.cli.main import app


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """50 clips of two people as folders, five of them held out by a line in their scene."""
    folder = tmp_path_factory.mktemp("own") / "clips"
    run("playground", "render", str(folder), "--clips", "50", "--subjects", "2", "--seed", "7000")
    (folder / "clips.jsonl").unlink()  # own clips have no index: their scenes are read
    for scene in sorted(folder.glob("*/scene.yaml"))[:5]:
        scene.write_text(scene.read_text() + "meta: {split: validation}\n")
    return folder


def test_a_lora_of_fifty_clips(clips: Path, tmp_path: Path) -> None:
    command = [
        "train", "experiment=lora_tiny", f"data.path={clips}", f"run.root={tmp_path}", "run.name=friends",
        "train.steps=8", "validation.every=8", "validation.samples=1", "train.log_every=4", "data.workers=0",
    ]  # fmt: skip
    run(*command)
    folder = tmp_path / "friends"
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [4, 8] and log[-1]["validation/loss"] > 0
    adapter = folder / "lora" / "pytorch_lora_weights.safetensors"
    assert adapter.stat().st_size < 2_000_000

    assert list((folder / "samples" / "step-00000008").glob("*.mp4"))

    scene = Scene.load(sorted(clips.glob("*/scene.yaml"))[0])
    base = LumosXPipeline.from_pretrained("checkpoints/lumosx-tiny")
    plain = base(scene, seed=0, steps=2, progress=False)
    merged = LumosXPipeline.from_pretrained(folder / "export")(scene, seed=0, steps=2, progress=False)
    base.load_lora_weights(folder / "lora", weight_name="pytorch_lora_weights.safetensors")
    loaded = base(scene, seed=0, steps=2, progress=False)
    difference = torch.tensor(merged.frames.astype(int) - loaded.frames.astype(int)).abs()
    assert int(difference.max()) <= 1  # the export holds the same weights, merged
    assert (merged.frames != plain.frames).any()  # and they are not the base model's


def test_a_clip_whose_words_are_wrong_is_told_and_replaced(clips: Path, tmp_path: Path) -> None:
    some = tmp_path / "clips"
    for clip in sorted(clips.iterdir())[5:11]:
        shutil.copytree(clip, some / clip.name)
    scene = sorted(some.glob("*/scene.yaml"))[0]
    scene.write_text(scene.read_text().replace("  - word: ", "  - word: x", 1))
    output = run(
        "train", "experiment=lora_tiny", f"data.path={some}", f"run.root={tmp_path}", "run.name=wrong",
        "train.steps=2", "train.batch=6", "validation.every=null", "data.workers=0", "data.noises=1",
    )  # fmt: skip
    assert "samples could not be read" in output and "broken.jsonl" in output
    (first, *_) = (json.loads(line) for line in (tmp_path / "wrong" / "broken.jsonl").read_text().splitlines())
    assert scene.parent.name in first["sample"] and first["reason"]


def test_what_is_wrong_with_own_clips_is_told_at_once(clips: Path, tmp_path: Path) -> None:
    broken = tmp_path / "clips"
    for number, clip in enumerate(sorted(clips.iterdir())[:4]):
        shutil.copytree(clip, broken / clip.name)
        if number == 0:
            next((broken / clip.name / "refs").glob("*face*.png")).unlink()
        if number == 1:
            (broken / clip.name / "clip.mp4").unlink()
    result = CliRunner().invoke(app, ["train", "experiment=lora_tiny", f"data.path={broken}", f"run.root={tmp_path}"])
    text = str(result.exception)
    names = [clip.name for clip in sorted(broken.iterdir())]
    assert names[0] in text and names[1] in text and names[2] not in text
    assert not (tmp_path / "lora-tiny" / "checkpoints").exists()
