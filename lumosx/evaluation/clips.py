"""A clip to be scored: its frames, read once, in RGB."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np

from lumosx.errors import InputError


@dataclass(frozen=True)
class Clip:
    """The frames of one clip.

    frames: uint8 [F, H, W, 3], RGB. fps: frames a second.
    """

    frames: np.ndarray
    fps: float

    def sampled(self, count: int) -> np.ndarray:
        """`count` frames evenly spread from the first to the last, or all of them if there are no more."""
        total = len(self.frames)
        if total <= count:
            return self.frames
        return self.frames[np.linspace(0, total - 1, count).round().astype(int)]


@dataclass(frozen=True)
class VideoFile:
    """A video on the disk, decoded when its clip is first asked for."""

    path: Path

    @cached_property
    def clip(self) -> Clip:
        """Raises InputError if it cannot be read to its end, or holds no frame."""
        try:
            with av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
                fps = float(stream.average_rate or 0)
        except (av.FFmpegError, OSError, IndexError) as error:
            why = getattr(error, "strerror", None) or error
            raise InputError(f"{self.path}: no video that can be read ({why})") from error
        if not frames:
            raise InputError(f"{self.path}: holds no frame")
        return Clip(np.stack(frames), fps)
