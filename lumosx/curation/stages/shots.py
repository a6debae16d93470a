"""Videos cut into clips of one shot each."""

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from lumosx.curation import isolated
from lumosx.curation.footage import FPS
from lumosx.curation.scan import AGAIN, Scan, promised_seconds, scan
from lumosx.curation.stage import Look, Stage, threshold
from lumosx.curation.stages.values import Shots

FLOOR = 60.0  # seconds that reading may take, however short the video
LONGEST = 24 * 3600.0  # seconds of a video, whatever its headers say
TIE = 1e-6  # seconds
SLOW = f"see whether its disk answers, and run again with --retry, or {AGAIN}"


@dataclass(frozen=True)
class ShotSplit(Stage[Shots]):
    """Reads a video once and whole, which tells whether it can be read, and cuts its shots into clips.

    change, ratio: what a cut is (`scan.scan`). margin: frames that are left out on both sides of a cut, for what is
    left of the other shot. longest: seconds of a clip; longer shots are cut evenly. shortest: of a shot or its part;
    shorter ones are dropped, as nothing below 81 frames is trained on (paper, section 4.1). patience: seconds that
    reading a minute of video may take before it counts as hung; it changes no value.
    """

    name: ClassVar[str] = "shots"
    gives: ClassVar = Shots

    change: float = 15.0
    ratio: float = 3.0
    margin: int = 3
    longest: float = 10.0
    shortest: float = 81 / FPS
    patience: float = threshold(120.0)

    def measure(self, look: Look) -> Shots:
        """Raises InputError for what is no whole video, TimeoutError for one whose decoder hangs, and
        `isolated.Crashed` for one by which it crashes."""
        path = look.source.absolute()
        try:
            minutes = min(isolated.call(promised_seconds, path, seconds=FLOOR), LONGEST) / 60
        except TimeoutError as error:
            raise TimeoutError(f"{path}: opening it {error}; {SLOW}") from error
        seconds = FLOOR + self.patience * minutes
        try:
            found = isolated.call(scan, path, self.change, self.ratio, seconds=seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{path}: reading it {error}; {self._advice(seconds, minutes)}") from error
        lasts = found.times[-1] - found.times[0]
        return Shots(
            width=found.width,
            height=found.height,
            fps=round((len(found.times) - 1) / lasts, 3) if lasts else 0.0,
            seconds=_end(found.times, len(found.times)),
            clips=[clip for shot in self._shots(found) for clip in self._clips(*shot)],
        )

    def _advice(self, seconds: float, minutes: float) -> str:
        """How to give a video twice the seconds: what failed is not read again unless that is asked for."""
        if not minutes:
            return f"{AGAIN}, with headers that say how long it is, and run again with --retry"
        return f"`--set shots.patience={math.ceil((2 * seconds - FLOOR) / minutes)} --retry` gives it twice the time"

    def _shots(self, found: Scan) -> list[tuple[float, float]]:
        """Seconds from and up to, the margins left out; what is all margin is no shot."""
        edges = [0, *found.cuts, len(found.times)]
        shots = []
        for first, after in pairwise(edges):
            first += self.margin if first else 0
            after -= self.margin if after < len(found.times) else 0
            if first < after:
                shots.append((found.times[first], _end(found.times, after)))
        return shots

    def _clips(self, start: float, end: float) -> list[tuple[float, float]]:
        """A shot in equal parts, or where these would be too short, in as many of the greatest length as it holds."""
        shortest = max(self.shortest, 1 / FPS) - TIE
        count = math.ceil((end - start) / self.longest - TIE)
        if (end - start) / count < shortest:
            count -= 1
        step = min((end - start) / count, self.longest) if count else 0.0
        if step < shortest:
            return []
        return [(round(start + part * step, 6), round(start + (part + 1) * step, 6)) for part in range(count)]


def _end(times: list[float], after: int) -> float:
    """When what ends before frame `after` ends: the last frame is shown as long as a frame of clips at most, so that no
    frame of a clip is nearer to what follows."""
    last = times[after - 1]
    neighbour = times[after] - last if after < len(times) else last - times[after - 2] if after > 1 else 0.0
    return round(last + min(neighbour, 1 / FPS), 6)
