"""The size, length and rate in which clips are kept, and their key frames."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from curation_footage import look_at, pan, save_video

from lumosx.curation.blobs import Blobs
from lumosx.curation.footage import Crop, Span
from lumosx.curation.stages import video
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Kept, Subtitles
from lumosx.curation.stages.video import ClipVideo
from lumosx.files import clear_leftovers
from lumosx.mp4 import write_mp4


def kept(video: Path, seconds: float, crop: Crop, **settings: int) -> Kept:
    uncovered = Subtitles(share=0.0, crop=crop, left=0.0, texts=[])
    return Technical(**settings).measure(look_at(video, seconds, {SubtitleText: uncovered}))


def test_what_is_kept_of_a_clip(tmp_path: Path) -> None:
    shades = np.arange(81, dtype=np.uint8)[:, None, None, None] * 3
    video = save_video(tmp_path / "a.mp4", np.broadcast_to(shades, (81, 96, 160, 3)))
    value = kept(video, 81 / 16, (10, 20, 150, 90))
    assert (value.width, value.height, value.frames, value.stored_fps) == (140, 70, 81, 16.0)
    assert value.key_numbers == [4, 40, 76]
    for name, number in zip(value.key_frames, value.key_numbers, strict=True):
        picture = Blobs(tmp_path).picture(name)
        assert picture.shape == (70, 140, 3) and abs(picture.astype(int) - 3 * number).max() <= 3
    assert Technical().judge(value.model_copy(update={"height": 480, "width": 480})) is None


def test_large_clips_are_made_smaller_with_even_sides(tmp_path: Path) -> None:
    video = save_video(tmp_path / "a.mp4", pan(16, height=120, width=204))
    value = kept(video, 1.0, (0, 0, 204, 120), side=90)
    assert (value.width, value.height) == (152, 90)  # of 153 pixels
    assert Blobs(tmp_path).picture(value.key_frames[0]).shape == (90, 152, 3)


def test_key_frames_are_those_of_the_video_that_is_written_later(tmp_path: Path) -> None:
    """ClipVideo reads the clip again, in the size that is kept."""
    video, crop = save_video(tmp_path / "a.mp4", pan(16, 2, height=130, width=203), pixels="yuv444p"), (2, 6, 202, 130)
    for side in (720, 90, 124):
        value = kept(video, 1.0, crop, side=side)
        again = Span.of(video, 0.0, 1.0).read(crop=crop, side=min(value.width, value.height))
        for name, number in zip(value.key_frames, value.key_numbers, strict=True):
            assert (Blobs(tmp_path).picture(name) == again[number, : value.height, : value.width]).all()


def test_a_clip_lies_nowhere_but_in_the_data_set_while_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill is then tidied up by the next run, or by erasing."""
    places, real = list[Path](), write_mp4

    def noted(frames: np.ndarray, path: Path, *rest: Any) -> None:
        places.append(path)
        real(frames, path, *rest)

    monkeypatch.setattr(video, "write_mp4", noted)
    file, out = save_video(tmp_path / "a.mp4", pan(16)), tmp_path / "out"
    out.mkdir()
    uncovered = Subtitles(share=0.0, crop=(0, 0, 160, 96), left=0.0, texts=[])
    size = Kept(width=160, height=96, frames=16, stored_fps=16.0, key_numbers=[0], key_frames=["a"])
    look = replace(look_at(file, 1.0, {SubtitleText: uncovered, Technical: size}), blobs=Blobs(out))
    assert look.blobs.get(ClipVideo().measure(look).video)
    (place,) = places
    assert place.parent.parent == out and not place.parent.exists()
    place.parent.mkdir()
    place.write_bytes(b"half a clip")
    clear_leftovers(out)
    assert [path.name for path in out.iterdir()] == ["blobs"]


@pytest.mark.parametrize("fps", [5, 25, 60])
def test_the_rate_is_that_of_the_source(tmp_path: Path, fps: int) -> None:
    video = save_video(tmp_path / "a.mp4", pan(2 * fps + 2), fps)
    assert kept(video, 2.0, (0, 0, 160, 96)).stored_fps == pytest.approx(fps, rel=0.01)


def test_the_judgement() -> None:
    fine = Kept(width=640, height=240, frames=81, stored_fps=15.0, key_numbers=[0], key_frames=["a"])
    assert Technical().judge(fine) is None
    for change, code, limit in (
        ({"frames": 80}, "short", 81),
        ({"width": 238}, "small", 240),
        ({"stored_fps": 14.9}, "slow", 15),
    ):
        rejected = Technical().judge(fine.model_copy(update=change))
        assert rejected is not None
        assert (rejected.code, rejected.value, rejected.threshold) == (code, next(iter(change.values())), limit)
