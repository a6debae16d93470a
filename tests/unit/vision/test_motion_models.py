"""Flow and interpolation on textures that move by a known number of pixels."""

import hashlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from tiny_clip import noise
from torch import nn

from lumosx.errors import InputError
from lumosx.vision import motion
from lumosx.vision.motion import DisFlow, FlowInterpolator, RaftFlow

MARGIN = 16  # pixels at the edges, where what moves in or out cannot be followed


def moving(right: int, down: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth texture, 96 x 128, before and after it has moved."""
    texture = cv2.GaussianBlur(noise(160, 192), (0, 0), 3)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    return texture[32:128, 32:160].copy(), texture[32 - down : 128 - down, 32 - right : 160 - right].copy()


def inside(picture: np.ndarray) -> np.ndarray:
    return picture[MARGIN:-MARGIN, MARGIN:-MARGIN].astype(float)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, 3), (-2, 4)])
def test_dis_measures_a_known_shift(right, down):
    flow = DisFlow().flow(*moving(right, down))
    assert (flow.shape, flow.dtype) == ((96, 128, 2), np.float32)
    np.testing.assert_allclose(inside(flow).mean((0, 1)), [right, down], atol=0.1)


def test_dis_of_a_picture_that_stays():
    still, _ = moving(0)
    assert abs(DisFlow("fast").flow(still, still)).max() < 0.01


def test_dis_says_which_opencv():
    card = DisFlow("ultrafast").card
    assert (card.name, card.source) == ("DIS", "OpenCV, preset ultrafast")
    assert (card.revision, card.licence) == (cv2.__version__, "Apache-2.0")


def test_without_opencv(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(InputError, match=r"pip install 'lumosx\[bench\]'"):
        DisFlow()


@pytest.mark.parametrize(("right", "down"), [(4, 0), (-4, 2)])
def test_halfway_of_a_shift_is_half_the_shift(right, down):
    first, last = moving(right, down)
    _, middle = moving(right // 2, down // 2)
    between = FlowInterpolator(DisFlow()).between(first, last)
    assert between.dtype == np.uint8
    error = abs(inside(between) - inside(middle)).mean()
    blended = abs((inside(first) + inside(last)) / 2 - inside(middle)).mean()
    assert error < 1.5 < 3 < blended


def test_halfway_is_the_same_from_both_sides():
    first, last = moving(4, 2)
    interpolator = FlowInterpolator(DisFlow())
    np.testing.assert_array_equal(interpolator.between(first, last), interpolator.between(last, first))


def test_halfway_by_a_given_flow():
    """Two dots, one in each picture, meet where half of the flow takes them."""
    first, last = (np.zeros((24, 24, 3), np.uint8) for _ in range(2))
    first[6, 4], last[10, 12] = 200, 200

    class Constant:
        card = DisFlow().card

        def flow(self, one, _):
            return np.full((24, 24, 2), (8, 4) if one is first else (-8, -4), np.float32)

    expected = np.zeros_like(first)
    expected[8, 8] = 200
    np.testing.assert_array_equal(FlowInterpolator(Constant()).between(first, last), expected)


def test_the_interpolator_goes_by_its_flow_and_says_what_it_does():
    flow = DisFlow()
    card = FlowInterpolator(flow).card
    assert (card.name, card.revision) == ("DIS", flow.card.revision)
    assert card.source == "half the way along the flow of OpenCV, preset medium"


class StandIn(nn.Module):
    """In RAFT's place: looks at what it is given, and answers with the pictures' difference in red and green."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.zeros(()))

    def forward(self, first: torch.Tensor, second: torch.Tensor, num_flow_updates: int) -> list[torch.Tensor]:
        self.seen = SimpleNamespace(first=first, second=second, updates=num_flow_updates)
        return [torch.zeros(len(first), 2, *first.shape[-2:]), self.scale * (second - first)[:, :2]]


@pytest.fixture
def raft_file(tmp_path, monkeypatch) -> Path:
    """Weights of the stand-in, which is what torchvision gives for raft_large."""
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    optical_flow = SimpleNamespace(raft_large=lambda *, weights: StandIn())
    monkeypatch.setitem(sys.modules, "torchvision.models.optical_flow", optical_flow)
    network = StandIn()
    nn.init.constant_(network.scale, 127.5)  # so that differences come back as uint8 levels
    torch.save(network.state_dict(), tmp_path / "raft.pth")
    return tmp_path / "raft.pth"


@pytest.mark.parametrize(("height", "width"), [(128, 136), (131, 205), (100, 300), (90, 128)])
def test_raft_gets_sides_that_it_takes_and_gives_those_of_the_picture(raft_file, height, width):
    first, second = noise(height, width), noise(height, width, seed=1)
    raft = RaftFlow(raft_file)
    flow = raft.flow(first, second)
    sides = raft._network.seen.first.shape[-2:]
    assert all(side % 8 == 0 and side >= 128 for side in sides)
    assert all(side < max(128, wanted + 8) + 1 for side, wanted in zip(sides, (height, width), strict=True))
    np.testing.assert_allclose(flow, second[..., :2].astype(float) - first[..., :2], atol=0.01)
    assert flow.dtype == np.float32


def test_raft_sees_red_first_from_minus_one_to_one_with_edges_repeated(raft_file):
    picture = np.zeros((128, 132, 3), np.uint8)
    picture[..., 0] = 255
    raft = RaftFlow(raft_file)
    raft.flow(picture, picture)
    seen = raft._network.seen
    for channel, level in enumerate((1, -1, -1)):
        assert (seen.second[0, channel] == level).all()
    assert seen.updates == 20


def test_raft_is_known_by_its_file(raft_file):
    card = RaftFlow(raft_file).card
    assert (card.revision, card.licence) == (hashlib.sha256(raft_file.read_bytes()).hexdigest(), "BSD-3-Clause")


def test_the_authors_weights_alone_bear_their_name(raft_file, monkeypatch):
    """By what is in the file, not by what it is called."""
    other = raft_file.with_name("raft_large_C_T_V1-22a6c225.pth")
    other.write_bytes(raft_file.read_bytes())
    assert RaftFlow(other).card.name == "RAFT"
    monkeypatch.setattr(motion, "RAFT_THINGS", hashlib.sha256(raft_file.read_bytes()).hexdigest()[:8])
    assert RaftFlow(raft_file).card.name == "raft-things"


def test_weights_of_another_network_are_refused(raft_file):
    torch.save({"other": torch.zeros(1)}, raft_file)
    with pytest.raises(InputError, match="no weights of torchvision's raft_large"):
        RaftFlow(raft_file)


def test_without_torchvision(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    monkeypatch.delitem(sys.modules, "torchvision.models.optical_flow", raising=False)
    with pytest.raises(InputError, match="pip install torchvision"):
        RaftFlow(tmp_path / "raft.pth")
