"""Motion between frames: DIS flow by OpenCV, RAFT by torchvision, and the picture halfway between two.

Flow is float32 [H, W, 2]: how many pixels to the right and down what is at a pixel of the first picture has moved.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from lumosx.errors import InputError
from lumosx.vision import Flow, ModelCard, Picture
from lumosx.vision.places import UNREADABLE, find, library

Preset = Literal["ultrafast", "fast", "medium"]
RAFT_THINGS = "22a6c225"  # how the sha256 of the authors' raft-things.pth as torchvision ships it begins
RAFT_UPDATES = 20  # as VBench and the release run it
RAFT_STEP, RAFT_LEAST = 8, 128  # pixels: sides are multiples of the one and no less than the other


class DisFlow:
    """Dense Inverse Search (Kroeger et al. 2016) of OpenCV on grey levels. It has no weights.

    Args:
        preset: OpenCV's trade of speed for accuracy.

    Raises:
        InputError: OpenCV is not installed.
    """

    def __init__(self, preset: Preset = "medium") -> None:
        self._cv2 = library("cv2", "'lumosx[bench]'")
        self.card = ModelCard("DIS", f"OpenCV, preset {preset}", self._cv2.__version__, "Apache-2.0", True)
        self._flow = self._cv2.DISOpticalFlow_create(getattr(self._cv2, f"DISOPTICAL_FLOW_PRESET_{preset.upper()}"))

    def flow(self, first: Picture, second: Picture) -> np.ndarray:
        """float32 [H, W, 2], in pixels."""
        grey = [self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2GRAY) for picture in (first, second)]
        return self._flow.calc(*grey, None)


class RaftFlow:
    """RAFT (Teed and Deng 2020), torchvision's `raft_large`. It never ran on real weights here: torchvision has no
    build for every torch that LumosX supports, and the tests run a stand-in for the network.

    The release and VBench run the authors' raft-things.pth, which torchvision has as `C_T_V1`. Those alone are called
    so on the card; others, such as `C_T_V2`, which is trained anew on the same data, are "RAFT".

    Args:
        place: torchvision's file of weights, such as raft_large_C_T_V1-22a6c225.pth.
        device: of torch.

    Raises:
        InputError: there is no such file, it holds other weights, or torchvision is not installed.
    """

    def __init__(self, place: str | Path, device: str = "cpu") -> None:
        optical_flow = library("torchvision.models.optical_flow", "torchvision (the version that belongs to torch's)")
        found = find(place)
        name = "raft-things" if found.revision.startswith(RAFT_THINGS) else "RAFT"
        self.card = ModelCard(name, found.source, found.revision, "BSD-3-Clause", True)
        network = optical_flow.raft_large(weights=None)
        try:
            network.load_state_dict(torch.load(found.files[0], map_location="cpu", weights_only=True))
        except UNREADABLE as error:
            raise InputError(f"{found.source}: no weights of torchvision's raft_large: {error}") from error
        self._network, self._device = network.to(device).eval(), device

    @torch.inference_mode()
    def flow(self, first: Picture, second: Picture) -> np.ndarray:
        """float32 [H, W, 2], in pixels."""
        height, width = first.shape[:2]
        top, left = _before(height), _before(width)
        padded = [_padded(picture).to(self._device) for picture in (first, second)]
        flow = self._network(*padded, num_flow_updates=RAFT_UPDATES)[-1][0]  # the last of its refinements
        return flow[:, top : top + height, left : left + width].permute(1, 2, 0).float().cpu().numpy()


class FlowInterpolator:
    """The picture halfway between two: both are warped half of the way along the flow and averaged.

    The flow at the middle is estimated from that of both directions (Jiang et al. 2018, Super SloMo, equation 4).
    VBench interpolates with the network AMT-S, for which there is no package: motion smoothness by this class is not
    VBench's number and must be called differently.
    """

    def __init__(self, flow: Flow) -> None:
        library("cv2", "'lumosx[bench]'")
        self._flow = flow

    @property
    def card(self) -> ModelCard:
        """The flow's; its source says what is done with it."""
        return replace(self._flow.card, source=f"half the way along the flow of {self._flow.card.source}")

    def between(self, first: Picture, second: Picture) -> Picture:
        """uint8 [H, W, 3]; the same whichever picture comes first."""
        quarter = (self._flow.flow(first, second) - self._flow.flow(second, first)) / 4
        halves = warped(first, -quarter).astype(np.uint16) + warped(second, quarter)
        return ((halves + 1) // 2).astype(np.uint8)


def warped(picture: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """Of uint8 [H, W] or [H, W, 3], what is `offset` [H, W, 2] away from each pixel; beyond an edge, what is at it."""
    cv2 = library("cv2", "'lumosx[bench]'")
    down, right = np.indices(picture.shape[:2], np.float32)
    places = right + offset[..., 0], down + offset[..., 1]
    return cv2.remap(picture, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _padded(picture: Picture) -> Tensor:
    """float32 [1, 3, H, W] from -1 to 1 of sides that RAFT takes, by repeating the edges."""
    pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 127.5 - 1
    (down, right) = (_padding(side) for side in picture.shape[:2])
    (top, left) = (_before(side) for side in picture.shape[:2])
    return torch.nn.functional.pad(pixels, (left, right - left, top, down - top), mode="replicate")


def _padding(side: int) -> int:
    return max(-side % RAFT_STEP, RAFT_LEAST - side)


def _before(side: int) -> int:
    return _padding(side) // 2
