"""Adapters: what trains, and that every form in which they leave the trainer computes what was trained."""

from pathlib import Path

import pytest
import torch
from diffusers import WanPipeline, WanTransformer3DModel
from safetensors.torch import load_file
from tiny_models import tiny_pipeline
from torch import Tensor

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout
from lumosx.training.config import LoraConfig
from lumosx.training.lora import COMFYUI_FILE, add_lora, lora_state, merged, save_lora, wan_names

CONFIG = {
    "num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4, "text_dim": 8,
    "freq_dim": 16, "ffn_dim": 32, "num_layers": 2,
}  # fmt: skip
EVERY_KIND = ["to_q", "to_out.0", "ffn.net.0.proj", "ffn.net.2", "proj_out", "time_proj", "text_embedder.linear_1"]
LORAS = [LoraConfig(), LoraConfig(rank=4, alpha=6, targets=EVERY_KIND)]


def base(kind: type = LumosXTransformer3DModel, seed: int = 0) -> LumosXTransformer3DModel:
    torch.manual_seed(seed)
    return kind(**CONFIG)


def trained(config: LoraConfig) -> LumosXTransformer3DModel:
    """A model whose adapters are no longer zero."""
    model = base()
    add_lora(model, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if ".lora_B." in name:
                parameter.normal_(0, 0.2, generator=generator)
    return model


@torch.no_grad()
def velocity(model: torch.nn.Module, references: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    video, text = torch.randn(1, 4, 2, 4, 4, generator=generator), torch.randn(1, 5, 8, generator=generator)
    pictures = torch.randn(4, references, 4, 4, generator=generator)
    relations = {}
    if references:
        layout = TokenLayout((2, 2, 2), [Reference("member", 0)] * references, torch.eye(references, 5))
        relations = {"layouts": [layout], "references": [pictures]}
    return model(video, torch.tensor([500.0]), text, **relations).sample


def test_new_adapters_change_nothing_and_alone_are_trained() -> None:
    model = base()
    expected = velocity(model)
    add_lora(model, LoraConfig())
    assert torch.equal(velocity(model), expected)
    names = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert len(names) == 2 * 2 * 8  # two factors, two blocks, four layers of two attentions
    assert all(".lora_A.default." in name or ".lora_B.default." in name for name in names)


def test_gradients_reach_the_adapters_and_nothing_else() -> None:
    model = trained(LoraConfig())
    video, text = torch.randn(1, 4, 2, 4, 4), torch.randn(1, 5, 8)
    layout = TokenLayout((2, 2, 2), [Reference("member", 0)], torch.eye(1, 5))
    out = model(video, torch.tensor([500.0]), text, layouts=[layout], references=[torch.randn(4, 1, 4, 4)])
    out.sample.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None and bool(parameter.grad.any())) == (".lora_" in name), name


def test_the_start_of_the_adapters_follows_the_global_seed() -> None:
    def start(seed: int) -> dict[str, Tensor]:
        model = base()
        torch.manual_seed(seed)
        add_lora(model, LoraConfig())
        return lora_state(model.state_dict(), LoraConfig())

    one, again, other = start(1), start(1), start(2)
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not all(torch.equal(one[name], other[name]) for name in one)


def test_a_target_that_names_no_layer_is_an_input_error_with_the_names_that_exist() -> None:
    with pytest.raises(InputError, match=r"lora\.targets: q_proj: no linear.*attn1\.to_q, .*ffn\.net\.2.*proj_out"):
        add_lora(base(), LoraConfig(targets=["to_q", "q_proj"]))
    with pytest.raises(InputError, match="norm_q"):  # a layer, but not a linear one
        add_lora(base(), LoraConfig(targets=["norm_q"]))
    with pytest.raises(InputError, match="names nothing"):
        add_lora(base(), LoraConfig(targets=[]))


def test_a_rank_below_one_is_an_input_error() -> None:
    with pytest.raises(InputError, match=r"lora\.rank=0"):
        add_lora(base(), LoraConfig(rank=0))


@pytest.mark.parametrize("config", LORAS)
def test_merged_weights_compute_what_was_trained(config: LoraConfig) -> None:
    model, plain = trained(config), base(seed=9)
    expected = velocity(model)
    plain.load_state_dict(merged(model.state_dict(), config), strict=True)
    torch.testing.assert_close(velocity(plain), expected, rtol=0, atol=1e-5)
    assert (velocity(base()) - expected).abs().max() > 1e-2


@pytest.mark.parametrize("config", LORAS)
def test_merging_is_what_diffusers_fuses(config: LoraConfig) -> None:
    model = trained(config)
    ours = merged(model.state_dict(), config)
    model.fuse_lora()
    model.unload_lora()
    theirs = model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=0, atol=1e-6)


@pytest.mark.parametrize("config", LORAS)
def test_the_file_on_the_base_model_is_the_trained_model(config: LoraConfig, tmp_path: Path) -> None:
    model, fresh = trained(config), base()
    save_lora(lora_state(model.state_dict(), config), tmp_path / "lora")
    names = load_file(tmp_path / "lora" / "pytorch_lora_weights.safetensors")
    assert all(name.startswith("transformer.") for name in names)
    fresh.load_lora_adapter(tmp_path / "lora", use_safetensors=True)
    torch.testing.assert_close(velocity(fresh), velocity(model), rtol=0, atol=1e-5)


@pytest.mark.parametrize("file", [None, COMFYUI_FILE])
@pytest.mark.parametrize("config", LORAS)
def test_stock_wan_pipeline_reads_both_files(config: LoraConfig, file: str | None, tmp_path: Path) -> None:
    model = trained(config)
    save_lora(lora_state(model.state_dict(), config), tmp_path / "lora")
    parts = tiny_pipeline().components
    wan = WanPipeline(**{**parts, "transformer": base(WanTransformer3DModel)})  # pyright: ignore[reportArgumentType]
    untouched = velocity(wan.transformer, references=0)
    wan.load_lora_weights(str(tmp_path / "lora"), weight_name=file)
    found = velocity(wan.transformer, references=0)
    torch.testing.assert_close(found, velocity(model, references=0), rtol=0, atol=1e-5)
    assert (untouched - found).abs().max() > 1e-2


def test_the_trained_tensors_alone_are_enough_for_a_file() -> None:
    model = trained(LoraConfig())
    alone = {name: parameter.detach() for name, parameter in model.named_parameters() if parameter.requires_grad}
    whole = lora_state(model.state_dict(), LoraConfig())
    assert lora_state(alone, LoraConfig()).keys() == whole.keys()
    assert len(whole) == 32


def test_comfyui_names_are_those_of_wans_own_code() -> None:
    names = wan_names(lora_state(trained(LORAS[1]).state_dict(), LORAS[1]))
    expected = {"blocks.1.self_attn.o", "blocks.0.cross_attn.q", "blocks.0.ffn.0", "blocks.1.ffn.2", "head.head",
                "time_projection.1", "text_embedding.0"}  # fmt: skip
    assert {f"diffusion_model.{name}.lora_{x}.weight" for name in expected for x in "AB"} <= names.keys()
