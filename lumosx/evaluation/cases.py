"""What a benchmark asks a model to make: cases, from any layout that holds them, as scenes of ours."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lumosx.scene.entities import Kind
from lumosx.scene.images import ImageSpec


@dataclass(frozen=True)
class CaseReference:
    """One reference of a case, as `lumosx.scene.entities.Entity` without its place in the prompt.

    `word` is how the case calls it. `image` is None for an attribute that is stated in words alone.
    """

    id: str
    kind: Kind
    subject: int | None
    word: str
    image: ImageSpec | None

    def picture(self) -> np.ndarray:
        """uint8 [H, W, 3], RGB, on white where it is transparent. Raises ImageError if it cannot be read."""
        assert self.image is not None
        return np.asarray(self.image.open().convert("RGB"))


@dataclass(frozen=True)
class Case:
    """One video to make and to score.

    `scene` is what `lumosx sample` takes, relative paths seen from `folder`. References are in token order: background,
    objects, then subject by subject the face and its attributes. `truth` is the video that the case was taken from.
    """

    id: str
    prompt: str
    references: tuple[CaseReference, ...]
    scene: dict[str, Any]
    folder: Path
    truth: Path | None = None

    @property
    def subjects(self) -> int:
        """How many people it asks for."""
        return 1 + max((r.subject for r in self.references if r.subject is not None), default=-1)

    @property
    def faces(self) -> dict[int, CaseReference]:
        """The face of each subject that has a picture of one."""
        return {r.subject: r for r in self.references if r.kind == "face" and r.subject is not None and r.image}

    def attributes(self, subject: int | None = None) -> list[CaseReference]:
        """The pictured attributes of a subject, or of all."""
        return [r for r in self.references if r.kind == "attribute" and r.image and subject in (None, r.subject)]

    @property
    def objects(self) -> list[CaseReference]:
        """The pictured objects."""
        return [r for r in self.references if r.kind == "object" and r.image]

    @property
    def background(self) -> CaseReference | None:
        """The background, if there is a picture of it."""
        return next((r for r in self.references if r.kind == "background" and r.image), None)
