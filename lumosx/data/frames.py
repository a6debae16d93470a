"""Video files: their size, length and rate, and windows of frames at the size and rate that a batch needs.

Frames are taken by their time stamps and shown as players show them: phones write upright videos lying, with a
rotation, and at a rate that varies. Frames are fitted with the filter of reference pictures (bicubic, also when made
smaller).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, TypeVar

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from torch import Tensor

from lumosx.errors import InputError

Frame = TypeVar("Frame")
TIE = 1e-6  # seconds; time stamps are coarser, and rounding of floats is finer


class Probe(NamedTuple):
    """A video as it is shown: pixels, the number of its frames, and how many a second, on average."""

    width: int
    height: int
    frames: int
    fps: float


def probe(stream: BinaryIO) -> Probe:
    """Reads a video's headers, and decodes no more than its first frame.

    Raises:
        InputError: it is no video that can be read.
    """
    times: list[int] = []
    first = None
    with _opened(stream) as (container, video):
        for packet in container.demux(video):
            if packet.pts is not None and not packet.is_discard:
                times.append(packet.pts)
            if first is None:
                first = next(iter(packet.decode()), None)
        if not isinstance(first, VideoFrame) or not times or video.time_base is None:
            raise InputError("holds no frame with a time stamp")
        span = float((max(times) - min(times)) * video.time_base)
        fps = (len(times) - 1) / span if span else float(video.average_rate or 0)
        if not fps:
            raise InputError("does not say how many frames a second it has")
        return Probe(*_shown_size(first, _aspect(video)), len(times), fps)


def read_window(stream: BinaryIO, start: float, frames: int, fps: float, width: int, height: int) -> Tensor:
    """A window of a video, uint8 [3, frames, height, width].

    Each frame is the stored one nearest in time (of two equally near the earlier), made just large enough to cover the
    size, its aspect kept, and cropped at the centre.

    Args:
        stream: the file, seekable.
        start: seconds into the video.
        frames: how many.
        fps: of the window; frames of the video are repeated or left out.
        width, height: pixels.

    Raises:
        InputError: no video that can be read, or it ends before the window does.
    """
    wanted = [start + number / fps for number in range(frames)]
    window = np.empty((3, frames, height, width), dtype=np.uint8)
    with _opened(stream) as (container, video):
        latest = None
        for number, frame in enumerate(_nearest(_timed(container, video, start), wanted)):
            if frame is latest:
                window[:, number] = window[:, number - 1]
            else:
                window[:, number] = _fitted(frame, video, width, height).transpose(2, 0, 1)
            latest = frame
    return torch.from_numpy(window)


class Stored(NamedTuple):
    """A frame as it was decoded. `number` counts those that were since reading began, `time` is its seconds into the
    video, and `aspect` the width of a pixel over its height. `reformatter` is shared by the frames of a reading,
    because making one takes longer than using it."""

    number: int
    time: float
    frame: VideoFrame
    aspect: float
    reformatter: VideoReformatter

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as it is shown."""
        return _shown_size(self.frame, self.aspect)

    def picture(self, crop: tuple[int, int, int, int] | None = None, side: int | None = None) -> np.ndarray:
        """uint8 [H, W, 3] as it is shown.

        Args:
            crop: x0, y0, x1, y1 in pixels of the frame as shown; None: all of it.
            side: what is larger is made smaller until its shorter side has so many pixels.
        """
        shown = self.size
        x0, y0, x1, y1 = crop or (0, 0, *shown)
        scale = min(1.0, side / min(x1 - x0, y1 - y0)) if side else 1.0
        size = max(1, round(shown[0] * scale)), max(1, round(shown[1] * scale))
        stored = size[::-1] if self.frame.rotation % 180 == 90 else size
        filtered = self.reformatter.reformat(self.frame, *stored, format="rgb24", interpolation=Interpolation.BICUBIC)
        pixels = filtered.to_ndarray()
        left, top, right, bottom = (round(edge * scale) for edge in (x0, y0, x1, y1))
        return np.ascontiguousarray(np.rot90(pixels, self.frame.rotation // 90)[top:bottom, left:right])


def frames_at(stream: BinaryIO, times: Sequence[float]) -> Iterator[Stored]:
    """The stored frames nearest to given seconds.

    Args:
        stream: the file, seekable.
        times: seconds into the video, ascending.

    Raises:
        InputError: no video that can be read, or it ends before the last of `times`.
    """
    reformatter = VideoReformatter()
    with _opened(stream) as (container, video):
        timed = (
            (time, Stored(number, time, frame, _aspect(video), reformatter))
            for number, (time, frame) in enumerate(_timed(container, video, times[0]))
        )
        yield from _nearest(timed, times)


@contextmanager
def _opened(stream: BinaryIO) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        # titles and the like are no part of the picture, and damaged ones would raise UnicodeDecodeError
        with av.open(stream, "r", metadata_errors="ignore") as container:
            video = container.streams.best("video")
            if not isinstance(video, VideoStream):
                raise InputError("holds no video")
            yield container, video
    except av.FFmpegError as error:
        raise InputError(f"is no video that can be read ({error.strerror})") from error


def _timed(container: InputContainer, video: VideoStream, start: float) -> Iterator[tuple[float, VideoFrame]]:
    """Frames with their seconds since the video's beginning, the first of them not behind `start`, if one is not."""
    assert video.time_base is not None
    origin, tick = video.start_time or 0, float(video.time_base)
    for target in (origin + int(start / tick), 0):  # a seek may end behind its target, in HEVC with open groups
        container.seek(target, stream=video)
        timed = (((frame.pts - origin) * tick, frame) for frame in container.decode(video) if frame.pts is not None)
        first = next(timed, None)
        if first is not None and (first[0] <= start + TIE or not target):
            yield first
            yield from timed
            return


def _nearest(timed: Iterable[tuple[float, Frame]], wanted: Sequence[float]) -> Iterator[Frame]:
    """For each wanted second (ascending) the frame nearest to it."""
    left = deque(wanted)
    before: tuple[float, Frame] | None = None
    step = 0.0
    for time, frame in timed:
        while left and left[0] <= time:
            second = left.popleft()
            yield before[1] if before and second - before[0] <= time - second + TIE else frame
        if not left:
            return
        step = time - before[0] if before else 0.0
        before = time, frame
    end = before[0] if before else 0.0
    if before is None or wanted[-1] > end + step / 2 + TIE:
        raise InputError(f"its last frame is at {end:.2f} s; frames up to {wanted[-1]:.2f} s are wanted")
    for _ in left:
        yield before[1]


def _fitted(frame: VideoFrame, video: VideoStream, width: int, height: int) -> np.ndarray:
    """A frame as it is shown, covering [height, width, 3]."""
    lies = frame.rotation % 180 == 90
    across, down = (height, width) if lies else (width, height)  # of the frame as it is stored
    stored = _stored_size(frame, _aspect(video))
    cover = max(across / stored[0], down / stored[1])
    size = max(across, round(stored[0] * cover)), max(down, round(stored[1] * cover))
    pixels = frame.reformat(*size, format="rgb24", interpolation=Interpolation.BICUBIC).to_ndarray()
    left, top = (size[0] - across) // 2, (size[1] - down) // 2
    return np.rot90(pixels[top : top + down, left : left + across], frame.rotation // 90)


def _aspect(video: VideoStream) -> float:
    return float(video.sample_aspect_ratio or 1)


def _stored_size(frame: VideoFrame, aspect: float) -> tuple[float, int]:
    """Width in pixels that are as wide as high, and height."""
    return frame.width * aspect, frame.height


def _shown_size(frame: VideoFrame, aspect: float) -> tuple[int, int]:
    width, height = _stored_size(frame, aspect)
    return (height, round(width)) if frame.rotation % 180 == 90 else (round(width), height)
