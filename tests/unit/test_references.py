"""Reference pictures: fitted as in the release, the same for sampling and training."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lumosx.errors import InputError
from lumosx.references import letterbox, to_tensor


def content_box(image: Image.Image) -> tuple[int, int, int, int]:
    """Where something other than the white pad is: left, top, right, bottom."""
    rows, columns = np.where((np.array(image) != 255).any(axis=2))
    return int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 200), st.integers(16, 200))
def test_pad_shows_the_whole_picture_centred_with_sizes_cut_down(
    width: int, height: int, target_width: int, target_height: int
) -> None:
    fitted = letterbox(Image.new("RGB", (width, height), "black"), target_width, target_height)
    ratio = min(target_width / width, target_height / height)
    expected = [max(1, int(width * ratio)), max(1, int(height * ratio))]
    left, top, right, bottom = content_box(fitted)
    assert fitted.size == (target_width, target_height)
    assert [right - left, bottom - top] == expected
    assert (left, top) == ((target_width - expected[0]) // 2, (target_height - expected[1]) // 2)


@given(st.integers(1, 400), st.integers(1, 400), st.integers(16, 200), st.integers(16, 200))
def test_crop_fills_the_canvas(width: int, height: int, target_width: int, target_height: int) -> None:
    fitted = letterbox(Image.new("RGB", (width, height), "black"), target_width, target_height, fit="crop")
    assert content_box(fitted) == (0, 0, target_width, target_height)


def test_crop_keeps_the_middle() -> None:
    wide = Image.new("RGB", (90, 30), "white")
    wide.paste("black", (30, 0, 60, 30))
    assert np.array(letterbox(wide, 30, 30, fit="crop")).max() == 0


def test_pad_has_the_colour_asked_for() -> None:
    fitted = letterbox(Image.new("RGB", (10, 20), "black"), 20, 20, pad="#102030")
    assert fitted.getpixel((0, 10)) == (0x10, 0x20, 0x30)


def test_resizing_is_bicubic() -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    expected = noise.resize((48, 48), Image.Resampling.BICUBIC)
    assert np.array_equal(np.array(letterbox(noise, 48, 48)), np.array(expected))


def test_unknown_fit_is_an_error() -> None:
    with pytest.raises(InputError, match="'pad' or 'crop'"):
        letterbox(Image.new("RGB", (4, 4)), 4, 4, fit="stretch")  # type: ignore[arg-type]


def test_tensor_is_in_minus_one_to_one_channels_first() -> None:
    image = Image.new("RGB", (3, 2), (255, 0, 51))
    tensor = to_tensor(image)
    assert tensor.shape == (3, 2, 3)
    assert tensor.dtype == torch.float32
    assert torch.allclose(tensor[:, 0, 0], torch.tensor([1.0, -1.0, -0.6]))
