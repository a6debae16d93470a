"""Where the weights of other people's models lie, which they are, and how transformers loads them.

A place is a file or folder of the user's, or the name of a repository of the Hugging Face hub that is in the local
cache. Nothing is downloaded: a benchmark must not fetch gigabytes halfway, and what it ran must be pinned beforehand.
"""

import hashlib
import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.utils import HFValidationError
from safetensors import SafetensorError

from lumosx.completeness import expect_none_missing
from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.paths import names_repository

# Names that transformers looks for, in its order.
WEIGHTS = ("model.safetensors", "model-*-of-*.safetensors", "pytorch_model.bin", "pytorch_model-*-of-*.bin")
UNREADABLE = (OSError, ValueError, RuntimeError, SafetensorError, UnpicklingError)  # what damaged weights raise


@dataclass(frozen=True)
class Place:
    """Weights on the disk: `path` is a file or folder, `files` are the weights there, `source` is how it was asked for,
    and `revision` tells which weights they are."""

    path: Path
    files: list[Path]
    source: str
    revision: str


def find(
    place: str | Path, revision: str | None = None, *, marker: str = "config.json", weights: Sequence[str] = WEIGHTS
) -> Place:
    """The weights at a place.

    Its revision is the commit of a hub repository; of a file, and of the weights of a folder, the sha256. Weights in
    several files have the sha256 of the lines "name sha256" of all.

    Args:
        place: a path, or "owner/name" of the hub.
        revision: commit, tag or branch of a hub repository; None: main.
        marker: a file that every repository of this kind holds.
        weights: patterns of their names, the first that matches counts.

    Raises:
        InputError: nothing is there, or no weights are.
    """
    path = Path(place).expanduser()
    if not path.exists():
        path = _cached(str(place), revision, marker)
        return Place(path, _weights(path, weights), str(place), path.name)
    if revision is not None:
        raise InputError(
            f"{place} is on the disk and has no revision {revision}: leave it out, or name a hub repository"
        )
    files = [path] if path.is_file() else _weights(path, weights)
    return Place(path, files, str(place), _fingerprint(files))


def load_model(kind: Any, place: Place, device: str) -> Any:
    """A model of a class of transformers, in float32, for inference.

    Raises:
        InputError: it is of another class, cannot be read, or lacks tensors.
    """
    found, wanted = model_type(place), kind.config_class.model_type
    if found != wanted:
        raise InputError(f"{place.source}: a model of type {found}; wanted is {wanted}")
    try:
        # transformers 5 would take the precision of the file, and so would the scores
        model, report = kind.from_pretrained(
            place.path, dtype="float32", local_files_only=True, output_loading_info=True
        )
    except UNREADABLE as error:
        raise InputError(f"{place.source}: {kind.__name__} cannot be loaded: {error}") from error
    expect_none_missing(place.source, kind.__name__, report["missing_keys"])
    return model.to(device).eval()


def model_type(place: Place) -> str:
    """Which of transformers' models it is, such as "clip". Raises InputError if its config.json does not say."""
    from transformers import AutoConfig

    return load_part(AutoConfig, place).model_type


def load_part(kind: Any, place: Place, **options: Any) -> Any:
    """A configuration, tokenizer or processor by its `from_pretrained`.

    Raises:
        InputError: it is not there, or needs a library that is not installed.
    """
    try:
        return kind.from_pretrained(place.path, local_files_only=True, **options)
    except (*UNREADABLE, ImportError) as error:
        raise InputError(f"{place.source}: {kind.__name__} cannot be loaded: {error}") from error


def load_image_processor(place: Place) -> Any:
    """What prepares pictures for the model: by Pillow where transformers has that, so that scores are the same with and
    without torchvision."""
    # by its module: transformers 5.17 gives the name only beside torchvision, which it does not need
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    return load_part(AutoImageProcessor, place, backend="pil")


def library(name: str, install: str) -> Any:
    """A module of an optional library.

    Raises:
        InputError: it cannot be imported; says to install `install`.
    """
    try:
        return importlib.import_module(name)
    except (ImportError, RuntimeError) as error:  # torchvision raises RuntimeError beside another torch than its own
        raise InputError(f"{name} cannot be imported ({error}): pip install {install}") from error


def _cached(name: str, revision: str | None, marker: str) -> Path:
    """The folder of a repository in the hub's local cache; its name is the commit."""
    if not names_repository(name):
        raise InputError(f"{name}: no such file or folder; give one, or the name of a hub repository (owner/name)")
    try:
        found = try_to_load_from_cache(name, marker, revision=revision)
    except HFValidationError as error:
        raise InputError(f"{name}: neither a path nor the name of a hub repository: {error}") from error
    if not isinstance(found, str):
        at = f" --revision {revision}" if revision else ""
        raise InputError(
            f"{name}: no such folder, and not in the local cache of the hub. Run 'hf download {name}{at}'; "
            "for a machine that is offline, copy the downloaded folder there and give its path"
        )
    return Path(found).parent


def _weights(folder: Path, patterns: Sequence[str]) -> list[Path]:
    for pattern in patterns:
        if found := sorted(folder.glob(pattern)):
            return found
    raise InputError(f"{folder}: holds no weights (looked for {', '.join(patterns)})")


def _fingerprint(files: list[Path]) -> str:
    if len(files) == 1:
        return sha256_of(files[0])
    return hashlib.sha256("".join(f"{file.name} {sha256_of(file)}\n" for file in files).encode()).hexdigest()
