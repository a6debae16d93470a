"""A run's folder beside its weights: what the run was asked for, and on which machine it ran.

The same command goes on with a run, so another configuration under the same name is a mistake, never a mixture.
"""

import json
import platform
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from lumosx.errors import InputError
from lumosx.files import atomic, lock, write_json
from lumosx.training.config import Config
from lumosx.training.ranks import Ranks

# What may change on resume: it changes neither what was trained so far nor the order of the data.
FREE = (
    "run.root", "run.accept_changes", "train.steps", "*_every", "train.threads", "train.keep", "train.micro_batch",
    "train.compile", "train.checkpointing", "data.workers", "data.path", "data.cache", "data.broken",
    "parallel.*", "validation.*", "track.*",
)  # fmt: skip


# Lists that a run keeps beside its log, a JSON line an entry, each with its step.
LISTS = ("skipped.jsonl", "broken.jsonl")


def append_line(path: Path, facts: dict[str, Any]) -> None:
    """Adds an entry to one of the run's lists."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(facts, ensure_ascii=False) + "\n")


def rewind_lines(path: Path, step: int) -> None:
    """Drops the entries behind `step`, which are about to be made again, and a line that a kill cut short."""
    if not path.is_file():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            if line.endswith("\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except ValueError:
            continue
    with atomic(path) as temporary:
        temporary.write_text("".join(kept), encoding="utf-8")


@contextmanager
def claimed(folder: Path, ranks: Ranks) -> Iterator[None]:
    """Keeps the run to this command: two that write the same folder would ruin it.

    Raises:
        InputError: another process has it.
    """
    file, problem = None, ""
    if ranks.is_main:
        file = lock(folder / "lock")
        if file is None:
            problem = f"{folder}: another process trains this run; stop it, or take another run.name"
    ranks.agree(problem)
    try:
        yield
    finally:
        if file is not None:
            file.close()


def write_facts(config: Config, device: torch.device) -> None:
    """Writes config.yaml and machine.json into the run's folder."""
    with atomic(config.folder / "config.yaml") as temporary:
        OmegaConf.save(OmegaConf.create(asdict(config)), temporary)
    write_json(machine(device), config.folder / "machine.json")


def saved_config(run: Path) -> Config:
    """What config.yaml in a run's folder says; run.root and run.name are those of where the folder lies now.

    Raises:
        InputError: there is none, or it does not describe a run.
    """
    path = run / "config.yaml"
    if not path.is_file():
        raise InputError(f"{path} does not exist, so {run} is not a run's folder")
    try:
        config: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), OmegaConf.load(path)))
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"{path} is not the configuration of a run of this version: {error}") from error
    folder = run.resolve()
    root = folder.parents[len(Path(config.run.name).parts) - 1]  # a name may have several parts
    return replace(config, run=replace(config.run, root=str(root), name=str(folder.relative_to(root))))


def machine(device: torch.device) -> dict[str, Any]:
    """Processor, threads, PyTorch's version and the device that trains."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "device": name,
    }


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return next(iter(names), platform.processor() or platform.machine())


def check_same(saved: Any, config: Config, what: str, free: Iterable[str] = FREE) -> None:
    """Compares the configuration that `what` was made with to the one asked for now.

    Raises:
        InputError: they differ in a key that matches none of `free`; every such key is named.
    """
    changed = {
        key: change
        for key, change in differences(saved, asdict(config)).items()
        if not any(fnmatch(key, pattern) for pattern in free)
    }
    if not changed:
        return
    lines = [f"  {key}: {before} -> {now}" for key, (before, now) in changed.items()]
    report = "\n".join([f"{what} was made with another configuration; saved -> asked for:", *lines])
    if not config.run.accept_changes:
        raise InputError(
            f"{report}\nAsk for the saved values, or for another run.name; run.accept_changes=true goes on all the same"
        )
    print(report, flush=True)


def differences(before: Any, after: Any) -> dict[str, tuple[Any, Any]]:
    """Both values of every dotted key in which two configurations, as plain dicts, differ."""
    old, new = _flat(before), _flat(after)
    keys = sorted(old.keys() | new.keys())
    return {key: (old.get(key), new.get(key)) for key in keys if old.get(key) != new.get(key)}


def _flat(config: dict[str, Any]) -> dict[str, Any]:
    """Values by dotted key, paths below run.root without it: all runs may move together."""
    root = f"{config['run']['root']}/"
    flat: dict[str, Any] = {}

    def add(prefix: str, value: Any) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                add(f"{prefix}.{key}" if prefix else str(key), item)
        elif isinstance(value, str):
            flat[prefix] = value.removeprefix(root)
        else:
            flat[prefix] = list(value) if isinstance(value, tuple) else value

    add("", config)
    return flat
