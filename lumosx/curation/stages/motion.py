"""How much moves in a clip."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lumosx.curation.footage import PAIRS, Span
from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import FlowStrength
from lumosx.vision import Flow, Picture
from lumosx.vision.motion import warped
from lumosx.vision.places import library

SIDE = 256  # pixels of the shorter side, by which the unit is defined
AROUND = 15  # pixels of the square by which it is judged whether its middle moves
EXPLAINS = 0.5  # most error that motion leaves, as a share of what standing still leaves


@dataclass(frozen=True)
class Motion(Stage[FlowStrength]):
    """Flow strength from 0.05 to 2.0 (paper, section A.3), which gives no unit. Here it is the mean length of the flow
    over pixels and over pairs of neighbouring frames at 16 a second, in pixels of a picture whose shorter side has 256.
    Less is a still picture; more is haste, shaking, or a cut that was missed.

    Where motion explains the second picture hardly better than standing still does, nothing is counted as moving: in a
    sky, flow follows the grain of the film, and a clip that stands still would have more of it than one with people.

    flow: the model. pairs: how many are measured, spread evenly.
    """

    name: ClassVar[str] = "flow"
    needs: ClassVar = (Technical, SubtitleText)
    gives: ClassVar = FlowStrength

    flow: Flow = model("flow")
    pairs: int = PAIRS
    least: float = threshold(0.05)
    most: float = threshold(2.0)

    def measure(self, look: Look) -> FlowStrength:
        """The mean, and that of every pair. Of a clip of a single frame nothing moves."""
        span = Span.of_clip(look.clip)
        crop, strengths = look.of(SubtitleText).crop, list[float]()
        for pair in span.pairs(self.pairs):
            first, second = span.read(list(pair), crop, SIDE)
            flow = self.flow.flow(first, second)
            length = np.hypot(*np.moveaxis(flow.astype(np.float64), -1, 0))
            strengths.append(float((length * _moves(first, second, flow)).mean()) * SIDE / min(first.shape[:2]))
        return FlowStrength(value=float(np.mean(strengths)) if strengths else 0.0, pairs=strengths)

    def judge(self, value: FlowStrength) -> Rejected | None:
        """Too little, or too much."""
        if value.value < self.least:
            return Rejected("flow-low", "too little moves", value.value, self.least)
        if value.value > self.most:
            return Rejected("flow-high", "too much moves", value.value, self.most)
        return None


def _moves(first: Picture, second: Picture, flow: np.ndarray) -> np.ndarray:
    """Where a flow [H, W, 2] explains what has become of a picture, bool [H, W]."""
    cv2 = library("cv2", "'lumosx[curate]'")
    was, becomes = (cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second))
    still, moved = (
        cv2.sqrBoxFilter(cv2.absdiff(was, seen), cv2.CV_32F, (AROUND, AROUND))
        for seen in (becomes, warped(becomes, flow))
    )
    return moved < EXPLAINS * still
