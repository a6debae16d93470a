"""The hot path: once a layout is known, a pass neither waits for the device nor copies anything to it.

On the meta device nothing has a value, so that whatever would wait for one fails, and every copy between it and the
CPU is one that a GPU would need.
"""

from typing import Any

import pytest
import torch
from accelerate.utils import send_to_device
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lumosx.models import LumosXTransformer3DModel
from lumosx.models.block import Pass
from lumosx.relations import Reference, TokenLayout

CONFIG = {
    "num_attention_heads": 2, "attention_head_dim": 24, "in_channels": 4, "out_channels": 4, "text_dim": 12,
    "freq_dim": 16, "ffn_dim": 64, "num_layers": 3,
}  # fmt: skip
TEXT = 7
REFERENCES = [Reference("background"), Reference("member", 0), Reference("member", 0), Reference("member", 1)]


class Copies(TorchDispatchMode):
    """Notes operators that read tensors of one device and write to another."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), keywords: Any = None) -> Any:
        given = [x for x in tree_leaves((arguments, keywords)) if isinstance(x, Tensor) and x.ndim]
        result = function(*arguments, **(keywords or {}))
        devices = {x.device.type for x in [*given, *tree_leaves(result)] if isinstance(x, Tensor) and x.ndim}
        # the ranges of attention steer kernels from the CPU
        if len(devices) > 1 and "lumosx" not in str(function):
            self.found.append(str(function))
        return result


def model(**changes: Any) -> LumosXTransformer3DModel:
    with torch.device("meta"):
        return LumosXTransformer3DModel(**CONFIG, **changes).eval()


def given(branches: int = 1, clips: int = 1) -> dict[str, Any]:
    """Arguments of a pass that has several layouts, each of several clips."""
    words = torch.zeros(len(REFERENCES), TEXT, dtype=torch.bool)
    words[1, 2] = True
    layout = TokenLayout((2, 2, 3), REFERENCES, words)
    return {
        "hidden_states": torch.empty(branches * clips, 4, 2, 4, 6, device="meta"),
        "timestep": torch.empty(branches, device="meta"),
        "encoder_hidden_states": torch.empty(branches, TEXT, 12, device="meta"),
        "layouts": [layout, layout.without_words()][:branches],
        "references": [torch.empty(4, len(REFERENCES), 4, 6, device="meta")] * branches,
    }


def copies(net: LumosXTransformer3DModel, **inputs: Any) -> list[str]:
    with torch.no_grad():
        net(**inputs)  # the layout's tables are made
        with Copies() as copies:
            net(**inputs)
    return copies.found


@pytest.mark.parametrize("timestep", ["shared", "zero"])
@pytest.mark.parametrize(("branches", "clips"), [(1, 1), (2, 1), (1, 3), (2, 2)])
def test_a_pass_with_references(timestep: str, branches: int, clips: int) -> None:
    assert copies(model(reference_timestep=timestep), **given(branches, clips)) == []


@pytest.mark.parametrize("branches", [1, 2])
def test_a_pass_with_what_was_cached(branches: int) -> None:
    net, inputs = model(reference_timestep="zero"), given(branches, clips=2)
    text = net.encode_text(inputs.pop("encoder_hidden_states"))
    cache = net.encode_references(inputs.pop("references"), text, inputs["layouts"])
    assert copies(net, **inputs, encoder_hidden_states=text, reference_cache=cache) == []


def test_the_check_finds_copies_and_waiting() -> None:
    with Copies() as found:
        torch.empty(2).to("meta")
    assert found.found
    with pytest.raises((RuntimeError, NotImplementedError)):
        bool(torch.empty(2, device="meta").all())


def test_timesteps_of_videos_are_compared_where_references_share_them() -> None:
    """Which has to wait: timesteps of layouts, as above, need not."""
    inputs = given(clips=3) | {"timestep": torch.empty(3, device="meta")}
    with pytest.raises((RuntimeError, NotImplementedError)):
        model(reference_timestep="shared")(**inputs)
    model(reference_timestep="zero")(**inputs)


def test_libraries_that_move_arguments_to_a_device_leave_the_ranges_where_they_are() -> None:
    """diffusers' group offload does that for every block; a GPU would have to be waited for in each."""
    net, inputs = model(), given()
    batch = net._batch(tuple(inputs["layouts"]), 1, "joint", inputs["hidden_states"])
    shared = Pass((), batch, "sdpa")
    moved = send_to_device((shared, inputs["timestep"]), torch.device("meta"))[0]
    assert moved.batch.ranges.device.type == moved.batch.video_ranges.device.type == "cpu"
