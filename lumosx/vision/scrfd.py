"""Faces by SCRFD, a network in an ONNX file.

None of the published weights ran in this repository's tests: they run small networks of known results.
"""

from pathlib import Path

import numpy as np

from lumosx.files import sha256_of
from lumosx.vision import Face, ModelCard, Picture
from lumosx.vision.networks import PictureNetwork, apart, letterboxed

STRIDES = (8, 16, 32)  # pixels from place to place, by output
ANCHORS = 2  # guesses at each place
OVERLAP = 0.4  # most that two faces share
SCORE, DISTANCES, LANDMARKS = 1, 4, 10  # numbers for each guess


class ScrfdFaces:
    """SCRFD (Guo et al. 2021) as InsightFace exports it, such as det_10g.onnx of its buffalo_l and
    scrfd_10g_bnkps.onnx of its antelopev2, with landmarks or without.

    InsightFace's weights are for non-commercial research. Its code is not, so weights of one's own may be free, which
    a file does not tell.

    Args:
        path: the ONNX file.
        device: "cpu" or "cuda".
        threshold: least score.
        side: pixels of the square that a picture is brought to where the file leaves that open, a multiple of 32.

    Raises:
        InputError: onnxruntime or OpenCV is not installed, or the file is no such network.
    """

    def __init__(self, path: str | Path, device: str = "cpu", threshold: float = 0.5, side: int = 640) -> None:
        path = Path(path).expanduser()
        self.threshold = threshold
        self._network = PictureNetwork(path, "SCRFD", side, device)
        self._places = [_places(self._network.width, self._network.height, stride) for stride in STRIDES]
        self._tables(self._network.tried())
        licence = "non-commercial research only (InsightFace's weights)"
        self.card = ModelCard("SCRFD", str(path), sha256_of(path), licence, False)

    def detect(self, picture: Picture) -> list[Face]:
        """The faces, the surest first, with five landmarks if the network knows them. Boxes may reach over the
        picture's edges."""
        shown, letterbox = letterboxed(picture, self._network.width, self._network.height, around=0, centred=False)
        scores, boxes, points = self._guesses(self._network((shown.astype(np.float32) - 127.5) / 128))
        sure = np.flatnonzero(scores >= self.threshold)
        kept = sure[apart(boxes[sure], scores[sure], OVERLAP)]
        landmarks = [None] * len(kept) if points is None else list(letterbox.undone(points[kept]))
        found = zip(letterbox.boxes(boxes[kept]), scores[kept].tolist(), landmarks, strict=True)
        return [Face(box, score, five) for box, score, five in found]

    def _guesses(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Scores [n], boxes [n, 4] and landmarks [n, 5, 2] or None, of what the network sees."""
        tables, centres = self._tables(outputs), np.concatenate(self._places)
        distances = tables[DISTANCES]
        boxes = np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)
        points = centres[:, None] + tables[LANDMARKS].reshape(-1, 5, 2) if LANDMARKS in tables else None
        return tables[SCORE][:, 0], boxes, points

    def _tables(self, outputs: list[np.ndarray]) -> dict[int, np.ndarray]:
        """By their width, the outputs [n, width] of all strides one after another, lengths in pixels.

        Raises:
            InputError: the outputs are not SCRFD's.
        """
        # which output is which shows in its shape; some exports have an axis for the picture before
        found = {each.shape[-2:]: each.reshape(each.shape[-2:]) for each in outputs if each.shape[:-2] in ((), (1,))}
        widths = [SCORE, DISTANCES, LANDMARKS] if len(outputs) == 9 else [SCORE, DISTANCES]
        counts = [len(places) for places in self._places]
        wanted = {(count, width) for width in widths for count in counts}
        if len(outputs) != len(wanted) or found.keys() != wanted:
            raise self._network.refused(
                f"gives {', '.join(str(list(each.shape)) for each in outputs)} for a picture of "
                f"{self._network.width}x{self._network.height}; wanted are scores [n, 1], distances [n, 4] and, if it "
                f"knows them, landmarks [n, 10], n of {', '.join(map(str, counts))} for strides of 8, 16, 32"
            )
        levels = list(zip(counts, STRIDES, strict=True))
        tables = {width: np.concatenate([found[n, width] * stride for n, stride in levels]) for width in widths}
        return tables | {SCORE: np.concatenate([found[n, SCORE] for n in counts])}


def _places(width: int, height: int, stride: int) -> np.ndarray:
    """Where the guesses of a stride are, float32 [n, 2]: line by line, all of a place one after another."""
    down, across = np.indices((height // stride, width // stride))
    places = np.stack([across, down], axis=-1).reshape(-1, 2) * stride
    return np.repeat(places, ANCHORS, axis=0).astype(np.float32)
