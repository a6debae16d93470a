"""Reads weights from every container that Wan and the LumosX release come in, as a plain dict of tensors.

Checkpoints come from strangers and a pickle can run code, so nothing here unpickles freely: ``torch.load``
only with ``weights_only=True``, and the metadata of a distributed checkpoint, which torch unpickles as it
is, is checked first.
"""

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumosx.errors import InputError

EXPECTED = (
    "expected a .safetensors file, a .pt or .pth file, a folder with *.safetensors.index.json, "
    "or a torch.distributed.checkpoint folder (.metadata and *.distcp, or the same under all/)"
)
INDEX_SUFFIX = ".safetensors.index.json"
# Around the weights: the release's distributed checkpoints hold "ema", its vae.pth holds "model_state".
WRAPPERS = ("ema", "model_state")


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint under its own names, on the CPU, memory-mapped where the format can.

    Accepts a ``.safetensors`` file, its sharded form (the index or the folder that holds it), a
    ``.pt``/``.pth`` file (bare, or under ``ema`` or ``model_state``), and a ``torch.distributed.checkpoint``
    folder with top-level key ``ema``, or one that holds it under ``all``, without its RoPE tables.

    Raises:
        InputError: nothing at that path, another kind of file, or one that is damaged or unsafe.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path} does not exist; {EXPECTED}")
    if path.is_dir():
        return _read_folder(path)
    if path.name.endswith(INDEX_SUFFIX):
        return _read_sharded(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix in (".pt", ".pth"):
        return _read_torch(path)
    raise InputError(f"{path} is not a checkpoint that can be read; {EXPECTED}")


def unwrap(loaded: object, where: str) -> dict[str, Tensor]:
    """The state dict inside its wrapper ``ema`` or ``model_state``, if it has one."""
    for wrapper in WRAPPERS:
        if isinstance(loaded, Mapping) and isinstance(loaded.get(wrapper), Mapping):
            loaded = loaded[wrapper]
    return named_tensors(loaded, where)


def named_tensors(loaded: object, where: str) -> dict[str, Tensor]:
    """``loaded`` as a dict, if it is one of named tensors and nothing else; ``where`` is for the error."""
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{where} holds no dict of tensors")
    wrong = [str(key) for key, value in loaded.items() if not (isinstance(key, str) and isinstance(value, Tensor))]
    if wrong:
        raise InputError(f"{where}: {_listed(wrong)} must be tensors; other things do not belong in a state dict")
    return dict(loaded)


def _read_folder(folder: Path) -> dict[str, Tensor]:
    for distributed in (folder, folder / "all"):
        if (distributed / ".metadata").is_file():
            return _read_distributed(distributed)
    indices = sorted(folder.glob(f"*{INDEX_SUFFIX}"))
    if len(indices) == 1:
        return _read_sharded(indices[0])
    if any(folder.glob("*.distcp")) or any(folder.glob("all/*.distcp")):
        raise InputError(f"{folder} holds *.distcp files but no .metadata: the checkpoint is incomplete")
    found = ", ".join(sorted(p.name for p in folder.iterdir())[:5]) or "nothing"
    raise InputError(f"{folder} is not a checkpoint folder (it holds {found}); {EXPECTED}")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return unwrap(load_file(path), str(path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is not a readable safetensors file: {error}") from error


def _read_sharded(index: Path) -> dict[str, Tensor]:
    try:
        weight_map: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        shards = sorted(set(weight_map.values()))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{index} is not an index of safetensors shards: no usable weight_map") from error
    absent = [shard for shard in shards if not (index.parent / shard).is_file()]
    if absent:
        raise InputError(f"{index} names shards that are not beside it: {_listed(absent)}")
    tensors: dict[str, Tensor] = {}
    for shard in shards:
        tensors |= _read_safetensors(index.parent / shard)
    if tensors.keys() != weight_map.keys():
        raise InputError(f"{index} and its shards disagree on {_listed(sorted(tensors.keys() ^ weight_map.keys()))}")
    return tensors


def _read_torch(path: Path) -> dict[str, Tensor]:
    try:
        # Files older than torch 1.6 are no zip archives and cannot be mapped.
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = re.search(r"GLOBAL ([\w.]+)", str(error))
        raise InputError(
            f"{path} is not a plain state dict: it is damaged or holds pickled objects"
            f"{f' ({refused[1]})' if refused else ''}, which are not loaded because they can run code. "
            "Save its tensors alone, best as safetensors."
        ) from error
    except Exception as error:  # bytes that are no PyTorch file raise whatever they mean as a pickle
        raise InputError(f"{path} is damaged or no PyTorch file: {error}") from error
    return unwrap(loaded, str(path))


def _read_distributed(folder: Path) -> dict[str, Tensor]:
    import torch.distributed.checkpoint as dcp
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    entries = _read_metadata(folder / ".metadata").state_dict_metadata
    wanted = {key: entry for key, entry in entries.items() if key.startswith("ema.") and "freqs" not in key}
    if not wanted:
        top = sorted({key.split(".", 1)[0] for key in entries})
        raise InputError(f"{folder} has no top-level key 'ema'; its keys are {_listed(top)}")
    objects = [key for key, entry in wanted.items() if not isinstance(entry, TensorStorageMetadata)]
    if objects:
        raise InputError(f"{folder}: {_listed(objects)} must be tensors")
    state = {key: torch.empty(entry.size, dtype=entry.properties.dtype) for key, entry in wanted.items()}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
            dcp.load(state, storage_reader=dcp.FileSystemReader(folder), no_dist=True)
    except (Exception, dcp.CheckpointException) as error:  # the latter is a BaseException
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{folder} is incomplete or damaged: {cause[-1]}") from error
    return {key.removeprefix("ema."): tensor for key, tensor in state.items()}


class _MetadataUnpickler(pickle.Unpickler):
    """Unpickles what torch writes into ``.metadata`` and refuses every other name, before importing it."""

    METADATA = "torch.distributed.checkpoint.metadata"
    ALLOWED = frozenset(
        {
            ("collections", "OrderedDict"),
            ("pathlib", "PosixPath"),
            ("pathlib", "WindowsPath"),
            ("torch", "Size"),
            ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
            ("torch.distributed.checkpoint.filesystem", "_StoragePrefix"),
            ("torch.serialization", "_get_layout"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        """As in the base class, for the names above, dtypes and classes of the metadata module itself."""
        if (module, name) in self.ALLOWED:
            return super().find_class(module, name)
        if module in ("torch", self.METADATA):
            found = super().find_class(module, name)
            # Not what the module merely imports, nor what a dotted name reaches through it.
            own_class = isinstance(found, type) and found.__module__ == self.METADATA
            if isinstance(found, torch.dtype) or own_class:
                return found
        raise pickle.UnpicklingError(f"it refers to {module}.{name}")


def _read_metadata(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            metadata = _MetadataUnpickler(file).load()
        if not isinstance(metadata.state_dict_metadata, dict):
            raise pickle.UnpicklingError("state_dict_metadata is not a dict")
    except Exception as error:  # a damaged pickle raises anything
        problem = "is damaged or not the metadata of a distributed checkpoint"
        raise InputError(f"{path} {problem}: {error}") from error
    return metadata


def _listed(names: list[str], shown: int = 5) -> str:
    """The first names and how many more there are."""
    rest = len(names) - shown
    return ", ".join(names[:shown]) + (f" and {rest} more" if rest > 0 else "")
