"""A run is the same run on one process and on several, and goes on on another number of them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from launching import expect, launch
from safetensors.torch import load_file
from trainer_worker import run_config

from lumosx.training.ranks import Ranks
from lumosx.training.trainer import Trainer


@pytest.fixture(scope="module")
def runs(text_encoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs of four steps: one process alone, two all the way, and some that changed in the middle."""
    folder = tmp_path_factory.mktemp("runs")
    shutil.copytree(text_encoder, folder / "text")
    alone = Ranks(0, 1, torch.device("cpu"))
    Trainer(run_config(folder, "one", "train.steps=4"), alone).fit()
    Trainer(run_config(folder, "grown", "train.steps=2"), alone).fit()
    checks = [
        "run:ddp:train.steps=4:parallel.engine=ddp",
        "run:fsdp2:train.steps=4:parallel.engine=fsdp2:train.micro_batch=1",
        "run:sequence:train.steps=4:parallel.engine=ddp:parallel.sequence=2",
        "run:shrunk:train.steps=2:parallel.engine=fsdp2",
        "run:grown:train.steps=4:parallel.engine=fsdp2",
    ]
    results = launch("trainer_worker.py", 2, checks, folder)
    for check in checks:
        expect(results, check)
    Trainer(run_config(folder, "shrunk", "train.steps=4"), alone).fit()
    return folder


def log_of(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "sequence", "shrunk", "grown"])
def test_runs_are_the_same_on_any_number_of_processes(runs: Path, name: str) -> None:
    expected, found = log_of(runs / "one"), log_of(runs / name)
    for key in ("loss", "gradient_norm", "validation/loss@0.5"):
        was = [line[key] for line in expected if key in line]
        assert [line[key] for line in found if key in line] == pytest.approx(was, rel=1e-4), key
    facts = [json.loads((runs / run / "checkpoints/step-00000004/run.json").read_text()) for run in ("one", name)]
    for key in ("step", "samples_seen", "order", "position"):
        assert facts[0][key] == facts[1][key], key
    exported = "export/transformer/diffusion_pytorch_model.safetensors"
    weights = [load_file(runs / run / exported) for run in ("one", name)]
    for key, tensor in weights[0].items():
        torch.testing.assert_close(weights[1][key], tensor, atol=2e-4, rtol=1e-3)
