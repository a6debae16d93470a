"""What benchmark and curation ask of other people's models: small protocols, one adapter file a library.

Everywhere a picture is uint8 [H, W, 3] in RGB and a box is (x0, y0, x1, y1) in its pixels, so that no adapter decides
on channels or scales for those who ask. Embeddings are float32 of length 1. An adapter imports its library when it is
made, and answers a missing one with an InputError that names the extra to install.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from lumosx.vision.boxes import Box, within

Picture = np.ndarray  # uint8 [H, W, 3], RGB


@dataclass(frozen=True)
class ModelCard:
    """What a result must say about a model that it depends on.

    `revision` pins the weights: sha256 of a file, a commit of the hub, or the version of the wheel that ships them.
    """

    name: str
    source: str
    revision: str
    licence: str
    commercial: bool  # whether the licence of the weights allows commercial use

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for a run's card."""
        return asdict(self)


@dataclass(frozen=True)
class Face:
    """A face in a picture. `landmarks` [5, 2]: the eyes, the nose, the corners of the mouth, as ArcFace orders them
    (left of the picture first); None where the detector gives none."""

    box: Box
    score: float
    landmarks: np.ndarray | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Found:
    """Something that was looked for, in a picture."""

    box: Box
    score: float


@dataclass(frozen=True)
class Written:
    """A line of text in a picture."""

    text: str
    box: Box
    score: float


class HasCard(Protocol):
    """Every adapter says what it is."""

    @property
    def card(self) -> ModelCard: ...


class FaceDetector(HasCard, Protocol):
    """Finds faces, the surest first."""

    def detect(self, picture: Picture) -> list[Face]: ...


class FaceEncoder(HasCard, Protocol):
    """Tells people apart: [n, D] for n faces of one picture, each aligned by its landmarks if it has any.

    One may state `same_person`, the least cosine of two pictures of one person, which those who ask then go by.
    """

    def embed(self, picture: Picture, faces: Sequence[Face]) -> np.ndarray: ...


class PersonDetector(HasCard, Protocol):
    """Finds whole people, the surest first."""

    def detect(self, picture: Picture) -> list[Found]: ...


class PhraseDetector(HasCard, Protocol):
    """Finds what each phrase names, the surest first: a list for every phrase."""

    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]: ...


class PictureEncoder(HasCard, Protocol):
    """Embeddings [n, D] of n pictures."""

    def embed(self, pictures: Sequence[Picture]) -> np.ndarray: ...


class TextPictureEncoder(PictureEncoder, Protocol):
    """Texts [n, D] in the same space."""

    def embed_text(self, texts: Sequence[str]) -> np.ndarray: ...


class ClipEmbedder(HasCard, Protocol):
    """A clip's frames uint8 [F, H, W, 3] as a vector [D] of length 1."""

    def embed_video(self, frames: np.ndarray) -> np.ndarray: ...


class VideoEncoder(ClipEmbedder, Protocol):
    """A clip's frames and a text, [D] each, in one space."""

    def embed_text(self, text: str) -> np.ndarray: ...


class Flow(HasCard, Protocol):
    """Motion from one picture to the next: float32 [H, W, 2], pixels to the right and down."""

    def flow(self, first: Picture, second: Picture) -> np.ndarray: ...


class Interpolator(HasCard, Protocol):
    """The picture halfway between two."""

    def between(self, first: Picture, second: Picture) -> Picture: ...


class TextReader(HasCard, Protocol):
    """Reads the text in a picture, line by line."""

    def read(self, picture: Picture) -> list[Written]: ...


class Segmenter(HasCard, Protocol):
    """What fills each of n boxes, bool [n, H, W]."""

    def segment(self, picture: Picture, boxes: Sequence[Box]) -> np.ndarray: ...


class Inpainter(HasCard, Protocol):
    """The picture with what is in `mask` (bool [H, W]) painted anew."""

    def paint(self, picture: Picture, mask: np.ndarray, prompt: str, seed: int) -> Picture: ...


@dataclass(frozen=True)
class Question:
    """A question about pictures.

    schema: of the JSON that is wanted; None: free text. facts: what the prompt states, as data (boxes, the caption),
    for models that do not read prompts.
    """

    pictures: Sequence[Picture]
    prompt: str
    schema: Mapping[str, Any] | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class BadAnswer(RuntimeError):
    """A model gave no answer, or one that breaks off. `text`: what there is of it."""

    def __init__(self, message: str, text: str = "") -> None:
        self.text = text
        super().__init__(message)


class Talker(HasCard, Protocol):
    """Answers questions about pictures in words. Raises BadAnswer where there is no whole answer."""

    def answer(self, question: Question) -> str: ...


class Scorer(HasCard, Protocol):
    """Technical quality and aesthetics of a clip's frames, from 1 to 5."""

    def score(self, frames: Sequence[Picture]) -> tuple[float, float]: ...


def crop(picture: Picture, box: Box) -> Picture | None:
    """The part of a picture in a box, rounded to whole pixels; None where nothing of it is in the picture."""
    part = within(box, picture.shape)
    return picture[part[1] : part[3], part[0] : part[2]] if part else None


def whole(picture: Picture) -> Face:
    """All of a picture taken for a face, where none is found or looked for."""
    height, width = picture.shape[:2]
    return Face((0.0, 0.0, float(width), float(height)), 0.0)
