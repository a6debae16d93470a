"""Where configs and shipped checkpoints lie: in the checkout, or in the package data of an installed wheel.

The wheel carries both as `lumosx/_data`. Only this module knows, so that both cases behave the same.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lumosx.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
_MARKER = "model_index.json"  # what makes a folder a checkpoint, in the hub layout


def _data_root() -> Path:
    """The folder that holds `configs/` and `checkpoints/`."""
    checkout = _PACKAGE.parent
    return checkout if (checkout / "pyproject.toml").is_file() else _PACKAGE / "_data"


def configs_dir() -> Path:
    """The folder of the shipped configs (Hydra groups, and example scenes under `scenes/`)."""
    return _data_root() / "configs"


def shipped(name: str) -> Path:
    """Where a file lies that comes with the program, such as "checkpoints/lumosx-tiny/model_index.json"."""
    return _data_root() / name


def checkpoint_path(name_or_path: str | Path) -> Path:
    """The folder of a checkpoint, given as a path or as the name of one under `checkpoints/`.

    A relative one is searched from the working directory, then the checkout or the package data, so
    "checkpoints/lumosx-tiny" and "lumosx-tiny" work anywhere. Raises InputError if no such folder holds a
    `model_index.json`; the message lists the checkpoints that exist.
    """
    wanted = Path(name_or_path).expanduser()
    for root in (Path.cwd(), _data_root()):
        for candidate in (root / wanted, root / "checkpoints" / wanted):
            if (candidate / _MARKER).is_file():
                return candidate
    what = "no file or folder" if not wanted.exists() else f"no {_MARKER} in it, so it is not a checkpoint"
    raise InputError(f"checkpoint {name_or_path}: {what}. Checkpoints that exist: {_existing_checkpoints()}")


def resolve_checkpoint(name_or_path: str | Path, download: Callable[..., Any]) -> Path:
    """The folder of a checkpoint: a path, a name under `checkpoints/`, or a repository of the hub.

    Args:
        name_or_path: "checkpoints/lumosx-tiny", "lumosx-tiny" or "Wan-AI/Wan2.1-T2V-1.3B-Diffusers".
        download: fetches a repository of the hub, or the part of it that is wanted, and returns its folder.

    Raises:
        InputError: nothing of that name.
    """
    try:
        return checkpoint_path(name_or_path)
    except InputError as error:
        if not names_repository(name_or_path):
            raise
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError

        try:
            return Path(download(str(name_or_path)))
        except (OSError, ValueError, HfHubHTTPError, HFValidationError) as hub_error:
            reason = hub_error.__cause__ or hub_error  # the libraries wrap it in advice on their own arguments
            raise InputError(f"{error}. Nor was it found on the Hugging Face hub: {reason}") from hub_error


def names_repository(name_or_path: str | Path) -> bool:
    """Whether this may be a repository of the hub ("owner/model") and is not meant as a path."""
    parts = Path(name_or_path).parts
    local = str(name_or_path).startswith((".", "~", "/"))
    return len(parts) == 2 and not local and parts[0] != "checkpoints" and not Path(parts[0]).exists()


def _existing_checkpoints() -> str:
    folders = (root / "checkpoints" for root in (Path.cwd(), _data_root()))
    found = {marker.parent.resolve() for folder in folders for marker in folder.glob(f"*/{_MARKER}")}
    return ", ".join(str(path) for path in sorted(found)) or "none"
