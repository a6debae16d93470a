"""Faces: dlib on real pictures; alignment and preparation of ONNX encoders on networks whose results are known."""

import sys
from pathlib import Path

import dlib
import face_recognition_models
import numpy as np
import onnx
import pytest
from composites import FACES, Person, composite, face_picture
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper
from PIL import Image, ImageEnhance, ImageFilter

from lumosx.errors import InputError
from lumosx.vision import Face
from lumosx.vision.faces import ARCFACE, DlibEncoder, DlibFaces, OnnxFaceEncoder, _hog, aligned, similarity
from lumosx.vision.rules import PeopleByFaces


@pytest.fixture(scope="module")
def detector() -> DlibFaces:
    return DlibFaces()


@pytest.fixture(scope="module")
def encoder() -> DlibEncoder:
    return DlibEncoder()


def _overlap(one, other) -> float:
    """Intersection over union, by counting pixels."""
    canvas = np.zeros((2, 400, 700), bool)
    for mask, box in zip(canvas, (one, other), strict=True):
        x0, y0, x1, y1 = (round(v) for v in box)
        mask[y0:y1, x0:x1] = True
    return (canvas[0] & canvas[1]).sum() / (canvas[0] | canvas[1]).sum()


@pytest.mark.parametrize("name", FACES)
def test_one_face_with_eyes_and_nose_in_order(detector: DlibFaces, name: str) -> None:
    (face,) = detector.detect(face_picture(name))
    assert face.landmarks is not None
    left, right, nose, *mouth = face.landmarks
    height, width = face_picture(name).shape[:2]
    assert left[0] < width / 2 < right[0], "the eye on the left of the picture comes first"
    assert left[0] < nose[0] < right[0]
    assert max(left[1], right[1]) < nose[1] < height * 0.7
    assert np.isnan(mouth).all(), "dlib does not know the mouth"
    # in ArcFace's aligned face the nose is 0.57 of the distance of the eyes below them, and people differ
    eyes = np.linalg.norm(right - left)
    assert (nose[1] - (left[1] + right[1]) / 2) / eyes == pytest.approx(0.57, abs=0.15)


@pytest.mark.parametrize("hat", [None, (200, 30, 30)])
def test_finds_everybody_in_a_frame_the_surest_first(detector: DlibFaces, hat) -> None:
    people = [Person(name, (200, 30, 40), (30, 30, 60), hat, x) for name, x in zip(FACES, (0.2, 0.5, 0.8), strict=True)]
    found = detector.detect(composite(people))
    assert len(found) == 3
    assert [face.score for face in found] == sorted((face.score for face in found), reverse=True)
    for person in people:
        assert max(_overlap(face.box, person.box("face", 640, 360)) for face in found) > 0.7


def test_the_convolutional_detector_finds_the_same_face(detector: DlibFaces) -> None:
    (face,) = DlibFaces(upsample=0, mmod=True).detect(face_picture("obama"))
    (by_hog,) = detector.detect(face_picture("obama"))
    assert _overlap(face.box, by_hog.box) > 0.5


def test_nobody_in_a_wall(detector: DlibFaces) -> None:
    assert detector.detect(composite([])) == []


def _variants(name: str) -> dict[str, np.ndarray]:
    """One person in several pictures."""
    image = Image.fromarray(face_picture(name))
    changed = {
        "dark": ImageEnhance.Brightness(image).enhance(0.6),
        "turned": image.rotate(8, Image.Resampling.BICUBIC),
        "blurred": image.filter(ImageFilter.GaussianBlur(2)),
        "flipped": image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    }
    pictures = {variant: np.asarray(picture) for variant, picture in changed.items()}
    return {"as it is": face_picture(name), **pictures, "in a frame": composite([Person(name, (30, 90, 200))])}


