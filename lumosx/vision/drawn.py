"""Eyes for the playground: what its drawings show, read from pixels alone.

Where nothing can be downloaded, a small network that was trained on the playground (`scripts/train_eyes.py`) stands in
for detectors, segmenters and models that talk: it names every pixel, and what the adapters answer follows from that.
It makes mistakes, as those models do, and knows nothing of any other world.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import load_file
from scipy import ndimage
from torch import Tensor, nn

from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.paths import shipped
from lumosx.playground.captions import PLURAL
from lumosx.playground.looks import ATTRIBUTES, BACKGROUNDS, FACES, OBJECTS, PREPOSITIONS
from lumosx.vision import Box, Face, Found, ModelCard, Picture, Question

NOUNS = tuple(FACES)
WORN = tuple(word for family in ATTRIBUTES.values() for word in family)
THINGS = tuple(OBJECTS)
PLACES = tuple(BACKGROUNDS)
BODY = "body"  # of somebody, where it is neither face nor told
CLASSES = ("", BODY, *NOUNS, *WORN, *THINGS)  # of a pixel; "" is the background
SIDE = 96  # pixels of a picture's height as the network sees it
WEIGHTS = "checkpoints/playground-eyes/model.safetensors"
WIDTH = 24  # channels of the first level
FACE, PART = 0.004, 0.0008  # least share of a picture that a face, and anything else, covers
HEAD = 1.1  # width of a head in the playground's figure units, of which a figure is 2.7 high
REACH = 0.8  # units on either side of the middle of a head within which a body is
FEET = 2.2  # units from the middle of a head down
BINS = 5  # of each channel in a face's histogram
ALIKE = 0.5  # least intersection over union of two boxes of one figure
MOST_WORN = 3  # attributes of a person that are told
LEFT_TO_RIGHT = {2: ("on the left", "on the right"), 3: ("on the left", "in the middle", "on the right")}


class Eyes(nn.Module):
    """A U-Net of four levels: a class for every pixel, and the kind of background."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        widths = [3, *(width * level for level in (1, 2, 3, 4))]
        self.down = nn.ModuleList(_block(*pair) for pair in pairwise(widths))
        self.up = nn.ModuleList(_block(inner * width, outer * width) for inner, outer in ((7, 3), (5, 2), (3, 1)))
        self.pixel = nn.Conv2d(width, len(CLASSES), 1)
        self.place = nn.Linear(4 * width, len(PLACES))

    def forward(self, pictures: Tensor) -> tuple[Tensor, Tensor]:
        """Of pictures [N, 3, H, W] in [-1, 1], sides multiples of 8: logits [N, classes, H, W] and [N, places]."""
        x, skipped = pictures, []
        for level, block in enumerate(self.down):
            x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
            skipped.append(x)
        place = self.place(x.mean((2, 3)))
        for block, skip in zip(self.up, skipped[-2::-1], strict=True):
            x = block(torch.cat([nn.functional.interpolate(x, scale_factor=2.0), skip], 1))
        return self.pixel(x), place


@dataclass(frozen=True)
class Figure:
    """Somebody in a picture. `mask` [H, W] is all of the figure, `worn` [H, W] by word a part of it."""

    noun: str
    face: Face
    box: Box
    mask: np.ndarray
    worn: dict[str, np.ndarray]


