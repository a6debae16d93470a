"""`lumosx bench attention`: what it writes about a clip, and that it samples the clip as ever."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from PIL import Image
from tiny_models import tiny_pipeline, tiny_scene, write_scene
from typer.testing import CliRunner

from lumosx.cli.bench_attention import command, sample_attention
from lumosx.errors import InputError
from lumosx.scene import Scene

app = typer.Typer()
app.command()(command)


def test_files_hold_every_step_and_layer(tiny_checkpoint: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    arguments = [write_scene(tmp_path), "--model", tiny_checkpoint, "--seed", 3, "--steps-at", 1, "--steps-at", 3]
    result = CliRunner().invoke(app, [*map(str, arguments), "--out", str(out)])
    assert result.exit_code == 0, result.output
    written = json.loads((out / "attention.json").read_text())
    assert written["seed"] == 3
    assert [(m["step"], m["layer"]) for m in written["maps"]] == [(1, 0), (1, 1), (3, 0), (3, 1)]
    segments, words = len(written["segments"]), len(written["words"])
    for shares in (*written["maps"], written["mean"]):
        for table, columns in (("segments", segments), ("words", words)):
            assert [len(row) for row in shares[table]] == [columns] * segments
            assert all(sum(row) == pytest.approx(1, abs=1e-4) for row in shares[table])
    binding = written["binding"]
    assert [row.split(".")[0] for row in binding["rows"]] == [
        binding["columns"][owner].split(".")[0] for owner in binding["owner"]
    ]
    with Image.open(out / "attention.png") as picture:
        picture.load()
        assert min(picture.size) > 500
    assert "(owner)" in result.output


def test_the_middle_step_is_looked_at_unless_others_are_named() -> None:
    pipe = tiny_pipeline()
    assert sample_attention(pipe, tiny_scene(), None, []).steps == [2]  # of 3
    with pytest.raises(InputError, match="--steps-at 4: the clip is sampled in 3 steps"):
        sample_attention(pipe, tiny_scene(), None, [4])


def test_a_step_is_what_the_transformer_saw_in_it() -> None:
    """The look at a step is one more pass of the prompt's branch, with the latents and the time of that step."""
    pipe = tiny_pipeline(reference_timestep="zero")  # which caches references
    passes: list[dict[str, Any]] = []
    pipe.transformer.register_forward_pre_hook(lambda _, __, given: passes.append(dict(given)), with_kwargs=True)
    sample_attention(pipe, tiny_scene(), 0, [2])
    cached = [given for given in passes if given.get("reference_cache") is not None]
    looks = [given for given in passes if given.get("references") is not None]
    assert len(cached) == 3 * 2 and len(looks) == 1  # two branches a step
    for key in ("hidden_states", "timestep"):
        assert torch.equal(looks[0][key], cached[2][key])
    assert looks[0]["layouts"] == cached[2]["layouts"]


def test_with_no_csam_references_see_the_video() -> None:
    free = tiny_scene(binding={"csam": False})
    pipe = tiny_pipeline()
    assert (sample_attention(pipe, tiny_scene(), 0, []).mean("segments")[1:, 0] == 0).all()
    assert (sample_attention(pipe, free, 0, []).mean("segments")[1:, 0] > 0).all()


def test_a_scene_without_pictures_is_refused() -> None:
    bare = Scene.from_dict({"lumosx": 1, "id": "bare", "prompt": "A lamp.", "subjects": []})
    with pytest.raises(InputError, match="no pictures"):
        sample_attention(tiny_pipeline(), bare, 0, [])
