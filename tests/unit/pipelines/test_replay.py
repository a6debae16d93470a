"""Replay: the same pixels again, or the reason why not."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from tiny_models import tiny_pipeline, tiny_scene, write_scene

from lumosx import LumosXPipeline, Scene
from lumosx.errors import InputError
from lumosx.pipelines import replay


@pytest.fixture
def sidecar(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A clip made from files of its own."""
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "model")
    path = write_scene(tmp_path / "scene", negative_prompt="static", root="../scene")
    result = LumosXPipeline.from_pretrained(folder)(Scene.load(path), seed=9, cfg=1.5, progress=False)
    return result.save(tmp_path / "clip.mp4").with_suffix(".json")


def edit(sidecar: Path, **changes: Any) -> None:
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | changes))


def test_identical(sidecar: Path) -> None:
    comparison = replay(sidecar, progress=False)
    assert comparison.identical
    assert comparison.differences == ()
    assert comparison.result is not None and comparison.result.seed == 9
    assert "identical" in str(comparison)


def test_identical_from_another_working_directory_and_with_a_moved_model(
    sidecar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    with pytest.raises(InputError, match="checkpoint"):
        replay(sidecar, progress=False)
    assert replay(sidecar, model=tmp_path / "moved", progress=False).identical


def test_a_changed_picture_is_named(sidecar: Path) -> None:
    picture = sidecar.parent / "scene" / "blue.png"
    picture.write_bytes(picture.with_name("red.png").read_bytes() + b"\0")
    comparison = replay(sidecar, progress=False)
    assert (comparison.identical, comparison.result) == (False, None)
    assert comparison.differences == (f"the picture of carl.face has changed: {picture}",)


def test_a_missing_picture_is_named(sidecar: Path) -> None:
    (sidecar.parent / "scene" / "blue.png").unlink()
    comparison = replay(sidecar, progress=False)
    assert not comparison.identical
    assert "LX201" in str(comparison) and "blue.png" in str(comparison)


def test_changed_weights_are_named(sidecar: Path) -> None:
    file = sidecar.parent / "model" / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    tensors["proj_out.bias"] += 1e-3
    save_file(tensors, file, metadata={"format": "pt"})
    comparison = replay(sidecar, progress=False)
    assert comparison.differences == ("the checkpoint's transformer/diffusion_pytorch_model.safetensors has changed",)


def test_files_beside_the_checkpoints_parts_do_not_count(sidecar: Path) -> None:
    (sidecar.parent / "model" / "samples").mkdir()
    (sidecar.parent / "model" / "samples" / "clip.json").write_text("{}")
    (sidecar.parent / "model" / "notes.txt").write_text("a model")
    assert replay(sidecar, progress=False).identical


def test_other_frames_are_explained_by_versions_and_backend(sidecar: Path) -> None:
    data = json.loads(sidecar.read_text())
    data["clip"]["frames_sha256"] = "0" * 64
    data["runtime"]["versions"]["torch"] = "1.0"
    data["runtime"]["attention"]["backend"] = "flash"
    edit(sidecar, **data)
    comparison = replay(sidecar, progress=False)
    assert not comparison.identical
    assert comparison.result is not None
    assert any(reason.startswith("torch: 1.0 then, 2.") for reason in comparison.differences)
    assert "attention backend: flash then, sdpa now" in comparison.differences


def test_frames_that_nothing_explains_say_so(sidecar: Path) -> None:
    clip = json.loads(sidecar.read_text())["clip"]
    edit(sidecar, clip=clip | {"frames_sha256": "0" * 64})
    assert "nothing recorded explains it" in str(replay(sidecar, progress=False))


@pytest.mark.parametrize("text", ["", "[]", '{"lumosx_sidecar": 99}'])
def test_what_is_no_sidecar_is_an_error(tmp_path: Path, text: str) -> None:
    path = tmp_path / "clip.json"
    path.write_text(text)
    with pytest.raises(InputError, match="not a sidecar"):
        replay(path)


@pytest.mark.parametrize("key", ["seed", "settings", "model.files", "clip.frames_sha256", "runtime.attention"])
def test_an_edited_sidecar_is_an_error_naming_what_is_missing(sidecar: Path, key: str) -> None:
    data = json.loads(sidecar.read_text())
    *sections, last = key.split(".")
    inner = data
    for section in sections:
        inner = inner[section]
    del inner[last]
    sidecar.write_text(json.dumps(data))
    with pytest.raises(InputError, match=f"edited.*{key}"):
        replay(sidecar, progress=False)


def test_a_sidecar_whose_pictures_or_type_were_edited_is_an_error(sidecar: Path) -> None:
    data = json.loads(sidecar.read_text())
    edit(sidecar, scene=data["scene"] | {"pictures": {"ben.face": {"path": "x"}}})
    with pytest.raises(InputError, match=r"scene\.pictures\.ben\.face"):
        replay(sidecar, progress=False)
    edit(sidecar, scene=data["scene"], model=data["model"] | {"dtype": "nonsense"})
    with pytest.raises(InputError, match=r"model\.dtype 'nonsense'"):
        replay(sidecar, progress=False)


def test_pictures_and_models_in_memory_cannot_be_replayed(tiny_checkpoint: Path, tmp_path: Path) -> None:
    clip = LumosXPipeline.from_pretrained(tiny_checkpoint)(tiny_scene(), progress=False).save(tmp_path / "a.mp4")
    with pytest.raises(InputError, match=r"background, ben\.face"):
        replay(clip.with_suffix(".json"))
    clip = tiny_pipeline()(tiny_scene(), progress=False).save(tmp_path / "b.mp4")
    with pytest.raises(InputError, match="model in memory"):
        replay(clip.with_suffix(".json"))
