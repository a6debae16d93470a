"""Who is seen where in a clip: faces on sampled frames, followed through the clip, and given to the case's people.

Protocol v1. One assignment holds for the whole clip and for all metrics: a person who is somebody else's lookalike on
one frame cannot be two people, and a missing person is missing everywhere. Found once, read by every measure.
"""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from scipy.optimize import linear_sum_assignment

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.models import Models
from lumosx.vision import Box, Face, FaceEncoder, Picture, crop, whole
from lumosx.vision.boxes import body

FRAMES = 16  # that are looked at in a clip
SAME_PERSON = 0.5  # least cosine of two faces of one track, unless its encoder says otherwise (`same_person`)
OVERLAP = 0.3  # of boxes (intersection over union) of one face on neighbouring looks
IN_PLACE = 1.5  # times as far (1 - cosine) as those of one person may be two faces that are in the same place


@dataclass(eq=False)
class Track:
    """One person through the clip: by look (index of a sampled frame) the face and its embedding."""

    faces: dict[int, Face] = field(default_factory=dict)
    embeddings: dict[int, np.ndarray] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The latest look at it."""
        return max(self.faces)


class Evidence:
    """What is seen in one clip of one case.

    Args:
        threshold: least cosine of a face and the reference that it is taken for, on average over the track; 0 or more.
            None: what the encoder that assigns states as `same_person`, else 0. Without one, whoever is there is taken
            for who is missing.
        looks: how many frames are looked at, evenly spread; 0: all of them.
    """

    def __init__(
        self, case: Case, clip: Clip, models: Models, threshold: float | None = None, looks: int = FRAMES
    ) -> None:
        self.case, self.clip, self.models = case, clip, models
        self._threshold = threshold
        self.frames = clip.sampled(looks) if looks else clip.frames
        self._worn: dict[tuple[Track, int], dict[str, Picture]] = {}

    @property
    def encoder(self) -> FaceEncoder:
        """The one that assigns people: the first of `Models.identities`."""
        return next(iter(self.models.identities.values()))

    @property
    def threshold(self) -> float:
        """Least cosine of a face and the reference that it is taken for."""
        return getattr(self.encoder, "same_person", 0.0) if self._threshold is None else self._threshold

    @cached_property
    def faces(self) -> list[list[Face]]:
        """The faces of every look."""
        return [self.models.faces.detect(frame) for frame in self.frames]

    @cached_property
    def tracks(self) -> list[Track]:
        """The people of the clip: faces of neighbouring looks, linked by likeness and place."""
        tracks: list[Track] = []
        same = getattr(self.encoder, "same_person", SAME_PERSON)
        for look, (frame, faces) in enumerate(zip(self.frames, self.faces, strict=True)):
            embeddings = self.encoder.embed(frame, faces) if faces else np.zeros((0, 1), np.float32)
            continued = _links(tracks, look, faces, embeddings, same)
            for index, (face, embedding) in enumerate(zip(faces, embeddings, strict=True)):
                if index not in continued:
                    tracks.append(Track())
                    continued[index] = tracks[-1]
                continued[index].faces[look] = face
                continued[index].embeddings[look] = embedding
        return tracks

    @cached_property
    def references(self) -> dict[int, np.ndarray]:
        """The embedding of each subject's face, by the encoder that assigns."""
        return {subject: self.reference_embedding(subject, self.encoder) for subject in self.case.faces}

    @cached_property
    def reference_faces(self) -> dict[int, tuple[Picture, Face]]:
        """Each subject's reference picture and the largest face in it; the whole picture where none is found."""
        pictures = {subject: reference.picture() for subject, reference in self.case.faces.items()}
        return {subject: (picture, self._largest_face(picture)) for subject, picture in pictures.items()}

    def _largest_face(self, picture: Picture) -> Face:
        return max(self.models.faces.detect(picture), key=lambda face: _area(face.box), default=whole(picture))

    def reference_embedding(self, subject: int, encoder: FaceEncoder) -> np.ndarray:
        """[D] of the face in a subject's reference picture, by any encoder."""
        picture, face = self.reference_faces[subject]
        return encoder.embed(picture, [face])[0]

    @cached_property
    def likeness(self) -> np.ndarray:
        """[subjects with a face, tracks]: the mean cosine over all looks, a look without the track counting 0."""
        table = np.zeros((len(self.references), len(self.tracks)))
        for row, reference in enumerate(self.references.values()):
            for column, track in enumerate(self.tracks):
                table[row, column] = sum(float(e @ reference) for e in track.embeddings.values()) / len(self.frames)
        return table

    @cached_property
    def people(self) -> dict[int, Track | None]:
        """The track of each subject that has a face, by Hungarian matching over the clip; None: not seen.

        A track that is not `threshold` like its reference, on the looks at it, is somebody else.
        """
        seen = np.array([len(track.faces) for track in self.tracks]) / len(self.frames)
        pairs = _assigned(self.likeness, self.likeness >= self.threshold * seen)
        tracks = {row: self.tracks[column] for row, column in pairs}
        return {subject: tracks.get(row) for row, subject in enumerate(self.references)}

    @cached_property
    def strangers(self) -> list[Track]:
        """Tracks that are nobody of the case."""
        known = set(self.people.values())
        return [track for track in self.tracks if track not in known]

    @cached_property
    def bodies(self) -> list[list[Box]]:
        """The boxes of whole people on every look; empty lists where no model finds people."""
        detector = self.models.people
        if detector is None:
            return [[] for _ in self.frames]
        return [[person.box for person in detector.detect(frame)] for frame in self.frames]

    def body(self, track: Track, look: int) -> Box | None:
        """The person whose face a track is: the smallest body around the face, else what its size suggests; None where
        the track is not seen."""
        face = track.faces.get(look)
        if face is None:
            return None
        around = [box for box in self.bodies[look] if _share_inside(face.box, box) > 0.7]
        if around:
            return min(around, key=_area)
        return body(face.box, self.frames[look].shape)

    def worn(self, track: Track, look: int) -> dict[str, Picture]:
        """What is found on a person of all attributes of the case, whoever should wear them, cut out, by its word.

        Each is the surest of those in the person's box that are nearest to this face, of all faces of the look: boxes
        of neighbours overlap, and what one wears is in the other's. Sideways, for people stand upright.
        """
        if (track, look) not in self._worn:
            self._worn[track, look] = self._worn_by(track, look)
        return self._worn[track, look]

    def _worn_by(self, track: Track, look: int) -> dict[str, Picture]:
        words = list(dict.fromkeys(r.word for r in self.case.references if r.kind == "attribute"))
        box = self.body(track, look)
        person = crop(self.frames[look], box) if box else None
        if self.models.phrases is None or not words or box is None or person is None:
            return {}
        left = max(0, round(box[0]))
        own, *faces = (_middle(face.box) - left for face in (track.faces[look], *self.faces[look]))
        found: dict[str, Picture] = {}
        for word, parts in zip(words, self.models.phrases.find(person, words), strict=True):
            middles = [_middle(part.box) for part in parts]
            mine = (p for p, x in zip(parts, middles, strict=True) if abs(x - own) <= min(abs(x - f) for f in faces))
            picture = next((crop(person, part.box) for part in mine), None)
            if picture is not None:
                found[word] = picture
        return found


