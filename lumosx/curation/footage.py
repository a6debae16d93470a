"""Frames of a clip as all stages see them: at one rate, upright, of one size, without borders, in RGB."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from lumosx.curation.sources import Clip
from lumosx.data.frames import Stored, frames_at
from lumosx.errors import InputError

FPS = 16  # of every clip (paper, section A.3, and Wan2.1)
KEY_MOMENTS = (0.05, 0.5, 0.95)  # where people are looked for and pictures are taken (paper, section 3.2)
PAIRS = 10  # of neighbouring frames, spread evenly, by which the filters look at a clip

Crop = tuple[int, int, int, int]  # x0, y0, x1, y1 in pixels of the source as it is shown


@dataclass(frozen=True)
class Span:
    """Frames number 0, 1, ... of a clip are those nearest to start, start + 1/FPS, ... in its source."""

    path: Path
    start: float
    frames: int

    @classmethod
    def of(cls, path: Path, start: float, end: float) -> "Span":
        return cls(path, start, int((end - start) * FPS + 1e-6))

    @classmethod
    def of_clip(cls, clip: Clip) -> "Span":
        return cls.of(clip.source.path, clip.start, clip.end)

    def read(self, numbers: list[int] | None = None, crop: Crop | None = None, side: int | None = None) -> np.ndarray:
        """uint8 [F, H, W, 3].

        Frames that the filters look at (`sample`) are decoded once for all of them, other ones whenever they are read.

        Args:
            numbers: of the frames, ascending; None: all.
            crop: what is kept of each.
            side: least side in pixels to which larger frames are made smaller; None: as they are.

        Raises:
            InputError: the source cannot be read so far.
        """
        wanted = list(range(self.frames)) if numbers is None else numbers
        if not wanted:
            raise InputError(f"{self.path}: the clip holds no frame")
        if set(wanted) <= set(self.sample):
            held = self._held()
            return np.stack([held[number].picture(crop, side) for number in wanted])
        return np.stack(list(_pictures(self._stored(wanted), crop, side)))

    @property
    def key_numbers(self) -> list[int]:
        """The frames at KEY_MOMENTS, each once."""
        return sorted({round(moment * (self.frames - 1)) for moment in KEY_MOMENTS})

    def evenly(self, count: int) -> list[int]:
        """As many frames spread evenly from the first to the last, each once."""
        return sorted(set(np.linspace(0, self.frames - 1, count).round().astype(int).tolist()))

    def pairs(self, count: int = PAIRS) -> list[tuple[int, int]]:
        """Neighbouring frames, from the first two to the last two; of a short clip fewer, each once."""
        firsts = np.linspace(0, self.frames - 2, count).round().astype(int).tolist() if self.frames > 1 else []
        return [(first, first + 1) for first in sorted(set(firsts))]

    def moments(self, count: int = PAIRS) -> list[int]:
        """Frames from the beginning to the end, spread evenly: the first ones of `pairs`."""
        return [first for first, _ in self.pairs(count)] or list(range(self.frames))

    @property
    def sample(self) -> list[int]:
        """The frames at key moments and of pairs."""
        return sorted({*self.key_numbers, *(number for pair in self.pairs() for number in pair)})

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the source as it is shown.

        Raises:
            InputError: the source cannot be read so far.
        """
        held = self._held()
        return held[min(held)].size

    @property
    def stored_fps(self) -> float:
        """How many frames a second the source holds in the clip; 0 where it is one frame.

        Raises:
            InputError: the source cannot be read so far.
        """
        held = self._held()
        first, last = held[min(held)], held[max(held)]
        return (last.number - first.number) / (last.time - first.time) if last.time > first.time else 0.0

    def _held(self) -> dict[int, Stored]:
        return _hold(self, self.path.stat().st_mtime_ns)

    def _stored(self, numbers: list[int]) -> Iterator[Stored]:
        with self.path.open("rb") as stream:
            try:
                yield from frames_at(stream, [self.start + number / FPS for number in numbers])
            except InputError as error:
                raise InputError(f"{self.path}: {error}") from error


@lru_cache(maxsize=1)
def _hold(span: Span, changed: int) -> dict[int, Stored]:
    """The sample of a clip, by number, decoded but not converted: 14 MB of a clip of 854x480, 290 MB of one of 4K.

    The last clip's alone is held, because the stages of a group run one after the other on the same clip. `changed` is
    when the file was written.
    """
    del changed
    return dict(zip(span.sample, span._stored(span.sample), strict=True))


def _pictures(stored: Iterator[Stored], crop: Crop | None, side: int | None) -> Iterator[np.ndarray]:
    """Each frame's picture; one that follows itself is converted once."""
    latest, picture = None, np.empty(0)
    for each in stored:
        if latest is None or each.number != latest.number:
            latest, picture = each, each.picture(crop, side)
        yield picture
