"""Draws a clip's truth from its seed.

Every clip has its own counter-based generator, keyed by the seed and the name of the split: the same seed
gives the same clip in any batch, and two splits never share a stream. What must be told apart later is drawn
apart here: the faces of one clip, and what is worn of each family, are redrawn until they differ by at least
APART, so that who wears what can be measured.
"""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from lumosx.errors import InputError
from lumosx.playground.captions import write_caption
from lumosx.playground.looks import (
    ATTRIBUTES,
    BACKGROUNDS,
    FACES,
    FAMILIES,
    OBJECTS,
    RGB,
    Colour,
    Look,
    Ranges,
)
from lumosx.playground.truth import Attribute, Backdrop, Motion, Subject, Thing, Truth

VERBS = ("wave", "nod", "walk")
APART = 0.45  # least difference (RGB distance, 0..1.73) of two things of one family in one clip
MAIN_SHARE = 0.6  # the first colour covers more than the second
TRIES = 48
NARROWEST = 10  # pixels a slot must have for that many subjects to be drawn unasked
COUNTS = (0.25, 0.55, 0.15, 0.05)  # how often a clip has 1, 2, 3, 4 subjects
WORN = {"hat": 0.27, "shirt": 0.27, "trousers": 0.2, "glasses": 0.13, "bag": 0.13}  # shares of the families
PLACED, SAME_NOUN, BACKGROUND, OBJECT, HELD, PASSING = 0.4, 0.28, 0.85, 0.4, 0.5, 0.1


@dataclass(frozen=True)
class Wishes:
    """What the caller fixes; None is drawn per clip."""

    subjects: int | None = None
    placed: bool | None = None
    same_noun: bool | None = None
    background: bool | None = None

    def __post_init__(self) -> None:
        if self.subjects is not None and not 1 <= self.subjects <= 4:
            raise InputError(f"subjects must be 1 to 4, got {self.subjects}")
        if self.subjects == 1 and self.same_noun:
            raise InputError("same_noun=True needs two subjects or more")


def sample_truth(seed: int, split: str, size: tuple[int, int], frames: int, wishes: Wishes) -> Truth:
    """Everything about clip `seed` of `split`. Raises InputError for a negative seed."""
    if seed < 0:
        raise InputError(f"seeds must be 0 or more, got {seed}")
    stream = int.from_bytes(hashlib.blake2b(split.encode(), digest_size=8).digest(), "little")
    rng = np.random.Generator(np.random.Philox(key=np.array([seed, stream], dtype=np.uint64)))
    count = wishes.subjects or _count(rng, size[0], wishes.same_noun)
    placed = _wish(rng, wishes.placed, PLACED)
    subjects = _subjects(rng, count, _nouns(rng, count, _wish(rng, wishes.same_noun, SAME_NOUN) and count > 1))
    passing = rng.random() < PASSING and count > 1
    if passing:
        subjects = _pass_each_other(rng, subjects)
    background = _backdrop(rng) if _wish(rng, wishes.background, BACKGROUND) else None
    thing = _thing(rng, subjects) if rng.random() < OBJECT else None
    told = tuple(int(index) for index in rng.permutation(count))
    holder = subjects[thing.holder] if thing is not None and thing.holder is not None else None
    prompt, occurrences = write_caption(rng, [subjects[index] for index in told], thing, holder, background, placed)
    subjects = [_with_occurrences(subject, subjects, occurrences) for subject in subjects]
    return Truth(seed, split, size, frames, prompt, placed, told, tuple(subjects), thing, background)


def _wish(rng: np.random.Generator, wish: bool | None, chance: float) -> bool:
    drawn = bool(rng.random() < chance)  # drawn even when fixed, so that a wish changes nothing else of the clip
    return drawn if wish is None else wish


