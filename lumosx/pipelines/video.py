"""Writes frames as a clip: MP4 for players, GIF for pages, a folder of PNGs where no bit may be lost."""

from collections.abc import Callable, Mapping
from pathlib import Path

import av
import numpy as np
from PIL import Image

from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.mp4 import write_mp4

CRF = "17"  # x264: visually lossless
Writer = Callable[[np.ndarray, Path, float, Mapping[str, str]], None]  # frames, path, fps, metadata


def write_clip(frames: np.ndarray, path: str | Path, fps: float, label: str | None = None) -> Path:
    """Writes a clip in one piece, its format by its suffix.

    Args:
        frames: uint8 [F, H, W, 3].
        path: *.mp4, *.gif, or *.frames for a folder of PNGs.
        fps: frames a second.
        label: a sentence for the container's metadata.

    Raises:
        InputError: another suffix.
    """
    write = writer_of(path)
    with atomic(path) as temporary:
        write(frames, temporary, fps, {} if label is None else {"comment": label, "description": label})
    return Path(path)


def writer_of(path: str | Path) -> Writer:
    """The function that writes a clip with the suffix of `path`; InputError if there is none."""
    writer = WRITERS.get(Path(path).suffix.lower())
    if writer is None:
        raise InputError(f"{path}: a clip's name ends in one of {', '.join(WRITERS)}")
    return writer


def read_clip(path: str | Path, height: int, width: int) -> np.ndarray:
    """Frames uint8 [F, height, width, 3] of a clip that `write_clip` wrote, as its compression left them."""
    path = Path(path)
    if path.suffix.lower() == ".frames":
        frames = [np.asarray(Image.open(file).convert("RGB")) for file in sorted(path.glob("*.png"))]
    else:
        with av.open(str(path)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return np.stack(frames)[:, :height, :width]  # without the edge that made an MP4's sides even


def _write_mp4(frames: np.ndarray, path: Path, fps: float, tags: Mapping[str, str]) -> None:
    write_mp4(frames, path, fps, {"crf": CRF}, tags=tags)


def _write_gif(frames: np.ndarray, path: Path, fps: float, tags: Mapping[str, str]) -> None:
    images = [Image.fromarray(frame) for frame in frames]
    images[0].save(
        path, format="GIF", save_all=True, append_images=images[1:], duration=round(1000 / fps), loop=0,
        comment=tags.get("comment", ""),
    )  # fmt: skip


def _write_frames(frames: np.ndarray, path: Path, fps: float, tags: Mapping[str, str]) -> None:
    del fps, tags  # the sidecar holds them
    path.mkdir()
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(path / f"{number:05d}.png")


WRITERS: Mapping[str, Writer] = {".mp4": _write_mp4, ".gif": _write_gif, ".frames": _write_frames}
