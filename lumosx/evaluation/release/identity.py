"""Faces by the release's protocol, bug for bug: ArcSim and CurSim of the identity task.

What it does differently from protocol v1 (benchmark/face_consistency_eval/):

| quirk              | what happens                                                                     |
|--------------------|----------------------------------------------------------------------------------|
| all frames         | are looked at                                                                    |
| `unaligned`        | a reference is its whole picture, squeezed into the encoder's square             |
| `swapped`          | the detector is shown blue for red                                               |
| `raised`           | a face's box grows upwards and a little downwards, and is not aligned            |
| matching per frame | people may exchange places on every frame at no cost                             |
| forced matching    | a face that is like nobody is still somebody, with whatever cosine it has        |
| extra people       | cost nothing, and may fill in for who is missing                                 |
| empty boxes        | stop it                                                                          |

The names follow `Models.identities`: its first encoder stands for the release's ArcFace, the others for its
CurricularFace; the numbers are the release's with its models only (YOLOv9 for faces, ArcFace iresnet100, CurricularFace
IR-101). Never run on those weights.
"""

from collections.abc import Mapping

import numpy as np
from scipy.optimize import linear_sum_assignment

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import Box, Face, FaceDetector, FaceEncoder, Picture, crop, whole

ABOVE = 0.17  # of a face's height, added at the top
BELOW = 0.03  # of the height after that, added at the bottom


class ReleaseIdentity:
    """On every frame faces are matched to references by the first encoder, for all of them; `NAME` is the sum of its
    cosines over frames * references (distributed_arcface_similarity_multiface.py:140-184)."""

    def __init__(self, models: Models) -> None:
        self.models = models

    @property
    def metrics(self) -> dict[str, bool]:
        """Names, each with whether more is better."""
        return dict.fromkeys(self.models.identities, True)

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        """Raises InputError for an empty face box, ImageError where a reference picture cannot be read."""
        if not case.faces:
            return [not_applicable(name, "no subject has a picture of its face") for name in self.metrics]
        pictures = [face.picture() for face in case.faces.values()]
        encoders = self.models.identities
        references = {name: np.stack([unaligned(p, encoder) for p in pictures]) for name, encoder in encoders.items()}
        sums, faces = dict.fromkeys(encoders, 0.0), 0
        for frame in clip.frames:
            found = faces_of(self.models.faces, frame)
            faces += len(found)
            if found:
                cosines = {name: encoder.embed(frame, found) @ references[name].T for name, encoder in encoders.items()}
                for name, matched in _matched(cosines).items():
                    sums[name] += matched
        shares = len(clip.frames) * len(pictures)
        detail = {"frames": len(clip.frames), "references": len(pictures), "faces": faces}
        return [Score(name, total / shares, detail=detail) for name, total in sums.items()]


def unaligned(picture: Picture, encoder: FaceEncoder) -> np.ndarray:
    """[D] of a picture as a whole: no face is looked for in it, and its proportions are lost
    (ddp_eval_multiface.py:32-46)."""
    return encoder.embed(picture, [whole(picture)])[0]


def swapped(picture: Picture) -> Picture:
    """Red and blue exchanged."""
    return np.ascontiguousarray(picture[..., ::-1])


def raised(box: Box) -> Box:
    """A face's box with the hair: higher by 17 %, lower by 3 % of the height that it then has, as wide as before
    (distributed_arcface_similarity_multiface.py:34-91)."""
    x0, y0, x1, y1 = box
    top = y0 - ABOVE * (y1 - y0)
    return x0, top, x1, y1 + BELOW * (y1 - top)


def faces_of(detector: FaceDetector, picture: Picture) -> list[Face]:
    """Faces as the release cuts them out: found with red and blue exchanged, the box raised, never aligned.

    Raises InputError for a box with no pixel in it, at which the release stops with an error of its own.
    """
    faces = [Face(raised(face.box), face.score) for face in detector.detect(swapped(picture))]
    for face in faces:
        if crop(picture, face.box) is None:
            raise InputError(
                f"a face's box {face.box} has no pixel, at which the release's protocol stops; "
                "score the clip with --protocol v1"
            )
    return faces


def _matched(cosines: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Sums over the pairs, as many as there can be, that the first encoder's table [faces, references] matches."""
    rows, columns = linear_sum_assignment(1 - next(iter(cosines.values())))
    return {name: float(table[rows, columns].sum()) for name, table in cosines.items()}
