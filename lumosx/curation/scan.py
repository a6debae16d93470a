"""A video read from its first frame to its last, in small pictures: whether it is whole, and where its shots begin.

It runs in a process of its own (`isolated`), so it imports little.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream

from lumosx.errors import InputError

SIDE = 144  # pixels of the shorter side in which cuts are looked for
BLACK = 12  # level of the mean pixel below which a picture has faded out
RATE = Fraction(25)  # which PySceneDetect needs and of which no cut depends
WINDOW = 2  # frames before and after one whose change its own is compared with
SLACK = 1.0, 0.02  # seconds, and share of the whole, by which headers are wrong although nothing is missing
LARGEST = 8192 * 8192  # pixels of a frame: a few bytes may hold more, and stages hold two dozen frames of a clip
AGAIN = "get it again from where it came from"


@dataclass(frozen=True)
class Scan:
    """A whole video as it is shown. `times` are of its frames, ascending seconds since the beginning; `cuts` are the
    numbers of those with which a new shot begins, the first frame not among them."""

    width: int
    height: int
    times: list[float]
    cuts: list[int]


def promised_seconds(path: Path) -> float:
    """How long a video is by its headers; 0: they do not say.

    Raises:
        InputError: it holds no video, or is no video.
    """
    with _opened(path) as container:
        return _promised(container, _video(path, container))


def scan(path: Path, change: float, ratio: float) -> Scan:
    """Reads a video whole.

    Cuts are found by PySceneDetect's AdaptiveDetector: a frame differs from the one before it by at least `change`
    (mean over pixels and over hue, saturation and brightness, each of 0 to 255), and `ratio` times as much as the
    frames around it do, so that a fast pan is no cut. Fades through black are found by its ThresholdDetector, and cut
    in the middle of the black. Dissolves are gradual, and are not found.

    Raises:
        InputError: it holds no frame, is damaged, breaks off, changes its size, has frames of more than LARGEST pixels,
            or PySceneDetect is not installed.
        MemoryError: there is not enough for its frames.
    """
    try:
        from scenedetect import AdaptiveDetector, FrameTimecode, ThresholdDetector
    except ImportError as error:
        raise InputError(f"scenedetect cannot be imported ({error}): pip install 'lumosx[curate]'") from error
    # Short shots are for those to judge who get the cuts: the detector would leave out the second of two cuts.
    sudden = AdaptiveDetector(ratio, min_scene_len=0, window_width=WINDOW, min_content_val=change)
    faded = ThresholdDetector(BLACK, min_scene_len=0)
    shown: tuple[int, int] | None = None
    shrink = VideoReformatter()  # one for all frames, as making one takes longer than shrinking a frame
    times: list[float] = []
    cuts: set[int] = set()
    with _opened(path) as container:
        video = _video(path, container)
        for time, frame in _frames(path, container, video):
            size = _shown_size(frame, video)
            if max(frame.width * frame.height, size[0] * size[1]) > LARGEST:
                raise InputError(f"{path}: its frames have {size[0]}x{size[1]} pixels; make them smaller")
            if size != (shown := shown or size):
                raise InputError(f"{path}: changes its size at {time:.2f} s; cut it there")
            if times and time <= times[-1]:
                continue  # a time stamp that is wrong; such a frame cannot be asked for by its time
            now, small = FrameTimecode(len(times), RATE), _small(frame, shrink)
            cuts |= {cut.frame_num for detector in (sudden, faded) for cut in detector.process_frame(now, small)}
            times.append(time)
        promised = _promised(container, video)
    if shown is None:
        raise InputError(f"{path}: holds no frame; {AGAIN}")
    if times[-1] < promised * (1 - SLACK[1]) - SLACK[0]:
        raise InputError(f"{path}: breaks off at {times[-1]:.1f} s of the {promised:.1f} s that it promises; {AGAIN}")
    return Scan(*shown, times, sorted(cuts - {0}))


def _opened(path: Path) -> InputContainer:
    try:
        # titles and the like are no part of the picture, and damaged ones would raise UnicodeDecodeError
        return av.open(str(path), "r", metadata_errors="ignore")
    except MemoryError:  # an FFmpegError too, but no fault of the file
        raise
    except av.FFmpegError as error:
        raise InputError(f"{path}: is no video that can be read ({error.strerror}); {AGAIN}") from error


def _video(path: Path, container: InputContainer) -> VideoStream:
    video = container.streams.best("video")
    if not isinstance(video, VideoStream):
        raise InputError(f"{path}: holds no video")
    return video


def _promised(container: InputContainer, video: VideoStream) -> float:
    """By the stream's own header; by that of the file only where it holds nothing else, as sound may be longer."""
    if video.duration is not None and video.time_base is not None:
        return float(video.duration * video.time_base)
    if container.duration is not None and len(container.streams) == 1:
        return container.duration / av.time_base
    return 0.0


def _frames(path: Path, container: InputContainer, video: VideoStream) -> Iterator[tuple[float, VideoFrame]]:
    """Frames and their seconds since the beginning, as `lumosx.data.frames` counts them."""
    time = 0.0
    try:
        for frame in container.decode(video):
            if frame.pts is not None and video.time_base is not None:
                time = float((frame.pts - (video.start_time or 0)) * video.time_base)
                yield time, frame
    except MemoryError:  # an FFmpegError too, but no fault of the file
        raise
    except av.FFmpegError as error:
        raise InputError(f"{path}: is damaged after {time:.1f} s ({error.strerror}); {AGAIN}") from error


def _shown_size(frame: VideoFrame, video: VideoStream) -> tuple[int, int]:
    width, height = round(frame.width * float(video.sample_aspect_ratio or 1)), frame.height
    return (height, width) if frame.rotation % 180 == 90 else (width, height)


def _small(frame: VideoFrame, shrink: VideoReformatter) -> np.ndarray:
    """uint8 [h, w, 3] in BGR, lying as it is stored, for where a cut is it is everywhere."""
    scale = min(1.0, SIDE / min(frame.width, frame.height))
    size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
    return shrink.reformat(frame, *size, format="bgr24", interpolation=Interpolation.FAST_BILINEAR).to_ndarray()
