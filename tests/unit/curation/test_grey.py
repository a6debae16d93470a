"""What has colours, and what is black and white or tinted."""

from pathlib import Path

import numpy as np
import pytest
from curation_footage import look_at, pan, save_video
from skimage import data

from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.grey import Greyscale, spread
from lumosx.curation.stages.values import Borders, Colourfulness

TINTS = {"grey": (1.0, 1.0, 1.0), "sepia": (1.07, 0.95, 0.74), "cold": (0.8, 0.95, 1.1)}


def measured(path: Path, frames: np.ndarray, crop: tuple[int, int, int, int] | None = None) -> float:
    video = save_video(path / "a.mp4", frames, options={"crf": "26"})
    whole = (0, 0, frames.shape[2], frames.shape[1])
    look = look_at(video, len(frames) / 16, {BorderCrop: Borders(crop=crop or whole, kept=1.0)})
    return Greyscale().measure(look).value


def photographs() -> dict[str, np.ndarray]:
    """Clips of photographs that ship with scikit-image: somebody in a studio, a cat, a cup."""
    pictures = {"astronaut": data.astronaut(), "chelsea": data.chelsea(), "coffee": data.coffee()}
    return {name: np.repeat(picture[None, : 2 * (len(picture) // 2), :400], 4, 0) for name, picture in pictures.items()}


@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee"])
def test_photographs_have_colours_and_tinted_ones_none(tmp_path: Path, name: str) -> None:
    frames = photographs()[name]
    least = Greyscale().least
    assert measured(tmp_path, frames) > 1.5 * least
    grey = frames @ (0.299, 0.587, 0.114)
    for tint in TINTS.values():
        tinted = np.clip(grey[..., None] * tint, 0, 255).astype(np.uint8)
        assert measured(tmp_path, tinted) < 0.8 * least


def test_grey_is_nought() -> None:
    grey = np.repeat(np.random.default_rng(0).integers(0, 256, (40, 60, 1), dtype=np.uint8), 3, axis=2)
    assert spread(grey) == pytest.approx(0, abs=1e-9)


def test_two_hues_of_one_brightness() -> None:
    """Half of the pixels +d and half of them -d from their mean: d, in Cb and Cr as ITU-R BT.601 defines them."""
    hues = np.array([[200, 100, 100], [100, 151, 99]], np.uint8)  # both of brightness 130
    cb, cr = (hues @ np.array([(-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)]).T).T
    apart = np.hypot(cb[0] - cb[1], cr[0] - cr[1]) / 2
    assert spread(np.tile(hues, (6, 5)).reshape(6, 10, 3)) == pytest.approx(apart, rel=1e-4)


def test_coloured_borders_do_not_count(tmp_path: Path) -> None:
    grey = np.repeat(pan(4, height=96, width=160)[..., :1], 3, axis=3)
    frames = np.empty((4, 136, 160, 3), np.uint8)
    frames[:] = (160, 40, 40)
    frames[:, 20:116] = grey
    assert measured(tmp_path, frames) > Greyscale().least > 1 > measured(tmp_path, frames, (0, 24, 160, 112))


def test_the_judgement() -> None:
    assert Greyscale().judge(Colourfulness(value=3.5)) is None
    rejected = Greyscale().judge(Colourfulness(value=2.0))
    assert rejected is not None and (rejected.code, rejected.value, rejected.threshold) == ("grey", 2.0, 3.5)
