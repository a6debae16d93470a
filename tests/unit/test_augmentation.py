"""Variation of reference pictures: each part does what it says and no more, drawn from the generator alone."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lumosx.errors import InputError
from lumosx.references import Augmentation, augment

OFF = Augmentation(
    brightness=0, contrast=0, saturation=0, blur=0, rotate=0, shear=0, crop=1, shrink=0, flip=0, probability=1
)
SEEDS = range(20)


def noise(width: int = 48, height: int = 32) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def places(width: int = 96, height: int = 64) -> Image.Image:
    """Every pixel says where it is: red its column, green its row. Blue and the rest are far from white."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return Image.fromarray(np.stack([columns, rows, np.full_like(rows, 100)], axis=2))


def varied(image: Image.Image, seed: int = 0, *, geometric: bool = True, **parts: Any) -> Image.Image:
    """With only these parts, and those always."""
    return augment(image, replace(OFF, **parts), torch.Generator().manual_seed(seed), geometric)


def pixels(image: Image.Image) -> np.ndarray:
    return np.array(image).astype(float)


@given(st.integers(1, 60), st.integers(1, 60), st.integers(0, 2**40), st.booleans())
def test_with_everything_off_the_picture_stays_as_it_is(width: int, height: int, seed: int, geometric: bool) -> None:
    picture = noise(width, height)
    assert varied(picture, seed, geometric=geometric).tobytes() == picture.tobytes()


@pytest.mark.parametrize("geometric", [True, False])
def test_a_probability_of_0_leaves_only_the_flip(geometric: bool) -> None:
    settings = Augmentation(shrink=8, probability=0, flip=0)
    picture = noise()
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        assert augment(picture, settings, generator, geometric).tobytes() == picture.tobytes()


def test_the_same_generator_gives_the_same_bytes_and_another_one_others() -> None:
    settings = Augmentation(shrink=8)
    twice = [augment(noise(), settings, torch.Generator().manual_seed(7), True).tobytes() for _ in range(2)]
    assert twice[0] == twice[1]
    assert augment(noise(), settings, torch.Generator().manual_seed(8), True).tobytes() != twice[0]


def test_no_draw_comes_from_the_global_generators() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    augment(noise(), Augmentation(shrink=8), torch.Generator().manual_seed(0), True)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()  # type: ignore[index]


def test_switching_a_part_on_leaves_the_draws_of_the_others_as_they_were() -> None:
    for seed in SEEDS:
        alone = varied(noise(), seed, rotate=20, crop=0.5)
        assert varied(noise(), seed, rotate=20, crop=0.5, flip=1).tobytes() == ImageOps.mirror(alone).tobytes()
        window = varied(noise(), seed, crop=0.5, brightness=0.5, blur=2).size
        assert window == varied(noise(), seed, crop=0.5).size


def test_the_result_is_rgb_whatever_came_in() -> None:
    for mode in ("L", "RGBA", "P"):
        assert varied(noise().convert(mode), brightness=0.05).mode == "RGB"


def test_a_flip_is_exact_and_comes_as_often_as_said() -> None:
    mirrored = ImageOps.mirror(noise())
    assert varied(noise(), flip=1).tobytes() == mirrored.tobytes()
    flips = sum(varied(noise(), seed, flip=0.3).tobytes() == mirrored.tobytes() for seed in range(400))
    assert 80 <= flips <= 160


@pytest.mark.parametrize("part", [{"brightness": 0.3}, {"rotate": 20}, {"crop": 0.5}, {"blur": 2}], ids=str)
def test_a_part_happens_with_its_probability(part: dict[str, Any]) -> None:
    picture = noise()
    changed = sum(varied(picture, seed, **part, probability=0.5).tobytes() != picture.tobytes() for seed in range(200))
    assert 70 <= changed <= 130


def test_brightness_stays_inside_its_range_and_fills_it() -> None:
    grey = Image.new("RGB", (4, 4), (100, 100, 100))
    levels = [pixels(varied(grey, seed, brightness=0.2)).mean() for seed in range(100)]
    assert min(levels) >= 79 and max(levels) <= 121
    assert min(levels) < 85 and max(levels) > 115


def test_contrast_moves_levels_away_from_their_mean_or_towards_it() -> None:
    halves = Image.fromarray(np.repeat(np.array([[50], [150]], dtype=np.uint8), 4, axis=1)).convert("RGB")
    for seed in SEEDS:
        dark, light = pixels(varied(halves, seed, contrast=0.2))[:, 0, 0]
        assert abs((dark + light) / 2 - 100) <= 1
        assert 79 <= light - dark <= 121


def test_saturation_keeps_grey_and_the_lightness_of_colours() -> None:
    grey = Image.new("RGB", (2, 2), (90, 90, 90))
    colour = Image.new("RGB", (2, 2), (180, 90, 60))
    spreads = []
    for seed in SEEDS:
        assert varied(grey, seed, saturation=0.5).tobytes() == grey.tobytes()
        changed = varied(colour, seed, saturation=0.5)
        assert abs(pixels(changed.convert("L")).mean() - pixels(colour.convert("L")).mean()) <= 1.5
        spreads.append(np.ptp(pixels(changed)[0, 0]))
    assert 59 <= min(spreads) < 120 < max(spreads) <= 181


def test_blur_smooths_up_to_its_greatest_width() -> None:
    point = Image.new("RGB", (41, 41), "black")
    point.putpixel((20, 20), (255, 255, 255))
    widths = []
    for seed in SEEDS:
        spread = pixels(varied(point, seed, blur=3))[:, :, 0]
        variance = (spread * (np.arange(41) - 20) ** 2).sum() / spread.sum()
        widths.append(variance**0.5)
    assert max(widths) <= 3.3
    assert max(widths) > 2 > 1 > min(widths)


