"""Attributes, objects and faces by the release's protocol, bug for bug: the subject task's CLIP-T, CLIP-I, DINO-I,
ArcSim and CurSim.

What it does differently from protocol v1 (benchmark/subject_consistency_eval/):

| quirk               | what happens                                                              | release           |
|---------------------|---------------------------------------------------------------------------|-------------------|
| `middle`            | one frame is looked at                                                    | eval_decouple:188 |
| `described`         | a person is found by words, not by the face                               | eval_decouple:196 |
| first box           | two subjects may be one person                                            | eval_decouple:196 |
| empty person        | a box with no pixel stands for the whole frame                            | eval_decouple:217 |
| miss without CurSim | who is not found counts 0, but is left out of CurSim                      | eval_decouple:214 |
| `face_in`           | without a face, the whole person is taken for one                         | eval_utils:114    |
| exchanged colours   | face encoders are shown blue for red, in person and reference             | eval_utils:119    |
| empty part          | a box with no pixel stands for the whole person, of an object: the frame  | eval_decouple:245 |
| unequal weights     | all objects weigh as much as all subjects, one attribute as much as three | eval_decouple     |
| nothing worn        | a person without attributes is left out, but counts 0 where not found     | eval_decouple     |
| nothing asked       | a case with no attributes and no objects counts 0                         | eval_decouple     |
| no background       | it is never scored                                                        | eval_decouple     |

The face's own box is that of the identity task (`faces_of`), with its quirks. Not known of the release is CurSim of a
video in which nobody is found: 0 here, as its other metrics. The names follow `Models`: the first of `identities`
stands for ArcFace, the others for CurricularFace; `subjects` for Florence-2, `phrases` for OWLv2. Never run on the
release's weights.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.subject import Sight, resemblance, resemblances
from lumosx.evaluation.models import Models
from lumosx.evaluation.release.identity import faces_of, swapped, unaligned
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import Face, FaceDetector, PhraseDetector, Picture, crop, whole


class ReleaseSubject:
    """Scores of the middle frame. Faces need `Models.subjects`, all else `Models.phrases` too; what lacks its model is
    not offered."""

    def __init__(self, models: Models) -> None:
        self.models = models

    @property
    def metrics(self) -> dict[str, bool]:
        """Names, each with whether more is better."""
        if self.models.subjects is None:
            return {}
        parts = [] if self.models.phrases is None else resemblances(self.models)
        return dict.fromkeys([*parts, *self.models.identities], True)

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        """Raises InputError for an empty face box, ImageError where a reference picture cannot be read."""
        if self.models.subjects is None:
            return []
        frame = middle(clip)
        people = {
            subject: _person(self.models.subjects, frame, described(face.word, case.attributes(subject)))
            for subject, face in case.faces.items()
        }
        parts = [] if self.models.phrases is None else self._parts(self.models.phrases, case, frame, people)
        return [*parts, *self._faces(case, people)]

    def _parts(
        self, phrases: PhraseDetector, case: Case, frame: Picture, people: dict[int, Picture | None]
    ) -> list[Score]:
        """Attributes and objects."""
        sights = {}
        for reference in [*case.attributes(), *case.objects]:
            where = frame if reference.subject is None else people.get(reference.subject)
            seen = None if where is None else _part(phrases, where, reference.word)
            if seen is not None:
                sights[reference.id] = Sight(seen, reference.word, reference.picture())
        values = resemblance(self.models, sights)
        return [_aggregate(metric, case, people, values[metric]) for metric in resemblances(self.models)]

    def _faces(self, case: Case, people: dict[int, Picture | None]) -> list[Score]:
        if not case.faces:
            return [not_applicable(name, "no subject has a picture of its face") for name in self.models.identities]
        references = {subject: swapped(face.picture()) for subject, face in case.faces.items()}
        faces = {s: face_in(self.models.faces, person) for s, person in people.items() if person is not None}
        scores = []
        for index, (name, encoder) in enumerate(self.models.identities.items()):
            values = {
                case.faces[subject].id: float(
                    encoder.embed(swapped(person), [faces[subject]])[0] @ unaligned(references[subject], encoder)
                )
                for subject, person in people.items()
                if person is not None
            }
            if index == 0:  # of ArcFace alone, who is not found counts 0
                values |= {case.faces[subject].id: 0.0 for subject, person in people.items() if person is None}
            scores.append(Score(name, _mean(values.values()), detail={"subjects": values}))
        return scores


def middle(clip: Clip) -> Picture:
    """The one frame that is looked at."""
    return clip.frames[len(clip.frames) // 2]


def described(person: str, attributes: Sequence[CaseReference]) -> str:
    """What a person is looked for by: "man with black hat and scarf"."""
    worn = " and ".join(reference.word for reference in attributes)
    return f"{person} with {worn}" if worn else person


def face_in(detector: FaceDetector, person: Picture) -> Face:
    """The surest face on a person, or all of the person."""
    return next(iter(faces_of(detector, person)), whole(person))


def _person(detector: PhraseDetector, frame: Picture, description: str) -> Picture | None:
    """What the detector's first box shows, whatever other boxes and other subjects there are; the whole frame where the
    box is empty; None where there is no box."""
    [found] = detector.find(frame, [description])
    if not found:
        return None
    seen = crop(frame, found[0].box)
    return frame if seen is None else seen


def _part(phrases: PhraseDetector, where: Picture, word: str) -> Picture | None:
    """What the surest box of a bare word shows; all of `where` if the box is empty; None where there is no box."""
    [found] = phrases.find(where, [word])
    best = max(found, key=lambda f: f.score, default=None)
    if best is None:
        return None
    seen = crop(where, best.box)
    return where if seen is None else seen


def _aggregate(metric: str, case: Case, people: dict[int, Picture | None], values: dict[str, float]) -> Score:
    """Mean of the subjects' term and the objects'; what was looked for and not found counts 0."""
    subjects = []
    for subject, person in people.items():
        worn = case.attributes(subject)
        if person is None:
            subjects.append(0.0)
        elif worn:
            subjects.append(_mean(values.get(reference.id, 0.0) for reference in worn))
    objects = [values.get(reference.id, 0.0) for reference in case.objects]
    terms = {name: _mean(term) for name, term in {"subjects": subjects, "objects": objects}.items() if term}
    return Score(metric, _mean(terms.values()), detail={"terms": terms, "found": values})


def _mean(values: Iterable[float]) -> float:
    """0 of nothing."""
    return float(np.mean(found)) if (found := list(values)) else 0.0
