"""The golden cases: random weights and inputs, with outputs of the release's own equations (golden/README.md)."""

import json
from functools import cache
from pathlib import Path

import torch
from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers
from safetensors.torch import load_file
from torch import Tensor

from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout

GOLDEN = Path(__file__).parent / "golden"
META = json.loads((GOLDEN / "meta.json").read_text())
BOUND = 5e-5  # right code stays under 3e-5; the mistakes that golden/README.md lists show as 1e-4 and more


@cache
def model() -> LumosXTransformer3DModel:
    """The golden model, fp32."""
    config = META["config"]
    net = LumosXTransformer3DModel(
        num_attention_heads=config["num_heads"],
        attention_head_dim=config["dim"] // config["num_heads"],
        text_dim=config["text_dim"],
        freq_dim=config["freq_dim"],
        ffn_dim=config["ffn_dim"],
        num_layers=config["num_layers"],
        mcam_ratio=config["ratio"],
    )
    weights = convert_wan_transformer_to_diffusers(load_file(GOLDEN / "weights.safetensors"))
    net.load_state_dict(weights)
    return net.eval()


def case(index: int, rules: str, **changes: object) -> tuple[dict, Tensor]:
    """The model's inputs for a case, with changes to its layout, and the expected velocity."""
    meta, tensors = META["cases"][index], load_file(GOLDEN / f"case{index}.safetensors")
    text_length = META["config"]["text_len"]
    references, rows, images = [], [], []
    for number, entity in enumerate(meta["entities"]):
        references.append(Reference("background" if number == 0 else "object"))
        rows.append(entity["words"])
        images.append(tensors[f"image.{entity['name']}"])
    for subject, group in enumerate(meta["groups"]):
        for name, words in group:
            references.append(Reference("member", subject=subject))
            rows.append(words)
            images.append(tensors[f"image.{subject}.{name}"])
    words = torch.zeros(len(rows), text_length, dtype=torch.bool)
    for row, tokens in zip(words, rows, strict=True):
        row[tokens] = True
    frames, height, width = meta["latent"]
    options = {"rules": rules, "mcam_ratio": meta.get("ratio"), **changes}
    layout = TokenLayout((frames, height // 2, width // 2), references, words, **options)
    text = tensors["text_embeddings"]
    inputs = {
        "hidden_states": tensors["video_latents"],
        "timestep": tensors["timestep"],
        "encoder_hidden_states": torch.nn.functional.pad(text, (0, 0, 0, text_length - len(text)))[None],
        "layouts": [layout],
        "references": [torch.cat(images, dim=1)],
    }
    return inputs, tensors["velocity" if rules == "release" else "velocity_paper"]


def error(inputs: dict, expected: Tensor) -> float:
    """max |error| / max |velocity|."""
    with torch.no_grad():
        velocity = model()(**inputs).sample
    return float((velocity - expected).abs().max() / expected.abs().max())