def test_a_crop_is_a_window_of_the_picture_with_at_least_its_share_and_its_aspect() -> None:
    picture = places()
    lefts, shares = [], []
    for seed in range(100):
        window = varied(picture, seed, crop=0.5)
        left, top = (int(value) for value in np.array(window)[0, 0, :2])
        right, bottom = left + window.width, top + window.height
        assert window.tobytes() == picture.crop((left, top, right, bottom)).tobytes()
        assert window.width * window.height >= 0.5 * picture.width * picture.height
        assert abs(window.width - window.height * picture.width / picture.height) <= 1.5
        lefts.append(left / max(1, picture.width - window.width))
        shares.append(window.width * window.height / (picture.width * picture.height))
    assert min(lefts) == 0 and max(lefts) == 1  # reaches both edges
    assert min(shares) < 0.55 and max(shares) > 0.95


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (3, 2)])
def test_tiny_pictures_survive_everything(size: tuple[int, int]) -> None:
    strong = Augmentation(1, 1, 1, 5, 180, 1, 0.01, 1, 1, 1)
    for seed in SEEDS:
        result = augment(noise(*size), strong, torch.Generator().manual_seed(seed), True)
        assert min(result.size) >= 1


def test_shrinking_puts_the_whole_picture_smaller_in_the_middle_of_white() -> None:
    picture = Image.new("RGB", (90, 60), "black")
    sides = []
    for seed in range(100):
        result = varied(picture, seed, shrink=30)
        assert result.size == picture.size
        rows, columns = np.where((np.array(result) < 255).any(axis=2))
        left, right = columns.min(), 90 - 1 - columns.max()
        top, bottom = rows.min(), 60 - 1 - rows.max()
        assert abs(left - right) <= 1 and abs(top - bottom) <= 1
        sides.append(90 - left - right)
        assert abs((60 - top - bottom) - sides[-1] * 2 / 3) <= 1
    assert 30 <= min(sides) < 40 and 80 < max(sides) <= 90


def test_a_picture_that_is_small_already_is_not_shrunk() -> None:
    assert varied(noise(20, 30), shrink=30).tobytes() == noise(20, 30).tobytes()


def test_rotation_uncovers_white_corners_and_turns_about_the_centre() -> None:
    dark = Image.new("RGB", (61, 61), "black")
    dark.putpixel((30, 30), (255, 0, 0))
    for seed in SEEDS:
        turned = np.array(varied(dark, seed, rotate=45))
        covered = (turned[0, 0] < 255).any()
        assert turned.shape == (61, 61, 3)
        assert turned[30, 30, 0] > 200 and turned[30, 30, 1] < 50  # the centre stays
        assert covered or (turned[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert (np.array(varied(dark, 1, rotate=45))[0, 0] == 255).all()


def test_rotation_stays_inside_its_angle_and_goes_both_ways() -> None:
    angles = []
    for seed in range(60):
        turned = np.array(varied(places(), seed, rotate=20)).astype(float)
        here, right = turned[32, 48], turned[32, 58]  # ten pixels to the right show where that direction comes from
        angles.append(np.degrees(np.arctan2(right[1] - here[1], right[0] - here[0])))
    assert -22 < min(angles) < -12
    assert 12 < max(angles) < 22


def test_shear_slides_rows_and_moves_none_up_or_down() -> None:
    slides = []
    for seed in range(60):
        slid = np.array(varied(places(), seed, shear=0.3)).astype(float)
        assert (slid[12:52, 48, 1] == np.arange(12, 52)).all()  # green is the row
        slides.append((slid[42, 48, 0] - slid[22, 48, 0]) / 20)
    assert -0.36 < min(slides) < -0.2
    assert 0.2 < max(slides) < 0.36


@given(st.integers(0, 2**40))
@example(2980199)  # so bright that the last two columns are white
def test_without_geometry_no_pixel_moves(seed: int) -> None:
    """A background: rows stay in order and columns too, so a level says where it was, however bright it is now."""
    settings = Augmentation(0.3, 0.3, 0.3, 0, 180, 1, 0.1, 8, 1, 1)
    rows, columns = np.mgrid[:16, :16].astype(np.uint8)
    for coded in (columns, rows):
        picture = Image.fromarray((40 + 10 * coded).astype(np.uint8)).convert("RGB")
        result = np.array(augment(picture, settings, torch.Generator().manual_seed(seed), False)).astype(int)[:, :, 0]
        assert result.shape == (16, 16)
        for level in range(16):
            assert len(set(result[coded == level])) == 1  # what was one column, or row, is still there and still one
        levels = np.array([result[coded == level][0] for level in range(16)])
        # what is made brighter or darker than a picture can hold is all alike
        assert ((np.diff(levels) > 0) | (levels[1:] == 255) & (np.diff(levels) == 0) | (levels[1:] == 0)).all()


def test_without_geometry_the_blur_is_centred() -> None:
    point = Image.new("RGB", (31, 31), "black")
    point.putpixel((10, 20), (255, 255, 255))
    for seed in SEEDS:
        generator = torch.Generator().manual_seed(seed)
        spread = pixels(augment(point, Augmentation(0, 0, 0, 3), generator, False))[:, :, 0]
        rows, columns = np.mgrid[:31, :31]
        assert (spread * columns).sum() / spread.sum() == pytest.approx(10, abs=0.1)
        assert (spread * rows).sum() / spread.sum() == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize(
    ("name", "value"),
    [("crop", 0), ("crop", 20), ("flip", 1.5), ("brightness", -0.1), ("rotate", -5), ("probability", 2)],
)
def test_a_setting_outside_its_range_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=rf"data\.augment\.{name}"):
        Augmentation(**{name: value})
