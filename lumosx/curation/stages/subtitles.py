"""Subtitles, logos and other lettering that was laid over the picture."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import ClassVar

import numpy as np

from lumosx.curation.footage import Crop, Span
from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.values import Subtitles
from lumosx.vision import Box, TextReader, Written
from lumosx.vision.places import library

STROKE = 24.0  # levels of grey from one pixel to the next: the edge of a stroke, also of one a third opaque
FEWEST_STROKES = 0.0005  # share of the bands: a word of four letters
OUTLINE = 0.25  # of a line's height, which its shadow or outline goes beyond its box


@dataclass(frozen=True)
class SubtitleText(Stage[Subtitles]):
    """Finds lettering that was laid over the picture (paper, section A.3: "removing subtitles"), and cuts it off.

    Laid over is what is read above or below in two frames at least at one place, also if the words change, as in
    subtitles. Signs and labels move with the scene or stand in its middle, and stay. Where neither camera nor scene
    move, a sign above or below is taken for laid over.

    reader: the model. Where no edge in the bands stays in its place it is not asked, because it takes half a second a
    frame. frames: how many it reads. band: share of the height, above and below, that is searched. side: pixels of the
    shorter side to which frames are made smaller. sure: least score of a line. most_cropped: share of the height that
    may be cut off. most_left: share of the picture that may be covered.
    """

    name: ClassVar[str] = "subtitles"
    needs: ClassVar = (BorderCrop,)
    gives: ClassVar = Subtitles

    reader: TextReader = model("reader")
    frames: int = 4
    band: float = 0.3
    side: int = 480
    sure: float = 0.6
    most_cropped: float = 0.25
    most_left: float = threshold(0.002)

    def measure(self, look: Look) -> Subtitles:
        """`left` is that of the crop; the crop is that of the borders where cutting does not suffice."""
        span = Span.of_clip(look.clip)
        whole = look.of(BorderCrop).crop
        pictures = span.read(span.moments(), whole, self.side)
        height, width = pictures.shape[1:3]
        deep = math.ceil(self.band * height)
        above, below = (self._laid_over(pictures, first, first + deep) for first in (0, height - deep))
        share = _covered([line.box for line in above + below], height, width)
        top = max((line.box[3] + OUTLINE * _height(line.box) for line in above), default=0.0)
        bottom = min((line.box[1] - OUTLINE * _height(line.box) for line in below), default=float(height))
        frees = top + height - bottom <= self.most_cropped * height
        return Subtitles(
            share=share,
            crop=_less(whole, top / height, bottom / height) if frees else whole,
            left=0.0 if frees else share,
            texts=list(dict.fromkeys(line.text for line in above + below)),
        )

    def judge(self, value: Subtitles) -> Rejected | None:
        """By the share of the picture that lettering covers after cutting."""
        if value.left > self.most_left:
            return Rejected("subtitles", "lettering lies over the picture", value.left, self.most_left)
        return None

    def _laid_over(self, pictures: np.ndarray, first: int, after: int) -> list[Written]:
        """Lines that stay in their place, in rows `first` up to `after` of pictures [F, H, W, 3], and in pixels of
        these."""
        bands = pictures[:, first:after]
        if not _strokes_stay(bands):
            return []
        places = np.linspace(0, len(bands) - 1, min(self.frames, len(bands))).round().astype(int)
        return _staying([[_moved(line, first) for line in self._read(bands[place])] for place in places])

    def _read(self, picture: np.ndarray) -> list[Written]:
        """What is no line most likely is left out, as is what has one letter."""
        return [line for line in self.reader.read(picture) if line.score >= self.sure and len(line.text.strip()) > 1]


def _moved(line: Written, down: int) -> Written:
    x0, y0, x1, y1 = line.box
    return replace(line, text=line.text.strip(), box=(x0, y0 + down, x1, y1 + down))


def _strokes_stay(bands: np.ndarray) -> bool:
    """Whether sharp edges lie in one place in two neighbouring pictures of uint8 [F, H, W, 3], as lettering does that
    is laid over."""
    cv2 = library("cv2", "'lumosx[curate]'")
    sharp = []
    for picture in bands:
        grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        across, down = (cv2.Sobel(grey, cv2.CV_16S, *axis, ksize=3) for axis in ((1, 0), (0, 1)))
        sharp.append(np.maximum(np.abs(across), np.abs(down)) >= 4 * STROKE)  # a step of s levels gives 4 s
    stays = [(first & second).mean() for first, second in pairwise(sharp)] or [each.mean() for each in sharp]
    return max(stays) >= FEWEST_STROKES


def _staying(frames: Sequence[Sequence[Written]]) -> list[Written]:
    """The lines at whose place there is a line in another frame as well; of a single frame, all."""
    if len(frames) == 1:
        return list(frames[0])
    return [
        line
        for number, lines in enumerate(frames)
        for line in lines
        if any(
            _same_place(line.box, other.box) for others in (*frames[:number], *frames[number + 1 :]) for other in others
        )
    ]


def _same_place(one: Box, other: Box) -> bool:
    """Whether lines stand in the same rows, and one of them within the columns of the other, or nearly."""
    rows = _overlap(one[1::2], other[1::2]) / max(_height(one), _height(other))
    columns = _overlap(one[0::2], other[0::2]) / min(one[2] - one[0], other[2] - other[0])
    return rows >= 0.7 and columns >= 0.7


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _height(box: Box) -> float:
    return box[3] - box[1]


def _covered(boxes: Sequence[Box], height: int, width: int) -> float:
    """The share of a picture that lies in boxes."""
    mask = np.zeros((height, width), bool)
    for box in boxes:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in box)
        mask[y0:y1, x0:x1] = True
    return float(mask.mean())


def _less(crop: Crop, top: float, bottom: float) -> Crop:
    """The rows of a crop between two shares of its height, their number and the first of them even."""
    x0, y0, x1, y1 = crop
    rows = y1 - y0
    return x0, y0 + 2 * math.ceil(top * rows / 2 - 1e-6), x1, y0 + 2 * math.floor(bottom * rows / 2 + 1e-6)
