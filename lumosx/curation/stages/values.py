"""What the stages of curation find, as they keep it: small strict records, one for each stage.

Boxes are x0, y0, x1, y1 in pixels of the clip's own frames (after borders and subtitles are cut off, at the size in
which the clip is kept). Frames are numbered from 0 at 16 a second. Pictures are names of blobs.
"""

from typing import Annotated

from pydantic import Field

from lumosx.curation.stage import Vector
from lumosx.records import Model

Box = tuple[float, float, float, float]
Crop = tuple[int, int, int, int]
Chars = tuple[int, int]  # from and up to, in characters of the caption


class Shots(Model):
    """A video as it is shown, and the clips that it is cut into: seconds from and up to."""

    width: int
    height: int
    fps: float
    seconds: float
    clips: list[tuple[float, float]]


class Borders(Model):
    """What is inside of black and white borders, in pixels of the source as it is shown; `kept` is its share."""

    crop: Crop
    kept: float


class Colourfulness(Model):
    """How colourful a clip is: 0 of one without colours."""

    value: float


class Subtitles(Model):
    """Lettering that was laid over the clip: its share of the picture, and the crop that is free of it.

    `crop` is `Borders.crop` where there is none, less rows above or below where that suffices.
    """

    share: float
    crop: Crop
    left: float  # share of the picture that lettering covers within the crop
    texts: list[str]


class Kept(Model):
    """The clip as it will be kept: its size, its length, and its key frames as pictures.

    stored_fps: frames a second of the source; with fewer than those of the clip, frames are repeated.
    """

    width: int
    height: int
    frames: int
    stored_fps: float
    key_numbers: list[int]
    key_frames: list[str]


class FlowStrength(Model):
    """How much moves: the mean length of the flow from frame to frame, in pixels of a picture whose shorter side has
    256."""

    value: float
    pairs: list[float]


class Scores(Model):
    """Technical quality and aesthetics, from 1 to 5."""

    quality: float
    aesthetic: float


class Seen(Model):
    """A person, or a thing, that a detector sees in a frame."""

    box: Box
    score: float


class People(Model):
    """The people in every key frame, from left to right."""

    frames: list[list[Seen]]


class Embedding(Model):
    """The clip as a vector of length 1, by which near-duplicates are found, and how large and long it is."""

    vector: Vector
    pixels: int
    frames: int


class Caption(Model):
    """What the clip shows, in words."""

    text: Annotated[str, Field(min_length=1)]


class Phrase(Model):
    """Words of the caption, and where they stand."""

    text: str
    chars: Chars


class Subject(Model):
    """Somebody whom the caption names: the number of the box (of `People.frames[shown]`, from 0), the noun, and what is
    worn or otherwise this person's alone."""

    box: int
    noun: Phrase
    attributes: list[Phrase]


class Entities(Model):
    """Who and what the caption names, and which attribute is whose. `shown` is the key frame that was asked about, and
    `people` how many it shows.

    Subjects are in the order of their boxes, phrases in that of the caption. Every phrase occurs in the caption, and no
    two share a character.
    """

    shown: int
    people: int
    subjects: list[Subject]
    objects: list[Phrase]
    background: Phrase | None
    repaired: bool  # whether the first answer was not valid


class FacePicture(Model):
    """A subject's face in a key frame, and the measures that `FaceGates` judges it by."""

    key: int  # number of the key frame
    person: int  # number of the person's box there
    box: Box
    score: float
    sharpness: float
    turned: float | None  # how far from frontal, 0 to 1; None: the detector gives no landmarks
    hidden: float = 0.0  # share of its box that somebody else may hide, or that lies outside of the frame
    likeness: float  # cosine with the face in the shown frame
    picture: str


class Faces(Model):
    """The faces of every subject of `Entities`, in the same order: one for each key frame at most, whether or not it
    passes the gates (`FaceGates.passing`)."""

    subjects: list[list[FacePicture]]


class Cutout(Model):
    """Something cut out of a key frame: RGBA, all else transparent and white. `box` is its mask's."""

    key: int
    box: Box
    score: float
    area: float  # share of the frame
    picture: str
    mask: str  # of the whole frame, 0 and 255


class Attributes(Model):
    """Pictures of every subject's attributes, [subject][attribute][candidate]."""

    subjects: list[list[list[Cutout]]]


class Objects(Model):
    """Pictures of every object of `Entities`, [object][candidate]."""

    objects: list[list[Cutout]]


class CleanBackground(Model):
    """A key frame without people and objects, and how many people a detector still sees there."""

    key: int
    foreground: float  # share of the frame that was painted anew
    people_left: int
    picture: str


class Background(Model):
    """The clean backgrounds of the clip, one for each key frame at most, whether or not they are clean enough
    (`CleanBackgrounds.passing`). `foreground`: its share of every key frame, also of those that were not painted; empty
    if the caption names no background."""

    frames: list[CleanBackground]
    foreground: list[float]


class VideoFile(Model):
    """The clip's own video file."""

    video: str
