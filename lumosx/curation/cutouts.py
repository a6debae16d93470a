"""Things cut out of key frames, and whose a place in a key frame is."""

from collections.abc import Sequence

import numpy as np

from lumosx.curation.blobs import Blobs
from lumosx.curation.stages.values import Cutout, Entities, Faces
from lumosx.vision import Box, Picture


def cut_out(blobs: Blobs, frame: Picture, key: int, mask: np.ndarray, score: float) -> Cutout | None:
    """What `mask` (bool [H, W]) shows of a key frame, stored; None where it is empty.

    Transparent pixels are white, so that the picture is the same for those who read its alpha and those who do not.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not rows.size:
        return None
    x0, y0, x1, y1 = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    alpha = np.where(mask, 255, 0).astype(np.uint8)
    rgba = np.dstack([np.where(mask[..., None], frame, 255).astype(np.uint8), alpha])
    return Cutout(
        key=key,
        box=(x0, y0, x1, y1),
        score=score,
        area=float(mask.mean()),
        picture=blobs.put_picture(rgba[y0:y1, x0:x1]),
        mask=blobs.put_picture(alpha),
    )


def large(cutout: Cutout, least_side: float) -> bool:
    """Whether the shorter side of a cutout has at least so many pixels."""
    x0, y0, x1, y1 = cutout.box
    return min(x1 - x0, y1 - y0) >= least_side


def aside(x: float, box: Box) -> float:
    """How far a place is from the middle of a box: 0 there, 1 at its left and right edge."""
    return abs(2 * x - box[0] - box[2]) / (box[2] - box[0])


def owner(place: tuple[float, float], people: Sequence[Box]) -> int | None:
    """The person whose box a place is in; of several the one whose middle it is nearest to, in widths of the boxes."""
    x, y = place
    inside = [n for n, box in enumerate(people) if box[0] <= x <= box[2] and box[1] <= y <= box[3]]
    return min(inside, key=lambda number: aside(x, people[number]), default=None)


def places_of(entities: Entities, faces: Faces) -> list[dict[int, int]]:
    """Of every subject the number of its box by key frame: in the shown frame as the caption was matched, in the others
    where its face is."""
    return [
        {entities.shown: subject.box} | {face.key: face.person for face in of_subject}
        for subject, of_subject in zip(entities.subjects, faces.subjects, strict=True)
    ]
