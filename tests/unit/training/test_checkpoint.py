"""Checkpoints: whole or not there, the last one found again, damage told."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor

from lumosx.errors import InputError
from lumosx.training.checkpoint import Checkpoints
from lumosx.training.ranks import Ranks

ALONE = Ranks(0, 1, torch.device("cpu"))


def _save(checkpoints: Checkpoints, step: int, value: float) -> None:
    checkpoints.save(step, {"step": step}, {"w": {"a": torch.full((4, 3), value)}, "t": [value, "x"]})


def _load(checkpoints: Checkpoints, folder: Path) -> dict[str, Any]:
    state: dict[str, Any] = {"w": {"a": torch.zeros(4, 3)}, "t": [0.0, ""]}
    checkpoints.load(folder, state)
    return state


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    assert checkpoints.latest() is None
    _save(checkpoints, 3, 1.5)
    checkpoints.finish()
    latest = Checkpoints(tmp_path, ALONE, keep=2).latest()
    assert latest is not None and latest.name == "step-00000003"
    assert checkpoints.facts(latest) == {"step": 3}
    state = _load(checkpoints, latest)
    assert torch.equal(state["w"]["a"], torch.full((4, 3), 1.5)) and state["t"] == [1.5, "x"]


def test_a_save_holds_what_was_there_when_it_began(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    weights = torch.zeros(2048, 2048)
    checkpoints.save(1, {}, {"w": weights})
    weights.add_(1.0)  # training goes on at once
    checkpoints.finish()
    loaded = {"w": torch.ones(2048, 2048)}
    latest = checkpoints.latest()
    assert latest is not None
    checkpoints.load(latest, loaded)
    assert not loaded["w"].any()


def test_only_the_last_ones_stay(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    for step in (1, 2, 10, 100):
        _save(checkpoints, step, step)
    checkpoints.finish()
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["latest", "step-00000010", "step-00000100"]


def test_a_run_that_was_set_back_keeps_what_it_stands_on(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    for step in (10, 20):
        _save(checkpoints, step, step)
    checkpoints.finish()
    (tmp_path / "checkpoints" / "latest").write_text("step-00000010\n")
    _save(checkpoints, 15, 15.0)
    checkpoints.finish()
    latest = checkpoints.latest()
    assert latest is not None and latest.name == "step-00000015" and (latest.parent / "step-00000010").is_dir()


def test_a_half_written_one_is_cleared_and_the_one_before_holds(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    _save(checkpoints, 1, 1.0)
    checkpoints.finish()
    half = tmp_path / "checkpoints" / ".step-00000002.part"
    half.mkdir()
    (half / "run.json").write_text("{}")
    again = Checkpoints(tmp_path, ALONE, keep=2)
    assert not half.exists()
    latest = again.latest()
    assert latest is not None and latest.name == "step-00000001"


def test_a_checkpoint_that_was_not_yet_named_the_latest_is_written_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    _save(checkpoints, 1, 1.0)
    _save(checkpoints, 2, 2.0)
    checkpoints.finish()
    (tmp_path / "checkpoints" / "latest").write_text("step-00000001\n")  # as a kill leaves it
    again = Checkpoints(tmp_path, ALONE, keep=2)
    _save(again, 2, 7.0)
    again.finish()
    latest = again.latest()
    assert latest is not None and latest.name == "step-00000002"
    assert float(_load(again, latest)["w"]["a"][0, 0]) == 7.0


def test_a_failed_save_is_told_and_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    _save(checkpoints, 1, 1.0)
    checkpoints.finish()

    def fail(*_: object, **__: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(dcp.FileSystemWriter, "write_data", fail)
    checkpoints.save(2, {}, {"w": torch.zeros(1)})
    with pytest.raises((OSError, dcp.CheckpointException), match="disk full"):
        checkpoints.finish()
    latest = Checkpoints(tmp_path, ALONE, keep=2).latest()
    assert latest is not None and latest.name == "step-00000001"


@pytest.mark.parametrize("damage", ["gone", "cut", "other model"])
def test_damage_is_told(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, ALONE, keep=2)
    _save(checkpoints, 1, 1.0)
    checkpoints.finish()
    folder = tmp_path / "checkpoints" / "step-00000001"
    shape: tuple[int, int] = (4, 3)
    if damage == "gone":
        folder.rename(tmp_path / "elsewhere")
        with pytest.raises(InputError, match=r"latest names step-00000001, which is not there"):
            checkpoints.latest()
        return
    if damage == "cut":
        data = next(folder.glob("*.distcp"))
        data.write_bytes(data.read_bytes()[:10])
    else:
        shape = (5, 3)
    state: dict[str, Tensor | dict[str, Tensor]] = {"w": {"a": torch.zeros(shape)}}
    with pytest.raises(InputError, match=r"step-00000001 cannot be read"):
        checkpoints.load(folder, state)
