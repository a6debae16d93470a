"""A small model with random weights, and random scenes for it."""

import torch
from torch import Tensor

from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout

CONFIG = {
    "num_attention_heads": 2,
    "attention_head_dim": 24,
    "in_channels": 4,
    "out_channels": 4,
    "text_dim": 12,
    "freq_dim": 16,
    "ffn_dim": 64,
    "num_layers": 2,
}
TEXT = 7
BACKGROUND, OBJECT = Reference("background"), Reference("object")


def member(subject: int, strength: float = 1.0) -> Reference:
    return Reference("member", subject, strength)


# Unequal samples: numbers of references and of groups differ, one has none.
MIXED = (
    [BACKGROUND, OBJECT, member(0), member(0), member(1)],
    [member(0)],
    [],
    [OBJECT, member(0), member(1), member(1, 0.5), member(2)],
)


def model(**changes: object) -> LumosXTransformer3DModel:
    torch.manual_seed(0)
    net = LumosXTransformer3DModel(**{**CONFIG, "mcam_ratio": 2.0, **changes})
    for parameter in net.parameters():  # so large that every mechanism shows in the output
        parameter.data.mul_(1.5)
    return net.eval()


def scene(
    *samples: list[Reference],
    copies: int = 1,
    latent: tuple[int, int, int] = (2, 4, 6),
    timesteps: list[float] | None = None,
    seed: int = 1,
    **options: object,
) -> dict:
    """The model's inputs for a batch of samples, each given by its references. Equal timesteps within a sample."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*size: int) -> Tensor:
        return torch.randn(size, generator=generator)

    frames, height, width = latent
    grid = (frames, -(-height // 2), -(-width // 2))
    layouts, references = [], []
    for sample in samples:
        words = torch.rand(len(sample), TEXT, generator=generator) < 0.4
        layouts.append(TokenLayout(grid, sample, words, **options))
        references.append(normal(4, len(sample), height, width))
    steps = torch.tensor(timesteps) if timesteps else torch.rand(len(samples), generator=generator) * 1000
    return {
        "hidden_states": normal(len(samples) * copies, 4, *latent),
        "timestep": steps if timesteps else steps.repeat_interleave(copies),
        "encoder_hidden_states": normal(len(samples), TEXT, 12),
        "layouts": layouts,
        "references": references,
    }


def one(inputs: dict, video: int, copies: int = 1) -> dict:
    """One video of a batch, with its own sample's text, layout and references."""
    sample = video // copies
    return {
        "hidden_states": inputs["hidden_states"][video : video + 1],
        "timestep": inputs["timestep"][video : video + 1],
        "encoder_hidden_states": inputs["encoder_hidden_states"][sample : sample + 1],
        "layouts": [inputs["layouts"][sample]],
        "references": [inputs["references"][sample]],
    }


def difference(ours: Tensor, expected: Tensor) -> float:
    """max |error| / max |expected|."""
    return float((ours - expected).abs().max() / expected.abs().max())
