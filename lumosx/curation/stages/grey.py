"""Black-and-white footage, also where it is tinted."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lumosx.curation.footage import Span
from lumosx.curation.stage import Look, Rejected, Stage, threshold
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.values import Colourfulness

RED, GREEN, BLUE = 0.299, 0.587, 0.114  # what they add to brightness (ITU-R BT.601)
LEVELS = 64  # of brightness


@dataclass(frozen=True)
class Greyscale(Stage[Colourfulness]):
    """Tells colour from black and white (paper, section A.3).

    What counts is how far the colours of pixels that are equally bright lie apart, in levels of 0 to 255 of Cb and Cr:
    0 in black and white, and in a tint such as sepia, in which brightness says what the colour is. So a picture of one
    hue counts as grey. Measured on photographs after compression: 6 to 21 in colour, 1 to 2.5 in sepia or cold blue,
    1.3 to 4 with a fifth of their saturation.

    frames: how many are looked at. side: pixels of the shorter side to which they are made smaller, which takes the
    noise out of the colours.
    """

    name: ClassVar[str] = "grey"
    needs: ClassVar = (BorderCrop,)
    gives: ClassVar = Colourfulness

    frames: int = 10
    side: int = 96
    least: float = threshold(3.5)

    def measure(self, look: Look) -> Colourfulness:
        """The mean over frames."""
        span = Span.of_clip(look.clip)
        pictures = span.read(span.moments(self.frames), look.of(BorderCrop).crop, self.side)
        return Colourfulness(value=float(np.mean([spread(picture) for picture in pictures])))

    def judge(self, value: Colourfulness) -> Rejected | None:
        if value.value < self.least:
            return Rejected("grey", "black and white, or of one tint", value.value, self.least)
        return None


def spread(picture: np.ndarray) -> float:
    """How far colours of equal brightness lie apart: the root of their mean squared distance from their mean."""
    red, green, blue = np.moveaxis(picture.astype(np.float64), -1, 0)
    bright = RED * red + GREEN * green + BLUE * blue
    level = (bright * LEVELS / 256).astype(int).ravel()
    pixels = np.maximum(np.bincount(level, minlength=LEVELS), 1)
    squares = 0.0
    for colour in ((blue - bright) / (2 - 2 * BLUE), (red - bright) / (2 - 2 * RED)):  # Cb, Cr
        means = np.bincount(level, colour.ravel(), LEVELS) / pixels
        squares += np.mean((colour.ravel() - means[level]) ** 2)
    return float(np.sqrt(squares))
