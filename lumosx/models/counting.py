"""Costs of models that others wrote, counted in a run on the meta device: nothing is computed and no memory is taken.

PyTorch's own counter gives the FLOPs. The bytes are those of all tensors that live at once, as a program without
compilation makes them; what a kernel takes for itself is not among them.
"""

import weakref
from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any, NamedTuple

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode
from transformers import UMT5Config, UMT5EncoderModel

from lumosx.models.codec import CODECS, Codec
from lumosx.models.cost import FLOAT32

SHORT = 3  # latent frames after which each further one costs a codec the same
TILE, STRIDE = 256, 192  # pixels of a side: `AutoencoderKLWan`'s own tiles
BLENDED = 3  # copies of the clip that live while tiles are put together


class Cost(NamedTuple):
    """Of one run."""

    flops: int
    memory: int  # bytes of what lives at once, beside weights and inputs


class LiveBytes(TorchDispatchMode):
    """Counts the bytes of the tensors that are made inside and still live, and their peak.

    Args:
        old: tensors from before, whose views do not count.
    """

    def __init__(self, old: Iterable[Tensor]) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.watched = {tensor.untyped_storage()._cdata for tensor in old}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._watch(tensor.untyped_storage())
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        if address not in self.watched:
            self.watched.add(address)
            self.now += size
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._gone, address, size)

    def _gone(self, address: int, size: int) -> None:
        self.watched.discard(address)
        self.now -= size


def numbers(model: nn.Module) -> int:
    """Parameters and buffers."""
    return sum(tensor.numel() for tensor in chain(model.parameters(), model.buffers()))


def build_text_encoder(config: dict[str, Any]) -> UMT5EncoderModel:
    """The text encoder of that configuration on the meta device."""
    with torch.device("meta"):
        return UMT5EncoderModel(UMT5Config(**config)).eval()


def build_codec(config: dict[str, Any]) -> Codec:
    """The codec of that configuration, of one of the classes in `CODECS`, on the meta device."""
    with torch.device("meta"):
        codec: Any = CODECS[config["_class_name"]].from_config(config)
        return codec.eval()


def text_encoding(encoder: UMT5EncoderModel, prompts: int, length: int) -> Cost:
    """Of encoding `prompts` of `length` tokens together, in the encoder's type.

    Args:
        encoder: on the meta device.
    """
    ids = torch.zeros(prompts, length, dtype=torch.long, device="meta")
    # spread over the attention map: to look whether all of a mask is true takes numbers
    mask = torch.zeros(prompts, 1, length, length, dtype=encoder.dtype, device="meta")
    return _count(encoder, ids, mask)


def picture_encoding(codec: Codec, width: int, height: int) -> tuple[Cost, Cost]:
    """Of one reference's latents: whole, and in tiles.

    Args:
        codec: on the meta device.
        width, height: pixels.
    """
    whole, tile = (
        _count(codec, torch.zeros(1, 3, 1, *size, device="meta"), run=codec.encode)
        for size in ((height, width), (min(height, TILE), min(width, TILE)))
    )
    if not has_tiles(codec):
        return whole, whole
    work = _overlapping(height, TILE, STRIDE) * _overlapping(width, TILE, STRIDE) / (height * width)
    return whole, Cost(round(whole.flops * work), tile.memory)


def decoding(codec: Codec, latents: tuple[int, int, int]) -> tuple[Cost, Cost]:
    """Of decoding a clip: whole, and in overlapping tiles.

    A codec goes through a clip latent frame by latent frame, so the first few are counted and the others added.

    Args:
        codec: on the meta device.
        latents: (T, h, w).
    """
    frames, height, width = latents
    config: Any = codec.config
    spatial, temporal = config.scale_factor_spatial, config.scale_factor_temporal
    side, stride = TILE // spatial, STRIDE // spatial
    whole, tile = (
        _decoding(codec, (frames, *size)) for size in ((height, width), (min(height, side), min(width, side)))
    )
    if not has_tiles(codec) or (height <= side and width <= side):
        return whole, whole
    work = _overlapping(height, side, stride) * _overlapping(width, side, stride) / (height * width)
    clip = FLOAT32 * 3 * (1 + (frames - 1) * temporal) * height * width * spatial**2
    return whole, Cost(round(whole.flops * work), round(work * clip) + max(tile.memory, BLENDED * clip))


def has_tiles(codec: Codec) -> bool:
    """Whether it can work in tiles."""
    return isinstance(codec, AutoencoderKLWan)


def _overlapping(size: int, side: int, stride: int) -> int:
    """Length of all tiles along a side, one after another."""
    return sum(min(side, size - start) for start in range(0, size, stride))


def _decoding(codec: Codec, latents: tuple[int, int, int]) -> Cost:
    frames, *size = latents
    config: Any = codec.config
    few = [
        _count(codec, torch.zeros(1, config.z_dim, count, *size, device="meta"), run=codec.decode)
        for count in ((SHORT, SHORT + 1) if frames > SHORT else (frames,))
    ]
    further = max(frames - SHORT, 0)
    return Cost(*(part[0] + further * (part[-1] - part[0]) for part in zip(*few, strict=True)))


def _count(model: Any, *inputs: Tensor, run: Callable[..., Any] | None = None) -> Cost:
    old = (*model.parameters(), *model.buffers(), *inputs)
    with torch.no_grad(), FlopCounterMode(display=False) as counter, LiveBytes(old) as live:
        (run or model)(*inputs)
    return Cost(counter.get_total_flops(), live.peak)
