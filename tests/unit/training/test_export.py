"""The last checkpoint of a run, finished or not, becomes what the run's own export would be."""

import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from safetensors.torch import load_file
from typer.testing import CliRunner

from lumosx.cli.main import app
from lumosx.errors import InputError
from lumosx.models.containers import read_state_dict
from lumosx.pipelines import LumosXPipeline
from lumosx.training.config import Config, LoraConfig
from lumosx.training.export import export_last_checkpoint
from lumosx.training.ranks import Ranks
from lumosx.training.run import saved_config, write_facts
from lumosx.training.stopping import RunStopped
from lumosx.training.trainer import Trainer

ALONE = Ranks(0, 1, torch.device("cpu"))
WEIGHTS = "transformer/diffusion_pytorch_model.safetensors"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def save_as_latest(state: dict[str, Any], checkpoint: Path) -> None:
    dcp.save(state, storage_writer=dcp.FileSystemWriter(checkpoint), no_dist=True)
    (checkpoint.parent / "latest").write_text(checkpoint.name + "\n")
    (checkpoint / "run.json").write_text("{}")  # what makes it whole


def test_the_last_checkpoint_of_a_finished_run_gives_its_export(config: Config, tmp_path: Path) -> None:
    export = Trainer(config, ALONE).fit()
    result = CliRunner().invoke(app, ["convert", str(config.folder), str(tmp_path / "out")], catch_exceptions=False)
    assert result.stdout == f"{tmp_path / 'out'}: the averaged weights of {config.folder}/checkpoints/step-00000004\n"
    assert contents(tmp_path / "out" / "transformer") == contents(export / "transformer")
    told = [path for path in export.rglob("*.json") if "_name_or_path" in path.read_text()]
    assert not told  # where things lay on the machine that trained is nobody's business


def test_a_stopped_run_opens_in_the_pipeline(config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config, ALONE)
    step = trainer._train_step

    def step_and_signal(*args: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return step(*args)

    monkeypatch.setattr(trainer, "_train_step", step_and_signal)
    with pytest.raises(RunStopped):
        trainer.fit()
    before = contents(config.folder)
    assert export_last_checkpoint(config.folder, tmp_path / "out").name == f"step-{trainer.step:08d}"
    assert contents(config.folder) == before
    transformer = LumosXPipeline.from_pretrained(tmp_path / "out").transformer
    for name, tensor in transformer.state_dict().items():
        assert torch.equal(tensor, trainer.ema.averages[name]), name


def test_flat_tensors_as_of_zero3_get_their_shapes(config: Config, tmp_path: Path) -> None:
    export = Trainer(config, ALONE).fit()
    checkpoints = config.folder / "checkpoints"
    averages = read_state_dict(checkpoints / "step-00000004")
    flat = {name: tensor.reshape(-1, 1) for name, tensor in averages.items()}
    save_as_latest({"ema": flat}, checkpoints / "flat")
    export_last_checkpoint(config.folder, tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (export / WEIGHTS).read_bytes()
    flat.popitem()
    save_as_latest({"ema": flat}, checkpoints / "incomplete")
    with pytest.raises(InputError, match="holds other weights than the model"):
        export_last_checkpoint(config.folder, tmp_path / "other")


def test_a_lora_run_that_has_moved_leaves_merged_weights_and_the_adapter(config: Config, tmp_path: Path) -> None:
    first = replace(config, run=replace(config.run, root=str(tmp_path / "runs"), name="first"))
    Trainer(first, ALONE).fit()
    lora = replace(
        first,
        run=replace(first.run, name="lora"),
        model=replace(first.model, init_from="first", transformer={}),
        lora=LoraConfig(rank=2, alpha=4),
    )
    Trainer(lora, ALONE).fit()
    runs = (tmp_path / "runs").rename(tmp_path / "moved")
    export_last_checkpoint(runs / "lora", tmp_path / "out")
    assert (tmp_path / "out" / WEIGHTS).read_bytes() == (runs / "lora" / "export" / WEIGHTS).read_bytes()
    assert contents(tmp_path / "out-lora") == contents(runs / "lora" / "lora")
    start, end = load_file(runs / "first" / "export" / WEIGHTS), load_file(tmp_path / "out" / WEIGHTS)
    assert not torch.equal(start["blocks.0.attn1.to_q.weight"], end["blocks.0.attn1.to_q.weight"])


def test_a_run_without_a_checkpoint_and_options_that_are_not_for_runs_are_told(config: Config, tmp_path: Path) -> None:
    config.folder.mkdir()
    run, out = str(config.folder), str(tmp_path / "out")
    with pytest.raises(InputError, match=r"--part which model"):
        CliRunner().invoke(app, ["convert", run, out], catch_exceptions=False)
    write_facts(config, ALONE.device)
    with pytest.raises(InputError, match="no whole checkpoint yet"):
        CliRunner().invoke(app, ["convert", run, out], catch_exceptions=False)
    with pytest.raises(InputError, match="leave out --part, --source"):
        CliRunner().invoke(app, ["convert", run, out, "--part", "vae", "--source", "wan"], catch_exceptions=False)
    (tmp_path / "out").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export_last_checkpoint(config.folder, tmp_path / "out")


def test_the_saved_configuration_is_the_run_s_own_at_its_present_place(config: Config, tmp_path: Path) -> None:
    write_there = replace(config, run=replace(config.run, root=str(tmp_path / "runs"), name="group/one"))
    write_there.folder.mkdir(parents=True)
    write_facts(write_there, ALONE.device)
    assert saved_config(write_there.folder) == write_there
    (tmp_path / "runs").rename(tmp_path / "moved")
    assert saved_config(tmp_path / "moved/group/one").run.root == str(tmp_path / "moved")
    (tmp_path / "moved/group/one/config.yaml").write_text("run: {nmae: one}\n")
    with pytest.raises(InputError, match="nmae"):
        saved_config(tmp_path / "moved/group/one")
