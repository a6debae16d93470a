"""Clip records of any shape for property tests, and small videos whose frames say their number."""

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from hypothesis import strategies as st

from lumosx.records import ClipRecord

MEDIA = ["clip.mp4", "clips/a b.mp4", "faces/ana.png", "faces/Ünï.jpg", "refs/hat 1.png", f"refs/{'x' * 120}.png"]
IDS = st.from_regex(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,20}", fullmatch=True)
TEXTS = st.text(min_size=1, max_size=12).filter(lambda text: text.strip())
NUMBERS = st.integers(1, 9)


def one_or_several(item: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return item | st.lists(item, min_size=1, max_size=3)


@st.composite
def pictures(draw: st.DrawFn, frames: int) -> list[dict[str, Any]]:
    x, y = draw(NUMBERS), draw(NUMBERS)
    picture = st.fixed_dictionaries(
        {"image": st.sampled_from(MEDIA)},
        optional={
            "frame": st.none() | st.integers(0, frames - 1),
            "crop": st.just([x, y, x + 5, y + 1]),
            "fit": st.sampled_from(["pad", "crop", None]),
            "pad": st.sampled_from(["#ffffff", "#000000"]),
        },
    )
    return draw(st.lists(picture, max_size=3))


def parts(frames: int, **more: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {"word": one_or_several(TEXTS)},
        optional={"occurrence": st.none() | one_or_several(NUMBERS), "pictures": pictures(frames), **more},
    )


@st.composite
def people(draw: st.DrawFn, frames: int) -> list[dict[str, Any]]:
    found = []
    for name in draw(st.lists(IDS, unique=True, max_size=3)):
        faces, attributes = draw(pictures(frames)), draw(st.lists(parts(frames), max_size=2))
        if faces or attributes:
            found.append({"id": name, "word": draw(one_or_several(TEXTS)), "faces": faces, "attributes": attributes})
    return found


@st.composite
def records(draw: st.DrawFn) -> ClipRecord:
    """Any record whose media are among MEDIA."""
    frames = draw(st.integers(1, 500))
    data = {
        "id": draw(IDS), "video": draw(st.sampled_from(MEDIA)), "caption": draw(TEXTS),
        "width": draw(NUMBERS), "height": draw(NUMBERS), "frames": frames,
        "fps": draw(st.floats(1e-3, 1e3) | st.integers(1, 60)),
        "split": draw(st.sampled_from(["train", "validation"])),
        "background": draw(st.none() | parts(frames)),
        "objects": draw(st.lists(parts(frames, id=st.none() | IDS), max_size=2)),
        "subjects": draw(people(frames)),
        "scores": draw(st.dictionaries(TEXTS, st.floats(allow_nan=False, allow_infinity=False), max_size=3)),
        "meta": draw(st.dictionaries(TEXTS, st.text(max_size=5), max_size=3)),
    }  # fmt: skip
    return ClipRecord.from_dict(data)


def record_sets() -> st.SearchStrategy[list[ClipRecord]]:
    """Some records, each with its own id."""
    return st.lists(records(), min_size=1, max_size=5, unique_by=lambda record: record.id)


def minimal(**changes: Any) -> dict[str, Any]:
    """A record's data with nothing but what it needs; `changes` go over it, None takes out."""
    data = {"id": "beach", "video": "clip.mp4", "caption": "A man on a beach.",
            "width": 32, "height": 32, "frames": 9, "fps": 8.0} | changes  # fmt: skip
    return {key: value for key, value in data.items() if value is not None}


STEP = 4  # of brightness between frames; survives compression


def counting(frames: int, width: int = 32, height: int = 32) -> np.ndarray:
    """uint8 [frames, height, width, 3]: each frame of one grey that `numbers` reads."""
    grey = (np.arange(frames) % 60 * STEP + 8).astype(np.uint8)
    return np.broadcast_to(grey[:, None, None, None], (frames, height, width, 3)).copy()


def numbers(window: Any) -> list[int]:
    """Which frames of `counting` a window [3, F, H, W] shows."""
    return [round((float(frame.float().mean()) - 8) / STEP) for frame in window.unbind(1)]


def encode(
    frames: np.ndarray, *, times: list[int] | None = None, tick: int = 1000, fps: int = 16, kind: str = "mp4",
    codec: str = "libx264", pixels: str = "yuv444p", rotation: int | None = None, aspect: Any = None,
    options: dict[str, str] | None = None,
) -> io.BytesIO:  # fmt: skip
    """A video file; with `times` (in ticks of 1 / `tick` seconds) one frame at each of them."""
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream: Any = container.add_stream(codec, rate=fps, options=options or {"crf": "10"})
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pixels
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, tick)
        for number, values in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(values), format="rgb24").reformat(format=pixels)
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, tick)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    file.seek(0)
    return file


def save_clip(path: Path, frames: int = 9) -> None:
    """A small MP4 of 8 frames a second."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(counting(frames), fps=8).getvalue())
