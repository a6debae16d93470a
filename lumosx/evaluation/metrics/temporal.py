"""Does a clip stay what it is from frame to frame? Protocol v1.

Subject and background consistency and motion smoothness are VBench's (Huang et al., CVPR 2024), face consistency is
the paper's (C.5). Every metric is a value of one clip. VBench's consistency is a mean over all frames of all videos
instead: the mean over clips weighted by their `pairs`, which equals the plain one where clips are equally long.
"""

from collections.abc import Callable, Mapping

import numpy as np

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics import named
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.vision import Interpolator, Picture, PictureEncoder

# VBench has one formula and two names for it, by the encoder: of subjects DINO, of backgrounds CLIP.
CONSISTENCIES = {
    "DINO": ("subject_consistency", "DINO ViT-B/16"),
    "CLIP": ("background_consistency", "CLIP ViT-B/32"),
}


def consistency(features: np.ndarray) -> float:
    """VBench's subject and background consistency: how like the frame before and the first one is every frame?

    The mean over t >= 1 of (max(0, cos(f_t, f_t-1)) + max(0, cos(f_t, f_0))) / 2.

    Args:
        features: [F >= 2, D] of the frames, each of length 1.
    """
    previous = np.einsum("td,td->t", features[1:], features[:-1])
    first = features[1:] @ features[0]
    return float((np.maximum(previous, 0) + np.maximum(first, 0)).mean() / 2)


def smoothness(frames: np.ndarray, between: Callable[[Picture, Picture], Picture]) -> float:
    """VBench's motion smoothness: is every second frame what its neighbours suggest?

    (255 - mean |frame - what is interpolated in its place|) / 255. The last frame of an even number has one neighbour
    only and is left out.

    Args:
        frames: uint8 [F >= 3, H, W, 3].
        between: gives the picture halfway between two.
    """
    errors = [
        np.abs(frames[t].astype(np.int16) - between(frames[t - 1], frames[t + 1])).mean()
        for t in range(1, len(frames) - 1, 2)
    ]
    return float((255 - np.mean(errors)) / 255)


def face_consistency(embeddings: Mapping[int, np.ndarray], looks: int) -> float:
    """The paper's face consistency (C.5): the mean cosine of one face on a look and on the look before.

    A pair that lacks the face on either look counts 0, as every miss does in this protocol.

    Args:
        embeddings: [D] of length 1, by look.
        looks: how many there were, at least 2.
    """
    pairs = ((embeddings.get(t - 1), embeddings.get(t)) for t in range(1, looks))
    return sum(float(a @ b) for a, b in pairs if a is not None and b is not None) / (looks - 1)


class TemporalMeasure:
    """Consistency by every encoder of pictures, motion smoothness, and face consistency.

    Frames are all of the clip's, except that face consistency takes the evidence's looks: 16 of 81 frames lie a third
    of a second apart, so it asks more than the paper's consecutive frames do, at a fifth of the cost (looks at all
    frames are those). It is the mean over the case's people; whoever is not seen at all, or comes back as another
    track, is a miss.
    """

    def __init__(self, models: Models) -> None:
        self._encoders = {_consistency_name(key): encoder for key, encoder in models.likenesses.items()}
        self._interpolator = models.interpolator
        self._face = named("face_consistency", next(iter(models.identities)), "ArcSim")
        smoothness = [_smoothness_name(models.interpolator)] if models.interpolator else []
        self.metrics = dict.fromkeys([*self._encoders, *smoothness, self._face], True)

    def nothing_for(self, case: Case) -> list[Score]:
        """Face consistency of a case without faces."""
        return [] if case.faces else [not_applicable(self._face, "no subject has a picture of its face")]

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        scores = [_consistency(name, encoder, clip) for name, encoder in self._encoders.items()]
        if self._interpolator:
            scores.append(_smoothness(self._interpolator, clip))
        return [*scores, *(self.nothing_for(case) or [_face_consistency(self._face, evidence)])]


def _consistency_name(key: str) -> str:
    for kind, (metric, own) in CONSISTENCIES.items():
        if key.startswith(kind):
            return named(metric, key, own)
    return f"frame_consistency[{key}]"


def _consistency(metric: str, encoder: PictureEncoder, clip: Clip) -> Score:
    if len(clip.frames) < 2:
        return not_applicable(metric, "one frame has nothing to be consistent with")
    return Score(metric, consistency(encoder.embed(list(clip.frames))), detail={"pairs": len(clip.frames) - 1})


def _smoothness_name(interpolator: Interpolator) -> str:
    return named("motion_smoothness", interpolator.card.name, "AMT-S")


def _smoothness(interpolator: Interpolator, clip: Clip) -> Score:
    metric = _smoothness_name(interpolator)
    if len(clip.frames) < 3:
        return not_applicable(metric, "no frame lies between two others")
    return Score(metric, smoothness(clip.frames, interpolator.between))


def _face_consistency(metric: str, evidence: Evidence) -> Score:
    looks = len(evidence.frames)
    if looks < 2:
        return not_applicable(metric, "one frame has nothing to be consistent with")
    values = {
        str(subject): face_consistency(track.embeddings if track else {}, looks)
        for subject, track in evidence.people.items()
    }
    return Score(metric, float(np.mean(list(values.values()))), detail={"subjects": values, "looks": looks})
