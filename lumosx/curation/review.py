"""What reviewers say of clips, as lines of a file that only grows, and what follows from it: which records are packed
and whose their attributes are, how good the data is, and how far reviewers agree.
"""

import fcntl
import hashlib
import itertools
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError
from scipy.stats import binomtest

from lumosx.errors import InputError
from lumosx.records import ClipRecord, Id, Model, RecordError

FILE = "curation/reviews.jsonl"  # in a data set


class Move(Model):
    """An attribute that belongs to another person: its number, from 0, among those of `owner` in the record."""

    owner: Id
    attribute: Annotated[int, Field(ge=0)]
    to: Id


class Review(Model):
    """What one reviewer says of a clip, all of it: it takes the place of what this reviewer said before.

    verdict: None: none yet, or taken back. moves: relative to the record before any review. about: `digest` of that
    record; a review of another state of it says nothing. at: when, in UTC, for people.
    """

    clip: Id
    reviewer: Annotated[str, Field(min_length=1, max_length=80)]
    verdict: Literal["accept", "reject"] | None = None
    moves: list[Move] = Field(default=[])
    about: str
    at: str

    @property
    def kind(self) -> str | None:
        """ "right": accepted as it is, "moved": accepted with moves, "reject", or None: no verdict."""
        return ("moved" if self.moves else "right") if self.verdict == "accept" else self.verdict


@dataclass(frozen=True)
class Rate:
    """A share of `n` with Wilson's 95 % interval, as if they were a random sample."""

    count: int
    n: int

    @property
    def share(self) -> float:
        return self.count / self.n

    @property
    def interval(self) -> tuple[float, float]:
        found = binomtest(self.count, self.n).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.share:.1%} ({low:.1%} to {high:.1%}) of {self.n}"


@dataclass(frozen=True)
class Agreement:
    """Two reviewers on the clips that both judged: the share judged alike, and Cohen's kappa (1960) over the three
    kinds of verdicts: 1 is full agreement, 0 that of chance. None where chance alone would agree on everything."""

    first: str
    second: str
    clips: int
    alike: float
    kappa: float | None


@dataclass(frozen=True)
class Audit:
    """What reviews say of a data set; rates are None where nothing was judged.

    right: clips that are right as curated. usable: those that are right or were made so by moves. owners: attributes
    of usable clips that were on the right person. A clip's attributes are no independent observations, so that the last
    interval is rather narrow.
    """

    right: Rate | None
    usable: Rate | None
    owners: Rate | None
    agreements: list[Agreement]

    def lines(self) -> list[str]:
        """For people, one finding a line."""
        rates = {
            "clips right as curated": self.right,
            "clips usable": self.usable,
            "attributes on their owner": self.owners,
        }
        told = [f"{name}: {rate}" for name, rate in rates.items() if rate] or ["no clip was reviewed"]
        for one in self.agreements:
            kappa = "undefined, both always say the same" if one.kappa is None else f"{one.kappa:.2f}"
            told.append(f"{one.first} and {one.second}: {one.alike:.1%} of {one.clips} clips alike, kappa {kappa}")
        return told


def digest(record: ClipRecord) -> str:
    """Of all of a record that a reviewer judges."""
    judged = record.model_copy(update={"split": "train", "scores": {}, "meta": {}})
    return hashlib.sha256(judged.to_json().encode()).hexdigest()[:16]


def read_reviews(path: Path) -> list[Review]:
    """All lines of a file, in order; none if there is no file. A last line that a kill cut short is left out.

    Raises:
        InputError: a line is no review.
    """
    found = []
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        return []
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is no UTF-8 text ({error})") from error
    *lines, _ = text.split("\n")
    for place, line in enumerate(lines, 1):
        if line:
            try:
                found.append(Review.model_validate_json(line))
            except ValidationError as error:
                problem = error.errors(include_url=False)[0]
                where = ".".join(map(str, problem["loc"]))
                raise InputError(f"{path}:{place}: {where}: {problem['msg']}; mend the line or remove it") from error
    return found


