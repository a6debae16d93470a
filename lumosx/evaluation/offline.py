"""Stand-ins that need no weights, for composites and smoke tests: parts of a body by rule, pictures by their colours.

They know nothing of the world. A region is where a garment would be, whether or not somebody wears one; colours are all
that a likeness sees. On real footage they show that a run works, and measure nothing.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import binary_propagation, gaussian_filter

from lumosx.evaluation.evidence import BODY
from lumosx.evaluation.garments import part
from lumosx.vision import Box, Found, ModelCard, Picture
from lumosx.vision.places import library

# Where garments are on an adult who stands, in sides of the face: half the width around the middle, and from where to
# where below the top of a body of `Evidence.body`, which begins one side above the face.
BOXES = {"head": (0.5, 0.1, 0.9), "chest": (0.9, 2.4, 4.6), "legs": (0.7, 4.9, 7.0)}
SCORE = 0.5  # of every region; nothing was looked at

WHITE = 250  # least channel of padding
BINS, SMOOTHING = (6, 16, 16), (0.5, 1.0, 1.0)  # of lightness, a and b, and the blur over bins (standard deviation)
LAB_RANGE = ((0, 100), (-110, 110), (-110, 110))


class Regions:
    """The part of a person where a garment belongs (`garments.part`). Of any other phrase: the whole picture.

    Pictures are people as `Evidence.body` cuts them around a face, cut off at most at the bottom or on both sides: the
    head is on top and in the middle.
    """

    card = ModelCard("regions by rule", "lumosx", "1", "Apache-2.0", True)

    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        """For every phrase one box with a score of 0.5, or none where the part is below the picture."""
        height, width = picture.shape[:2]
        return [_region(part(phrase), width, height) for phrase in phrases]


class Colours:
    """Colours as a smoothed histogram in CIE Lab. Its dot product is Bhattacharyya's coefficient of two histograms.

    White that touches an edge is taken for the padding of a reference picture and left out, unless nothing else is
    there. Lightness has few bins, so that shade matters less than hue.

    Raises:
        InputError: OpenCV is not installed.
    """

    card = ModelCard("colour histogram (Lab)", "lumosx", "1", "Apache-2.0", True)

    def __init__(self) -> None:
        self._cv2 = library("cv2", "'lumosx[bench]'")

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        """float32 [n, 1536], of length 1."""
        return np.array([self._histogram(p) for p in pictures], np.float32).reshape(len(pictures), np.prod(BINS))

    def _histogram(self, picture: Picture) -> np.ndarray:
        lab = self._cv2.cvtColor(picture.astype(np.float32) / 255, self._cv2.COLOR_RGB2LAB)
        counts, _ = np.histogramdd(lab[~_padding(picture)], BINS, LAB_RANGE)
        smooth = gaussian_filter(counts, SMOOTHING, mode="constant")
        return np.sqrt(smooth / smooth.sum()).ravel()


def _region(name: str | None, width: int, height: int) -> list[Found]:
    if name is None:
        return [Found((0.0, 0.0, float(width), float(height)), SCORE)]
    side = max(width / BODY[0], height / BODY[1])  # of the face: what an edge cut off makes a body smaller
    half, top, bottom = (side * length for length in BOXES[name])
    box: Box = (max(0.0, width / 2 - half), top, min(float(width), width / 2 + half), min(float(height), bottom))
    return [Found(box, SCORE)] if box[3] - box[1] >= 1 else []


def _padding(picture: Picture) -> np.ndarray:
    """bool [H, W]: white that touches an edge; nothing if all is white."""
    white = (picture >= WHITE).all(axis=2)
    edge = np.zeros_like(white)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    padding = binary_propagation(edge & white, mask=white)
    return np.zeros_like(white) if padding.all() else padding
