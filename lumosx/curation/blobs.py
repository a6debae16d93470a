"""Files named by what is in them: written once, never changed, and the same from whoever writes them."""

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lumosx.files import atomic, clear_leftovers

FOLDER = "blobs"


@dataclass(frozen=True)
class Blobs:
    """Blobs of a data set, by names such as "blobs/3f/3f1c....png" that start at its folder `root`."""

    root: Path

    def put(self, data: bytes, suffix: str) -> str:
        """Stores bytes, if they are not there; their name."""
        digest = hashlib.sha256(data).hexdigest()
        name = f"{FOLDER}/{digest[:2]}/{digest}{suffix}"
        if not (self.root / name).is_file():
            with atomic(self.root / name) as temporary:
                temporary.write_bytes(data)
        return name

    def put_picture(self, picture: np.ndarray) -> str:
        """Stores uint8 [H, W, 3] RGB or [H, W, 4] RGBA as PNG, exactly."""
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "PNG", compress_level=1)  # 6, its default, takes four times as long
        return self.put(buffer.getvalue(), ".png")

    def tidy(self) -> None:
        """Removes what a kill left. Nobody else may be writing."""
        for folder in (self.root / FOLDER).glob("??"):
            clear_leftovers(folder)

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def picture(self, name: str) -> np.ndarray:
        """A stored picture, uint8 [H, W, 3] or [H, W, 4]."""
        with Image.open(self.root / name) as image:
            return np.asarray(image)
