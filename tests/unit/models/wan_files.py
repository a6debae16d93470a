"""Small checkpoints in the forms that Wan and the release publish, for the tests of their conversion."""

from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from diffusers import AutoencoderKLWan
from safetensors.torch import load_file
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel

from lumosx.models.wan_names import text_encoder_names, vae_names

Tensors = dict[str, Tensor]
GOLDEN = Path(__file__).parents[2] / "parity" / "golden" / "weights.safetensors"


def golden_weights() -> Tensors:
    """A transformer of two layers, 96 wide, with two heads, under Wan's names."""
    return load_file(GOLDEN)


def tiny_vae() -> tuple[AutoencoderKLWan, Tensors]:
    """A VAE and its tensors under Wan's names."""
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=4)
    return vae, {wan: vae.state_dict()[hub] for wan, hub in vae_names().items()}


def tiny_text_encoder() -> tuple[UMT5EncoderModel, Tensors]:
    """A text encoder and its tensors under Wan's names."""
    torch.manual_seed(0)
    sizes = {"vocab_size": 50, "d_model": 16, "d_kv": 4, "d_ff": 24, "num_layers": 2, "num_heads": 3}
    encoder = UMT5EncoderModel(UMT5Config(**sizes, feed_forward_proj="gated-gelu")).eval()
    return encoder, {wan: encoder.state_dict()[hub] for wan, hub in text_encoder_names(2).items()}


def torch_file(path: Path, content: object, **options: bool) -> Path:
    """A file written by `torch.save`."""
    torch.save(content, path, **options)
    return path


def distribute(folder: Path, state: dict) -> Path:
    """A torch.distributed.checkpoint folder."""
    dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder
