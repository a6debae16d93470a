"""Latents and embeddings of a data set on the disk: made once by `lumosx cache`, read in every step since.

    FOLDER/3f/3f09....safetensors                one variant of one clip, or the empty text
    FOLDER/manifests/SETTINGS/0-of-4.json        which file is which clip's: one manifest a rank

A file is named by the digest of everything that its tensors depend on, so a cache can be filled again after any change
and only what changed is made anew; several settings can share a folder. A file carries a digest of its tensors, which
every read verifies. Media are hashed when the cache is filled, not in training. Files appear whole or not at all; what
a killed process was writing stays behind under a hidden name (.*.part).
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lumosx.data.encoder import Encoder
from lumosx.data.examples import Described, Reading
from lumosx.errors import InputError
from lumosx.files import atomic, write_json

FORMAT = "lumosx.cache/1"  # part of every name: to be raised when clips are read, varied or encoded in another way
AGAIN = "run `lumosx cache` with the settings of this run again"


class CacheReader:
    """What training reads in the place of pixels.

    Args:
        folder: that `lumosx cache` filled.
        settings: see `cache_settings`.

    Raises:
        InputError: no cache, one for other settings (names the differences), or not all ranks have finished it.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any]) -> None:
        self.folder, self._settings = Path(folder), settings
        manifests = _finished_manifests(self.folder, settings)
        self._keys = {entry["shows"]: entry["key"] for manifest in manifests for entry in manifest["entries"].values()}
        self.empty_text = self._load(manifests[0]["empty_text"])["text"]  # [n, D], the embeddings of ""

    def read(self, described: Described) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of the video [C, T, h, w] and of the references [C, R, h, w], normalised; embeddings [n, D]; float32.

        Raises:
            InputError: not there, or damaged.
        """
        key = self._keys.get(digest_of(shown_facts(described, self._settings)))
        if key is None:
            raise InputError(f"{self.folder} does not hold what {described.sample} shows; {AGAIN}")
        tensors = self._load(key)
        return tensors["video"], tensors["references"], tensors["text"]

    def _load(self, key: str) -> dict[str, Tensor]:
        return {name: tensor.float() for name, tensor in read_entry(self.folder, key).items()}


def cache_settings(reading: Reading, encoder: Encoder) -> dict[str, Any]:
    """What a cache is made for, as plain data: two runs with equal settings can use one."""
    data = reading.data
    return {
        **{f"data.{name}": getattr(data, name) for name in ("fps", "variants", "shuffle", "other_frames")},
        "data.buckets": list(data.buckets),
        "data.subjects above 0": [people for people, share in enumerate(data.subjects, 1) if share],
        "data.augment": data.augment and asdict(data.augment),
        "model.text_length": reading.text_length,
        **encoder.facts(),
    }


def shown_facts(described: Described, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a variant's tensors depend on beside settings and the bytes of its files, as plain data."""
    varied = settings["data.augment"] is not None
    return {
        "video": [described.video, described.start, described.fps, str(described.bucket)],
        "pictures": [
            [shown.picture.model_dump(exclude={"frame"}), shown.kind, list(shown.draw) if varied else None]
            for shown in described.pictures
        ],
        "tokens": list(described.token_ids),
    }


def read_entry(folder: Path, key: str) -> dict[str, Tensor]:
    """The tensors of a file, as stored.

    Raises:
        InputError: it is missing, or is not what was written.
    """
    path = _path(folder, key)
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  not a mapping
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; {AGAIN}") from error
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is damaged ({error}); {AGAIN}, which replaces it") from error
    if facts != _facts(key, tensors):
        raise InputError(f"{path} is damaged: its tensors are not those that were written; {AGAIN}, which replaces it")
    return tensors


def write_entry(folder: Path, key: str, tensors: Mapping[str, Tensor], dtype: torch.dtype) -> None:
    """Writes the tensors of a file in the type `dtype`, atomically."""
    stored = {name: tensor.to("cpu", dtype).contiguous() for name, tensor in tensors.items()}
    with atomic(_path(folder, key)) as temporary:
        save_file(stored, temporary, _facts(key, stored))


def read_manifest(path: Path) -> dict[str, Any]:
    """A manifest: `format`, `settings`, `empty_text` (its key), and `entries`: sample -> {shows, key}.

    Raises:
        InputError: it is none.
    """
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        version = manifest["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is no manifest of a cache ({error}); {AGAIN}") from error
    if version != FORMAT:
        raise InputError(f"{path}: this program reads caches of format {FORMAT!r}, not {version!r}; {AGAIN}")
    return manifest


def write_manifest(folder: Path, content: dict[str, Any], rank: int, ranks: int) -> None:
    """Writes what a rank has filled, and removes what an earlier filling by another number of ranks left behind."""
    place = _manifests(folder, content["settings"])
    write_json({"format": FORMAT, **content}, place / f"{rank}-of-{ranks}.json")
    for path in place.glob("*-of-*.json"):
        if not path.stem.endswith(f"-of-{ranks}"):
            path.unlink(missing_ok=True)


def _finished_manifests(folder: Path, settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    place = _manifests(folder, settings)
    counts = sorted({int(path.stem.split("-of-")[1]) for path in place.glob("*-of-*.json")})
    if not counts:
        raise InputError(_other_settings(folder, settings))
    unfinished: list[str] = []
    for ranks in counts:
        paths = [place / f"{rank}-of-{ranks}.json" for rank in range(ranks)]
        missing = [f"{rank} of {ranks}" for rank, path in enumerate(paths) if not path.is_file()]
        if not missing:
            return [read_manifest(path) for path in paths]
        unfinished += missing
    raise InputError(f"{folder}: `lumosx cache` has not finished its rank {', '.join(unfinished)}; {AGAIN}")


def _other_settings(folder: Path, settings: Mapping[str, Any]) -> str:
    """Why there is no manifest for these settings: the differences to the most similar cache in the folder."""
    found = [read_manifest(path)["settings"] for path in sorted(folder.glob("manifests/*/*.json"))]
    differences = [
        [f"  {name}: {cached.get(name)} -> {value}" for name, value in settings.items() if cached.get(name) != value]
        for cached in found
    ]
    if not differences:
        return f"data.cache={folder} holds no finished cache; {AGAIN}"
    heading = f"data.cache={folder} was made for other settings; cached -> asked for:"
    return "\n".join([heading, *min(differences, key=len), f"Ask for the cached ones, or {AGAIN}"])


def _manifests(folder: Path, settings: Mapping[str, Any]) -> Path:
    return folder / "manifests" / digest_of(settings)[:16]


def _path(folder: Path, key: str) -> Path:
    return folder / key[:2] / f"{key}.safetensors"


def digest_of(facts: Any) -> str:
    """A digest of plain data, the same for equal data."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _facts(key: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The metadata of a file. One entry, because several would be written in random order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy().data)
    return {"key and digest of the tensors": f"{key} {digest.hexdigest()}"}
