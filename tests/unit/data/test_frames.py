"""Reading videos: what a file holds, and windows of it at another rate and size."""

import io
import wave
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from record_makers import counting, encode, numbers

from lumosx.data.frames import probe, read_window
from lumosx.errors import InputError
from lumosx.pipelines.video import read_clip, write_clip


def nearest_frames(stored: list[Fraction], start: float, frames: int, fps: float) -> list[int]:
    """By the definition: of all frames the nearest in time, of two equally near the earlier."""
    wanted = [Fraction(start) + Fraction(k) / Fraction(fps) for k in range(frames)]
    return [min(range(len(stored)), key=lambda n: (round(abs(stored[n] - second), 6), n)) for second in wanted]


def test_a_clip_at_its_own_rate_and_size_comes_back_as_it_was_written(tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 24, 40, 3), dtype=np.uint8)
    path = write_clip(frames, tmp_path / "clip.mp4", 16)
    with path.open("rb") as file:
        assert probe(file) == (40, 24, 9, 16.0)
        window = read_window(file, 0, 9, 16, 40, 24)
    assert window.dtype == torch.uint8 and window.shape == (3, 9, 24, 40) and window.is_contiguous()
    assert (window.permute(1, 2, 3, 0).numpy() == read_clip(path, 24, 40)).all()


@pytest.mark.parametrize(("stored", "wanted"), [(8, 16), (30, 16), (16, 16), (24, 16), (16, 8)])
def test_resampling_takes_the_nearest_frame(stored: int, wanted: int) -> None:
    length = 40
    count = (length - 1) * wanted // stored + 1
    expected = nearest_frames([Fraction(n, stored) for n in range(length)], 0, count, wanted)
    assert numbers(read_window(encode(counting(length), fps=stored), 0, count, wanted, 32, 32)) == expected
    if (stored, wanted) == (8, 16):
        assert expected[:5] == [0, 0, 1, 1, 2]  # by hand
    if (stored, wanted) == (30, 16):
        assert expected[:6] == [0, 2, 4, 6, 7, 9]  # 0, 1.875, 3.75, 5.625, 7.5, 9.375


OPEN = "open-gop=1:keyint=7:min-keyint=7:bframes=3:log-level=none:pools=none:frame-threads=1"
LONG: dict[str, dict[str, Any]] = {  # key frames every 7 frames, frames stored out of order
    "h264": {"codec": "libx264", "options": {"crf": "12", "g": "7", "bf": "3"}},
    "hevc": {"codec": "libx265", "options": {"crf": "12", "x265-params": OPEN}},
    "vp8": {"codec": "libvpx", "options": {"crf": "8", "b": "2M", "g": "7"}, "kind": "webm"},
}


@cache
def long_clip(kind: str) -> bytes:
    return encode(counting(55), fps=25, pixels="yuv420p", **LONG[kind]).getvalue()


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(LONG)), st.floats(0, 2), st.integers(1, 9), st.sampled_from([8.0, 12.5, 16.0, 25.0]))
def test_any_window_equals_the_one_of_a_full_reading(kind: str, start: float, frames: int, fps: float) -> None:
    stored = [Fraction(n, 25) for n in range(55)]
    file = io.BytesIO(long_clip(kind))
    if start + (frames - 1) / fps > 54 / 25 + 0.02:
        with pytest.raises(InputError, match=r"last frame is at 2\.16 s"):
            read_window(file, start, frames, fps, 32, 32)
        return
    assert numbers(read_window(file, start, frames, fps, 32, 32)) == nearest_frames(stored, start, frames, fps)


def test_frames_count_by_their_time_where_the_rate_varies() -> None:
    times = [0, 40, 80, 300, 310, 320, 600, 1000]
    file = encode(counting(8), times=times, fps=25, options={"crf": "10", "bf": "0"})
    assert probe(file) == (32, 32, 8, pytest.approx(7.0))
    file.seek(0)
    assert numbers(read_window(file, 0, 6, 5, 32, 32)) == [0, 3, 5, 6, 6, 7]  # at 0, 0.2, 0.4, 0.6, 0.8 and 1 s


def test_a_webm_without_a_stated_length_is_counted() -> None:
    width, height, frames, fps = probe(io.BytesIO(long_clip("vp8")))
    assert (width, height, frames) == (32, 32, 55)
    assert fps == pytest.approx(25, rel=1e-3)


def test_odd_sizes_are_read_to_the_last_column() -> None:
    frames = np.zeros((5, 21, 37, 3), dtype=np.uint8)
    frames[:, :, -1], frames[:, -1, :, 1] = (255, 0, 0), 255
    file = encode(frames, options={"qp": "0"})
    assert probe(file) == (37, 21, 5, 16.0)
    file.seek(0)
    window = read_window(file, 0, 5, 16, 37, 21).permute(1, 2, 3, 0).int().numpy()
    assert abs(window - frames).max() <= 4
    file.seek(0)
    assert read_window(file, 0, 5, 16, 15, 11).shape == (3, 5, 11, 15)


