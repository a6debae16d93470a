"""A clip to be scored: its frames, read once, in RGB."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

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
        with opened(self.path) as (container, stream):
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
            fps = float(stream.average_rate or 0)
        if not frames:
            raise no_frame(self.path)
        return Clip(np.stack(frames), fps)


@contextmanager
def opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A video and its first stream; whatever fails while it is read becomes an InputError that names it."""
    try:
        with av.open(str(path)) as container:
            yield container, container.streams.video[0]
    except (av.FFmpegError, OSError, IndexError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: no video that can be read ({why})") from error


def no_frame(path: Path) -> InputError:
    """What is wrong with a video without one."""
    return InputError(f"{path}: holds no frame")
