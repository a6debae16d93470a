"""How many people there are: one to three, in every key frame (paper, section A.3)."""

from dataclasses import dataclass
from typing import ClassVar

from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import People, Seen
from lumosx.vision import PersonDetector


@dataclass(frozen=True)
class PeopleCount(Stage[People]):
    """The people whom a detector sees in the key frames.

    A clip stays if the key frame with most people shows `least` to `most` of them: more than three make for pictures
    and captions of lower quality (section A.3). People who are small beside the largest stand in the background and
    count as well, because the video shows them.

    people: the detector. sure: least score of a person.
    """

    name: ClassVar[str] = "people"
    needs: ClassVar = (Technical,)
    gives: ClassVar = People

    people: PersonDetector = model("people")
    sure: float = 0.5
    least: int = threshold(1)
    most: int = threshold(3)

    def measure(self, look: Look) -> People:
        """Boxes of every key frame, from left to right."""
        frames = []
        for name in look.of(Technical).key_frames:
            found = [Seen(box=f.box, score=f.score) for f in self.people.detect(look.blobs.picture(name))]
            frames.append(sorted((seen for seen in found if seen.score >= self.sure), key=lambda seen: seen.box))
        return People(frames=frames)

    def judge(self, value: People) -> Rejected | None:
        """By the key frame with most people."""
        count = max(map(len, value.frames))
        if count < self.least:
            return Rejected("no-people", "fewer people than wanted", count, self.least)
        if count > self.most:
            return Rejected("crowd", "more people than wanted", count, self.most)
        return None