@pytest.mark.parametrize(("width", "height"), [(32, 32), (16, 32), (64, 16), (128, 96), (30, 30)])
def test_a_window_covers_its_size_with_the_aspect_kept(width: int, height: int) -> None:
    across, down = np.meshgrid(np.linspace(0, 255, 96), np.linspace(0, 255, 48))
    picture = np.stack([across, down, np.full_like(across, 90)], -1).astype(np.uint8)
    window = read_window(encode(picture[None].repeat(2, 0), options={"qp": "0"}), 0, 1, 16, width, height)
    cover = max(width / 96, height / 48)
    box_width, box_height = width / cover, height / cover
    box = ((96 - box_width) / 2, (48 - box_height) / 2, (96 + box_width) / 2, (48 + box_height) / 2)
    expected = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC, box=box)
    difference = window[:, 0].permute(1, 2, 0).int().numpy() - np.asarray(expected, dtype=int)
    assert abs(difference).mean() < 3 and abs(difference).max() < 16


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_a_rotated_video_is_shown_upright(rotation: int) -> None:
    frames = np.zeros((3, 32, 64, 3), dtype=np.uint8)
    frames[:, :16, :, 0], frames[:, :, :32, 1] = 255, 255
    upright = np.rot90(frames[0], rotation // 90)
    height, width = upright.shape[:2]
    file = encode(frames, options={"qp": "0"}, rotation=rotation)
    assert probe(file)[:2] == (width, height)
    file.seek(0)
    window = read_window(file, 0, 3, 16, width, height)[:, 0].permute(1, 2, 0)
    assert abs(window.int().numpy() - upright).mean() < 4
    file.seek(0)
    assert read_window(file, 0, 3, 16, 48, 16).shape == (3, 3, 16, 48)


def test_pixels_that_are_not_square_are_stretched() -> None:
    frames = np.zeros((2, 32, 32, 3), dtype=np.uint8)
    frames[:, :, 16:] = 255
    file = encode(frames, options={"qp": "0"}, aspect=Fraction(2, 1))
    assert probe(file)[:2] == (64, 32)
    file.seek(0)
    window = read_window(file, 0, 1, 16, 64, 32)[0, 0].int()
    assert window[:, :30].max() < 20 and window[:, 34:].min() > 235


def test_the_last_frame_lasts_half_a_step_longer() -> None:
    file = encode(counting(9), fps=8)  # until 1 s
    assert numbers(read_window(file, 0, 18, 16, 32, 32))[-3:] == [7, 8, 8]
    file.seek(0)
    with pytest.raises(InputError, match=r"its last frame is at 1\.00 s; frames up to 1\.12 s are wanted"):
        read_window(file, 0, 19, 16, 32, 32)


def test_a_single_frame_is_a_video_too() -> None:
    file = encode(counting(1), fps=8)
    assert probe(file) == (32, 32, 1, 8.0)
    file.seek(0)
    assert read_window(file, 0, 1, 16, 32, 32).shape == (3, 1, 32, 32)


def test_damaged_bytes_make_an_input_error_or_none_at_all() -> None:
    clip = np.frombuffer(encode(counting(5), options={"qp": "30"}).getvalue(), dtype=np.uint8)
    random, refused = np.random.default_rng(0), 0
    for _ in range(60):
        damaged = clip.copy()
        damaged[random.integers(0, len(clip), 10)] ^= random.integers(1, 256, 10, dtype=np.uint8)
        try:
            probe(io.BytesIO(damaged.tobytes()))
            read_window(io.BytesIO(damaged.tobytes()), 0, 3, 8, 32, 32)
        except InputError:
            refused += 1
    assert 0 < refused < 60


def sound() -> io.BytesIO:
    file = io.BytesIO()
    with wave.open(file, "wb") as audio:
        audio.setparams((1, 2, 8000, 0, "NONE", ""))
        audio.writeframes(bytes(8000))
    return io.BytesIO(file.getvalue())


def test_files_without_frames_in_time_are_input_errors() -> None:
    with pytest.raises(InputError, match="holds no video"):
        probe(sound())
    with pytest.raises(InputError, match="holds no frame with a time stamp"):
        probe(encode(counting(3), kind="h264"))
    with pytest.raises(InputError, match=r"its last frame is at 2\.16 s; frames up to 100\.06 s are wanted"):
        read_window(io.BytesIO(long_clip("vp8")), 100, 2, 16, 32, 32)


@pytest.mark.parametrize("content", [b"", b"no video at all", bytes(5000), long_clip("h264")[:900]])
def test_what_is_no_video_is_an_input_error(content: bytes) -> None:
    with pytest.raises(InputError, match="is no video that can be read"):
        probe(io.BytesIO(content))
    with pytest.raises(InputError, match="is no video that can be read"):
        read_window(io.BytesIO(content), 0, 1, 16, 32, 32)
