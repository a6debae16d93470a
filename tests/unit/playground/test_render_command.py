"""`lumosx playground render`: folders that `lumosx check` accepts and that give the clip back."""

import json
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from lumosx.cli.playground import app
from lumosx.playground import Truth, World, read_clip
from lumosx.scene import Scene


def run(*words: str) -> int:
    return CliRunner().invoke(app, ["render", *words]).exit_code


def test_folders_are_sound_and_complete(tmp_path: Path) -> None:
    assert run(str(tmp_path), "--clips", "2", "--seed", "5", "--subjects", "2", "--placed") == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["show_000005", "show_000006"]
    for folder in tmp_path.iterdir():
        scene = Scene.load(folder / "scene.yaml", sandbox=True)
        assert scene.check() == []
        assert all(entity.image is not None and entity.image.open().height == 128 for entity in scene.entities)
        truth = Truth.from_dict(json.loads((folder / "truth.json").read_text()))
        assert truth.placed and len(truth.subjects) == 2
        drawn = World().draw([truth]).frames(0)
        assert (
            drawn.tobytes() == World().render([truth.seed], split="show", subjects=2, placed=True).frames(0).tobytes()
        )
        shown = np.asarray(Image.open(folder / "frames.png"))[:192:6, :192:6]
        assert (shown == drawn[0]).all()
        with av.open(str(folder / "clip.mp4")) as video:
            played = np.stack([frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)])
        assert played.shape == drawn.shape
        assert read_clip(played, truth).all_ok  # x264 halves the colours; who wears what survives


def test_the_same_seeds_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run(str(tmp_path / name), "--clips", "1", "--picture-size", "64") == 0
    files = [sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b")]
    assert [path.read_bytes() for path in files[0]] == [path.read_bytes() for path in files[1]]


def test_a_clip_that_is_there_is_replaced_whole(tmp_path: Path) -> None:
    stale = tmp_path / "show_000000" / "stale.txt"
    stale.parent.mkdir()
    stale.write_text("old")
    assert run(str(tmp_path), "--clips", "1") == 0
    assert not stale.exists() and [path.name for path in tmp_path.iterdir()] == ["show_000000"]


@pytest.mark.parametrize(
    "wrong", [("--size", "30x32"), ("--size", "32"), ("--frames", "8"), ("--subjects", "5"), ("--clips", "0")]
)
def test_wrong_options_are_refused_before_anything_is_written(tmp_path: Path, wrong: tuple[str, str]) -> None:
    assert run(str(tmp_path / "out"), *wrong) == 2
    assert not (tmp_path / "out").exists()
