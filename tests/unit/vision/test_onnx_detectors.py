"""SCRFD and YOLO on small networks in ONNX files whose answers are known: they look for colours at every place."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lumosx.curation.models import MODELS, Profile
from lumosx.errors import InputError
from lumosx.vision.networks import letterboxed
from lumosx.vision.registry import Registry
from lumosx.vision.scrfd import ScrfdFaces
from lumosx.vision.yolo import YoloPeople

SIDE = 64
RED, YELLOW, BLUE = (255, 0, 0), (230, 255, 0), (0, 0, 255)
REGISTRY = Registry(MODELS, Profile, "curate", others=("settings",))  # in which no role has to be filled


def save(path: Path, nodes: list, weights: dict[str, np.ndarray], shape: list, outputs: list[str], **said: str) -> Path:
    """A network of one input, "picture"."""
    made = helper.make_graph(
        nodes,
        "known",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    network = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(network, said)
    onnx.save(network, path)
    return path


def means(stride: int, *colours: list[float]) -> np.ndarray:
    """Weights that take the mean of each cell of a stride, weighted by channel, for each output channel."""
    flat = np.array(colours, np.float32)[:, :, None, None] / stride**2
    return np.broadcast_to(flat, (len(colours), 3, stride, stride)).copy()


def scrfd(
    path: Path, *, stride: int = 8, landmarks: bool = True, axis: bool = False, shape: Any = (1, 3, "?", "?")
) -> Path:
    """Sees red in the cells of one stride, and less surely with its second guess. A face reaches from its place one
    stride to the left and up, two to the right and three down, by the second guess half a stride farther; its
    landmarks lie from the place at (0, 1), (2, 3) and so on, in tenths of a stride."""
    nodes, weights, outputs = [], {}, {1: [], 4: [], 10: []}
    box, five = [1.0, 1.0, 2.0, 3.0], list(np.arange(10) / 10)
    biases = {1: [0.0, 0.0], 4: [*box, *(each + 0.5 for each in box)], 10: five * 2}
    for each in (8, 16, 32):
        for width in (1, 4, 10) if landmarks else (1, 4):
            name = f"{width}_{each}"
            nothing = [[0.0, 0.0, 0.0]] * (2 * width)
            sees = [[1.0, 0.0, 0.0], [0.9, 0.0, 0.0]] if (width, each) == (1, stride) else nothing
            weights[f"w{name}"], weights[f"b{name}"] = means(each, *sees), np.array(biases[width], np.float32)
            weights[f"s{name}"] = np.array([1, -1, width] if axis else [-1, width])
            nodes += [
                helper.make_node(
                    "Conv", ["picture", f"w{name}", f"b{name}"], [f"c{name}"],
                    kernel_shape=[each, each], strides=[each, each],
                ),
                helper.make_node("Transpose", [f"c{name}"], [f"t{name}"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"t{name}", f"s{name}"], [name]),
            ]  # fmt: skip
            outputs[width].append(name)
    return save(path, nodes, weights, list(shape), [name for names in outputs.values() for name in names])


def yolo(path: Path, size: tuple[int, int], **said: str) -> Path:
    """Its classes are red and green; a box around the middle of each cell of 8 pixels is 24 wide and 16 high."""
    cells = [length // 8 for length in size]
    y, x = (np.indices(cells) + 0.5) * 8
    place = np.stack([x, y, np.full(cells, 24.0), np.full(cells, 16.0), np.zeros(cells), np.zeros(cells)])
    weights = {
        "w": means(8, *[[0.0] * 3] * 4, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]),
        "place": place[None].astype(np.float32),
        "flat": np.array([1, 6, -1]),
    }
    nodes = [
        helper.make_node("Conv", ["picture", "w"], ["seen"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Add", ["seen", "place"], ["placed"]),
        helper.make_node("Reshape", ["placed", "flat"], ["output0"]),
    ]
    return save(path, nodes, weights, [1, 3, *size], ["output0"], **said)


def constant(path: Path, *values: np.ndarray, shape: Any = (1, 3, SIDE, SIDE)) -> Path:
    """Always gives the same."""
    weights = {f"v{number}": value.astype(np.float32) for number, value in enumerate(values)}
    nodes = [helper.make_node("Identity", [name], [f"o{name}"]) for name in weights]
    return save(path, nodes, weights, list(shape), [f"o{name}" for name in weights])


def filled(role: str, model: str) -> Profile:
    """A profile with one role."""
    profile = Profile()
    setattr(profile, role, model)
    return profile


def painted(width: int, height: int, *spots: tuple[tuple[int, int, int, int], tuple[int, int, int]]) -> np.ndarray:
    """A black picture with coloured boxes."""
    picture = np.zeros((height, width, 3), np.uint8)
    for (x0, y0, x1, y1), colour in spots:
        picture[y0:y1, x0:x1] = colour
    return picture


# The cell of 8 pixels whose corner is at (16, 8) in what the network sees, in pictures that it sees at half and at
# double size, wide and high: the face reaches from (8, 0) to (32, 32).
@pytest.mark.parametrize(
    ("size", "spot", "scale"),
    [
        ((64, 64), (16, 8, 24, 16), 1),
        ((64, 56), (16, 8, 24, 16), 1),
        ((128, 64), (32, 16, 48, 32), 2),
        ((64, 128), (32, 16, 48, 32), 2),
        ((32, 16), (8, 4, 12, 8), 0.5),
    ],
)
@pytest.mark.parametrize("axis", [False, True])
def test_faces_come_back_to_where_they_are(tmp_path: Path, size, spot, scale, axis) -> None:
    detector = ScrfdFaces(scrfd(tmp_path / "net.onnx", axis=axis), side=SIDE)
    (face,) = detector.detect(painted(*size, (spot, RED)))
    assert face.box == pytest.approx(np.array([8, 0, 32, 32]) * scale)
    assert face.landmarks == pytest.approx((np.array([[16, 8]]) + np.arange(10).reshape(5, 2) * 0.8) * scale)
    if scale >= 1:  # a picture that is enlarged is blurred
        assert face.score == pytest.approx((255 - 127.5) / 128, abs=1e-5)


@pytest.mark.parametrize("size", [(100, 37), (37, 100), (61, 59), (640, 3)])
@pytest.mark.parametrize("centred", [False, True])
def test_letterboxes_are_undone(size: tuple[int, int], centred: bool) -> None:
    width, height = size
    shown, letterbox = letterboxed(np.full((height, width, 3), 255, np.uint8), 96, SIDE, around=7, centred=centred)
    assert shown.shape == (SIDE, 96, 3)
    inside = shown[..., 0] == 255
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside[np.ix_(rows, columns)].all() and (shown[~inside] == 7).all()
    corners = np.array([[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]])
    assert letterbox.boxes(corners)[0] == pytest.approx((0, 0, width, height))
    scale = min(96 / width, SIDE / height)
    assert abs(len(columns) - width * scale) <= 0.5 and max(1, round(height * scale)) == len(rows)
    left, top = (96 - len(columns)) // 2, (SIDE - len(rows)) // 2
    assert (columns[0], rows[0]) == ((left, top) if centred else (0, 0))


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_every_stride_has_its_places(tmp_path: Path, stride: int) -> None:
    detector = ScrfdFaces(scrfd(tmp_path / "net.onnx", stride=stride), side=SIDE)
    (face,) = detector.detect(painted(SIDE, SIDE, ((stride, 0, 2 * stride, stride), RED)))
    assert face.box == pytest.approx((0, -stride, 3 * stride, 3 * stride))
    assert face.landmarks is not None and face.landmarks[4] == pytest.approx((1.8 * stride, 0.9 * stride))


def test_a_network_without_landmarks(tmp_path: Path) -> None:
    detector = ScrfdFaces(scrfd(tmp_path / "net.onnx", landmarks=False), side=SIDE)
    (face,) = detector.detect(painted(SIDE, SIDE, ((16, 8, 24, 16), RED)))
    assert face.box == pytest.approx((8, 0, 32, 32)) and face.landmarks is None


def test_of_faces_that_share_much_the_surest_stays(tmp_path: Path) -> None:
    """A box of 24 x 32 and its neighbour 8 to the right share 1/2 of their union, that 16 to the right 1/5."""
    detector = ScrfdFaces(scrfd(tmp_path / "net.onnx"), side=SIDE)
    fainter, faintest = (240, 0, 0), (220, 0, 0)
    spots = [((16, 8, 24, 16), fainter), ((24, 8, 32, 16), RED), ((40, 8, 48, 16), faintest)]
    found = detector.detect(painted(SIDE, SIDE, *spots))
    assert [face.box[0] for face in found] == pytest.approx([16, 32])
    assert [face.score for face in found] == pytest.approx([(255 - 127.5) / 128, (220 - 127.5) / 128], abs=1e-5)


@pytest.mark.parametrize(("colour", "seen"), [((191, 0, 0), False), ((192, 0, 0), True), (BLUE, False)])
def test_faces_are_red_and_sure(tmp_path: Path, colour, seen) -> None:
    """A red of 191.5 has a score of 0.5."""
    detector = ScrfdFaces(scrfd(tmp_path / "net.onnx"), side=SIDE)
    assert bool(detector.detect(painted(SIDE, 48, ((16, 8, 24, 16), colour)))) == seen


def test_the_files_own_size_is_taken(tmp_path: Path) -> None:
    detector = ScrfdFaces(scrfd(tmp_path / "net.onnx", shape=(1, 3, 32, 96)))
    (face,) = detector.detect(painted(192, 64, ((32, 16, 48, 32), RED)))
    assert face.box == pytest.approx((16, 0, 64, 64))


def test_what_scrfd_does_not_give(tmp_path: Path) -> None:
    table = np.zeros((4, 1))
    with pytest.raises(InputError, match=r"SCRFD: .*net.onnx: gives \[4, 1\] for .* 64x64; .* n of 128, 32, 8 for"):
        ScrfdFaces(constant(tmp_path / "net.onnx", table))
    six = [np.zeros((count, width)) for width in (1, 4) for count in (128, 32, 8)]
    assert ScrfdFaces(constant(tmp_path / "six.onnx", *six[::-1])).detect(painted(9, 9)) == []
    nine = [np.zeros((count, width)) for width in (1, 4, 9) for count in (128, 32, 8)]
    for wrong in (six[:5], [*six, table], [*six[:5], table], [*six[:5], np.zeros((2, 8, 4))], [*six[:5], six[0]], nine):
        with pytest.raises(InputError, match="wanted are scores"):
            ScrfdFaces(constant(tmp_path / "other.onnx", *wrong))


@pytest.mark.parametrize("kind", [ScrfdFaces, YoloPeople])
def test_what_detectors_do_not_take(tmp_path: Path, kind: type) -> None:
    for shape in [(8, 3, SIDE, SIDE), (1, SIDE, SIDE, 3), (1, 3, SIDE), (3, SIDE, SIDE)]:
        with pytest.raises(InputError, match=r"net.onnx: takes tensor\(float\) .*; wanted is one input"):
            kind(constant(tmp_path / "net.onnx", np.zeros((1, 6, 84)), shape=shape))
    with pytest.raises(InputError, match="does not run at 20x20"):
        kind(scrfd(tmp_path / "net.onnx"), side=20)
    with pytest.raises(InputError, match="no such file"):
        kind(tmp_path / "none.onnx")
    (tmp_path / "text.onnx").write_text("weights, honestly")
    with pytest.raises(InputError, match="not a network in ONNX format"):
        kind(tmp_path / "text.onnx")


# The cell of 8 pixels from (24, 24) in what the network sees has a box from (16, 20) to (40, 36). A wide picture at
# half size lies 16 below the top there, a high one 16 from the left.
@pytest.mark.parametrize(
    ("size", "spot", "box"),
    [
        ((64, 64), (24, 24, 32, 32), (16, 20, 40, 36)),
        ((128, 64), (48, 16, 64, 32), (32, 8, 80, 40)),
        ((64, 128), (16, 48, 32, 64), (0, 40, 48, 72)),
    ],
)
def test_people_come_back_to_where_they_are(tmp_path: Path, size, spot, box) -> None:
    (found,) = YoloPeople(yolo(tmp_path / "net.onnx", (SIDE, SIDE))).detect(painted(*size, (spot, RED)))
    assert found.box == pytest.approx(box)
    assert found.score == pytest.approx(1, abs=1e-6)


def test_people_are_what_is_person_before_all_else(tmp_path: Path) -> None:
    detector = YoloPeople(yolo(tmp_path / "net.onnx", (SIDE, SIDE)))
    assert detector.detect(painted(SIDE, SIDE, ((24, 24, 32, 32), YELLOW))) == []
    assert detector.detect(painted(SIDE, SIDE, ((24, 24, 32, 32), BLUE))) == []
    assert detector.detect(painted(SIDE, SIDE)) == []


def test_around_a_picture_is_grey(tmp_path: Path) -> None:
    """Which is as red as it is green, so that the first class has it."""
    detector = YoloPeople(yolo(tmp_path / "net.onnx", (SIDE, SIDE)), threshold=0.44)
    found = detector.detect(painted(128, 64))
    assert found and {round(each.score, 5) for each in found} == {round(114 / 255, 5)}
    middles = {(each.box[1] + each.box[3]) / 2 for each in found}
    assert all(middle < 0 or middle > 64 for middle in middles)
    assert len({middle < 0 for middle in middles}) == 2, "above and below"


def test_of_people_who_share_much_the_surest_stays(tmp_path: Path) -> None:
    """A box of 24 x 16 and its neighbour 8 to the right share 1/2 of their union, that 8 below 1/3."""
    detector = YoloPeople(yolo(tmp_path / "net.onnx", (SIDE, SIDE)))
    spots = [((24, 24, 32, 32), (240, 0, 0)), ((32, 24, 40, 32), RED), ((32, 32, 40, 40), (220, 0, 0))]
    found = detector.detect(painted(SIDE, SIDE, *spots))
    assert [each.box for each in found] == [pytest.approx((24, 20, 48, 36)), pytest.approx((24, 28, 48, 44))]
    assert [each.score for each in found] == pytest.approx([1, 220 / 255], abs=1e-6)


def test_exports_with_suppression_inside(tmp_path: Path) -> None:
    """Rows are taken as they are, though two share all, and what is left over or somebody's bicycle is not."""
    rows = np.zeros((1, 8, 6))
    rows[0, :4] = [[8, 20, 24, 40, 0.6, 0], [0, 16, 64, 48, 0.9, 1], [8, 20, 24, 40, 0.75, 0], [8, 20, 9, 40, 0.49, 0]]
    detector = YoloPeople(constant(tmp_path / "net.onnx", rows))
    found = detector.detect(painted(128, 64))
    assert [each.box for each in found] == [pytest.approx((16, 8, 48, 48))] * 2
    assert [each.score for each in found] == pytest.approx([0.75, 0.6])
    assert YoloPeople(constant(tmp_path / "none.onnx", np.zeros((1, 0, 6)))).detect(painted(9, 9)) == []