@pytest.fixture(scope="module")
def vectors(detector: DlibFaces, encoder: DlibEncoder) -> dict[str, dict[str, np.ndarray]]:
    """By person and variant the embedding of the one face."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for name in FACES:
        pictures = _variants(name)
        embedded = {variant: encoder.embed(p, detector.detect(p)) for variant, p in pictures.items()}
        assert all(v.shape == (1, 128) and v.dtype == np.float32 for v in embedded.values())
        found[name] = {variant: vector[0] for variant, vector in embedded.items()}
    return found


def test_tells_people_apart_and_knows_them_again(vectors, encoder: DlibEncoder) -> None:
    tables = {name: np.stack(list(own.values())) for name, own in vectors.items()}
    for name, own in tables.items():
        assert np.linalg.norm(own, axis=1) == pytest.approx(np.ones(len(own)), abs=1e-5)
        assert (own @ own.T).min() > encoder.same_person
        for other in set(FACES) - {name}:
            assert (own @ tables[other].T).max() < 0.86


def test_same_person_is_dlibs_threshold_as_a_cosine(vectors, encoder: DlibEncoder) -> None:
    """dlib's own calls, with its own aligned picture, give the distances that the documented formula starts from."""
    network = dlib.face_recognition_model_v1(face_recognition_models.face_recognition_model_location())
    points = dlib.shape_predictor(face_recognition_models.pose_predictor_five_point_model_location())
    own, theirs = [], []
    for name in FACES:
        for variant in ("as it is", "blurred"):
            picture = _variants(name)[variant]
            (box,) = dlib.get_frontal_face_detector()(picture, 1)
            chip = dlib.get_face_chip(picture, points(picture, box), size=150, padding=0.25)
            theirs.append(np.array(network.compute_face_descriptor(chip)))
            own.append(vectors[name][variant])
    distance = np.linalg.norm(np.array(theirs)[:, None] - np.array(theirs), axis=-1)
    cosine = np.array(own) @ np.array(own).T
    assert np.abs(cosine - (1 - 0.252 * distance**2)).max() < 0.02
    assert encoder.same_person == pytest.approx(1 - 0.252 * 0.6**2, abs=1e-3)


def test_no_faces_no_vectors(encoder: DlibEncoder) -> None:
    assert encoder.embed(face_picture("obama"), []).shape == (0, 128)


points = st.lists(st.tuples(st.integers(-50, 50), st.integers(-50, 50)), min_size=2, max_size=6, unique=True)


@given(points, st.floats(-3.1, 3.1), st.floats(0.1, 10), st.floats(-100, 100), st.floats(-100, 100))
def test_similarity_finds_the_motion_that_was_made(source, angle, scale, right, down) -> None:
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    target = np.array(source) @ rotation.T + (right, down)
    assert similarity(np.array(source), target) == pytest.approx(np.column_stack([rotation, (right, down)]), abs=1e-6)


@given(st.lists(st.tuples(*[st.integers(-50, 50)] * 4), min_size=3, max_size=5, unique_by=lambda p: p[:2]))
def test_similarity_is_the_least_squares_solution(pairs) -> None:
    """The same problem as four unknowns of a linear system."""
    pairs = np.array(pairs, float)
    source, target = pairs[:, :2], pairs[:, 2:]
    rows = [row for x, y in source for row in ([x, -y, 1, 0], [y, x, 0, 1])]
    a, b, right, down = np.linalg.lstsq(np.array(rows), target.ravel(), rcond=None)[0]
    assert similarity(source, target) == pytest.approx(np.array([[a, -b, right], [b, a, down]]), abs=1e-6)


@pytest.mark.parametrize("unknown", [[], [3, 4]])
def test_aligned_brings_landmarks_to_arcfaces_places(unknown: list[int]) -> None:
    angle, scale = 0.4, 2.5
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = ARCFACE @ rotation.T + (130, 60)
    y, x = np.indices((500, 500))
    spots = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 50) for px, py in landmarks)
    picture = np.repeat((255 * np.minimum(spots, 1))[..., None], 3, axis=2).astype(np.uint8)
    landmarks[unknown] = np.nan
    result = aligned(picture, Face((0, 0, 1, 1), 1.0, landmarks)).astype(float)[..., 0]
    assert result.shape == (112, 112)
    for px, py in ARCFACE:
        y, x = np.indices(result.shape)
        near = result * (np.hypot(x - px, y - py) < 9)
        assert ((near * x).sum() / near.sum(), (near * y).sum() / near.sum()) == pytest.approx((px, py), abs=0.3)


def test_aligned_without_landmarks_is_the_box() -> None:
    picture = np.zeros((100, 200, 3), np.uint8)
    picture[20:70, 60:160] = (10, 20, 30)
    assert (aligned(picture, Face((60, 20, 160, 70), 1.0)) == (10, 20, 30)).all()
    with pytest.raises(ValueError, match="200x100"):
        aligned(picture, Face((300, 20, 360, 70), 1.0))