@dataclass(frozen=True)
class Reading:
    """What a picture shows: the class of every pixel [H, W], how sure each is [H, W], and the kind of background."""

    labels: np.ndarray
    sure: np.ndarray
    place: str

    def mask(self, word: str) -> np.ndarray:
        """Where a word's class is seen, bool [H, W]."""
        return self.labels == CLASSES.index(word)

    @cached_property
    def figures(self) -> list[Figure]:
        """Everybody, from left to right: whoever has a face."""
        faces = self._faces()
        owners = self._owners([face.box for face in faces])
        return [self._figure(face, owners == number) for number, face in enumerate(faces) if (owners == number).any()]

    def parts(self, mask: np.ndarray, least: float = PART) -> list[Found]:
        """The boxes of what hangs together in a mask, the largest first; specks are left out."""
        numbered, count = cast(tuple[np.ndarray, int], ndimage.label(ndimage.binary_dilation(mask)))
        found = [(number, numbered == number) for number in range(1, count + 1)]
        areas = {number: int((part & mask).sum()) for number, part in found}
        large = [(number, part) for number, part in found if areas[number] >= least * mask.size]
        large.sort(key=lambda each: -areas[each[0]])
        return [Found(_box(part & mask), float(self.sure[part & mask].mean())) for _, part in large]

    def _faces(self) -> list[Face]:
        """From left to right. What stands above one another is one face, which glasses or a brim cut in two."""
        faces: list[Face] = []
        heads = np.isin(self.labels, [CLASSES.index(noun) for noun in NOUNS])
        for found in sorted(self.parts(heads, FACE), key=_middle):
            if faces and faces[-1].box[0] < _middle(found) < faces[-1].box[2]:
                box, other = found.box, faces.pop().box
                box = min(box[0], other[0]), min(box[1], other[1]), max(box[2], other[2]), max(box[3], other[3])
                found = Found(box, found.score)
            faces.append(Face(found.box, found.score))
        return faces

    def _owners(self, faces: Sequence[Box]) -> np.ndarray:
        """Whose each pixel of people is: the number of the face whose body it may belong to, and is nearest to; -1."""
        owner = np.full(self.labels.shape, -1)
        rows, columns = np.indices(self.labels.shape)
        nearest = np.full(self.labels.shape, np.inf)
        someone = np.isin(self.labels, [CLASSES.index(word) for word in (BODY, *NOUNS, *WORN)])
        for number, (x0, y0, x1, y1) in enumerate(faces):
            unit = (x1 - x0) / HEAD
            across, down = np.abs(columns - (x0 + x1) / 2) / unit, (rows - (y0 + y1) / 2) / unit
            near = someone & (across < 2 * REACH) & (down < FEET * 1.2) & (across < nearest)
            owner[near], nearest[near] = number, across[near]
        return owner

    def _figure(self, face: Face, mask: np.ndarray) -> Figure:
        height, width = self.labels.shape
        noun = max(NOUNS, key=lambda noun: int((mask & self.mask(noun)).sum()))
        x0, y0, x1, y1 = face.box
        unit, middle = (x1 - x0) / HEAD, (x0 + x1) / 2
        left, top, right, bottom = _box(mask)
        box = (
            max(0.0, min(left, middle - REACH * unit)),
            max(0.0, min(top, y0)),
            min(float(width), max(right, middle + REACH * unit)),
            min(float(height), max(bottom, (y0 + y1) / 2 + FEET * unit)),
        )
        worn = {word: mask & self.mask(word) for word in WORN}
        return Figure(noun, face, box, mask, {word: m for word, m in worn.items() if m.sum() >= PART * m.size})


def settled(labels: np.ndarray) -> np.ndarray:
    """Classes of pixels [H, W] in which every piece has one name: of a hat that is partly a cap and partly a beanie all
    is called what most of it is."""
    settled = labels.copy()
    for family in (NOUNS, THINGS, *ATTRIBUTES.values()):
        classes = [CLASSES.index(word) for word in family]
        numbered, count = cast(tuple[np.ndarray, int], ndimage.label(np.isin(labels, classes)))
        for piece in range(1, count + 1):
            inside = numbered == piece
            settled[inside] = np.bincount(labels[inside]).argmax()
    return settled


class _Drawn:
    """What all adapters have in common.

    Raises:
        InputError: the weights are not there.
    """

    def __init__(self) -> None:
        path = shipped(WEIGHTS)
        if not path.is_file():
            raise InputError(f"{path}: no such file; make it with scripts/train_eyes.py")
        self.card = ModelCard("eyes of the playground", "lumosx", sha256_of(path), "Apache-2.0", True)


class DrawnPeople(_Drawn):
    """Whole people."""

    def detect(self, picture: Picture) -> list[Found]:
        """The surest first."""
        found = [Found(figure.box, figure.face.score) for figure in read(picture).figures]
        return sorted(found, key=lambda one: -one.score)


class DrawnFaces(_Drawn):
    """Faces, without landmarks."""

    def detect(self, picture: Picture) -> list[Face]:
        """The surest first."""
        return sorted((figure.face for figure in read(picture).figures), key=lambda face: -face.score)


