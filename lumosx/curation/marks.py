"""People marked in a picture by numbered boxes, as the model that matches attributes sees them and as the report shows
them, and the same boxes in words.

Person number 1 is the first of the boxes, which everywhere go from left to right. The colours are those of subjects in
all that the project draws, in their order.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lumosx.scene.palette import SUBJECT_COLOURS, ink_on
from lumosx.vision import Box, Picture

COLOUR_NAMES = ("blue", "orange", "wine red", "light blue", "green", "yellow", "red", "pink")  # of SUBJECT_COLOURS
LINE = 1 / 160  # thickness of a box's line, as a share of the picture's shorter side
LETTER = 1 / 18  # height of a number


def draw(picture: Picture, boxes: Sequence[Box]) -> Picture:
    """A copy of the picture with the boxes drawn, each with its number in its upper left corner, or below it where
    another number stands."""
    image = Image.fromarray(picture)
    pencil, side = ImageDraw.Draw(image), min(image.size)
    font = ImageFont.load_default(max(10, round(side * LETTER)))
    boxes = [_inside(box, image.width - 1, image.height - 1) for box in boxes]
    for number, box in enumerate(boxes, 1):
        pencil.rectangle(box, outline=colour(number), width=max(2, round(side * LINE)))
    taken: list[Box] = []
    for number, box in enumerate(boxes, 1):
        wide, high = _size(font, str(number))
        label = _free(min(box[0], image.width - wide), min(box[1], image.height - high), wide, high, taken)
        taken.append(label)
        pencil.rectangle(label, fill=colour(number))
        middle = ((label[0] + label[2]) / 2, (label[1] + label[3]) / 2)
        pencil.text(middle, str(number), fill=ink_on(colour(number)), font=font, anchor="mm")
    return np.asarray(image)


def legend(boxes: Sequence[Box], width: int, height: int) -> str:
    """A line for each box: its number, its colour and where it is.

    In per cent of the picture's size, which every model understands: of pixels and thousandths, some models know one
    and some the other.
    """
    lines = []
    for number, box in enumerate(boxes, 1):
        x0, y0, x1, y1 = _inside(box, width, height)
        across = f"x from {x0 / width:.0%} to {x1 / width:.0%} of the width"
        down = f"y from {y0 / height:.0%} to {y1 / height:.0%} of the height"
        lines.append(f"person {number} ({colour_name(number)} box): {across}, {down}")
    return "\n".join(lines)


def colour(number: int) -> str:
    """The colour "#rrggbb" of box `number`, which counts from 1; it starts over after the eighth."""
    return SUBJECT_COLOURS[(number - 1) % len(SUBJECT_COLOURS)]


def colour_name(number: int) -> str:
    """What the colour of box `number` is called."""
    return COLOUR_NAMES[(number - 1) % len(COLOUR_NAMES)]


def _inside(box: Box, right: float, bottom: float) -> Box:
    """The part of a box that is in the picture."""
    x0, x1 = (min(max(x, 0.0), right) for x in (box[0], box[2]))
    y0, y1 = (min(max(y, 0.0), bottom) for y in (box[1], box[3]))
    return x0, y0, x1, y1


def _size(font: ImageFont.FreeTypeFont | ImageFont.ImageFont, text: str) -> tuple[float, float]:
    """Width and height of a number's plate."""
    left, top, right, bottom = font.getbbox(text)
    return (right - left) * 1.2 + 8, (bottom - top) * 1.2 + 8


def _free(x: float, y: float, wide: float, high: float, taken: Sequence[Box]) -> Box:
    """A plate with its corner at (x, y), or lower, off those that are there."""
    for x0, y0, x1, y1 in sorted(taken, key=lambda plate: plate[1]):
        if x < x1 and x0 < x + wide and y < y1 and y0 < y + high:
            y = y1
    return x, y, x + wide, y + high
