"""Boxes (x0, y0, x1, y1) in pixels of a picture."""

import numpy as np

Box = tuple[float, float, float, float]
WholeBox = tuple[int, int, int, int]
BODY = (3.0, 7.0)  # width and height of an adult who stands, with room for a hat, in those of the face


def within(box: Box, size: tuple[int, ...]) -> WholeBox | None:
    """A box in whole pixels of a picture whose `size` begins with height and width; None where nothing of it is in the
    picture."""
    height, width = size[:2]
    x0, y0, x1, y1 = max(0, round(box[0])), max(0, round(box[1])), min(width, round(box[2])), min(height, round(box[3]))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def filled(box: Box, size: tuple[int, ...]) -> np.ndarray:
    """bool [H, W]: the pixels in a box."""
    mask = np.zeros(size[:2], bool)
    if whole := within(box, size):
        mask[whole[1] : whole[3], whole[0] : whole[2]] = True
    return mask


def widened(box: Box, share: float) -> Box:
    """A box with a share of its sides added on each side."""
    dx, dy = share * (box[2] - box[0]), share * (box[3] - box[1])
    return box[0] - dx, box[1] - dy, box[2] + dx, box[3] + dy


def body(face: Box, size: tuple[int, ...]) -> Box:
    """Where somebody is by the face's size, in a picture whose `size` begins with height and width: from one face above
    the face down, the face in the middle."""
    x0, y0, x1, y1 = face
    middle, across, side = (x0 + x1) / 2, (x1 - x0) * BODY[0], y1 - y0
    left, top = max(0.0, middle - across / 2), max(0.0, y0 - side)
    return left, top, min(float(size[1]), middle + across / 2), min(float(size[0]), y0 - side + side * BODY[1])


def centre(box: Box) -> tuple[float, float]:
    """Its middle, x and y."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