def _links(tracks: list[Track], look: int, faces: list[Face], embeddings: np.ndarray, same: float) -> dict[int, Track]:
    """The tracks that the faces of a look continue, by index of the face: those of at least the cosine `same`, and of
    those that were in the same place on the look before also less alike, for faces turn and blur. Not of any likeness:
    after a cut somebody else may be in the place."""
    if not tracks or not faces:
        return {}
    cosine = np.array([[float(track.embeddings[track.last] @ e) for e in embeddings] for track in tracks])
    near = np.array([[track.last == look - 1] for track in tracks])
    overlap = near * np.array([[_overlap(track.faces[track.last].box, face.box) for face in faces] for track in tracks])
    in_place = (overlap >= OVERLAP) & (cosine >= 1 - IN_PLACE * (1 - same))
    pairs = _assigned(cosine + overlap, (cosine >= same) | in_place)
    return {column: tracks[row] for row, column in pairs}


def _assigned(gain: np.ndarray, allowed: np.ndarray) -> list[tuple[int, int]]:
    """The allowed pairs (row, column), each used once, of the greatest total gain. What is not allowed is ruled out
    before it is matched: else it would take the place of a pair that is."""
    rows, columns = linear_sum_assignment(np.where(allowed, gain, 0.0), maximize=True)
    return [(int(row), int(column)) for row, column in zip(rows, columns, strict=True) if allowed[row, column]]


def _middle(box: Box) -> float:
    return (box[0] + box[2]) / 2


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _shared(one: Box, other: Box) -> float:
    return _area((max(one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]), min(one[3], other[3])))


def _overlap(one: Box, other: Box) -> float:
    shared = _shared(one, other)
    return shared / max(_area(one) + _area(other) - shared, 1e-9)


def _share_inside(inner: Box, outer: Box) -> float:
    return _shared(inner, outer) / max(_area(inner), 1e-9)
