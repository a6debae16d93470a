"""Result: the frames of one clip together with the record of how they were made."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import lumosx
from lumosx.files import sha256_of, write_json
from lumosx.pipelines.contact_sheet import contact_sheet
from lumosx.pipelines.provenance import fingerprint
from lumosx.pipelines.video import write_clip, writer_of
from lumosx.scene import Scene

SIDECAR_VERSION = 1


@dataclass(frozen=True)
class Result:
    """A sampled clip.

    Attributes:
        frames: uint8 [F, H, W, 3].
        scene: what was asked for.
        record: plain data, everything needed to make the frames again; keys in `lumosx.pipelines.provenance`.
    """

    frames: np.ndarray
    scene: Scene
    record: dict[str, Any]

    @property
    def seed(self) -> int:
        """Of the noise."""
        return self.record["seed"]

    @property
    def fps(self) -> float:
        """Frames a second."""
        return self.record["settings"]["fps"]

    @cached_property
    def frames_sha256(self) -> str:
        """Of the frames' shape and pixels, before any compression."""
        head = "x".join(str(size) for size in self.frames.shape)
        return hashlib.sha256(head.encode() + np.ascontiguousarray(self.frames).tobytes()).hexdigest()

    def save(self, path: str | Path) -> Path:
        """Writes the clip, and beside it a sidecar of the same name with the suffix .json.

        Each appears whole or not at all, the sidecar last: where it stands, the clip is finished. The scene's
        output section may switch the sidecar and the AI label off.

        Args:
            path: *.mp4, *.gif, or *.frames for a folder of PNGs.

        Returns:
            The clip's path.
        """
        path = Path(path)
        writer_of(path)  # before anything is removed
        sidecar = path.with_suffix(".json")
        sidecar.unlink(missing_ok=True)  # it speaks of a clip that is about to be replaced
        label = self.label if self.scene.output.ai_label else None
        write_clip(self.frames, path, self.fps, label)
        if self.scene.output.sidecar:
            write_json(self.sidecar(path, label), sidecar)
        return path

    def contact_sheet(self) -> Image.Image:
        """References, frames and the prompt in one picture."""
        return contact_sheet(self.frames, self.scene, self.record)

    @property
    def label(self) -> str:
        """What the metadata says to whoever meets the clip alone."""
        return f"AI-generated video, made with LumosX {lumosx.__version__}"

    def sidecar(self, clip: Path, label: str | None) -> dict[str, Any]:
        """The sidecar of a clip that was written to `clip`."""
        frames, height, width = self.frames.shape[:3]
        record = self.record
        return {
            "lumosx_sidecar": SIDECAR_VERSION,
            "ai_generated": True,
            "label": label,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "clip": {
                "file": clip.name,
                "sha256": sha256_of(clip),
                "frames": frames,
                "width": width,
                "height": height,
                "frames_sha256": self.frames_sha256,
            },
            "fingerprint": fingerprint(record["scene"], record["settings"], self.seed, record["model"]),
            **record,
            "meta": self.scene.meta,
        }
