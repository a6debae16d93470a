"""Stand-ins that need no weights: people around their faces, garments where they belong, pictures by their colours,
clips by their layout, scores by sharpness.

They let benchmark and curation run where nothing can be downloaded, and know nothing of the world. People are found
where they face the camera, a region is where a garment would be, whether or not somebody wears one; colours are all
that a likeness sees, embeddings of clips tell copies from other clips, and scores know blur and dullness. On real
footage they show that a run works; what they measure means little.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from scipy.ndimage import binary_propagation, gaussian_filter

from lumosx.vision import Box, FaceDetector, Found, ModelCard, Picture
from lumosx.vision.boxes import BODY, body
from lumosx.vision.faces import DlibFaces
from lumosx.vision.garments import part
from lumosx.vision.places import library

# Where garments are on an adult who stands, in sides of the face: half the width around the middle, and from where to
# where below the top of a body of `boxes.body`, which begins one side above the face.
BOXES = {"head": (0.5, 0.1, 0.9), "chest": (0.9, 2.4, 4.6), "legs": (0.7, 4.9, 7.0)}
SCORE = 0.5  # of every region; nothing was looked at

WHITE = 250  # least channel of padding
BINS, SMOOTHING = (6, 16, 16), (0.5, 1.0, 1.0)  # of lightness, a and b, and the blur over bins (standard deviation)
LAB_RANGE = ((0, 100), (-110, 110), (-110, 110))

GRID, MOMENTS = 8, 4  # cells of a thumbnail's side, and thumbnails of a clip
SIDE, PART = 128, 32  # pixels of the shorter side at which sharpness is measured, and of a part's sides, about
NEAR = 5  # pixels of the side of the window in which an edge's height is taken
GRAIN = 8.0  # an edge is higher than this times the median of the |Laplacian|, which is three deviations of pure grain
EDGE = (8.0, 48.0)  # grey levels: no edge is lower, and one that is higher is an edge also amid texture
FEWEST, SHARPEST = 20, 90  # pixels of edges that a part needs, and the percentile of their sharpness that is its own
SHARP = (0.0, 4 / 3)  # sharpness of nothing, and of the sharpest lines and points; a step has 1
LIVELY = (0.0, 90.0)  # colourfulness (Hasler and Suesstrunk 2003) from none to much


class PeopleByFaces:
    """A box around everybody whose face is seen, as wide and high as an adult who stands.

    Args:
        faces: the detector; None: dlib's of frontal faces.

    Raises:
        InputError: dlib or its models are not installed.
    """

    def __init__(self, faces: FaceDetector | None = None) -> None:
        self._faces = faces or DlibFaces()
        self.card = replace(self._faces.card, name=f"bodies around faces of {self._faces.card.name}")

    def detect(self, picture: Picture) -> list[Found]:
        """The surest first."""
        return [Found(body(face.box, picture.shape), face.score) for face in self._faces.detect(picture)]


class Regions:
    """The part of a person where a garment belongs (`garments.part`). Of any other phrase: the whole picture.

    Pictures are people as `boxes.body` cuts them around a face, cut off at most at the bottom or on both sides: the
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


class Layout:
    """A clip as thumbnails of some frames: the colours' place in the picture, without the overall brightness.

    Raises:
        InputError: OpenCV is not installed.
    """

    card = ModelCard("layout of colours", "lumosx", "1", "Apache-2.0", True)

    def __init__(self) -> None:
        self._cv2 = library("cv2", "'lumosx[curate]'")

    def embed_video(self, frames: np.ndarray) -> np.ndarray:
        """float32 [MOMENTS * GRID * GRID * 3]: the mean thumbnail of each quarter of the clip; of length 1, or 0 where
        all is one grey."""
        small = [self._cv2.resize(f, (GRID, GRID), interpolation=self._cv2.INTER_AREA) for f in frames]
        quarters = [
            np.mean(part, axis=0) for part in np.array_split(np.stack(small).astype(np.float64), MOMENTS) if len(part)
        ]
        layout = np.stack((quarters * MOMENTS)[:MOMENTS])
        centred = (layout - layout.mean()).ravel()
        return (centred / max(float(np.linalg.norm(centred)), 1e-9)).astype(np.float32)


class Sharpness:
    """Quality by how sharp the edges of the sharpest part are, aesthetics by how colourful: 1 to 5, on own scales.

    How many edges there are and how high matters little, so that an empty room is as sharp as a crowd, and somebody
    before a blurred background, or a logo, as all in focus. Sharp pictures lie from 3 to 5; blurred by a Gaussian whose
    deviation is a share of the picture's height, of 1/160 around 2.5, of 1/80 around 2, of 1/40 around 1.6; without an
    edge that stands out from the grain, at 1. Blur by motion counts less, since edges along it stay.

    Raises:
        InputError: OpenCV is not installed.
    """

    card = ModelCard("sharpness and colourfulness", "lumosx", "2", "Apache-2.0", True)

    def __init__(self) -> None:
        self._cv2 = library("cv2", "'lumosx[curate]'")

    def score(self, frames: Sequence[Picture]) -> tuple[float, float]:
        """(quality, aesthetic), the means over the frames."""
        quality = np.mean([_scaled(self._sharpness(frame), *SHARP) for frame in frames])
        aesthetic = np.mean([_scaled(colourfulness(frame), *LIVELY) for frame in frames])
        return float(quality), float(aesthetic)

    def _sharpness(self, picture: Picture) -> float:
        """The |Laplacian| as a share of the edge's height: 1 at a step, the less the wider the edge is; grain has much
        of it, so that only what is higher counts. At one size, so that it does not depend on how large the file is."""
        grey = self._small(self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2GRAY).astype(np.float32))
        bend = np.abs(self._cv2.Laplacian(grey, self._cv2.CV_32F))
        near = np.ones((NEAR, NEAR), np.uint8)
        height = self._cv2.dilate(grey, near) - self._cv2.erode(grey, near)
        edges = height > np.clip(GRAIN * np.median(bend), *EDGE)
        found = [bend[part][edges[part]] / height[part][edges[part]] for part in _parts(*grey.shape)]
        return max((float(np.percentile(part, SHARPEST)) for part in found if len(part) >= FEWEST), default=0.0)

    def _small(self, grey: np.ndarray) -> np.ndarray:
        scale = SIDE / min(grey.shape)
        size = [max(1, round(side * scale)) for side in grey.shape[::-1]]
        return self._cv2.resize(grey, size, interpolation=self._cv2.INTER_AREA)


def colourfulness(picture: Picture) -> float:
    """Hasler and Suesstrunk's measure: 0 of a grey picture, about 45 of an average one, 109 of a most colourful."""
    red, green, blue = np.moveaxis(picture.astype(np.float64), 2, 0)
    first, second = red - green, (red + green) / 2 - blue
    spread, mean = np.hypot(first.std(), second.std()), np.hypot(first.mean(), second.mean())
    return float(spread + 0.3 * mean)


def _scaled(value: float, low: float, high: float) -> float:
    """1 at `low` and below, 5 at `high` and above."""
    return 1 + 4 * float(np.clip((value - low) / (high - low), 0, 1))


def _parts(height: int, width: int) -> list[tuple[slice, slice]]:
    """A picture's parts of about PART pixels each way."""
    rows, columns = (
        np.linspace(0, side, max(1, round(side / PART)) + 1).round().astype(int) for side in (height, width)
    )
    return [(slice(*row), slice(*column)) for row in pairwise(rows) for column in pairwise(columns)]


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
