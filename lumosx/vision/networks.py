"""Networks in ONNX files, run by onnxruntime, and what detectors among them share: a picture is brought to the size of
the network, boxes are brought back, and of boxes around the same thing the surest stays."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lumosx.errors import InputError
from lumosx.vision import Box, Picture
from lumosx.vision.places import library

EXTRA = "'lumosx[bench]'"


def open_network(path: Path, name: str, device: str, threads: int = 0) -> Any:
    """An onnxruntime session, on CUDA where the installed onnxruntime can and it is asked for, else on the CPU.

    Args:
        path: the ONNX file.
        name: of the network, for messages.
        device: "cpu" or "cuda".
        threads: on the CPU; 0: one a core.

    Raises:
        InputError: onnxruntime is not installed, there is no such file, or it is no network.
    """
    onnxruntime = library("onnxruntime", EXTRA)
    if not path.is_file():
        raise InputError(f"{name}: {path}: no such file; it should be the network in ONNX format")
    wanted = ["CUDAExecutionProvider"] * device.startswith("cuda") + ["CPUExecutionProvider"]
    providers = [provider for provider in wanted if provider in onnxruntime.get_available_providers()]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(path, options, providers=providers)
    except Exception as error:  # the library's errors have no class of their own in common
        raise InputError(f"{name}: {path}: not a network in ONNX format: {error}") from error


class PictureNetwork:
    """A network that takes one picture, float32 [1, 3, H, W].

    Args:
        path: the ONNX file.
        name: of the network, for messages.
        side: pixels of width and height where the file leaves them open.
        device: "cpu" or "cuda".

    Raises:
        InputError: onnxruntime or OpenCV is not installed, or the file is no such network.
    """

    def __init__(self, path: Path, name: str, side: int, device: str) -> None:
        library("cv2", EXTRA)
        self._path, self._name = path, name
        self._session = open_network(path, name, device, threads=1)  # more wait for each other where cores are busy
        inputs = self._session.get_inputs()
        wanted = (1, 3, side, side)
        shape = [w if not isinstance(n, int) else n for n, w in zip(inputs[0].shape, wanted, strict=False)]
        if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != 4 or shape[:2] != [1, 3]:
            told = ", ".join(f"{each.type} {each.shape}" for each in inputs)
            raise self.refused(f"takes {told}; wanted is one input, float32 [1, 3, height, width]")
        self._input, (self.height, self.width) = inputs[0].name, shape[2:]

    @property
    def said(self) -> Mapping[str, str]:
        """What the file says of itself."""
        return self._session.get_modelmeta().custom_metadata_map

    def __call__(self, pixels: np.ndarray) -> list[np.ndarray]:
        """The outputs for pixels, float32 [H, W, 3]."""
        return self._session.run(None, {self._input: np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])})

    def tried(self) -> list[np.ndarray]:
        """The outputs for a picture of zeros: what a file says of its outputs is often vague.

        Raises:
            InputError: the network does not run.
        """
        try:
            return self(np.zeros((self.height, self.width, 3), np.float32))
        except Exception as error:  # as above
            raise self.refused(f"does not run at {self.width}x{self.height}: {error}") from error

    def refused(self, why: str) -> InputError:
        """An error about the file."""
        return InputError(f"{self._name}: {self._path}: {why}")


@dataclass(frozen=True)
class Letterbox:
    """Where a picture lies in the one that a network sees: x * scale + shift, of (x, y)."""

    scale: np.ndarray
    shift: np.ndarray

    def undone(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of what the network sees, in the picture."""
        return (points - self.shift) / self.scale

    def boxes(self, corners: np.ndarray) -> list[Box]:
        """Boxes [n, 4] of what the network sees, in the picture."""
        found = self.undone(corners.reshape(-1, 2, 2).astype(np.float64)).reshape(-1, 4)
        return [(x0, y0, x1, y1) for x0, y0, x1, y1 in found.tolist()]


def letterboxed(picture: Picture, width: int, height: int, around: int, centred: bool) -> tuple[Picture, Letterbox]:
    """A picture brought to a size with its proportions kept: uint8 [height, width, 3].

    Args:
        picture: of any size.
        width, height: wanted.
        around: the grey level of what is added.
        centred: whether it is added on both sides, rather than at the right and at the bottom.
    """
    cv2 = library("cv2", EXTRA)
    high, wide = picture.shape[:2]
    scale = min(width / wide, height / high)
    across, down = max(1, round(wide * scale)), max(1, round(high * scale))
    left, top = ((width - across) // 2, (height - down) // 2) if centred else (0, 0)
    shown = np.full((height, width, 3), around, np.uint8)
    shown[top : top + down, left : left + across] = cv2.resize(picture, (across, down))
    return shown, Letterbox(np.array([across / wide, down / high]), np.array([left, top]))


def apart(corners: np.ndarray, scores: np.ndarray, most: float) -> np.ndarray:
    """The numbers of the boxes [n, 4] that stay, the surest first: none shares more than `most` of its union with one
    that is surer and stays (non-maximum suppression)."""
    cv2 = library("cv2", EXTRA)
    if not len(corners):
        return np.zeros(0, int)
    rectangles = np.column_stack([corners[:, :2], corners[:, 2:] - corners[:, :2]]).astype(np.float64)
    return np.array(cv2.dnn.NMSBoxes(rectangles.tolist(), scores.astype(float).tolist(), 0.0, most), int)
