"""The colours of subjects are told apart by every kind of sight, and text on them can be read."""

from itertools import combinations

import numpy as np
import pytest

from lumosx.scene.palette import (
    BACKGROUND_COLOUR,
    OBJECT_COLOUR,
    SHARED_COLOUR,
    SUBJECT_COLOURS,
    colour_of,
    ink_on,
    mix,
)

# Machado, Oliveira and Fernandes (2009), severity 1, on linear RGB; None: usual sight.
SIGHT = {
    "usual": np.eye(3),
    "protanopia": np.array([[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]),
    "deuteranopia": np.array([[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]),
    "tritanopia": np.array([[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]]),
}


def linear(colour: str) -> np.ndarray:
    channels = np.frombuffer(bytes.fromhex(colour[1:]), dtype=np.uint8) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    weights = np.array([0.2126, 0.7152, 0.0722])
    light, dark = sorted((float(linear(c) @ weights) for c in (first, second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def seen(colour: str, sight: np.ndarray) -> np.ndarray:
    """Oklab (Ottosson 2020), in which distances are about as large as they look."""
    lms = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
    lab = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
    return lab @ np.cbrt(lms @ (sight @ linear(colour)).clip(0, 1))


@pytest.mark.parametrize("sight", SIGHT.values(), ids=SIGHT)
def test_subjects_look_different(sight: np.ndarray) -> None:
    for first, second in combinations(SUBJECT_COLOURS, 2):
        assert np.linalg.norm(seen(first, sight) - seen(second, sight)) > 0.07, (first, second)
    for first, second in combinations(SUBJECT_COLOURS[:4], 2):  # as many subjects as the paper tests
        assert np.linalg.norm(seen(first, sight) - seen(second, sight)) > 0.14, (first, second)


@pytest.mark.parametrize("colour", [*SUBJECT_COLOURS, OBJECT_COLOUR, BACKGROUND_COLOUR, SHARED_COLOUR])
def test_ink_is_legible(colour: str) -> None:
    assert contrast(colour, ink_on(colour)) >= 4.5


def test_members_share_their_subjects_colour_and_scenery_is_grey() -> None:
    assert colour_of("face", 1) == colour_of("attribute", 1) == SUBJECT_COLOURS[1]
    assert colour_of("face", 8) == SUBJECT_COLOURS[0]
    assert colour_of("background", None) != colour_of("object", None)
    for colour in (colour_of("background", None), colour_of("object", None)):
        channels = bytes.fromhex(colour[1:])
        assert max(channels) - min(channels) < 24


def test_mix() -> None:
    assert mix("#000000", "#ffffff", 0.0) == "#000000"
    assert mix("#000000", "#ffffff", 1.0) == "#ffffff"
    assert mix("#204060", "#406080", 0.5) == "#305070"