def _network(path: Path, shape: list, *, width: int = 48, flat: bool = True) -> Path:
    """Averages over squares of 28 pixels, plus 0.25 so that their scale matters: [n, 3, 112, 112] -> [n, 48]."""
    nodes = [helper.make_node("AveragePool", ["face"], ["average"], kernel_shape=[28, 28], strides=[28, 28])]
    nodes += [helper.make_node("Add", ["average", "quarter"], ["pooled"])]
    nodes += [helper.make_node("Flatten", ["pooled"], ["vector"])] if flat else []
    outputs = [("vector", ["n", width])] if flat else [("pooled", ["n", 3, 4, 4])]
    graph = helper.make_graph(
        nodes,
        "averages",
        [helper.make_tensor_value_info("face", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, size) for name, size in outputs],
        [helper.make_tensor("quarter", TensorProto.FLOAT, [1], [0.25])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """Smooth, and different in all places and channels."""
    y, x = np.indices((112, 112))
    return np.stack([x * 2, y * 2, 255 - x - y], axis=2).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize("batch", ["n", 1])
def test_onnx_takes_rgb_from_minus_one_to_one(tmp_path: Path, picture: np.ndarray, batch) -> None:
    encoder = OnnxFaceEncoder(_network(tmp_path / "averages.onnx", [batch, 3, 112, 112]), "averages", "none")
    faces = [Face((0, 0, 112, 112), 1.0, ARCFACE), Face((28, 28, 84, 84), 1.0)]
    found = encoder.embed(picture, faces)
    squares = picture.reshape(4, 28, 4, 28, 3).mean(axis=(1, 3)) / 127.5 - 1  # [row, column, channel]
    expected = squares.transpose(2, 0, 1).ravel() + 0.25
    assert found.dtype == np.float32
    assert found[0] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    alone = encoder.embed(picture[28:84, 28:84], [Face((0, 0, 56, 56), 1.0)])
    assert found[1:] == pytest.approx(alone, abs=1e-6)
    assert encoder.embed(picture, []).shape == (0, 48)


def test_onnx_sees_the_same_face_however_it_is_turned(tmp_path: Path, picture: np.ndarray) -> None:
    encoder = OnnxFaceEncoder(_network(tmp_path / "averages.onnx", ["n", 3, 112, 112]), "averages", "none")
    upright = encoder.embed(picture, [Face((0, 0, 112, 112), 1.0, ARCFACE)])
    lying = np.column_stack([ARCFACE[:, 1], 111 - ARCFACE[:, 0]])  # where np.rot90 takes (x, y)
    turned = encoder.embed(np.rot90(picture), [Face((0, 0, 112, 112), 1.0, lying)])
    assert turned == pytest.approx(upright, abs=1e-3)


def test_onnx_card_pins_the_file(tmp_path: Path) -> None:
    path = _network(tmp_path / "averages.onnx", ["n", 3, 112, 112])
    card = OnnxFaceEncoder(path, "ArcFace", "research only").card
    assert (card.name, card.licence, card.commercial) == ("ArcFace", "research only", False)
    _network(path, [1, 3, 112, 112])
    assert OnnxFaceEncoder(path, "ArcFace", "research only").card.revision != card.revision


@pytest.mark.parametrize("shape", [["n", 3, 224, 224], ["n", 112, 112, 3], [4, 3, 112, 112]])
def test_onnx_refuses_other_inputs(tmp_path: Path, shape: list) -> None:
    path = _network(tmp_path / "other.onnx", shape, flat=False)
    with pytest.raises(InputError, match=r"ArcFace: .*other.onnx: takes tensor\(float\) .*wanted"):
        OnnxFaceEncoder(path, "ArcFace", "none")


def test_onnx_refuses_what_gives_no_vectors(tmp_path: Path) -> None:
    path = _network(tmp_path / "map.onnx", ["n", 3, 112, 112], flat=False)
    with pytest.raises(InputError, match="gives"):
        OnnxFaceEncoder(path, "ArcFace", "none")


def test_onnx_refuses_what_is_no_network(tmp_path: Path) -> None:
    path = tmp_path / "text.onnx"
    path.write_text("weights, honestly")
    with pytest.raises(InputError, match="not a network in ONNX format"):
        OnnxFaceEncoder(path, "ArcFace", "none")
    with pytest.raises(InputError, match="no such file"):
        OnnxFaceEncoder(tmp_path / "nowhere.onnx", "ArcFace", "none")


def test_missing_libraries_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dlib", None)
    with pytest.raises(InputError, match=r"dlib .*lumosx\[bench\]"):
        DlibFaces()


def test_the_hog_detector_is_made_once_for_all_that_ask_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(dlib, "get_frontal_face_detector", lambda: made.append("one"))
    _hog.cache_clear()
    try:
        DlibFaces()
        PeopleByFaces()
    finally:
        _hog.cache_clear()
    assert made == ["one"]
