"""Everything that is true of one clip: who is there, what they look like, wear and do, and what the caption
says.

Plain frozen records, JSON-able, and enough to render the clip again: the measure works from a truth alone,
and tests plant faults by rendering an edited one.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from lumosx.playground.looks import Look


@dataclass(frozen=True)
class Attribute:
    """One thing that a subject wears. `occurrence` numbers its word in the prompt where others share it."""

    family: str
    word: str
    look: Look
    occurrence: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Motion:
    """What a subject does all clip long: `verb` (wave, nod, walk), phase in turns, the side of the arm or
    first step.
    """

    verb: str
    phase: float
    side: int


@dataclass(frozen=True)
class Subject:
    """`slot` counts from the left and is where the subject stands first, `goal` where it stands last; `shift` is the
    offset from the slot's centre, in figure units; `depth` goes from 0 (near) to 1 (far).
    """

    id: str
    word: str
    look: Look
    attributes: tuple[Attribute, ...]
    slot: int
    goal: int
    shift: float
    depth: float
    motion: Motion


@dataclass(frozen=True)
class Thing:
    """The object. Held by subject number `holder`, or standing at `x` (-1..1 over the frame) when that is
    None.
    """

    word: str
    look: Look
    holder: int | None
    x: float


@dataclass(frozen=True)
class Backdrop:
    """The background; its reference is the clip's picture without anyone in it."""

    word: str
    look: Look


@dataclass(frozen=True)
class Truth:
    """One clip. `subjects` are in the order of the sequence; `told` is the order of the caption."""

    seed: int
    split: str
    size: tuple[int, int]
    frames: int
    prompt: str
    placed: bool
    told: tuple[int, ...]
    subjects: tuple[Subject, ...]
    object: Thing | None
    background: Backdrop | None

    @property
    def attributes(self) -> list[tuple[int, Attribute]]:
        """(subject index, attribute) of every attribute, in the order of the sequence."""
        return [(index, attribute) for index, subject in enumerate(self.subjects) for attribute in subject.attributes]

    def with_subjects(self, subjects: list[Subject]) -> Truth:
        """The same clip with other subjects: planted faults are made this way."""
        return replace(self, subjects=tuple(subjects))

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers; `from_dict` reads them back to an equal Truth, also after JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Truth:
        """The inverse of `to_dict`. Raises KeyError or TypeError on missing or unknown fields."""
        thing, backdrop = data["object"], data["background"]
        return cls(
            **data
            | {
                "size": tuple(data["size"]),
                "told": tuple(data["told"]),
                "subjects": tuple(_subject(subject) for subject in data["subjects"]),
                "object": None if thing is None else Thing(**thing | {"look": _look(thing["look"])}),
                "background": None if backdrop is None else Backdrop(**backdrop | {"look": _look(backdrop["look"])}),
            }
        )


def _look(data: dict[str, Any]) -> Look:
    return {name: tuple(value) if isinstance(value, (list, tuple)) else value for name, value in data.items()}


def _subject(data: dict[str, Any]) -> Subject:
    attributes = tuple(
        Attribute(
            **item
            | {
                "look": _look(item["look"]),
                "occurrence": None if item["occurrence"] is None else tuple(item["occurrence"]),
            }
        )
        for item in data["attributes"]
    )
    return Subject(**data | {"look": _look(data["look"]), "attributes": attributes, "motion": Motion(**data["motion"])})
