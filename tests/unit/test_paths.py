"""Checkpoints are found from the working directory first, then in the checkout or the package data."""

from pathlib import Path

import pytest

from lumosx import paths
from lumosx.errors import InputError


def make_checkpoint(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text("{}")
    return folder


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for the checkout with one checkpoint, and a working directory elsewhere."""
    root = tmp_path / "checkout"
    make_checkpoint(root / "checkpoints" / "small")
    (root / "pyproject.toml").touch()
    monkeypatch.setattr(paths, "_PACKAGE", root / "lumosx")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return root


@pytest.mark.parametrize("name", ["small", "checkpoints/small"])
def test_a_shipped_checkpoint_is_found_from_anywhere(checkout: Path, name: str) -> None:
    assert paths.checkpoint_path(name) == checkout / "checkpoints" / "small"


@pytest.mark.parametrize("name", ["small", "checkpoints/small"])
def test_the_working_directory_comes_first(checkout: Path, name: str) -> None:
    mine = make_checkpoint(Path.cwd() / "checkpoints" / "small")
    assert paths.checkpoint_path(name) == mine


def test_paths_are_taken_as_they_are(checkout: Path, tmp_path: Path) -> None:
    mine = make_checkpoint(tmp_path / "elsewhere" / "runs" / "mine")
    assert paths.checkpoint_path("runs/mine") == mine
    assert paths.checkpoint_path(mine) == mine


def test_an_installed_package_uses_its_own_data(checkout: Path) -> None:
    (checkout / "pyproject.toml").unlink()
    shipped = make_checkpoint(checkout / "lumosx" / "_data" / "checkpoints" / "small")
    assert paths.checkpoint_path("checkpoints/small") == shipped
    assert paths.configs_dir() == checkout / "lumosx" / "_data" / "configs"


def test_configs_of_the_checkout(checkout: Path) -> None:
    assert paths.configs_dir() == checkout / "configs"


def test_a_missing_checkpoint_lists_what_exists(checkout: Path) -> None:
    make_checkpoint(Path.cwd() / "checkpoints" / "mine")
    with pytest.raises(InputError) as caught:
        paths.checkpoint_path("smal")
    message = str(caught.value)
    assert message.startswith("checkpoint smal: no file or folder")
    assert str(checkout / "checkpoints" / "small") in message
    assert str(Path.cwd() / "checkpoints" / "mine") in message


def test_a_folder_that_is_no_checkpoint_is_said_to_be_none(checkout: Path) -> None:
    (Path.cwd() / "pictures").mkdir()
    with pytest.raises(InputError, match=r"no model_index\.json in it"):
        paths.checkpoint_path("pictures")
