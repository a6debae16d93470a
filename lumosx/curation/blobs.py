"""Files named by what is in them: written once, never changed, and the same from whoever writes them."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lumosx.files import atomic, clear_leftovers
from lumosx.vision.places import library

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
        """Stores uint8 [H, W], [H, W, 3] RGB or [H, W, 4] RGBA as PNG, exactly."""
        cv2 = library("cv2", "'lumosx[curate]'")  # takes a third of Pillow's time at its fastest
        if picture.ndim == 3:
            picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA)
        _, data = cv2.imencode(".png", picture)
        return self.put(data.tobytes(), ".png")

    def tidy(self) -> None:
        """Removes what a kill left. Nobody else may be writing."""
        for folder in (self.root / FOLDER).glob("??"):
            clear_leftovers(folder)

    def get(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def picture(self, name: str) -> np.ndarray:
        """A stored picture, uint8 [H, W], [H, W, 3] or [H, W, 4]."""
        with Image.open(self.root / name) as image:
            return np.asarray(image)
