"""The state of PyTorch's generators. What a run draws is keyed by sample; libraries below it may draw all the same."""

import torch
from torch import Tensor


def rng_state(device: torch.device) -> dict[str, Tensor]:
    """States of the generators of the CPU and of the training device."""
    state = {"cpu": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def set_rng_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Puts back those that there are."""
    if "cpu" in state:
        torch.set_rng_state(state["cpu"])
    if "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)
