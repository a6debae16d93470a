"""People by YOLO, a network in an ONNX file.

None of the published weights ran in this repository's tests: they run small networks of known results.
"""

import ast
from pathlib import Path

import numpy as np

from lumosx.files import sha256_of
from lumosx.vision import Found, ModelCard, Picture
from lumosx.vision.networks import PictureNetwork, apart, letterboxed

GREY = 114  # of what is added around a picture
OVERLAP = 0.45  # most that two people share
LICENCE = "AGPL-3.0 (Ultralytics' weights) or GPL-3.0 (those of YOLOv9's authors)"


class YoloPeople:
    """The class "person" of a YOLO as Ultralytics exports it (`yolo export format=onnx`): v8, v9, v11 and v12, and with
    suppression inside (`nms=True`), as v10 has it anyway. The paper counts people by YOLOv9 (section A.3).

    A file that names its classes has one named "person"; of one that names none it is the first, as in COCO.

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
        self._network = PictureNetwork(path, "YOLO", side, device)
        self._person = self._class_of_people()
        self._sure(self._network.tried())
        self.card = ModelCard("YOLO", str(path), sha256_of(path), LICENCE, True)

    def detect(self, picture: Picture) -> list[Found]:
        """Whole people, the surest first. Boxes may reach over the picture's edges."""
        shown, letterbox = letterboxed(picture, self._network.width, self._network.height, around=GREY, centred=True)
        boxes, scores = self._sure(self._network(shown.astype(np.float32) / 255))
        found = zip(letterbox.boxes(boxes), scores.tolist(), strict=True)
        return [Found(box, score) for box, score in found]

    def _sure(self, outputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Boxes [n, 4] of people in what the network sees, and their scores [n], the surest first.

        Raises:
            InputError: the outputs are not those of a YOLO.
        """
        _, rows, columns = outputs[0].shape if len(outputs) == 1 and outputs[0].ndim == 3 else (0, 0, 0)
        if columns == 6:
            return self._suppressed(outputs[0][0])
        if 4 + self._person < rows <= columns:
            return self._guessed(outputs[0][0].T)
        raise self._network.refused(
            f"gives {', '.join(str(list(each.shape)) for each in outputs)}; wanted is one output, [1, 4 + classes, n], "
            "or [1, n, 6] of an export with suppression inside"
        )

    def _suppressed(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of rows x0, y0, x1, y1, score, class, of which those that are left over have a score of 0."""
        people = rows[(rows[:, 5] == self._person) & (rows[:, 4] >= self.threshold)]
        people = people[np.argsort(-people[:, 4], kind="stable")]
        return people[:, :4], people[:, 4]

    def _guessed(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Of rows with the centre, width and height of a box and the score of each class, of which the best counts."""
        scores = rows[:, 4 + self._person]
        people = (scores >= self.threshold) & (rows[:, 4:].argmax(axis=1) == self._person)
        centres, sides, scores = rows[people, :2], rows[people, 2:4], scores[people]
        boxes = np.concatenate([centres - sides / 2, centres + sides / 2], axis=1)
        kept = apart(boxes, scores, OVERLAP)
        return boxes[kept], scores[kept]

    def _class_of_people(self) -> int:
        """By what the file says of itself.

        Raises:
            InputError: it finds no people, or does something else.
        """
        task, names = self._network.said.get("task", "detect"), self._network.said.get("names")
        if task != "detect":
            raise self._network.refused(f"was made to {task}; wanted is one made to detect")
        if names is None:
            return 0
        named = ast.literal_eval(names)
        classes = named.items() if isinstance(named, dict) else enumerate(named)
        people = [number for number, name in classes if name == "person"]
        if not people:
            raise self._network.refused("has no class 'person'; take one trained on COCO")
        return people[0]
