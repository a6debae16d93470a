"""Small synthetic videos, and what stages are given to look at them."""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image

from lumosx.curation.blobs import Blobs
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look
from lumosx.records import Model

SIZE = 96, 160  # height, width


def scenery(seed: int, height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    """Coloured hills: uint8 [height, width, 3]."""
    small = np.random.default_rng(seed).integers(0, 256, (max(2, height // 12), max(2, width // 12), 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


def pan(frames: int, step: int = 1, seed: int = 0, height: int = SIZE[0], width: int = SIZE[1]) -> np.ndarray:
    """A view that moves to the right over scenery, `step` pixels a frame: uint8 [frames, height, width, 3]."""
    wide = scenery(seed, height, width + step * frames)
    return np.stack([wide[:, step * number : step * number + width] for number in range(frames)])


def save_video(
    path: Path,
    frames: np.ndarray,
    fps: int = 16,
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    rotation: int | None = None,
    front: bool = True,
) -> Path:
    """A video file of uint8 [F, H, W, 3]; which kind the suffix says. `front`: an MP4 begins with its headers."""
    fast = {"movflags": "+faststart"} if path.suffix == ".mp4" and front else {}
    with av.open(str(path), "w", options=fast) as container:
        stream: Any = container.add_stream(codec, rate=Fraction(fps), options={"crf": "14"} | (options or {}))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for values in frames:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24")
            container.mux(stream.encode(frame.reformat(format=pixels)))
        container.mux(stream.encode(None))
    return path


def look_at(path: Path, seconds: float | None = None, values: Mapping[Any, Model] | None = None) -> Look:
    """Of a video file, or of the clip of its first `seconds`."""
    source = Source("0123456789abcdef", path, path.name)
    record = source if seconds is None else Clip(source, 0.0, seconds)
    return Look(record, values or {}, Blobs(path.parent), 0)
