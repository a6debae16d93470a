"""Things that are nobody's, cut out of the key frames (paper, sections 3.2, A.2 and A.4)."""

from dataclasses import dataclass
from typing import ClassVar

from lumosx.curation.cutouts import cut_out, large
from lumosx.curation.stage import Look, Stage, model, threshold
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Cutout, Objects
from lumosx.vision import PhraseDetector, Segmenter


@dataclass(frozen=True)
class ObjectMasks(Stage[Objects]):
    """Every object that the caption names, in each key frame where it is seen: a detector looks for the phrase in the
    whole frame, and the segmenter finds what fills the surest box.

    An object that is not found, or found too small, has no picture, and the clip is not rejected for it.

    phrases, segmenter: the models; the detector's own thresholds decide what is found. least_side: of a cutout that may
    be shown, in pixels.
    """

    name: ClassVar[str] = "objects"
    needs: ClassVar = (Technical, Matching)
    gives: ClassVar = Objects

    phrases: PhraseDetector = model("phrases")
    segmenter: Segmenter = model("segmenter")
    least_side: float = threshold(24)

    def measure(self, look: Look) -> Objects:
        """Cutouts of all sizes."""
        phrases = [phrase.text for phrase in look.of(Matching).objects]
        cutouts: list[list[Cutout]] = [[] for _ in phrases]
        if not phrases:
            return Objects(objects=cutouts)
        for key, name in enumerate(look.of(Technical).key_frames):
            frame = look.blobs.picture(name)
            found = enumerate(self.phrases.find(frame, phrases))
            surest = {number: of_phrase[0] for number, of_phrase in found if of_phrase}
            masks = self.segmenter.segment(frame, [each.box for each in surest.values()])
            for (number, each), mask in zip(surest.items(), masks, strict=True):
                if cutout := cut_out(look.blobs, frame, key, mask, each.score):
                    cutouts[number].append(cutout)
        return Objects(objects=cutouts)

    def passing(self, value: Objects) -> list[list[Cutout]]:
        """Of every object the cutouts that are large enough."""
        return [[cutout for cutout in found if large(cutout, self.least_side)] for found in value.objects]