class DrawnIdentity(_Drawn):
    """Faces by their colours: a histogram over what is seen of a face, and nothing of what is worn on it."""

    same_person = 0.85  # least cosine of two faces of one person

    def embed(self, picture: Picture, faces: Sequence[Face]) -> np.ndarray:
        """float32 [n, BINS ** 3], of length 1."""
        nouns = np.isin(read(picture).labels, [CLASSES.index(noun) for noun in NOUNS])
        found = [_histogram(picture[nouns & _inside(face.box, nouns.shape)]) for face in faces]
        return np.array(found, np.float32).reshape(len(faces), BINS**3)


class DrawnPhrases(_Drawn):
    """What words name: people by their faces, what is worn, and objects."""

    def find(self, picture: Picture, phrases: Sequence[str]) -> list[list[Found]]:
        """For every phrase what it names, the largest first; nothing of words that the playground has not."""
        reading = read(picture)
        words = [_named(phrase) for phrase in phrases]
        return [[] if word is None else reading.parts(reading.mask(word)) for word in words]


class DrawnSegmenter(_Drawn):
    """What fills a box: of one that is a figure's the figure, else the class that covers most of it."""

    def segment(self, picture: Picture, boxes: Sequence[Box]) -> np.ndarray:
        """bool [n, H, W]."""
        reading = read(picture)
        masks = [self._mask(reading, box) for box in boxes]
        return np.stack(masks) if masks else np.zeros((0, *picture.shape[:2]), bool)

    def _mask(self, reading: Reading, box: Box) -> np.ndarray:
        inside = _inside(box, reading.labels.shape)
        for figure in reading.figures:
            if _overlap(figure.box, box) > ALIKE:
                return figure.mask & inside
        counts = np.bincount(reading.labels[inside], minlength=len(CLASSES))
        counts[: CLASSES.index(BODY) + 1] = 0
        return inside & (reading.labels == counts.argmax()) & (counts.max() > 0)


