"""Models that see blocks of plain colour as faces, people and things, so that every score has an exact answer.

Pictures are black with rectangles on them. Embeddings are mean colours: those of red, green and blue are at right
angles, those of (120, 160, 0) and (200, 0, 0) have a cosine of 0.6, and black in a crop changes none of them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.scene.entities import Kind
from lumosx.scene.images import ImageSpec
from lumosx.vision import Box, Face, Found, ModelCard, Picture, crop

RGB = tuple[int, int, int]
RED, GREEN, BLUE = (200, 0, 0), (0, 200, 0), (0, 0, 200)
OLIVE = (120, 160, 0)  # cosine .6 with red, .8 with green
TEAL = (0, 160, 120)  # cosine .6 with blue, .8 with green; not what olive is with red and blue exchanged
PURPLE = (120, 0, 160)  # cosine .6 with red, .8 with blue
BODY, COAT = (60, 60, 60), (90, 90, 90)  # two people's


def paint(*blocks: tuple[Box, RGB], size: tuple[int, int] = (120, 80)) -> Picture:
    """A picture of a width and height; later blocks lie over earlier ones."""
    picture = np.zeros((size[1], size[0], 3), np.uint8)
    for box, colour in blocks:
        part = crop(picture, box)
        assert part is not None
        part[:] = colour
    return picture


def clip_of(*frames: Picture) -> Clip:
    """A clip of frames."""
    return Clip(np.stack(frames), 8.0)


def blocks_of(picture: Picture, colour: RGB) -> list[Box]:
    """Bounding boxes of a colour's connected areas, the largest first."""
    here = (picture == np.array(colour, np.uint8)).all(-1)
    labels, _ = ndimage.label(here) if here.any() else (here.astype(int), 0)
    boxes = [(float(x.start), float(y.start), float(x.stop), float(y.stop)) for y, x in ndimage.find_objects(labels)]
    return sorted(boxes, key=lambda box: -(box[2] - box[0]) * (box[3] - box[1]))


def mean_colours(pictures: Sequence[Picture], red: float = 1.0) -> np.ndarray:
    """[n, 3] of length 1."""
    means = np.array([picture.reshape(-1, 3).mean(0) * (red, 1, 1) for picture in pictures], np.float32)
    return means / np.linalg.norm(means, axis=1, keepdims=True)


class Named:
    """Has a card and counts nothing else."""

    def __init__(self, name: str = "blocks") -> None:
        self.card = ModelCard(name, "a test", "1", "none", True)


class BlockFaces(Named):
    """Sees blocks of some colours as faces, the surest first in the order of the colours."""

    def __init__(self, *colours: RGB) -> None:
        super().__init__()
        self.colours = colours

    def detect(self, picture: Picture) -> list[Face]:
        found = [box for colour in self.colours for box in blocks_of(picture, colour)]
        return [Face(box, 1 - 0.01 * index) for index, box in enumerate(found)]


class FaceColour(Named):
    """Tells faces apart by their mean colour, in which red counts more or less than green and blue."""

    def __init__(self, red: float = 1.0) -> None:
        super().__init__()
        self.red = red

    def embed(self, picture: Picture, faces: Sequence[Face]) -> np.ndarray:
        parts = [crop(picture, face.box) for face in faces]
        return mean_colours([part for part in parts if part is not None], self.red)


class BlockPeople(Named):
    """Sees blocks of some colours as people."""

    def __init__(self, *colours: RGB) -> None:
        super().__init__()
        self.colours = colours

    def detect(self, picture: Picture) -> list[Found]:
        return [Found(box, 1.0) for colour in self.colours for box in blocks_of(picture, colour)]


class BlockPhrases(Named):
    """Finds the blocks of a phrase's colour, or the boxes that it is told to find; keeps what it was asked."""

    def __init__(self, meanings: Mapping[str, RGB | list[Found]]) -> None:
        super().__init__()
        self.meanings = meanings
        self.asked: list[str] = []

    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        self.asked += phrases
        return [self._found(picture, self.meanings.get(phrase, [])) for phrase in phrases]

    def _found(self, picture: Picture, meaning: RGB | list[Found]) -> list[Found]:
        if isinstance(meaning, list):
            return meaning
        return [Found(box, 0.9 - 0.1 * index) for index, box in enumerate(blocks_of(picture, meaning))]


class MeanColour(Named):
    """Compares pictures by their mean colour, and with the colours that words mean."""

    def __init__(self, words: Mapping[str, RGB] | None = None, name: str = "CLIP of blocks") -> None:
        super().__init__(name)
        self.words = words or {}

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray:
        return mean_colours(pictures)

    def embed_text(self, texts: Sequence[str]) -> np.ndarray:
        return mean_colours([np.array([[self.words[text]]]) for text in texts])


def reference(kind: Kind, word: str, picture: Picture | None = None, subject: int | None = None) -> CaseReference:
    """A reference with its picture in memory; its id is its word, after its subject's number."""
    image = None if picture is None else ImageSpec(None, Image.fromarray(picture))
    return CaseReference(word if subject is None else f"{subject}.{word}", kind, subject, word, image)


def face(subject: int, colour: RGB, word: str = "man") -> CaseReference:
    """A subject whose reference is a plain picture."""
    return reference("face", word, plain(colour), subject)


def plain(colour: RGB) -> Picture:
    """A picture of one colour."""
    return np.full((12, 10, 3), colour, np.uint8)


def case_of(*references: CaseReference) -> Case:
    """A case of some references."""
    return Case("case", "a prompt", references, {}, Path("."))
