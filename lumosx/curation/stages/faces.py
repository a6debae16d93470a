"""Faces: whose they are, in which key frames the same person is seen, and which are good enough to show the model
(paper, sections 3.2 and A.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.optimize import linear_sum_assignment

from lumosx.curation.cutouts import aside
from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import FacePicture, Faces
from lumosx.errors import InputError
from lumosx.vision import Box, Face, FaceDetector, FaceEncoder, Picture, crop
from lumosx.vision.boxes import centre, filled, widened
from lumosx.vision.places import library

HEAD = 1 / 3  # of a face's sides: what a head adds on each side
SHARPNESS_SIDE = 112  # pixels: the size at which faces are compared, so that sharpness does not depend on theirs


@dataclass(frozen=True)
class FaceGates(Stage[Faces]):
    """The faces of every subject, and the gates that a face passes to stand for its person.

    In a key frame every person has at most one face, and a face one person: the one in whose box's upper part its
    centre is, the larger and the nearer to the middle the better, all at once by one assignment. The face in the shown
    frame says who a subject is. In the other key frames faces are assigned to the people of the shown frame by the
    cosine of their embeddings, and whoever is less alike than `least_likeness` is nobody of them.

    The paper states no gates; these are ours, and `Faces` holds what they judge.

    faces, identities: the detector and the encoder. least_likeness: cosine; 0: what the encoder states as
    `same_person`. upper: share of a person's box, from the top, where the centre of a face may be: a standing person
    has it in the upper quarter, one cut off at the chest in the middle. margin: of the picture around a face, in sides
    of its box.

    least_faces: that every subject has. least_side: of the box, in pixels. least_sharpness: variance of the Laplacian
    of the face at 112 x 112 pixels: about 400 of three sharp photographs, 50 and 12 of the same under a blur of 1 and 2
    of those pixels, and 20 to 34 of sharp faces that are 32 pixels wide. most_turned: how far the nose lies from the
    middle between the eyes, in halves of their distance: 0 frontal, about 0.7 at 40 degrees. A face without landmarks
    passes, because nothing is known. most_hidden: share of the face that lies outside of the frame, in somebody else's
    head (a face's box and a third of its sides around it) or in the box of somebody whose face is not seen. That is
    what may be hidden, not what is: boxes do not say who stands in front, and hands and cups have none.

    Raises:
        InputError: `least_likeness` is 0 and the encoder states nothing.
    """

    name: ClassVar[str] = "faces"
    needs: ClassVar = (Technical, PeopleCount, Matching)
    gives: ClassVar = Faces

    faces: FaceDetector = model("faces")
    identities: FaceEncoder = model("identities")
    least_likeness: float = 0.0
    upper: float = 0.6
    margin: float = 0.2
    least_faces: int = threshold(1)
    least_side: float = threshold(32)
    least_sharpness: float = threshold(20.0)
    most_turned: float = threshold(0.7)
    most_hidden: float = threshold(0.5)

    def __post_init__(self) -> None:
        if not self.least_likeness and not hasattr(self.identities, "same_person"):
            name = self.identities.card.name
            raise InputError(f"faces.least_likeness: {name} does not state when two faces are one person; set it")

    @property
    def same_person(self) -> float:
        """The least cosine of two faces of one person."""
        return self.least_likeness or self.identities.same_person  # pyright: ignore[reportAttributeAccessIssue]

    def measure(self, look: Look) -> Faces:
        """All faces of the subjects, with their measures and pictures."""
        frames = [look.blobs.picture(name) for name in look.of(Technical).key_frames]
        boxes = [[seen.box for seen in frame] for frame in look.of(PeopleCount).frames]
        found = [self._of_people(frame, of) for frame, of in zip(frames, boxes, strict=True)]
        entities = look.of(Matching)
        linked = [self._linked(frames, found, entities.shown, key) for key in range(len(frames))]
        subjects: list[list[FacePicture]] = []
        for subject in entities.subjects:
            of_subject = []
            for key, links in enumerate(linked):
                if subject.box in links:
                    person, likeness = links[subject.box]
                    face = self._measured(look, frames[key], key, boxes[key], found[key], person, likeness)
                    of_subject.append(face)
            subjects.append(of_subject)
        return Faces(subjects=subjects)

    def gate(self, face: FacePicture) -> Rejected | None:
        """The first gate that a face does not pass; None: it passes all."""
        side = min(face.box[2] - face.box[0], face.box[3] - face.box[1])
        if side < self.least_side:
            return Rejected("face-small", "a face is small", side, self.least_side)
        if face.hidden > self.most_hidden:
            return Rejected("face-hidden", "a face may be hidden by somebody", face.hidden, self.most_hidden)
        if face.turned is not None and face.turned > self.most_turned:
            return Rejected("face-turned", "a face is turned aside", face.turned, self.most_turned)
        if face.sharpness < self.least_sharpness:
            return Rejected("face-blurred", "a face is blurred", face.sharpness, self.least_sharpness)
        return None

    def passing(self, value: Faces) -> list[list[FacePicture]]:
        """Of every subject the faces that pass all gates."""
        return [[face for face in faces if self.gate(face) is None] for faces in value.subjects]

    def judge(self, value: Faces) -> Rejected | None:
        """Every subject needs `least_faces` that pass. If there are enough but for a gate, its largest says which."""
        for faces, passing in zip(value.subjects, self.passing(value), strict=True):
            if len(passing) < self.least_faces:
                stopped = [face for face in faces if self.gate(face)]
                if len(faces) >= self.least_faces:
                    return self.gate(max(stopped, key=lambda face: face.box[2] - face.box[0]))
                return Rejected("no-face", "no face of a subject is seen", len(faces), self.least_faces)
        return None

    def _of_people(self, frame: Picture, boxes: Sequence[Box]) -> dict[int, Face]:
        """The face of every person who shows one, by number of the person."""
        faces = self.faces.detect(frame)
        gain = np.array([[self._fit(face, box) for box in boxes] for face in faces]).reshape(len(faces), len(boxes))
        pairs = zip(*linear_sum_assignment(gain, maximize=True), strict=True)
        return {int(person): faces[face] for face, person in sorted(pairs, key=lambda p: p[1]) if gain[face, person]}

    def _fit(self, face: Face, box: Box) -> float:
        """How well a face fits a person; 0: not at all."""
        x, y = centre(face.box)
        if not box[0] < x < box[2] or not box[1] < y < box[1] + self.upper * (box[3] - box[1]):
            return 0.0
        return (face.box[2] - face.box[0]) * (2 - aside(x, box))

    def _linked(
        self, frames: Sequence[Picture], found: Sequence[Mapping[int, Face]], shown: int, key: int
    ) -> dict[int, tuple[int, float]]:
        """By person of the shown frame the same person's number in a key frame, and the cosine of their faces."""
        known, seen = list(found[shown]), list(found[key])
        if key == shown:
            return {person: (person, 1.0) for person in known}
        if not known or not seen:
            return {}
        who = self.identities.embed(frames[shown], [found[shown][person] for person in known])
        alike = who @ self.identities.embed(frames[key], [found[key][person] for person in seen]).T
        same = np.where(alike >= self.same_person, alike + 1, 0.0)  # + 1: above that of no pair
        pairs = zip(*linear_sum_assignment(same, maximize=True), strict=True)
        return {known[one]: (seen[other], float(alike[one, other])) for one, other in pairs if same[one, other]}

    def _measured(
        self,
        look: Look,
        frame: Picture,
        key: int,
        boxes: Sequence[Box],
        faces: Mapping[int, Face],
        person: int,
        likeness: float,
    ) -> FacePicture:
        face, picture = faces[person], crop(frame, widened(faces[person].box, self.margin))
        assert picture is not None  # its centre is in a person's box
        heads = [widened(faces[n].box, HEAD) if n in faces else box for n, box in enumerate(boxes) if n != person]
        return FacePicture(
            key=key,
            person=person,
            box=face.box,
            score=face.score,
            sharpness=sharpness(frame, face.box),
            turned=turned(face),
            hidden=hidden(face.box, heads, frame.shape),
            likeness=likeness,
            picture=look.blobs.put_picture(picture),
        )


def sharpness(frame: Picture, box: Box) -> float:
    """Variance of the Laplacian of what is in a box, grey, at 112 x 112 pixels."""
    cv2, part = library("cv2", "'lumosx[curate]'"), crop(frame, box)
    if part is None:
        return 0.0
    way = cv2.INTER_AREA if min(part.shape[:2]) > SHARPNESS_SIDE else cv2.INTER_LINEAR
    grey = cv2.resize(cv2.cvtColor(part, cv2.COLOR_RGB2GRAY), (SHARPNESS_SIDE, SHARPNESS_SIDE), interpolation=way)
    return float(cv2.Laplacian(grey, cv2.CV_64F).var())


def turned(face: Face) -> float | None:
    """How far the nose is from the middle between the eyes, along their line, in halves of their distance, at most 1;
    None where these are not known."""
    if face.landmarks is None or np.isnan(face.landmarks[:3]).any():
        return None
    left, right, nose = face.landmarks[:3].astype(float)
    between = right - left
    distance = between @ between
    return 1.0 if not distance else float(min(1.0, 2 * abs((nose - (left + right) / 2) @ between) / distance))


def hidden(box: Box, others: Sequence[Box], size: tuple[int, ...]) -> float:
    """Share of a box that lies in others or outside of a frame whose `size` begins with height and width."""
    seen = filled(box, size)
    for other in others:
        seen &= ~filled(other, size)
    area = (round(box[2]) - round(box[0])) * (round(box[3]) - round(box[1]))
    return 1.0 - float(seen.sum()) / max(1, area)
