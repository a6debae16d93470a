"""Provenance: what is written down about a clip, enough to make it again or to say why it came out another.

A record is plain data. Whatever could change a single pixel is in it: the scene, the hashes of pictures and
weights, the settings, and the software and hardware that did the sums.
"""

import hashlib
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

import lumosx
from lumosx.files import sha256_of
from lumosx.pipelines.memory import set_up_of
from lumosx.pipelines.step_cache import StepCache
from lumosx.relations import TokenLayout
from lumosx.scene import Binding, Entity, Scene

if TYPE_CHECKING:
    from lumosx.pipelines.branches import Branch
    from lumosx.pipelines.pipeline import Job, LumosXPipeline

PACKAGES = (
    "torch",
    "diffusers",
    "transformers",
    "tokenizers",
    "safetensors",
    "peft",
    "pillow",
    "numpy",
    "av",
)
MODEL_FILES = (
    "*.safetensors",
    "*.json",
    "*.model",
    "*.txt",
)  # weights, configs and tokenizers; not the model card


def describe(
    pipeline: "LumosXPipeline",
    job: "Job",
    kernel: tuple[str, str],
    branches: Sequence["Branch"],
    batch: int,
    cache: StepCache | None,
) -> dict[str, Any]:
    """The record of a clip but for its seed and its frames.

    Args:
        job: what was prepared.
        kernel: attention backend and why it was chosen.
        branches: what is passed at every step.
        batch: clips that are passed together.
        cache: the step cache.
    """
    scene, binding, layout = job.scene, job.binding, job.layout
    config = pipeline.transformer.config
    folder, way = pipeline.name_or_path, set_up_of(pipeline)
    return {
        "prompt": binding.prompt,
        "settings": job.settings.to_dict(),
        "binding": {
            "rules": layout.rules,
            "r2pe": layout.r2pe,
            "csam": layout.csam,
            "mcam_ratio": config.mcam_ratio if layout.mcam_ratio is None else layout.mcam_ratio,
            "reference_timestep": config.reference_timestep,
            "reference_cache": branches[0].cache is not None,
        },
        "entities": _entities(scene, binding),
        "consent": {subject.id: subject.consent for subject in scene.subjects if subject.consent},
        "layout": _layout(layout, binding),
        "model": {
            "path": folder and str(Path(folder).resolve()),
            "files": hash_files(folder),
            "dtype": str(pipeline.transformer.dtype).removeprefix("torch."),
            "adapters": sorted(getattr(pipeline.transformer, "peft_config", None) or {}),
            "approximations": approximations(way["quantize"], way["tiling"], cache),
        },
        "runtime": {
            "device": pipeline._execution_device.type,
            "device_name": device_name(pipeline._execution_device),
            "threads": torch.get_num_threads(),
            "attention": {"backend": kernel[0], "reason": kernel[1]},
            "guidance": "together" if len(branches[0].layouts) > 1 else "apart",
            "batch": batch,
            "ranks": job.split._asdict(),
            "compile": way["compile"],
            "step_cache": cache and cache.record(job.settings.steps),
            "versions": versions(*(["torchao"] if way["quantize"] else [])),
        },
        "scene": embed(scene),
    }


def approximations(quantize: str | None, tiling: bool, cache: StepCache | None) -> dict[str, Any]:
    """What was chosen that changes a clip by more than rounding; empty for an exact one."""
    chosen = {"quantize": quantize, "tiling": tiling, "step_cache": cache and str(cache)}
    return {name: value for name, value in chosen.items() if value}


def embed(scene: Scene) -> dict[str, Any]:
    """The scene as written, and the absolute folder that its pictures' paths start from."""
    return {
        "id": scene.id,
        "source": scene.source,
        "root": str(scene.root.resolve()),
        "data": scene.to_dict(),
        "pictures": {e.id: _picture(e) for e in scene.entities if e.image is not None},
    }


def fingerprint(scene: Mapping[str, Any], settings: Mapping[str, Any], seed: int, model: Mapping[str, Any]) -> str:
    """One hash of everything that a user chooses about a clip, to see whether it was made already.

    Args:
        scene: of `embed`; where its file lies does not count, nor does what `settings` say anyway.
        settings: of `Settings.to_dict`.
        model: of a record; its `files`, `dtype` and `approximations` count.
    """
    pictures = {name: picture["sha256"] for name, picture in scene["pictures"].items()}
    data = {key: value for key, value in scene["data"].items() if key not in ("generation", "meta", "root")}
    content = [scene["id"], data, pictures, settings, seed, model["files"], model["dtype"]]
    if model.get("approximations"):  # clips of before have no such entry, and are exact
        content.append(model["approximations"])
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def hash_files(folder: str | Path | None) -> dict[str, str]:
    """sha256 of every file of a checkpoint that its output depends on, by its path in the folder.

    Of the folders, those that `model_index.json` names: what else lies there (samples, logs) does not count.
    """
    if folder is None or not (Path(folder) / "model_index.json").is_file():
        return {}
    root = Path(folder)
    index = root / "model_index.json"
    named = [name for name, entry in json.loads(index.read_text(encoding="utf-8")).items() if isinstance(entry, list)]
    files = {path for name in named for pattern in MODEL_FILES for path in (root / name).rglob(pattern)}
    files = sorted({index, *files})
    return {path.relative_to(root).as_posix(): sha256_of(path) for path in files}


def versions(*others: str) -> dict[str, str]:
    """Versions of Python, LumosX, the packages that do the sums, and others by their names on the index."""
    found = {
        "python": platform.python_version(),
        "lumosx": lumosx.__version__,
        "platform": platform.platform(),
    }
    for name in (*PACKAGES, *others):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found


def device_name(device: torch.device) -> str:
    """The processor's name, as far as it decides which kernels run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}" if device.type == "cpu" else device.type


def _entities(scene: Scene, binding: Binding) -> list[dict[str, Any]]:
    """All entities in token order: pictures with their spans and tokens, text-only ones with their spans."""
    bound = {entity.id: (entity, words) for entity, words in zip(binding.references, binding.words, strict=True)}
    listed = []
    for declared in scene.entities:
        entity, tokens = bound.get(declared.id, (declared, None))
        mentions = [{"span": list(span), "text": binding.prompt[slice(*span)]} for span in entity.spans]
        described = {
            "id": entity.id,
            "kind": entity.kind,
            "subject": None if entity.subject is None else scene.subjects[entity.subject].id,
            "words": list(entity.words),
            "mentions": mentions,
            "tokens": tokens,
            "strength": entity.strength,
            "picture": None if entity.image is None else _picture(entity),
        }
        listed.append(described)
    return listed


def _picture(entity: Entity) -> dict[str, str | None]:
    assert entity.image is not None
    path = entity.image.path
    return {"path": None if path is None else str(path), "sha256": entity.image.sha256}


def _layout(layout: TokenLayout, binding: Binding) -> dict[str, Any]:
    names = ["video", *(entity.id for entity in binding.references)]
    return {
        "video": list(layout.video),
        "tokens": len(layout),
        "segments": [
            {
                "name": name,
                "role": s.role,
                "subject": s.subject,
                "member": s.member,
                "start": s.start,
                "stop": s.stop,
            }
            for name, s in zip(names, layout.segments, strict=True)
        ],
        "attention_ranges": [list(block) for block in layout.attention_ranges],
    }
