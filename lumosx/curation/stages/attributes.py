"""What people wear and carry, cut out of the key frames (paper, sections 3.2 and A.2)."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lumosx.curation.cutouts import cut_out, large, owner, places_of
from lumosx.curation.stage import Look, Stage, model, threshold
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Attributes, Cutout
from lumosx.vision import Box, Found, PhraseDetector, Picture, Segmenter
from lumosx.vision.boxes import centre, filled, widened, within


@dataclass(frozen=True)
class AttributeMasks(Stage[Attributes]):
    """Every attribute of every subject, in each key frame where the subject is known to be.

    SAM takes no words, so a detector first looks for the phrase in the picture of the person's box, and the segmenter
    finds what fills the surest box. Where people overlap, a box counts only for the person to whose middle it is
    nearest, so that a neighbour's coat is nobody else's. What of the mask is outside of the person's box is cut off.

    An attribute that is not found, or found too small, stays as words: the clip is not rejected for it, because the
    model learns attributes without pictures too.

    phrases, segmenter: the models; the detector's own thresholds decide what is found. margin: of the person's picture,
    in sides of the box, because hats and bags reach out of it. least_side: of a cutout that may be shown, in pixels.
    """

    name: ClassVar[str] = "attributes"
    needs: ClassVar = (Technical, PeopleCount, Matching, FaceGates)
    gives: ClassVar = Attributes

    phrases: PhraseDetector = model("phrases")
    segmenter: Segmenter = model("segmenter")
    margin: float = 0.1
    least_side: float = threshold(24)

    def measure(self, look: Look) -> Attributes:
        """Cutouts of all sizes."""
        people, entities = look.of(PeopleCount), look.of(Matching)
        places = places_of(entities, look.of(FaceGates))
        cutouts: dict[tuple[int, int], list[Cutout]] = defaultdict(list)
        for key, name in enumerate(look.of(Technical).key_frames):
            frame, boxes = look.blobs.picture(name), [seen.box for seen in people.frames[key]]
            wanted: list[tuple[int, int, Box, Found]] = []
            for number, (subject, place) in enumerate(zip(entities.subjects, places, strict=True)):
                if key in place and subject.attributes:
                    phrases = [phrase.text for phrase in subject.attributes]
                    surest = self._on_person(frame, boxes, place[key], phrases)
                    wanted += [(number, n, boxes[place[key]], found) for n, found in enumerate(surest) if found]
            masks = self.segmenter.segment(frame, [found.box for *_, found in wanted])
            for (number, n, box, found), mask in zip(wanted, masks, strict=True):
                if cutout := cut_out(look.blobs, frame, key, mask & filled(box, mask.shape), found.score):
                    cutouts[number, n].append(cutout)
        return Attributes(
            subjects=[
                [cutouts[number, n] for n in range(len(subject.attributes))]
                for number, subject in enumerate(entities.subjects)
            ]
        )

    def passing(self, value: Attributes) -> list[list[list[Cutout]]]:
        """Of every attribute the cutouts that are large enough."""
        return [[[c for c in found if large(c, self.least_side)] for found in subject] for subject in value.subjects]

    def _on_person(
        self, frame: Picture, people: Sequence[Box], person: int, phrases: Sequence[str]
    ) -> list[Found | None]:
        """Of every phrase the surest of what it names on a person."""
        part = within(widened(people[person], self.margin), frame.shape)
        if part is None:
            return [None] * len(phrases)
        x, y = part[:2]
        found = self.phrases.find(frame[y : part[3], x : part[2]], phrases)
        moved = [[Found(_moved(each.box, x, y), each.score) for each in of_phrase] for of_phrase in found]
        mine = ([each for each in of_phrase if owner(centre(each.box), people) == person] for of_phrase in moved)
        return [next(iter(of_phrase), None) for of_phrase in mine]


def _moved(box: Box, x: float, y: float) -> Box:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y