def test_files_say_which_class_people_are(tmp_path: Path) -> None:
    green = painted(SIDE, SIDE, ((24, 24, 32, 32), (0, 255, 0)))
    for number, names in enumerate(["{0: 'dog', 1: 'person'}", "['dog', 'person']"]):
        path = yolo(tmp_path / f"{number}.onnx", (SIDE, SIDE), names=names, task="detect")
        assert len(YoloPeople(path).detect(green)) == 1
    with pytest.raises(InputError, match=r"YOLO: .*dogs.onnx: has no class 'person'; take one trained on COCO"):
        YoloPeople(yolo(tmp_path / "dogs.onnx", (SIDE, SIDE), names="{0: 'dog', 1: 'cat'}"))
    with pytest.raises(InputError, match="was made to pose; wanted is one made to detect"):
        YoloPeople(yolo(tmp_path / "pose.onnx", (SIDE, SIDE), names="{0: 'person'}", task="pose"))


@pytest.mark.parametrize("shapes", [[(1, 84, 6, 1)], [(1, 25200, 85)], [(1, 84, 80)], [(1, 4, 84)], [(1, 6, 84)] * 2])
def test_what_yolo_does_not_give(tmp_path: Path, shapes: list) -> None:
    """Such as v5, with objectness."""
    with pytest.raises(InputError, match=r"gives \[1, .*wanted is one output, \[1, 4 \+ classes, n\], or \[1, n, 6\]"):
        YoloPeople(constant(tmp_path / "net.onnx", *map(np.zeros, shapes)))


@pytest.mark.parametrize(
    ("role", "name", "licence"), [("faces", "scrfd", "InsightFace"), ("people", "yolo", "AGPL-3.0")]
)
def test_both_are_used_only_when_allowed(tmp_path: Path, role, name, licence) -> None:
    path = {"scrfd": scrfd(tmp_path / "scrfd.onnx", shape=(1, 3, SIDE, SIDE)), "yolo": yolo(tmp_path / "y", (SIDE, 32))}
    profile = filled(role, f"{name}:{path[name]}")
    with pytest.raises(InputError, match=f"{name}: .*{licence}.*; --allow {name}"):
        REGISTRY.make(profile)
    card = REGISTRY.make(profile, [name])[role].card
    assert licence in card.licence and card.commercial == (name == "yolo") and len(card.revision) == 64
    with pytest.raises(InputError, match=f"{name} needs the file of its weights: --model {role}={name}:"):
        REGISTRY.make(filled(role, name), [name])
