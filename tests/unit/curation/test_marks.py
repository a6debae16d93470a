"""Numbered boxes on a picture, and the same in words."""

import re

import numpy as np
import pytest

from lumosx.curation.marks import COLOUR_NAMES, colour, colour_name, draw, legend
from lumosx.scene.palette import SUBJECT_COLOURS

BLUE, ORANGE = (0x00, 0x72, 0xB2), (0xE6, 0x9F, 0x00)


def grey(height: int = 240, width: int = 320) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def painted(picture: np.ndarray, rgb: tuple[int, int, int]) -> np.ndarray:
    """Where a picture has a colour, bool [H, W]."""
    return (picture == rgb).all(axis=-1)


def test_boxes_have_their_colours_and_places():
    before = grey()
    shown = draw(before, [(20.0, 30.0, 120.0, 200.0), (160.4, 40.2, 300.0, 220.0)])
    assert (before == 128).all()
    for rgb, (x0, y0, x1, y1) in ((BLUE, (20, 30, 120, 200)), (ORANGE, (160, 40, 300, 220))):
        rows, columns = np.nonzero(painted(shown, rgb))
        assert (columns.min(), rows.min(), columns.max(), rows.max()) == (x0, y0, x1, y1)
        assert painted(shown, rgb)[y0:y1, x1].all() and painted(shown, rgb)[y1, x0:x1].all()
    assert (shown[60:190, 60:110] == 128).all() and (shown[:, 130:155] == 128).all()  # inside and between: as before


def test_each_box_has_another_number():
    """The plates of all boxes hold letters, and no two the same."""
    width = 100
    boxes = [(width * n + 4.0, 4.0, width * n + 90.0, 200.0) for n in range(9)]
    shown = draw(grey(240, 9 * width), boxes)
    plates = []
    for number in range(1, 10):
        rgb = tuple(bytes.fromhex(colour(number)[1:]))
        part = shown[4:24, width * (number - 1) + 4 :][:, :16]
        plates.append((~painted(part, rgb)).tobytes())
        assert 10 < (~painted(part, rgb)).sum() < 200
    assert len(set(plates)) == 9


def test_numbers_of_boxes_with_one_corner_stand_apart():
    alone, below = draw(grey(), [(20, 20, 200, 200)]), draw(grey(), [(20, 20, 200, 200), (20, 20, 150, 220)])
    corner = (slice(20, 36), slice(20, 30))
    np.testing.assert_array_equal(below[corner], alone[corner])  # the first number is still to be read
    assert painted(below, ORANGE)[40:43, 24:28].all()


@pytest.mark.parametrize("box", [(-30, -40, 900, 700), (315, 235, 330, 250), (0, 0, 319, 239), (50, 50, 50, 50)])
def test_boxes_over_the_edges_are_drawn_inside(box):
    shown = draw(grey(), [box])
    assert shown.shape == (240, 320, 3) and painted(shown, BLUE).sum() > 100
    assert "person 1 (blue box): x from" in legend([box], 320, 240)


def test_small_pictures_can_be_marked():
    assert draw(grey(3, 2), [(0, 0, 2, 3)]).shape == (3, 2, 3)


def test_nobody_to_mark():
    np.testing.assert_array_equal(draw(grey(), []), grey())
    assert legend([], 320, 240) == ""


def test_the_same_in_words():
    text = legend([(32, 24, 160, 240), (160, -5, 400, 120)], 320, 240)
    assert text.splitlines() == [
        "person 1 (blue box): x from 10% to 50% of the width, y from 10% to 100% of the height",
        "person 2 (orange box): x from 50% to 100% of the width, y from 0% to 50% of the height",
    ]
    assert [int(number) for number in re.findall(r"person (\d+)", legend([(0, 0, 1, 1)] * 9, 2, 2))] == [*range(1, 10)]


def test_every_colour_of_the_project_has_a_name():
    assert len(set(COLOUR_NAMES)) == len(SUBJECT_COLOURS)
    assert (colour(1), colour(8), colour(9)) == (SUBJECT_COLOURS[0], SUBJECT_COLOURS[7], SUBJECT_COLOURS[0])
    assert (colour_name(1), colour_name(9), colour_name(10)) == ("blue", "blue", "orange")


@pytest.mark.parametrize(
    ("name", "strong", "weak"),
    [("blue", 2, 0), ("orange", 0, 2), ("wine red", 0, 1), ("light blue", 2, 0), ("green", 1, 0), ("yellow", 0, 2),
     ("red", 0, 2), ("pink", 0, 1)],
)  # fmt: skip
def test_names_fit_their_colours(name, strong, weak):
    """The channel that makes the colour is far stronger than the one that it lacks."""
    rgb = bytes.fromhex(SUBJECT_COLOURS[COLOUR_NAMES.index(name)][1:])
    assert rgb[strong] == max(rgb) and rgb[strong] > rgb[weak] + 60
