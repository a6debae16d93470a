"""Where a run starts from: another run by its name, or any checkpoint by its path."""

from pathlib import Path

import pytest

from lumosx.errors import InputError
from lumosx.paths import configs_dir
from lumosx.training.config import load_config
from lumosx.training.model import starting_place


def place(root: Path, name: str) -> str:
    config = load_config(["experiment=tiny_2", f"run.root={root}", f"model.init_from={name}"], configs_dir())
    return starting_place(config)


def test_a_run_by_name_and_a_checkpoint_by_its_full_path(tmp_path: Path) -> None:
    (tmp_path / "first" / "export").mkdir(parents=True)
    assert place(tmp_path, "first") == str(tmp_path / "first" / "export")
    assert place(tmp_path, str(tmp_path / "first")) == str(tmp_path / "first" / "export")
    checkpoint = tmp_path / "elsewhere"
    checkpoint.mkdir()
    (checkpoint / "model_index.json").write_text("{}")
    assert place(tmp_path / "runs", str(checkpoint)) == str(checkpoint)


def test_a_run_that_is_not_finished_is_told_from_no_run(tmp_path: Path) -> None:
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / "config.yaml").write_text("")
    with pytest.raises(InputError, match="has no export yet"):
        place(tmp_path, "half")
    with pytest.raises(InputError, match="no run of that name"):
        place(tmp_path, "none_such")
