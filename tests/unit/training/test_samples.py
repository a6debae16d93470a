"""Sampled clips of validation scenes: complete files, the same each time, shared out evenly over the ranks."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import in_memory, tiny_pipeline, two_men

from lumosx import Scene
from lumosx.pipelines import Result
from lumosx.pipelines.video import read_clip
from lumosx.training import samples
from lumosx.training.ranks import Ranks
from lumosx.training.samples import sample_clips

ALONE = Ranks(0, 1, torch.device("cpu"))


def scenes() -> list[dict[str, Any]]:
    """Two scenes with pictures and, between them, one of words alone."""
    words = {"lumosx": 1, "id": "words", "prompt": "A man stands on a street."}
    return [two_men(in_memory), words, {**two_men(in_memory), "id": "again"}]


def test_each_scene_becomes_a_clip_beside_one_sheet(tmp_path: Path) -> None:
    pipeline = tiny_pipeline()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    sample_clips(pipeline, scenes(), tmp_path / "step-000500", ALONE)
    assert torch.equal(torch.get_rng_state(), before)
    names = sorted(path.name for path in (tmp_path / "step-000500").iterdir())
    assert names == ["00-two_men.mp4", "01-words.mp4", "02-again.mp4", "sheet.png"]
    assert sorted(tmp_path.iterdir()) == [tmp_path / "step-000500"]  # nothing half-written beside it
    expected = pipeline(Scene.from_dict(scenes()[1]), seed=0, progress=False)
    assert isinstance(expected, Result)
    found = read_clip(tmp_path / "step-000500" / "01-words.mp4", 32, 32)
    assert found.shape == expected.frames.shape
    assert np.abs(found.astype(float) - expected.frames).mean() < 8  # what compression leaves
    sheet = Image.open(tmp_path / "step-000500" / "sheet.png")
    assert sheet.height > 2 * expected.contact_sheet().height // 2


def test_settings_take_the_place_of_the_checkpoints(tmp_path: Path) -> None:
    sample_clips(tiny_pipeline(), scenes()[:1], tmp_path / "few", ALONE, steps=1, size="16x16", frames=1)
    assert read_clip(tmp_path / "few" / "00-two_men.mp4", 16, 16).shape == (1, 16, 16, 3)


def test_a_failure_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(images: list[Image.Image]) -> Image.Image:
        raise OSError("disk full")

    monkeypatch.setattr(samples, "_stacked", fail)
    with pytest.raises(OSError, match="disk full"):
        sample_clips(tiny_pipeline(), scenes()[:1], tmp_path / "step", ALONE)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("sequence", [1, 2])
@pytest.mark.parametrize("shares", [1, 2, 3, 8])
def test_every_scene_is_kept_once_and_ranks_do_the_same_work_at_the_same_time(shares: int, sequence: int) -> None:
    pictured = [True, False, True, True, False]
    world = [Ranks(rank, shares * sequence, torch.device("cpu"), sequence) for rank in range(shares * sequence)]
    turns = [list(samples._turns(pictured, ranks)) for ranks in world]
    assert sorted(number for rank in turns for number, is_own in rank if is_own) == [0, 1, 2, 3, 4]
    for turn in zip(*turns, strict=True):
        numbers = [number for number, _ in turn]
        assert len({pictured[number] for number in numbers}) == 1  # scenes without pictures take fewer passes
        assert all(len(set(numbers[first : first + sequence])) == 1 for first in range(0, len(numbers), sequence))
