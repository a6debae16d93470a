"""Borders that are there, and what only looks like one."""

from pathlib import Path

import numpy as np
import pytest
from curation_footage import look_at, pan, save_video

from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.values import Borders

FRAMES = 16


def found(path: Path, frames: np.ndarray, **options: str) -> Borders:
    """Of a clip of these frames."""
    video = save_video(path / "a.mp4", frames, options=options)
    return BorderCrop().measure(look_at(video, len(frames) / 16))


def framed(inside: np.ndarray, left: int, top: int, right: int, bottom: int, colour: tuple[int, ...]) -> np.ndarray:
    count, height, width = inside.shape[:3]
    frames = np.empty((count, top + height + bottom, left + width + right, 3), np.uint8)
    frames[:] = colour
    frames[:, top : top + height, left : left + width] = inside
    return frames


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (90, 96, 88)])
@pytest.mark.parametrize("rim", [(0, 30, 0, 30), (44, 0, 44, 0), (24, 40, 36, 20), (0, 0, 0, 50), (36, 0, 0, 0)])
def test_borders_are_cut_off(tmp_path: Path, rim: tuple[int, int, int, int], colour: tuple[int, ...]) -> None:
    left, top, right, bottom = rim
    inside = pan(FRAMES, 2, height=130, width=170)
    value = found(tmp_path, framed(inside, *rim, colour), crf="26")
    x0, y0, x1, y1 = value.crop
    for edge, wanted in ((x0 - left, left), (y0 - top, top), (left + 170 - x1, right), (top + 130 - y1, bottom)):
        assert edge == 0 if not wanted else 0 <= edge <= 4
    assert all(edge % 2 == 0 for edge in value.crop)
    area = (top + 130 + bottom) * (left + 170 + right)
    assert value.kept == pytest.approx((x1 - x0) * (y1 - y0) / area)
    assert BorderCrop().judge(value) is None


def test_a_plain_sky_is_no_border(tmp_path: Path) -> None:
    frames = framed(pan(FRAMES, 2, height=130, width=170), 0, 30, 0, 0, (110, 160, 220))
    assert found(tmp_path, frames, crf="26").kept == 1.0


def test_without_borders_all_is_kept(tmp_path: Path) -> None:
    assert found(tmp_path, pan(FRAMES, height=96, width=160)) == Borders(crop=(0, 0, 160, 96), kept=1.0)
    odd = save_video(tmp_path / "odd.mkv", pan(FRAMES, height=97, width=161), pixels="yuv444p")
    assert BorderCrop().measure(look_at(odd, 1.0)).crop == (0, 0, 160, 96)


def night(height: int, width: int) -> np.ndarray:
    """A black sky above a town with a few lights, whose roofs are not level; a car's lights pass by."""
    generator = np.random.default_rng(5)
    picture = np.zeros((height, width, 3), np.int16)
    roofs = generator.integers(int(height * 0.4), int(height * 0.7), width // 10)
    for place, roof in enumerate(roofs):
        picture[roof:, 10 * place : 10 * place + 10] = generator.integers(8, 30)
    for y, x in generator.integers((int(height * 0.75), 0), (height - 3, width - 3), (30, 2)):
        picture[y : y + 2, x : x + 2] = (230, 200, 120)
    frames = np.repeat(picture[None], FRAMES, axis=0)
    for number, frame in enumerate(frames):
        frame[height - 20 : height - 14, 8 * number : 8 * number + 6] = 250
    return np.clip(frames + generator.normal(0, 2, frames.shape), 0, 255).astype(np.uint8)


def test_a_night_sky_is_no_border(tmp_path: Path) -> None:
    assert found(tmp_path, night(120, 200)).kept == 1.0


def test_bars_around_a_night_are_borders(tmp_path: Path) -> None:
    value = found(tmp_path, framed(pan(FRAMES, 2, height=100, width=200) // 8 + 4, 0, 24, 0, 24, (0, 0, 0)), crf="23")
    assert 24 <= value.crop[1] <= 28 and 120 <= value.crop[3] <= 124


def test_a_plain_wall_behind_somebody_is_no_border(tmp_path: Path) -> None:
    frames = np.full((FRAMES, 120, 200, 3), 235, np.uint8)
    down, right = np.indices((120, 200))
    for number, frame in enumerate(frames):
        frame[np.hypot((down - 110) / 80, (right - 90 - number) / 40) < 1] = (120, 60, 40)
    assert found(tmp_path, frames).kept == 1.0


def test_a_line_that_ends_nothing_plain_is_no_border(tmp_path: Path) -> None:
    frames = pan(FRAMES, 2, height=120, width=200)
    frames[:, 30:34] = 255
    assert found(tmp_path, frames).kept == 1.0


def test_subtitles_in_a_bar_do_not_hide_it(tmp_path: Path) -> None:
    frames = framed(pan(FRAMES, 2, height=120, width=200), 0, 30, 0, 30, (0, 0, 0))
    frames[:, 160:170, 60:140:4] = 255
    frames[:, 160:170, 61:140:4] = 255
    value = found(tmp_path, frames)
    assert 146 <= value.crop[3] <= 150


def test_large_pictures_are_searched_in_small_ones(tmp_path: Path) -> None:
    frames = framed(pan(FRAMES, 4, height=700, width=900), 90, 0, 90, 0, (0, 0, 0))
    path = save_video(tmp_path / "a.mp4", frames, options={"preset": "ultrafast"})
    x0, y0, x1, y1 = BorderCrop(side=240).measure(look_at(path, 1.0)).crop
    assert 90 <= x0 <= 100 and 980 <= x1 <= 990 and (y0, y1) == (0, 700)


def test_a_clip_that_is_mostly_borders_leaves() -> None:
    value = Borders(crop=(0, 0, 10, 10), kept=0.3)
    rejected = BorderCrop().judge(value)
    assert rejected is not None and (rejected.code, rejected.value, rejected.threshold) == ("borders", 0.3, 0.4)
    assert BorderCrop(least_kept=0.3).judge(value) is None
