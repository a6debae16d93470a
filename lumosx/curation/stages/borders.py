"""Black, white and grey borders around the picture."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lumosx.curation.footage import Crop, Span
from lumosx.curation.stage import Look, Rejected, Stage, threshold
from lumosx.curation.stages.shots import ShotSplit
from lumosx.curation.stages.values import Borders
from lumosx.vision.places import library

CANNY = 24, 48  # steps of 6 levels of grey are edges where they go on from steps of 12
ROUNDS = 2  # columns, rows, and once more: a line at the side is longer once bars above and below are cut off
BLUR = 2  # rows into which an edge is smeared
SMEAR = 4  # rows of a border that compression may mix with what is beside it
TINT = 24  # levels between a border's red, green and blue: a sky is plain too, but blue
THIN = 4  # rows; what is less is no border but the rim of an old recording


@dataclass(frozen=True)
class BorderCrop(Stage[Borders]):
    """Finds borders by lines and by what never changes (paper, section A.3: "a simple Hough transform-based approach").

    A border ends in a straight line across the picture, and everything outside of that line is of one grey at all
    times. The line tells it from a night sky, the colour from a wall. A line is looked for by Hough transform in the
    lightest and in the darkest that each pixel becomes, so that one that dark content hides at times is found.

    frames: how many are looked at. side: pixels of the shorter side to which they are made smaller. line: least share
    of the width (or height) that a line goes across. noise: levels by which a border's pixels may be off its colour.
    strange: share of a row of the border that may be off nevertheless, as where subtitles stand in a bar.
    least_kept: share of the picture.
    """

    name: ClassVar[str] = "borders"
    needs: ClassVar = (ShotSplit,)
    gives: ClassVar = Borders

    frames: int = 10
    side: int = 480
    line: float = 0.5
    noise: int = 16
    strange: float = 0.35
    least_kept: float = threshold(0.4)

    def measure(self, look: Look) -> Borders:
        """The crop has even sides, because videos store colours at half resolution."""
        span = Span.of_clip(look.clip)
        width, height = span.size
        pictures = span.read(span.moments(self.frames), side=self.side)
        small_height, small_width = pictures.shape[1:3]
        x0, y0, x1, y1 = self._inside(pictures.min(axis=0), pictures.max(axis=0))
        across, down = width / small_width, height / small_height
        crop = (
            _even_up(x0 * across),
            _even_up(y0 * down),
            _even_down(x1 * across),
            _even_down(y1 * down),
        )
        kept = (crop[2] - crop[0]) * (crop[3] - crop[1]) / (width * height)
        return Borders(crop=crop, kept=kept)

    def judge(self, value: Borders) -> Rejected | None:
        if value.kept < self.least_kept:
            return Rejected("borders", "mostly borders", value.kept, self.least_kept)
        return None

    def _inside(self, low: np.ndarray, high: np.ndarray) -> Crop:
        """What is inside of all borders; `low` and `high` are uint8 [H, W, 3], the extremes over time."""
        edges = _edges(low) | _edges(high)
        x0, y0, x1, y1 = 0, 0, low.shape[1], low.shape[0]
        for _ in range(ROUNDS):
            part = np.s_[y0:y1, x0:x1]
            left, right = self._sides(*(each[part].swapaxes(0, 1) for each in (edges, low, high)))
            x0, x1 = x0 + left, x1 - right
            part = np.s_[y0:y1, x0:x1]
            top, bottom = self._sides(*(each[part] for each in (edges, low, high)))
            y0, y1 = y0 + top, y1 - bottom
        return x0, y0, x1, y1

    def _sides(self, edges: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[int, int]:
        """How many rows above and below are borders."""
        lines = _level_lines(edges, self.line)
        height = len(edges)
        top = self._rows(lines, low, high)
        bottom = self._rows([height - 1 - line for line in lines], low[::-1], high[::-1])
        return (top, bottom) if top + bottom < height else (0, 0)

    def _rows(self, lines: list[int], low: np.ndarray, high: np.ndarray) -> int:
        """The innermost of lines above which all is of one colour, and the blur on it; 0: there is none."""
        plain = self._plain_rows(low[: len(low) // 2], high[: len(high) // 2])
        fits = [line for line in lines if line >= THIN and line - min(SMEAR, line // 2) <= plain]
        if not fits:
            return 0
        # lines so near cannot be told apart by the colours between them: the first is the border's
        return min(line for line in fits if line >= max(fits) - SMEAR) + BLUR

    def _plain_rows(self, low: np.ndarray, high: np.ndarray) -> int:
        """How many rows from the first on are of its colour, which is a grey."""
        colour = np.median(np.concatenate([low[:1], high[:1]]), axis=(0, 1))
        if np.ptp(colour) > TINT:
            return 0
        cv2 = library("cv2", "'lumosx[curate]'")  # a tenth of numpy's time
        darkest, lightest = (np.clip(np.floor(colour) + step, 0, 255) for step in (-self.noise, self.noise))
        plain = cv2.inRange(low, darkest, np.full(3, 255.0)) & cv2.inRange(high, np.zeros(3), lightest)
        off = (plain == 0).mean(axis=1) > self.strange
        return int(off.argmax()) if off.any() else len(off)


def _edges(picture: np.ndarray) -> np.ndarray:
    cv2 = library("cv2", "'lumosx[curate]'")
    return cv2.Canny(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), *CANNY)


def _level_lines(edges: np.ndarray, share: float) -> list[int]:
    """Rows in which a line lies that is at least so much of the width long."""
    cv2 = library("cv2", "'lumosx[curate]'")
    votes = max(1, math.ceil(share * edges.shape[1]))
    found = cv2.HoughLines(np.ascontiguousarray(edges), 1, math.pi / 2, votes)
    return list(_level(found)) if found is not None else []


def _level(found: np.ndarray) -> Iterator[int]:
    """Of lines [n, 1, 2] of distance and angle, those at a right angle to the way down."""
    for distance, angle in found.reshape(-1, 2):
        if angle > math.pi / 4:
            yield round(float(distance))


def _even_up(edge: float) -> int:
    return 2 * math.ceil(edge / 2 - 1e-6)


def _even_down(edge: float) -> int:
    return 2 * math.floor(edge / 2 + 1e-6)
