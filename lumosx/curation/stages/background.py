"""Key frames without people and things (paper, sections 3.2, A.2 and A.4)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.objects import ObjectMasks
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Background, CleanBackground
from lumosx.errors import InputError
from lumosx.vision import Inpainter, PersonDetector, Picture, Segmenter
from lumosx.vision.boxes import filled
from lumosx.vision.places import library

PROMPT = "{background}, empty, nothing, there is nothing"  # paper, section A.2


@dataclass(frozen=True)
class CleanBackgrounds(Stage[Background]):
    """Key frames from which the foreground was painted away: everybody who is seen, named or not, and what was cut out
    of the frame as face, attribute or object. Afterwards nobody may be left.

    Without words for it in the caption there is no background. A clip whose background is not clean stays, and goes
    without one, unless `required`: a background is one reference among others here, though the paper kept only clips
    with less than half of the frame in the foreground (section A.4).

    segmenter, inpainter, people: the models; `people` finds who is left. dilation: of the foreground, in shares of the
    frame's shorter side, because outlines are imprecise; the paper does not state its own. sure: least score of a
    person. paint_below: only frames with less foreground are painted, because that is dear; no less than
    `most_foreground`.

    most_foreground: shares of the frame below this may be painted anew. most_people_left: in the painted frame.

    Raises:
        InputError: `most_foreground` is above `paint_below`.
    """

    name: ClassVar[str] = "background"
    needs: ClassVar = (Technical, PeopleCount, Matching, FaceGates, AttributeMasks, ObjectMasks)
    gives: ClassVar = Background

    segmenter: Segmenter = model("segmenter")
    inpainter: Inpainter = model("inpainter")
    people: PersonDetector = model("people")
    dilation: float = 0.02
    sure: float = 0.5
    paint_below: float = 0.5
    most_foreground: float = threshold(0.5)
    most_people_left: int = threshold(0)
    required: bool = threshold(False)

    def __post_init__(self) -> None:
        if self.most_foreground > self.paint_below:
            stated = f"most_foreground is {self.most_foreground} and paint_below {self.paint_below}"
            raise InputError(f"background: {stated}: what is not painted cannot be kept; set paint_below as high")

    def measure(self, look: Look) -> Background:
        """Paints all key frames that have little enough foreground."""
        phrase = look.of(Matching).background
        frames: list[CleanBackground] = []
        shares: list[float] = []
        for key, name in enumerate(look.of(Technical).key_frames if phrase else []):
            assert phrase is not None
            frame = look.blobs.picture(name)
            mask = grown(self._foreground(look, key, frame), self.dilation)
            shares.append(float(mask.mean()))
            if shares[-1] < self.paint_below:
                seed = int(look.random(f"background {key}").integers(2**31))
                painted = self.inpainter.paint(frame, mask, PROMPT.format(background=phrase.text), seed)
                left = sum(found.score >= self.sure for found in self.people.detect(painted))
                picture = look.blobs.put_picture(painted)
                frames.append(CleanBackground(key=key, foreground=shares[-1], people_left=left, picture=picture))
        return Background(frames=frames, foreground=shares)

    def passing(self, value: Background) -> list[CleanBackground]:
        """Those that are clean."""
        little = [frame for frame in value.frames if frame.foreground < self.most_foreground]
        return [frame for frame in little if frame.people_left <= self.most_people_left]

    def judge(self, value: Background) -> Rejected | None:
        """Only if a background is required."""
        if not self.required or self.passing(value):
            return None
        if not value.foreground:
            return Rejected("no-background", "the caption names no background")
        least = min(value.foreground)
        if least >= self.most_foreground:
            return Rejected("foreground", "the foreground fills too much of the frame", least, self.most_foreground)
        left = min(frame.people_left for frame in value.frames if frame.foreground < self.most_foreground)
        return Rejected("people-left", "people are left in the background", left, self.most_people_left)

    def _foreground(self, look: Look, key: int, frame: Picture) -> np.ndarray:
        """bool [H, W]: everybody and everything that was found in a key frame."""
        boxes = [seen.box for seen in look.of(PeopleCount).frames[key]]
        masks = list(self.segmenter.segment(frame, boxes))
        masks += [
            filled(face.box, frame.shape) for faces in look.of(FaceGates).subjects for face in faces if face.key == key
        ]
        attributes = [cutouts for subject in look.of(AttributeMasks).subjects for cutouts in subject]
        cutouts = [cutout for found in (*attributes, *look.of(ObjectMasks).objects) for cutout in found]
        masks += [look.blobs.picture(cutout.mask) > 0 for cutout in cutouts if cutout.key == key]
        return np.logical_or.reduce(masks, axis=0) if masks else np.zeros(frame.shape[:2], bool)


def grown(mask: np.ndarray, share: float) -> np.ndarray:
    """A mask (bool [H, W]) and all that is as near to it as a share of the shorter side."""
    cv2 = library("cv2", "'lumosx[curate]'")
    radius = round(share * min(mask.shape))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    return cv2.dilate(mask.astype(np.uint8), disc) > 0
