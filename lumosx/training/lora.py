"""Low-rank adapters: how they are added, and their tensors as other programs read them. All of peft's names are here.

While it trains, layer X of the model holds `X.base_layer.*`, `X.lora_A.default.weight` and `X.lora_B.default.weight`,
and computes base(x) + alpha / rank * B A x. In files alpha / rank is part of B, so that no reader needs to know it.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import peft
from diffusers import WanPipeline
from safetensors.torch import save_file
from torch import Tensor, nn

from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.wan_names import transformer_names
from lumosx.training.config import LoraConfig

ADAPTER = "default"
COMFYUI_FILE = "comfyui_lora.safetensors"


def add_lora(model: LumosXTransformer3DModel, config: LoraConfig) -> None:
    """Adds adapters that change nothing yet, and freezes everything else. Draws from PyTorch's global generator.

    Raises:
        InputError: the rank is no positive number, or a target names no linear layer.
    """
    if config.rank < 1:
        raise InputError(f"lora.rank={config.rank}: give 1 or more")
    _expect_targets(model, config.targets)
    model.requires_grad_(False)
    adapter = peft.LoraConfig(r=config.rank, lora_alpha=config.alpha, target_modules=config.targets)
    model.add_adapter(adapter, ADAPTER)


def _expect_targets(model: nn.Module, targets: list[str]) -> None:
    layers = [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
    unknown = [t for t in targets if not any(name == t or name.endswith(f".{t}") for name in layers)]
    if unknown or not targets:
        known = dict.fromkeys(re.sub(r"^blocks\.\d+\.", "", name) for name in layers)
        problem = f"{', '.join(unknown)}: no linear layer's name ends so" if unknown else "names nothing"
        raise InputError(f"lora.targets: {problem}. Names that exist: {', '.join(known)}")


def lora_state(state: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The adapter's tensors as `X.lora_A.weight` and `X.lora_B.weight`.

    Args:
        state: tensors under the trained model's names, whole; others than the adapter's are passed over.
    """
    scale = {"lora_A": 1.0, "lora_B": config.alpha / config.rank}
    parts = [(name, re.fullmatch(rf"(.+)\.(lora_[AB])\.{ADAPTER}\.weight", name)) for name in state]
    return {f"{m[1]}.{m[2]}.weight": state[name] * scale[m[2]] for name, m in parts if m}


def merged(state: Mapping[str, Tensor], config: LoraConfig) -> dict[str, Tensor]:
    """The weights of a model without adapters that computes the same.

    Args:
        state: the trained model's whole state.
    """
    adapter = lora_state(state, config)
    plain = {name.replace(".base_layer.", "."): tensor for name, tensor in state.items() if ".lora_" not in name}
    for name in [name for name in adapter if name.endswith(".lora_A.weight")]:
        layer = name.removesuffix(".lora_A.weight")
        update = adapter[f"{layer}.lora_B.weight"] @ adapter[name]
        plain[f"{layer}.weight"] = plain[f"{layer}.weight"] + update.to(plain[f"{layer}.weight"])
    return plain


def wan_names(adapter: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What `lora_state` gave under the names of Wan's own code, as ComfyUI reads them."""
    blocks = [int(match[1]) for match in map(re.compile(r"blocks\.(\d+)\.").match, adapter) if match]
    theirs = {hub: wan.removesuffix(".weight") for wan, hub in transformer_names(max(blocks, default=-1) + 1).items()}
    renamed = {}
    for name, tensor in adapter.items():
        layer, factor = name.split(".lora_")
        renamed[f"diffusion_model.{theirs[f'{layer}.weight']}.lora_{factor}"] = tensor
    return renamed


def save_lora(adapter: Mapping[str, Tensor], folder: Path) -> None:
    """Writes what `lora_state` gave for diffusers (`WanPipeline.load_lora_weights`) and for ComfyUI, whole or not."""
    with atomic(folder) as beside:
        WanPipeline.save_lora_weights(beside, transformer_lora_layers=dict(adapter))
        save_file(wan_names(adapter), beside / COMFYUI_FILE, metadata={"format": "pt"})
