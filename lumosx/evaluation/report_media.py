"""Clips as data URIs, small enough that a page of many stays one file."""

import io
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from lumosx.evaluation.clips import no_frame, opened
from lumosx.pages import data_uri

HEIGHT = 256  # pixels of a clip at most
CRF = "28"  # x264: small; faults of binding stay plain


def video_uri(path: Path) -> str:
    """A clip of at most HEIGHT pixels as H.264, its rate and aspect kept.

    Raises:
        InputError: it cannot be read to its end, or holds no frame.
    """
    buffer = io.BytesIO()
    with opened(path) as (source, stream), av.open(buffer, "w", format="mp4") as target:
        if not _shrink(source, stream, target):
            raise no_frame(path)
    return data_uri("video/mp4", buffer.getvalue())


def _shrink(source: InputContainer, stream: VideoStream, target: OutputContainer) -> int:
    """Writes the clip; how many frames it has."""
    rate = Fraction(stream.average_rate or 16).limit_denominator(1001)
    out = target.add_stream("libx264", rate=rate, options={"crf": CRF, "preset": "slow"})
    out.pix_fmt = "yuv420p"
    scale = min(1.0, HEIGHT / stream.height)
    out.width, out.height = (max(2, round(size * scale / 2) * 2) for size in (stream.width, stream.height))
    count = 0
    for frame in source.decode(stream):
        small = frame.reformat(out.width, out.height, "yuv420p")
        small.pts, small.time_base = count, 1 / rate
        target.mux(out.encode(small))
        count += 1
    if count:
        target.mux(out.encode(None))
    return count
