"""Replay: makes a clip again from its sidecar, and says what differs when it cannot.

Frames are compared by hash before compression, so the answer is exact: every pixel, or not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from lumosx.errors import InputError
from lumosx.pipelines.loading import resolve_folder
from lumosx.pipelines.pipeline import LumosXPipeline
from lumosx.pipelines.provenance import hash_files
from lumosx.pipelines.result import SIDECAR_VERSION, Result
from lumosx.scene import Scene, SceneError


@dataclass(frozen=True)
class Comparison:
    """What came of a replay.

    Attributes:
        identical: every pixel is the same.
        differences: what is not as it was, one sentence each, even if the pixels are the same.
        result: the new clip; None if it was not sampled, because what it is made from has changed.
    """

    identical: bool
    differences: tuple[str, ...]
    result: Result | None

    def __str__(self) -> str:
        if self.identical:
            head = "identical: every pixel of every frame is the same"
        elif self.result is None:
            head = "not sampled: what the clip was made from has changed"
        else:
            head = "the frames differ"
        reasons = self.differences or (() if self.identical else ("nothing recorded explains it",))
        return "\n".join([head, *(f"  - {reason}" for reason in reasons)])


def replay(sidecar: str | Path, *, model: str | Path | None = None, progress: bool = True) -> Comparison:
    """Makes a clip again.

    Args:
        sidecar: the JSON beside a clip.
        model: where the checkpoint lies now, if it has moved.
        progress: show a bar.

    Raises:
        InputError: not a sidecar, or one that cannot be replayed by itself; the checkpoint is not there.
    """
    record = read_sidecar(sidecar)
    if not record["model"]["files"]:
        raise InputError(f"{sidecar}: the clip was made with a model in memory, which no file can bring back")
    folder = resolve_folder(model or record["model"]["path"], LumosXPipeline.download)
    scene, changes = _scene(record, sidecar)
    changes += _changed_files(record["model"]["files"], hash_files(folder))
    if record["model"]["adapters"]:
        changes.append(f"LoRA adapters were loaded then ({', '.join(record['model']['adapters'])}) and are not now")
    if scene is None or changes:
        return Comparison(False, tuple(changes), None)
    pipeline = _pipeline(folder, record)
    backend = record["runtime"]["attention"]["backend"]
    try:
        result = pipeline(scene, seed=record["seed"], backend=backend, progress=progress, **record["settings"])
    except InputError as error:
        if backend not in str(error):
            raise
        result = pipeline(scene, seed=record["seed"], backend="auto", progress=progress, **record["settings"])
    assert isinstance(result, Result)
    identical = result.frames_sha256 == record["clip"]["frames_sha256"]
    return Comparison(identical, tuple(_changed_runtime(record, result.record)), result)


def read_sidecar(path: str | Path) -> dict[str, Any]:
    """A sidecar's data; InputError if it is none."""
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not a sidecar ({error}); give the .json beside a clip") from error
    found = data.get("lumosx_sidecar") if isinstance(data, dict) else None
    if found != SIDECAR_VERSION:
        raise InputError(f"{path}: not a sidecar of version {SIDECAR_VERSION}; give the .json beside a clip")
    return data


def _scene(record: Mapping[str, Any], sidecar: str | Path) -> tuple[Scene | None, list[str]]:
    """The scene as it was written, and what has changed about its pictures."""
    embedded = record["scene"]
    in_memory = [name for name, picture in embedded["pictures"].items() if picture["path"] is None]
    if in_memory:
        raise InputError(f"{sidecar}: pictures that were only in memory cannot be loaded: {', '.join(in_memory)}")
    data = {**embedded["data"], "root": embedded["root"], "id": embedded["id"]}
    try:
        scene = Scene.from_dict(data, source=embedded["source"])
    except SceneError as error:
        return None, [str(message) for message in error.messages if message.severity == "error"]
    changes = [
        f"the picture of {entity.id} has changed: {entity.image.path}"
        for entity in scene.entities
        if entity.image is not None and entity.image.sha256 != embedded["pictures"][entity.id]["sha256"]
    ]
    return scene, changes


def _changed_files(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    names = sorted({*then, *now})
    how = {True: "has changed", False: "is not there now"}
    changed = [name for name in names if name in then and then.get(name) != now.get(name)]
    return [f"the checkpoint's {name} {how[name in now]}" for name in changed] + [
        f"the checkpoint's {name} was not there then" for name in names if name not in then
    ]


def _pipeline(folder: str | Path, record: Mapping[str, Any]) -> LumosXPipeline:
    """The checkpoint on the device and in the type it had, or on the CPU where that device is missing."""
    dtype = getattr(torch, record["model"]["dtype"])
    wanted = record["runtime"]["device"]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    available = wanted if accelerator is not None and accelerator.type == wanted else "cpu"
    return LumosXPipeline.from_pretrained(folder, dtype=dtype).to(available)


def _changed_runtime(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences in software and hardware, and in anything that they led to."""
    before, after = then["runtime"], now["runtime"]
    pairs = [
        ("device", before["device_name"], after["device_name"]),
        ("number of threads", before["threads"], after["threads"]),
        ("attention backend", before["attention"]["backend"], after["attention"]["backend"]),
        *((name, old, after["versions"].get(name)) for name, old in before["versions"].items()),
    ]
    changes = [f"{name}: {old} then, {new} now" for name, old, new in pairs if old != new]
    if then["layout"] != now["layout"] or then["binding"] != now["binding"]:
        changes.append("the token layout has changed: this version of LumosX reads the scene differently")
    return changes
