"""MP4 files with H.264. The same frames give the same bytes, and the colours' matrix is stated, because some players
show untagged ones pale."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

# x264's faster ways round otherwise on other CPUs, and one of them reads memory that nobody wrote (core 165).
SAME_BYTES = {"x264-params": "cpu-independent=1"}
BT709 = 1  # primaries, transfer and matrix of HD video in H.264's numbering


def write_mp4(
    frames: Iterable[np.ndarray],
    path: Path,
    fps: float,
    options: Mapping[str, str],
    pixels: Literal["yuv420p", "yuv444p"] = "yuv420p",
    tags: Mapping[str, str] | None = None,
) -> None:
    """Writes frames in one go; not atomic.

    Args:
        frames: uint8 [H, W, 3] each, at least one. Where the colours are halved (yuv420p), an odd side gets its last
            row or column once more.
        path: of any suffix.
        fps: frames a second.
        options: of x264, such as {"crf": "17"}.
        pixels: as they are stored. Most players want yuv420p, which has colours at half resolution.
        tags: the container's metadata.
    """
    step = 2 if pixels == "yuv420p" else 1
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata.update(tags or {})
        stream = container.add_stream(
            "libx264", rate=Fraction(fps).limit_denominator(1001), options={**options, **SAME_BYTES}
        )
        codec = stream.codec_context
        for number, frame in enumerate(frames):
            height, width = frame.shape[:2]
            if number == 0:
                stream.height, stream.width, stream.pix_fmt = height + height % step, width + width % step, pixels
                codec.thread_count = 1  # with several, the machine's number of cores would change the bytes
                codec.color_primaries = codec.color_trc = codec.colorspace = BT709
                codec.color_range = ColorRange.MPEG
            edged = np.pad(frame, ((0, height % step), (0, width % step), (0, 0)), mode="edge")
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(edged), format="rgb24").reformat(
                format=pixels, dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
