"""Replay: makes a clip again from its sidecar, and says what differs when it cannot.

Frames are compared by hash before compression, so the answer is exact: every pixel, or not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import torch

from lumosx.attention import choose_backend
from lumosx.errors import InputError
from lumosx.paths import resolve_checkpoint
from lumosx.pipelines.memory import set_up
from lumosx.pipelines.parallel import ALONE
from lumosx.pipelines.pipeline import LumosXPipeline
from lumosx.pipelines.provenance import hash_files
from lumosx.pipelines.result import SIDECAR_VERSION, Result
from lumosx.scene import Scene, SceneError

# what a replay reads of a sidecar, with the kind of each value
EXPECTED: Mapping[str, type | tuple[type, ...]] = {
    "fingerprint": str, "seed": int, "settings": dict, "layout": dict, "binding": dict,
    "clip.file": str, "clip.sha256": str, "clip.frames_sha256": str, "clip.width": int, "clip.height": int,
    "scene.id": str, "scene.source": str, "scene.root": str, "scene.data": dict, "scene.pictures": dict,
    "model.path": (str, NoneType), "model.files": dict, "model.dtype": str, "model.adapters": list,
    "runtime.device": str, "runtime.device_name": str, "runtime.threads": int, "runtime.versions": dict,
    "runtime.attention.backend": str,
}  # fmt: skip


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


def replay(
    sidecar: str | Path,
    *,
    model: str | Path | None = None,
    root: str | Path | None = None,
    progress: bool = True,
) -> Comparison:
    """Makes a clip again.

    Args:
        sidecar: the JSON beside a clip.
        model: where the checkpoint lies now, if it has moved.
        root: the folder that the pictures' relative paths start from now, if they have moved.
        progress: show a bar.

    Raises:
        InputError: not a sidecar, or one that cannot be replayed by itself; the checkpoint is not there.
    """
    record = read_sidecar(sidecar)
    if not record["model"]["files"]:
        raise InputError(f"{sidecar}: the clip was made with a model in memory, which no file can bring back")
    folder = resolve_checkpoint(model or record["model"]["path"], LumosXPipeline.download)
    scene, changes = _scene(record, sidecar, root)
    changes += _changed_files(record["model"]["files"], hash_files(folder))
    if record["model"]["adapters"]:
        changes.append(f"LoRA adapters were loaded then ({', '.join(record['model']['adapters'])}) and are not now")
    if scene is None or changes:
        return Comparison(False, tuple(changes), None)
    pipeline = _pipeline(folder, record)
    backend = _backend(pipeline, record["runtime"]["attention"]["backend"])
    how = {
        "backend": backend,
        "guidance": record["runtime"].get("guidance", "apart"),
        "step_cache": record["model"].get("approximations", {}).get("step_cache"),
        "progress": progress,
    }
    result = pipeline(scene, seed=record["seed"], **how, **record["settings"])
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
    damaged = [key for key, kind in EXPECTED.items() if not isinstance(_value(data, key), kind)]
    if not damaged:
        pictures = data["scene"]["pictures"].items()
        damaged = [f"scene.pictures.{name}" for name, found in pictures if not _describes_picture(found)]
    if damaged:
        raise InputError(f"{path}: a sidecar that was edited; missing or of the wrong kind: {', '.join(damaged)}")
    return data


def _value(data: Any, key: str) -> Any:
    """What stands under a dotted key; an exception class, which no value is, where nothing does."""
    for step in key.split("."):
        data = data.get(step, KeyError) if isinstance(data, dict) else KeyError
    return data


def _describes_picture(entry: Any) -> bool:
    return isinstance(entry, dict) and "path" in entry and isinstance(entry.get("sha256"), str)


def _scene(record: Mapping[str, Any], sidecar: str | Path, root: str | Path | None) -> tuple[Scene | None, list[str]]:
    """The scene as it was written, and what has changed about its pictures."""
    embedded = record["scene"]
    in_memory = [name for name, picture in embedded["pictures"].items() if picture["path"] is None]
    if in_memory:
        raise InputError(f"{sidecar}: pictures that were only in memory cannot be loaded: {', '.join(in_memory)}")
    start = embedded["root"] if root is None else str(Path(root).resolve())
    data = {**embedded["data"], "root": start, "id": embedded["id"]}
    try:
        scene = Scene.from_dict(data, source=embedded["source"])
    except SceneError as error:
        return None, [str(message) for message in error.messages if message.severity == "error"]
    changes = [
        f"the picture of {entity.id} has changed: {entity.image.path}"
        for entity in scene.entities
        if entity.image is not None and entity.image.sha256 != embedded["pictures"].get(entity.id, {}).get("sha256")
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
    dtype = getattr(torch, record["model"]["dtype"], None)
    if not isinstance(dtype, torch.dtype):
        raise InputError(f"a sidecar that was edited: model.dtype {record['model']['dtype']!r} is no type of torch")
    wanted = record["runtime"]["device"]
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    available = wanted if accelerator is not None and accelerator.type == wanted else "cpu"
    chosen = record["model"].get("approximations", {})
    return set_up(
        LumosXPipeline.from_pretrained(folder, dtype=dtype),
        torch.device(available),
        tiling=chosen.get("tiling", False),
        quantize=chosen.get("quantize"),
        compile=record["runtime"].get("compile", False),
    )


def _backend(pipeline: LumosXPipeline, recorded: str) -> str:
    """The recorded attention backend, or `auto` where it cannot run; the comparison names the difference."""
    try:
        return choose_backend(pipeline._execution_device, pipeline.transformer.dtype, recorded)[0]
    except InputError:
        return "auto"


def _changed_runtime(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Differences in software and hardware, and in anything that they led to."""
    before, after = then["runtime"], now["runtime"]
    pairs = [
        ("device", before["device_name"], after["device_name"]),
        ("number of threads", before["threads"], after["threads"]),
        ("clips sampled together", before.get("batch", 1), after["batch"]),
        ("processes that share the clip", before.get("ranks", ALONE._asdict()), after["ranks"]),
        ("attention backend", before["attention"]["backend"], after["attention"]["backend"]),
        *((name, old, after["versions"].get(name)) for name, old in before["versions"].items()),
    ]
    changes = [f"{name}: {old} then, {new} now" for name, old, new in pairs if old != new]
    if then["layout"] != now["layout"] or then["binding"] != now["binding"]:
        changes.append("the token layout has changed: this version of LumosX reads the scene differently")
    return changes
