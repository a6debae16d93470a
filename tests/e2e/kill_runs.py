"""Kills training runs with SIGKILL, resumes them until they end, and compares them with one that nobody disturbed.

python tests/e2e/kill_runs.py ROOT TEXT_ENCODER KILLS. Every attempt is a process of its own, forked after the imports,
which take longer than the run. Every other kill waits for a save to begin. Prints what was compared as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.format_utils import dcp_to_torch_save

from lumosx.paths import configs_dir
from lumosx.training.config import Config, load_config
from lumosx.training.ranks import Ranks
from lumosx.training.trainer import Trainer

STEPS = 12
SETTINGS = [
    "experiment=tiny_1", "model.transformer.num_layers=2", "model.transformer.num_attention_heads=1",
    "model.transformer.ffn_dim=32", "data.buckets=[32x32x5]", "data.workers=1", f"train.steps={STEPS}", "train.batch=2",
    "train.checkpoint_every=2", "train.log_every=1", "train.threads=1", "validation.every=null",
]  # fmt: skip


def start(config: Config) -> int:
    """Trains in a process of its own; returns its id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)  # its loader's workers die with it
    try:
        Trainer(config, Ranks(0, 1, torch.device("cpu"))).fit()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def wait(child: int, until: float, part: Path | None) -> bool:
    """Waits for a child's end (True), or for the time, or for a save to begin (False)."""
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            assert status == 0, f"the run failed with status {status}"
            return True
        if part is not None and any(part.glob(".*.part")):
            time.sleep(random.uniform(0, 0.02))
            return False
        time.sleep(0.0005)
    return False


def kill_until_done(config: Config, kills: int, seconds: float) -> int:
    """Kills and resumes a run until it ends; returns how often it was killed."""
    for killed in range(kills):
        part = config.folder / "checkpoints" if killed % 2 else None
        child = start(config)
        if wait(child, time.monotonic() + random.uniform(0.05, 1.0) * seconds, part):
            return killed
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert wait(start(config), time.monotonic() + 120, None), "the run does not end"
    return kills


def state_of(config: Config, scratch: Path) -> dict[str, Any]:
    """Everything that the last checkpoint holds."""
    folder = config.folder / "checkpoints" / (config.folder / "checkpoints" / "latest").read_text().strip()
    dcp_to_torch_save(folder, scratch)
    facts = json.loads((folder / "run.json").read_text())
    return {"tensors": torch.load(scratch, weights_only=False), "facts": facts}


def flat(state: Any, prefix: str = "") -> dict[str, Any]:
    """Values by dotted key."""
    if not isinstance(state, dict):
        return {prefix: state}
    return {key: value for name, item in state.items() for key, value in flat(item, f"{prefix}.{name}").items()}


def same(a: Any, b: Any) -> bool:
    """Bit for bit."""
    return torch.equal(a, b) if isinstance(a, torch.Tensor) else a == b


def main(root: Path, text_encoder: str, kills: int) -> None:
    """Kills `kills` times, over as many runs as that takes."""
    torch.set_num_threads(1)
    random.seed(0)
    settings = [*SETTINGS, f"run.root={root}", f"model.text_encoder={text_encoder}", "model.transformer.text_dim=16"]
    through = load_config([*settings, "run.name=through"], configs_dir())
    started = time.monotonic()
    assert wait(start(through), started + 300, None)
    seconds = time.monotonic() - started
    expected = state_of(through, root / "through.pt")
    export = (through.folder / "export/transformer/diffusion_pytorch_model.safetensors").read_bytes()
    log = [json.loads(line) for line in (through.folder / "log.jsonl").read_text().splitlines()]
    done, runs = 0, 0
    while done < kills:
        config = load_config([*settings, f"run.name=killed-{runs}"], configs_dir())
        done += kill_until_done(config, min(kills - done, 7), seconds)
        runs += 1
        found = state_of(config, root / "killed.pt")
        was, now = flat(expected["tensors"]), flat(found["tensors"])
        assert was.keys() == now.keys()
        different = [key for key in was if not same(was[key], now[key])]
        assert not different, different
        for key in ("step", "order", "position", "samples_seen", "guard"):
            assert expected["facts"][key] == found["facts"][key], key
        assert (config.folder / "export/transformer/diffusion_pytorch_model.safetensors").read_bytes() == export
        again = [json.loads(line) for line in (config.folder / "log.jsonl").read_text().splitlines()]
        assert [(x["step"], x["loss"], x["gradient_norm"]) for x in again] == [
            (x["step"], x["loss"], x["gradient_norm"]) for x in log
        ]
        assert not [*config.folder.rglob(".*.part"), *config.folder.rglob(".*.old")], "something half-written stays"
    print(json.dumps({"kills": done, "runs": runs, "compared": len(flat(expected["tensors"])), "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
