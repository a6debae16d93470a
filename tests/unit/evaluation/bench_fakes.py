"""Cases, videos, models and measures without any real model, for the tests of what runs and reports them."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.models import Models
from lumosx.evaluation.results import Results, Row
from lumosx.evaluation.runner import Suite
from lumosx.evaluation.scores import Score, not_applicable
from lumosx.scene.images import ImageSpec
from lumosx.vision import Box, Face, ModelCard


def card(name: str, revision: str = "1") -> ModelCard:
    return ModelCard(name, "tests", revision, "Apache-2.0", commercial=True)


@dataclass(frozen=True)
class FakeFaces:
    """One face, everywhere."""

    revision: str = "1"

    @property
    def card(self) -> ModelCard:
        return card("fake faces", self.revision)

    def detect(self, picture: np.ndarray) -> list[Face]:
        box: Box = (0.0, 0.0, float(picture.shape[1]), float(picture.shape[0]))
        return [Face(box, 1.0)]

    def embed(self, picture: np.ndarray, faces: Sequence[Face]) -> np.ndarray:
        mean = picture.mean((0, 1)).astype(np.float32) + 1
        return np.repeat(mean[None] / np.linalg.norm(mean), len(faces), axis=0)


@dataclass
class Brightness:
    """The mean of the clip's pixels and its likeness to the first face, by plain arithmetic.

    broken: cases that it raises at. deadly: cases that end the process. scored: the cases that it was asked for.
    """

    broken: tuple[str, ...] = ()
    deadly: tuple[str, ...] = ()
    scored: list[str] = field(default_factory=list)

    @property
    def metrics(self) -> dict[str, bool]:
        return {"brightness": True, "darkness": False, "objects": True}

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        self.scored.append(case.id)
        if case.id in self.broken:
            raise RuntimeError("no more memory,\n  or whatever")
        if case.id in self.deadly:
            os._exit(9)
        mean = float(clip.frames.mean()) / 255
        none = not_applicable("objects", "the case has no objects")
        # in another order than that of `metrics`, and with numpy's numbers
        return [none, Score("darkness", 1 - mean), Score("brightness", np.float64(mean), detail={"n": np.int64(3)})]


@dataclass
class Likeness:
    """Looks at the reference pictures, so that one that cannot be read is its error."""

    @property
    def metrics(self) -> dict[str, bool]:
        return {"likeness": True}

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        return [Score("likeness", float(evidence.likeness.mean()))]


def make_suite(*measures: object, revision: str = "1", looks: int = 4) -> Suite:
    faces = FakeFaces(revision)
    return Suite("v1", "subject", Models(faces, {"FaceSim-fake": faces}), measures or (Brightness(), Likeness()), looks)


def make_case(folder: Path, name: str, people: int = 1) -> Case:
    """A case with a picture for each face, in a colour of its own."""
    references = []
    for subject in range(people):
        path = folder / f"{name}_{subject}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = tuple(hashlib.sha256(f"{name} {subject}".encode()).digest()[:3])
        Image.new("RGB", (8, 8), colour).save(path)
        references.append(CaseReference(f"face_{subject}", "face", subject, "man", ImageSpec(path)))
    return Case(name, f"a video of {name}", tuple(references), {"lumosx": 1, "id": name}, folder)


def make_video(path: Path, level: int, frames: int = 5) -> Path:
    """A clip of one grey."""
    from lumosx.pipelines.video import write_clip  # imports torch, which a process that only scores can do without

    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(np.full((frames, 32, 32, 3), level, np.uint8), path, 8.0, None)
    return path


def make_results(
    values: dict[str, dict[tuple[str, int | None], float | str | None]],
    *,
    metrics: dict[str, bool] | None = None,
    subjects: dict[str, int] | None = None,
    **changed: object,
) -> Results:
    """Results from values by metric, then case and seed; a text in place of a value is its status."""
    metrics = metrics or dict.fromkeys(values, True)
    rows = [
        Row(
            "v1", "subject", case, seed, (subjects or {}).get(case, 1), metric,
            value if isinstance(value, float) else None, "ok" if isinstance(value, float) else value,
            "{}", f"{case}.mp4", "0" * 64,
        )
        for metric, by_clip in values.items()
        for (case, seed), value in by_clip.items()
    ]  # fmt: skip
    cases = sorted({row.case for row in rows})
    stated = {
        "lumosx_bench": 1, "protocol": "v1", "version": 1, "task": "subject", "profile": "offline", "looks": 16,
        "metrics": metrics, "models": {"faces": card("fake").to_dict()}, "seeds": sorted({row.seed for row in rows}),
        "cases": {"source": "cases", "digests": {case: f"digest of {case}" for case in cases}},
    }  # fmt: skip
    return Results(rows, {**stated, **changed})
