"""Technical quality and aesthetics (paper, section A.3: Q-Align, quality from 3.5 and aesthetics from 2.0)."""

from dataclasses import dataclass
from typing import ClassVar

from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Scores
from lumosx.vision import Scorer


@dataclass(frozen=True)
class Quality(Stage[Scores]):
    """What a scorer says of the key frames, from 1 (bad) to 5 (excellent).

    The thresholds are the paper's and belong to Q-Align: with another scorer, look at the histograms of the report and
    set them anew.
    """

    name: ClassVar[str] = "quality"
    needs: ClassVar = (Technical,)
    gives: ClassVar = Scores

    scorer: Scorer = model("scorer")
    least_quality: float = threshold(3.5)
    least_aesthetic: float = threshold(2.0)

    def measure(self, look: Look) -> Scores:
        """Of the key frames together."""
        frames = [look.blobs.picture(name) for name in look.of(Technical).key_frames]
        quality, aesthetic = self.scorer.score(frames)
        return Scores(quality=quality, aesthetic=aesthetic)

    def judge(self, value: Scores) -> Rejected | None:
        """Quality first."""
        if value.quality < self.least_quality:
            return Rejected("quality", "the quality is low", value.quality, self.least_quality)
        if value.aesthetic < self.least_aesthetic:
            return Rejected("aesthetic", "the aesthetic score is low", value.aesthetic, self.least_aesthetic)
        return None
