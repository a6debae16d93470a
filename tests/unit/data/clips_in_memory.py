"""Clip records with their media in memory: videos whose frames tell their number, pictures of one colour each."""

import io
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from PIL import Image
from transformers import AutoTokenizer

from lumosx.data.batch import Bucket
from lumosx.data.config import DataConfig
from lumosx.data.examples import Reading
from lumosx.data.playground import Playground
from lumosx.data.source import Records
from lumosx.data.store import Store
from lumosx.records import ClipRecord

BRIGHTER = 5  # shades from frame to frame
FPS = 8.0
NAMES = [f"clip-{number}" for number in range(6)]
PROMPT = "A {man:ben} with a hat and glasses stands beside a {man:carl} with a hat in a park. A ball is there."
COLOURS = {
    "park": "green", "ball": "orange", "ben1": "red", "ben2": "crimson", "ben3": "tomato", "carl": "blue",
    "hat_ben": "gold", "hat_carl": "navy", "glasses": "black",
}  # fmt: skip


@dataclass(frozen=True)
class Memory:
    """Media in memory."""

    files: dict[str, bytes]

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def stream(self, name: str) -> io.BytesIO:
        if name not in self.files:
            raise FileNotFoundError(f"no file {name}")
        return io.BytesIO(self.files[name])

    def hint(self, name: str) -> str:
        del name
        return "it is not in memory"


@cache
def video(frames: int, fps: float = FPS, width: int = 32, height: int = 32) -> bytes:
    """A lossless video; frame k is of shade k * BRIGHTER."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="matroska") as container:
        stream: Any = container.add_stream("ffv1", rate=round(fps))
        stream.width, stream.height, stream.pix_fmt = width, height, "bgr0"
        for number in range(frames):
            pixels = np.full((height, width, 3), number * BRIGHTER, dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def picture(colour: str) -> bytes:
    """A portrait PNG of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", (24, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def two_men(name: str = "clip", **changes: Any) -> ClipRecord:
    """A record of two men in a park: hats of one word, of which each has his own, glasses on the first."""

    def shown(*names: str) -> list[dict[str, Any]]:
        return [{"image": f"{one}.png"} for one in names]

    data = {
        "id": name, "video": "clip.mkv", "caption": PROMPT, "width": 32, "height": 32, "frames": 20, "fps": FPS,
        "background": {"word": "park", "pictures": shown("park")},
        "objects": [{"word": "ball", "pictures": shown("ball")}],
        "subjects": [
            {
                "id": "ben", "word": "man", "faces": shown("ben1", "ben2", "ben3"),
                "attributes": [
                    {"word": "hat", "occurrence": 1, "pictures": shown("hat_ben")},
                    {"word": "glasses", "pictures": shown("glasses")},
                ],
            },
            {
                "id": "carl", "word": "man", "faces": shown("carl"),
                "attributes": [{"word": "hat", "occurrence": 2, "pictures": shown("hat_carl")}],
            },
        ],
    }  # fmt: skip
    return ClipRecord.from_dict({**data, **changes})


def store_of(*records: ClipRecord, **files: bytes) -> Store:
    """The records with all media that `two_men` needs, and `files`."""
    media = {f"{name}.png": picture(colour) for name, colour in COLOURS.items()}
    return Store(list(records), Memory({"clip.mkv": video(20)} | media | files))


def six_clips(**files: bytes) -> Store:
    """Six clips, each with a video of its own."""
    own = {f"{name}.mkv": video(20 + number) for number, name in enumerate(NAMES)}
    clips = [two_men(name, video=f"{name}.mkv", frames=20 + number) for number, name in enumerate(NAMES)]
    return store_of(*clips, **{**own, **files})


def reading(text_encoder: Path, **data: Any) -> Reading:
    """Clips of 32 x 32 and 9 frames at 8 frames a second, nothing dropped."""
    settings = {
        "path": "in memory", "buckets": ["32x32x9"], "fps": FPS, "subjects": [1.0, 1.0], "text_dropout": 0.0,
        "workers": 0,
    }  # fmt: skip
    return Reading(DataConfig(**{**settings, **data}), load_tokenizer(text_encoder), 96, grid_of)


def records(text_encoder: Path, store: Store, **data: Any) -> Records:
    """A source over them."""
    return Records(reading(text_encoder, **data), store)


def playground(text_encoder: Path, **data: Any) -> Playground:
    """The playground as a source."""
    return Playground(reading(text_encoder, path=None, **data))


@cache
def load_tokenizer(text_encoder: Path) -> Any:
    return AutoTokenizer.from_pretrained(text_encoder / "tokenizer")


def grid_of(bucket: Bucket) -> tuple[int, int, int]:
    """Tokens of 8 x 8 pixels and 4 frames."""
    return (bucket.frames + 3) // 4, bucket.height // 8, bucket.width // 8