class DrawnTalker(_Drawn):
    """Captions in the playground's way of speaking, and who wears what of what a caption names."""

    def answer(self, question: Question) -> str:
        """A caption of the picture in the middle; of a question with a schema, JSON as curation asks for it."""
        reading = read(question.pictures[len(question.pictures) // 2])
        if question.schema is None:
            return describe(reading)
        return json.dumps(entities(reading, question.facts["caption"], question.facts["boxes"]))


def describe(reading: Reading) -> str:
    """A caption that names everybody from left to right, what each wears, the place, and what else is there."""
    figures, told = reading.figures, list[str]()
    places = LEFT_TO_RIGHT.get(len(figures), ("",) * len(figures))
    for number, (figure, place) in enumerate(zip(figures, places, strict=True)):
        again = any(earlier.noun == figure.noun for earlier in figures[:number])
        article = "another" if again else _article(figure.noun)
        worn = _join([word if word in PLURAL else f"{_article(word)} {word}" for word in figure.worn])
        told.append(" ".join(part for part in (article, figure.noun, place, worn and f"wearing {worn}") if part))
    where = f"{PREPOSITIONS[reading.place]} a {reading.place}"
    first = f"{_join(told)} {'stand' if len(told) > 1 else 'stands'} {where}." if told else f"It is {where}."
    things = [thing for thing in THINGS if reading.parts(reading.mask(thing))]
    return " ".join([first[0].upper() + first[1:], *(f"There is {_article(thing)} {thing}." for thing in things)])


def entities(reading: Reading, caption: str, boxes: Sequence[Box]) -> dict[str, Any]:
    """Whom and what a caption of `describe` names, who go from left to right as the boxes do, with those owners alone
    that the picture shows as well."""
    clauses = _clauses(caption)
    subjects = []
    for number, (box, (noun, quote)) in enumerate(zip(boxes, clauses, strict=False)):  # it may name too few or too many
        figure = max(reading.figures, key=lambda figure: _overlap(figure.box, box), default=None)
        if figure is None or _overlap(figure.box, box) <= ALIKE:
            continue
        worn = [word for word in figure.worn if _holds(quote, word)]
        subjects.append(
            {
                "box": number + 1,
                "noun": {"words": noun, "quote": quote},
                "attributes": [{"words": word, "quote": quote} for word in worn[:MOST_WORN]],
            }
        )
    things = [thing for thing in THINGS if _holds(caption, f"There is {_article(thing)} {thing}")]
    place = next((place for place in PLACES if _holds(caption, f"a {place}")), None)
    return {
        "subjects": subjects,
        "objects": [{"words": thing, "quote": f"There is {_article(thing)} {thing}"} for thing in things],
        "background": place and {"words": place, "quote": f"{PREPOSITIONS[place]} a {place}"},
    }


def read(picture: Picture) -> Reading:
    """What a picture shows. The last few pictures are remembered, because many ask about the same one."""
    picture = np.ascontiguousarray(picture)
    return _read(picture.tobytes(), picture.shape[0], picture.shape[1])


@lru_cache(maxsize=16)
def _read(pixels: bytes, height: int, width: int) -> Reading:
    picture = torch.frombuffer(bytearray(pixels), dtype=torch.uint8).view(height, width, 3)
    across = max(8, round(width / height * SIDE / 8) * 8)
    small = picture.permute(2, 0, 1)[None].float() / 127.5 - 1
    small = nn.functional.interpolate(small, (SIDE, across), mode="bilinear", antialias=True)
    with torch.inference_mode():
        logits, place = _eyes()(small)
        logits = nn.functional.interpolate(logits, (height, width), mode="bilinear")
        sure, labels = logits.softmax(1)[0].max(0)
    return Reading(settled(labels.numpy()), sure.numpy(), PLACES[int(place.argmax())])


@lru_cache(maxsize=1)
def _eyes() -> Eyes:
    eyes = Eyes()
    eyes.load_state_dict({name: value.float() for name, value in load_file(shipped(WEIGHTS)).items()})
    return eyes.eval()


def _block(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
        nn.Conv2d(outer, outer, 3, padding=1, bias=False), nn.BatchNorm2d(outer), nn.ReLU(),
    )  # fmt: skip


def _clauses(caption: str) -> list[tuple[str, str]]:
    """Everybody whom a caption of `describe` names: the noun, and the words up to the next one."""
    nouns = "|".join(NOUNS)
    starts = list(re.finditer(rf"\b(?:an?|another) ({nouns})\b", caption, re.IGNORECASE))
    ends = [*(start.start() for start in starts[1:]), len(caption)]
    pieces = [(start[1].lower(), caption[start.start() : end]) for start, end in zip(starts, ends, strict=True)]
    return [(noun, re.split(r" (?:and|stands?)\W*$|, *$| stands? |\. ", piece)[0]) for noun, piece in pieces]


def _holds(text: str, words: str) -> bool:
    return re.search(rf"\b{re.escape(words)}\b", text, re.IGNORECASE) is not None


def _named(phrase: str) -> str | None:
    """The longest word of the playground in a phrase."""
    return max((word for word in CLASSES[2:] if _holds(phrase, word)), key=len, default=None)


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _join(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def _histogram(pixels: np.ndarray) -> np.ndarray:
    """[BINS ** 3] of length 1, of pixels [n, 3]."""
    counts, _ = np.histogramdd(pixels, bins=BINS, range=[(0, 256)] * 3)
    smooth = np.sqrt(ndimage.gaussian_filter(counts, 0.6) + 1e-9)
    return (smooth / np.linalg.norm(smooth)).ravel()


def _box(mask: np.ndarray) -> Box:
    """Of what is marked in a mask that is not empty."""
    rows, columns = np.nonzero(mask.any(1))[0], np.nonzero(mask.any(0))[0]
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def _middle(found: Found) -> float:
    return (found.box[0] + found.box[2]) / 2


def _inside(box: Box, shape: tuple[int, ...]) -> np.ndarray:
    rows, columns = np.indices(shape)
    return (columns >= box[0]) & (columns < box[2]) & (rows >= box[1]) & (rows < box[3])


def _overlap(one: Box, other: Box) -> float:
    """Intersection over union."""
    wide, high = min(one[2], other[2]) - max(one[0], other[0]), min(one[3], other[3]) - max(one[1], other[1])
    shared = max(0.0, wide) * max(0.0, high)
    return shared / (sum((b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)) - shared)
