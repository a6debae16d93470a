"""Where lower precision would cost more than it saves, and where it holds."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """The weights' own type inside. The meta device, where costs are counted, knows no autocast."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()


def compute_dtype(x: torch.Tensor) -> torch.dtype:
    """The type that matrix products with `x` give here: autocast's, else its own."""
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.get_autocast_dtype(device)
    return x.dtype