def append(review: Review, path: Path) -> None:
    """Adds a line, which is on the disk afterwards, in the place of one that a kill cut short. Other processes and
    threads may add theirs at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed
        file.seek(0)
        file.truncate(file.read().rfind(b"\n") + 1)
        file.write(review.model_dump_json().encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def still_said(lines: Iterable[Review]) -> dict[tuple[str, str], Review]:
    """What each reviewer says of each clip by now, by clip and reviewer, who spoke last coming last. Who took all back
    says nothing."""
    last: dict[tuple[str, str], Review] = {}
    for review in lines:
        last.pop((review.clip, review.reviewer), None)
        last[review.clip, review.reviewer] = review
    return {key: review for key, review in last.items() if review.verdict or review.moves}


def apply(record: ClipRecord, review: Review) -> ClipRecord | None:
    """The record with the review's moves, as it is if the review is of another state of it; None: it was rejected.

    Words that stand more than once in the caption must state their occurrence, so that they go with their attribute.

    Raises:
        InputError: a move names a person or an attribute that there is not, or leaves somebody with nothing.
    """
    if review.about != digest(record):
        return record
    if review.verdict == "reject":
        return None
    if not review.moves:
        return record
    data, places = record.to_dict(), placed(record, review.moves)
    parts = {subject.id: subject.attributes for subject in record.subjects}
    for subject in data["subjects"]:
        own = [parts[owner][number] for owner, number in places[subject["id"]]]
        subject["attributes"] = [part.model_dump(exclude_defaults=True) for part in own]
    try:
        return ClipRecord.from_dict(data)
    except RecordError as error:
        raise InputError(f"{record.id}: {error}") from error


def placed(record: ClipRecord, moves: Sequence[Move]) -> dict[str, list[tuple[str, int]]]:
    """By person, the attributes after the moves as (owner, number) before them: one's own, then others'.

    Raises:
        InputError: a move names a person or an attribute that there is not, or one attribute twice.
    """
    counts = {subject.id: len(subject.attributes) for subject in record.subjects}
    to = {(move.owner, move.attribute): move.to for move in moves}
    for move in moves:
        if move.to not in counts or move.attribute >= counts.get(move.owner, 0):
            raise InputError(f"{record.id}: cannot move attribute {move.attribute} of {move.owner!r} to {move.to!r}: "
                             f"people and how many attributes they have: {counts}")  # fmt: skip
    if len(to) < len(moves):
        raise InputError(f"{record.id}: an attribute is moved twice; state where it ends up")
    every = [(owner, number) for owner, count in counts.items() for number in range(count)]
    return {
        person: sorted((key for key in every if to.get(key, key[0]) == person), key=lambda key: key[0] != person)
        for person in counts
    }


def reviewed(records: Mapping[str, ClipRecord], lines: Iterable[Review]) -> dict[str, ClipRecord]:
    """The records that reviews leave, by clip, with their moves. Raises InputError as `apply` does."""
    said = {review.clip: review for review in still_said(lines).values() if _is_about(review, records)}
    left = {clip: apply(record, said[clip]) if clip in said else record for clip, record in records.items()}
    return {clip: record for clip, record in left.items() if record is not None}


def audit(lines: Iterable[Review], records: Mapping[str, ClipRecord]) -> Audit:
    """What reviews say of records, which are those before any review; reviews of other states are left out."""
    judged = [review for review in still_said(lines).values() if review.kind and _is_about(review, records)]
    last = {review.clip: review for review in judged}.values()
    usable = [review for review in last if review.kind != "reject"]
    attributes = sum(len(subject.attributes) for review in usable for subject in records[review.clip].subjects)
    moved = sum(len(review.moves) for review in usable)
    return Audit(
        _rate(sum(review.kind == "right" for review in last), len(last)),
        _rate(len(usable), len(last)),
        _rate(attributes - moved, attributes),
        _agreements(judged),
    )


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Cohen's kappa of two raters; None where chance alone would agree on everything."""
    first, second = (Counter(side) for side in zip(*pairs, strict=True))
    alike = sum(one == other for one, other in pairs) / len(pairs)
    chance = sum(first[kind] * second[kind] for kind in first) / len(pairs) ** 2
    return None if chance == 1 else (alike - chance) / (1 - chance)


def shuffled(name: str, seed: int) -> str:
    """A key that sorts names in an order without meaning, in which each stands where it does whoever else is there."""
    return hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()


def _is_about(review: Review, records: Mapping[str, ClipRecord]) -> bool:
    return review.clip in records and review.about == digest(records[review.clip])


def _rate(count: int, n: int) -> Rate | None:
    return Rate(count, n) if n else None


def _agreements(judged: Sequence[Review]) -> list[Agreement]:
    """Of every two reviewers who judged a clip both."""
    kinds = {(review.reviewer, review.clip): review.kind or "" for review in judged}
    clips = {name: {clip for reviewer, clip in kinds if reviewer == name} for name, _ in kinds}
    found = []
    for first, second in itertools.combinations(sorted(clips), 2):
        pairs = [(kinds[first, clip], kinds[second, clip]) for clip in sorted(clips[first] & clips[second])]
        if pairs:
            alike = sum(one == other for one, other in pairs) / len(pairs)
            found.append(Agreement(first, second, len(pairs), alike, kappa(pairs)))
    return found
