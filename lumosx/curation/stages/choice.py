"""Which of an entity's pictures stands for it (paper, sections 3.2 and A.2)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from lumosx.curation.stages.values import CleanBackground, Cutout, FacePicture


class OfKeyFrame(Protocol):
    """A picture that was taken from key frame number `key`."""

    @property
    def key(self) -> int: ...


Candidate = TypeVar("Candidate", bound=OfKeyFrame)


@dataclass(frozen=True)
class Chosen:
    """A picture for every entity, in the order of `Entities`; None for one that has none."""

    background: CleanBackground | None
    objects: list[Cutout | None]
    faces: list[FacePicture | None]  # [subject]
    attributes: list[list[Cutout | None]]  # [subject][attribute]


def choose(
    background: Sequence[CleanBackground],
    objects: Sequence[Sequence[Cutout]],
    faces: Sequence[Sequence[FacePicture]],
    attributes: Sequence[Sequence[Sequence[Cutout]]],
    random: np.random.Generator,
) -> Chosen:
    """One picture for every entity, out of those that pass; see `drawn`.

    Args:
        background, objects, faces, attributes: what the stages' `passing` gives.
        random: of the clip and this purpose (`Look.random`).
    """
    entities: list[Sequence[OfKeyFrame]] = [background, *objects, *faces]
    entities += [found for subject in attributes for found in subject]
    picked: Iterator[Any] = iter(drawn(entities, random))  # in the order of `entities`, and so of these types
    return Chosen(
        background=next(picked),
        objects=[next(picked) for _ in objects],
        faces=[next(picked) for _ in faces],
        attributes=[[next(picked) for _ in subject] for subject in attributes],
    )


def drawn(entities: Sequence[Sequence[Candidate]], random: np.random.Generator) -> list[Candidate | None]:
    """One of each entity's candidates, None of an entity without.

    All choices are as likely, but for those where all pictures come from one key frame: these are left out if there are
    others. (Such a set would teach the model to copy a frame.)
    """
    some = [candidates for candidates in entities if candidates]
    avoidable = len(some) > 1 and len({each.key for candidates in some for each in candidates}) > 1
    while True:
        picked = [c[int(random.integers(len(c)))] if c else None for c in entities]
        if not avoidable or len({each.key for each in picked if each}) > 1:
            return picked