def _count(rng: np.random.Generator, width: int, same_noun: bool | None) -> int:
    chances = np.array(COUNTS)
    chances[max(2, width // NARROWEST) :] = 0
    if same_noun:
        chances[0] = 0
    return int(rng.choice(4, p=chances / chances.sum())) + 1


def _nouns(rng: np.random.Generator, count: int, same: bool) -> list[str]:
    nouns = [str(noun) for noun in rng.permutation(list(FACES))[:count]]
    if same:
        first, second = rng.permutation(count)[:2]
        nouns[second] = nouns[first]
    return nouns


def _subjects(rng: np.random.Generator, count: int, nouns: list[str]) -> list[Subject]:
    slots = rng.permutation(count)
    faces: list[Look] = []
    worn: dict[str, list[Look]] = {family: [] for family in FAMILIES}
    subjects = []
    for index in range(count):
        face = _apart(rng, FACES[nouns[index]], faces, ("skin", "hair"))
        faces.append(face)
        attributes = tuple(_attribute(rng, family, worn[family]) for family in _families(rng, count))
        # What is held is in the hand that does not wave, and a bag hangs on the left.
        side = -1 if any(item.family == "bag" for item in attributes) else int(rng.choice([-1, 1]))
        motion = Motion(str(rng.choice(VERBS)), float(rng.random()), side)
        slot, shift, depth = int(slots[index]), float(rng.uniform(-0.06, 0.06)), float(rng.random())
        subjects.append(Subject(f"s{index + 1}", nouns[index], face, attributes, slot, slot, shift, depth, motion))
    return subjects


def _pass_each_other(rng: np.random.Generator, subjects: Sequence[Subject]) -> list[Subject]:
    """Two of the subjects walk to each other's place, one in front of the other."""
    first, second = (int(index) for index in rng.permutation(len(subjects))[:2])
    passing = {first: (subjects[second].slot, 0.0), second: (subjects[first].slot, 1.0)}
    walking = []
    for index, subject in enumerate(subjects):
        goal, depth = passing.get(index, (subject.goal, subject.depth))
        motion = replace(subject.motion, verb="walk") if index in passing else subject.motion
        walking.append(replace(subject, goal=goal, depth=depth, motion=motion))
    return walking


def _families(rng: np.random.Generator, subjects: int) -> list[str]:
    most = 3 if subjects < 4 else 2  # a caption of four fully dressed people would be too long
    count = min(int(rng.choice(4, p=[0.05, 0.3, 0.45, 0.2])), most)
    return [str(family) for family in rng.choice(list(WORN), size=count, replace=False, p=list(WORN.values()))]


def _attribute(rng: np.random.Generator, family: str, worn: list[Look]) -> Attribute:
    word = str(rng.choice(list(ATTRIBUTES[family])))
    look = _apart(rng, ATTRIBUTES[family][word], worn, (f"{family}_main", f"{family}_second"))
    worn.append(look)
    return Attribute(family, word, look)


def _thing(rng: np.random.Generator, subjects: Sequence[Subject]) -> Thing:
    word = str(rng.choice(list(OBJECTS)))
    holder = int(rng.integers(len(subjects))) if rng.random() < HELD else None
    return Thing(word, _draw(rng, OBJECTS[word]), holder, float(rng.uniform(-0.72, 0.72)))


def _backdrop(rng: np.random.Generator) -> Backdrop:
    word = str(rng.choice(list(BACKGROUNDS)))
    return Backdrop(word, _draw(rng, BACKGROUNDS[word]))


def _with_occurrences(subject: Subject, everyone: Sequence[Subject], found: dict[str, tuple[int, ...]]) -> Subject:
    """Note an attribute's occurrences where somebody else wears a thing of the same word."""

    def shared(word: str) -> bool:
        return any(item.word == word for other in everyone if other is not subject for item in other.attributes)

    attributes = [
        replace(item, occurrence=found[f"{subject.id}.{item.family}"] if shared(item.word) else None)
        for item in subject.attributes
    ]
    return replace(subject, attributes=tuple(attributes))


def _draw(rng: np.random.Generator, ranges: Ranges) -> Look:
    return {
        name: _colour(rng, span) if isinstance(span, Colour) else float(rng.uniform(*span))
        for name, span in ranges.items()
    }


def _colour(rng: np.random.Generator, ranges: Colour) -> RGB:
    return colorsys.hsv_to_rgb(*(float(rng.uniform(*span)) for span in ranges))


def _apart(rng: np.random.Generator, ranges: Ranges, others: Sequence[Look], colours: tuple[str, str]) -> Look:
    """The first look drawn that differs from all `others` by APART, or the most different of TRIES."""
    drawn: list[tuple[float, Look]] = []
    for _ in range(TRIES):
        look = _draw(rng, ranges)
        nearest = min((difference(look, other, colours) for other in others), default=APART)
        if nearest >= APART:
            return look
        drawn.append((nearest, look))
    return max(drawn, key=lambda item: item[0])[1]


def difference(one: Look, other: Look, colours: tuple[str, str]) -> float:
    """How far apart two looks are: RGB distance of first and second colours, also with the two exchanged
    (stripes).
    """
    (a, b), (c, d) = ([np.asarray(look[name]) for name in colours] for look in (one, other))
    straight = MAIN_SHARE * np.linalg.norm(a - c) + (1 - MAIN_SHARE) * np.linalg.norm(b - d)
    crossed = (np.linalg.norm(a - d) + np.linalg.norm(b - c)) / 2
    return float(min(straight, crossed))
