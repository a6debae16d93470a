"""Clips of which all is known but what the stages for condition images find: key frames, people and words."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lumosx.curation.blobs import Blobs
from lumosx.curation.run import Kind
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look, Stage
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Entities, Kept, People, Phrase, Seen, Subject
from lumosx.records import Model
from lumosx.vision import Box, ModelCard, Picture
from lumosx.vision.boxes import filled

SOURCE = Source("0123456789abcdef", Path("missing.mp4"), "missing.mp4")


def phrase(text: str) -> Phrase:
    """Words, as if they stood at the caption's beginning."""
    return Phrase(text=text, chars=(0, len(text)))


def subject(box: int, *attributes: str) -> Subject:
    return Subject(box=box, noun=phrase("man"), attributes=[phrase(text) for text in attributes])


def entities(shown: int, *subjects: Subject, objects: Sequence[str] = (), background: str | None = None) -> Entities:
    return Entities(
        shown=shown,
        subjects=list(subjects),
        objects=[phrase(text) for text in objects],
        background=None if background is None else phrase(background),
        repaired=False,
        people=len(subjects),
    )


def look_at(
    folder: Path,
    frames: Sequence[Picture],
    people: Sequence[Sequence[Box]],
    words: Entities,
    more: Mapping[Kind, Model] | None = None,
    seed: int = 0,
) -> Look:
    """A clip with key frames and the people in each; `more` are values of other stages."""
    blobs, (height, width) = Blobs(folder), frames[0].shape[:2]
    kept = Kept(
        width=width,
        height=height,
        frames=81,
        stored_fps=25.0,
        key_numbers=[4, 40, 76][: len(frames)],
        key_frames=[blobs.put_picture(frame) for frame in frames],
    )
    seen = People(frames=[[Seen(box=box, score=1.0) for box in boxes] for boxes in people])
    values: dict[Kind, Model] = {Technical: kept, PeopleCount: seen, Matching: words, **(more or {})}
    return Look(Clip(SOURCE, 0.0, 6.0), values, blobs, seed)


def measured(stage: Stage[Any], look: Look) -> Any:
    """A stage's value as it is read from the ledger."""
    return stage.gives.model_validate_json(stage.measure(look).model_dump_json())


def noisy(picture: Picture, amount: int = 30, seed: int = 0) -> Picture:
    """A picture with grain, so that no part of it is blurred."""
    grain = np.random.default_rng(seed).integers(-amount, amount + 1, picture.shape)
    return np.clip(picture.astype(int) + grain, 0, 255).astype(np.uint8)


class BoxSegmenter:
    """Takes all of a box, or the pixels in it that are not black; keeps what it was asked."""

    card = ModelCard("boxes", "a test", "1", "none", True)

    def __init__(self, outline: bool = False) -> None:
        self.outline = outline
        self.asked: list[list[Box]] = []

    def segment(self, picture: Picture, boxes: Sequence[Box]) -> np.ndarray:
        self.asked.append(list(boxes))
        masks = np.array([filled(box, picture.shape) for box in boxes], bool).reshape(-1, *picture.shape[:2])
        return masks & picture.any(axis=2) if self.outline else masks


class GreyPainter:
    """Paints grey, darker for other seeds, and notes what it is asked."""

    card = ModelCard("grey", "a test", "1", "none", True)

    def __init__(self) -> None:
        self.asked: list[tuple[np.ndarray, str, int]] = []

    def paint(self, picture: Picture, mask: np.ndarray, prompt: str, seed: int) -> Picture:
        self.asked.append((mask, prompt, seed))
        return np.where(mask[..., None], np.uint8(50 + seed % 50), picture)
