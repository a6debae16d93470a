"""Do the people look like their references, are all of them there, and is nobody else? Protocol v1.

Paper, section 4.1 (ArcSim, CurSim). The assignment of faces to references holds for the whole clip and for all
encoders, so that two encoders judge the same person.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics import SEEN
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import FaceEncoder

RECALL, PRECISION, EXTRA = "person_recall", "person_precision", "extra_people"


class IdentityMeasure:
    """Likeness of faces, for each encoder of `Models.identities` under its own name, and people found.

    `NAME`: mean cosine of face and reference over subjects and looks; a look without the person counts 0.
    `NAME|seen`: the same over the looks at which each person is seen; whoever is never seen is left out.
    `person_recall`: share of the subjects with a face that have a track. `person_precision`: share of the tracks that
    are somebody of the case. `extra_people`: how many are not; subjects without a picture of their face may be anybody.
    """

    def __init__(self, models: Models) -> None:
        self.encoders = models.identities

    @property
    def metrics(self) -> dict[str, bool]:
        """Names, each with whether more is better."""
        likeness = {name + end: True for name in self.encoders for end in ("", SEEN)}
        return {**likeness, RECALL: True, PRECISION: True, EXTRA: False}

    def nothing_for(self, case: Case) -> list[Score]:
        """All metrics of a case without faces."""
        names = [] if case.faces else self.metrics
        return [not_applicable(metric, "no subject has a picture of its face") for metric in names]

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        """Raises ImageError where a reference picture cannot be read."""
        if nothing := self.nothing_for(case):
            return nothing
        looks = {"looks": len(evidence.frames), "frames": len(clip.frames)}
        likeness = [
            score
            for name, encoder in self.encoders.items()
            for score in score_looks(name, _cosines(evidence, encoder), len(evidence.frames), looks)
        ]
        return [*likeness, *_people(evidence)]


def score_looks(
    metric: str, values: Mapping[str, Mapping[int, float]], looks: int, detail: Mapping[str, Any]
) -> list[Score]:
    """`metric`, where what is not seen counts 0, and `metric|seen`.

    Args:
        values: by entity and look, only of those at which it is seen. Every entity weighs the same.
        looks: how many there are.
        detail: goes into both scores, with the value of each entity.
    """
    strict = {entity: sum(seen.values()) / looks for entity, seen in values.items()}
    given = {entity: sum(seen.values()) / len(seen) for entity, seen in values.items() if seen}
    if given:
        found = Score(metric + SEEN, float(np.mean(list(given.values()))), detail={**detail, "entities": given})
    else:
        found = not_applicable(metric + SEEN, "nothing of it is seen")
    return [Score(metric, float(np.mean(list(strict.values()))), detail={**detail, "entities": strict}), found]


def _cosines(evidence: Evidence, encoder: FaceEncoder) -> dict[str, dict[int, float]]:
    """Likeness to the reference by face (id of the reference) and look at which the person is seen."""
    if encoder is evidence.encoder:
        references = evidence.references
        seen = {subject: track.embeddings for subject, track in evidence.people.items() if track is not None}
    else:
        references = {subject: evidence.reference_embedding(subject, encoder) for subject in evidence.case.faces}
        seen = _embeddings(evidence, encoder)
    return {
        face.id: {look: float(e @ references[subject]) for look, e in seen.get(subject, {}).items()}
        for subject, face in evidence.case.faces.items()
    }


def _embeddings(evidence: Evidence, encoder: FaceEncoder) -> dict[int, dict[int, np.ndarray]]:
    """Of the subjects' faces, by look; all faces of a look at once."""
    found: dict[int, dict[int, np.ndarray]] = {subject: {} for subject in evidence.people}
    for look, frame in enumerate(evidence.frames):
        faces = {s: track.faces[look] for s, track in evidence.people.items() if track and look in track.faces}
        embeddings = encoder.embed(frame, list(faces.values())) if faces else ()
        for subject, embedding in zip(faces, embeddings, strict=True):
            found[subject][look] = embedding
    return found


def _people(evidence: Evidence) -> list[Score]:
    seen = {evidence.case.faces[subject].id: track is not None for subject, track in evidence.people.items()}
    anybody = evidence.case.subjects - len(seen)
    extra = max(0, len(evidence.strangers) - anybody)
    detail = {"seen": seen, "tracks": len(evidence.tracks), "extra": extra}
    recall = Score(RECALL, sum(seen.values()) / len(seen), detail=detail)
    if evidence.tracks:
        precision = Score(PRECISION, 1 - extra / len(evidence.tracks), detail=detail)
    else:
        precision = not_applicable(PRECISION, "nobody is seen")
    return [recall, precision, Score(EXTRA, float(extra), detail=detail)]
