"""Conversion of published weights: every tensor to its place, and never one too few or too many."""

from collections.abc import Callable
from typing import Literal

import pytest
import torch
from diffusers import WanTransformer3DModel
from torch import Tensor
from transformers import UMT5Config, UMT5EncoderModel
from wan_files import Tensors, golden_weights, tiny_text_encoder, tiny_vae

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.convert import convert_state_dict, infer_config
from lumosx.models.wan_names import text_encoder_names, transformer_names, vae_names


@pytest.fixture
def golden() -> Tensors:
    return golden_weights()


def wan_1_3b() -> Tensors:
    """The published checkpoint: 15 tensors and 27 a block, without memory."""
    dim, ffn, text = 1536, 8960, 4096
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embedding.weight": (dim, 16, 1, 2, 2),
        "patch_embedding.bias": (dim,),
        "text_embedding.0.weight": (dim, text),
        "text_embedding.0.bias": (dim,),
        "text_embedding.2.weight": (dim, dim),
        "text_embedding.2.bias": (dim,),
        "time_embedding.0.weight": (dim, 256),
        "time_embedding.0.bias": (dim,),
        "time_embedding.2.weight": (dim, dim),
        "time_embedding.2.bias": (dim,),
        "time_projection.1.weight": (6 * dim, dim),
        "time_projection.1.bias": (6 * dim,),
        "head.modulation": (1, 2, dim),
        "head.head.weight": (64, dim),
        "head.head.bias": (64,),
    }
    for block in (f"blocks.{n}" for n in range(30)):
        shapes |= {
            f"{block}.modulation": (1, 6, dim),
            f"{block}.norm3.weight": (dim,),
            f"{block}.norm3.bias": (dim,),
        }
        shapes |= {f"{block}.ffn.0.weight": (ffn, dim), f"{block}.ffn.0.bias": (ffn,)}
        shapes |= {f"{block}.ffn.2.weight": (dim, ffn), f"{block}.ffn.2.bias": (dim,)}
        for attention in (f"{block}.self_attn", f"{block}.cross_attn"):
            shapes |= {f"{attention}.norm_q.weight": (dim,), f"{attention}.norm_k.weight": (dim,)}
            shapes |= {f"{attention}.{x}.weight": (dim, dim) for x in "qkvo"}
            shapes |= {f"{attention}.{x}.bias": (dim,) for x in "qkvo"}
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def test_the_1_3b_converts_whole() -> None:
    weights = wan_1_3b()
    converted = convert_state_dict(weights)
    assert len(converted) == 825
    assert sum(tensor.numel() for tensor in converted.values()) == 1_418_996_800
    with torch.device("meta"):
        ours, wan = (
            LumosXTransformer3DModel(**infer_config(weights)),
            WanTransformer3DModel(**infer_config(weights)),
        )
    shapes = {name: tensor.shape for name, tensor in converted.items()}
    assert shapes == {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert shapes == {name: tensor.shape for name, tensor in wan.state_dict().items()}
    assert sum(p.numel() for p in ours.parameters()) == 1_418_996_800


def test_the_1_3b_tells_its_config() -> None:
    assert infer_config(wan_1_3b()) == {
        "patch_size": (1, 2, 2),
        "num_attention_heads": 12,
        "attention_head_dim": 128,
        "in_channels": 16,
        "out_channels": 16,
        "text_dim": 4096,
        "freq_dim": 256,
        "ffn_dim": 8960,
        "num_layers": 30,
    }


def test_golden_weights_convert_and_load_strictly(golden: Tensors) -> None:
    converted = convert_state_dict(golden)
    config = infer_config(golden, num_heads=2)
    assert (config["attention_head_dim"], config["num_layers"], config["freq_dim"]) == (48, 2, 32)
    for model_class in (LumosXTransformer3DModel, WanTransformer3DModel):
        model_class(**config).load_state_dict(converted, strict=True)
    # The block's one LayerNorm with parameters is norm3 there and norm2 here.
    assert converted["blocks.1.norm2.weight"] is golden["blocks.1.norm3.weight"]
    assert converted["blocks.0.attn1.to_out.0.bias"] is golden["blocks.0.self_attn.o.bias"]
    assert converted["blocks.0.attn2.to_k.weight"] is golden["blocks.0.cross_attn.k.weight"]
    assert converted["scale_shift_table"] is golden["head.modulation"]
    assert converted["condition_embedder.time_proj.weight"] is golden["time_projection.1.weight"]


def test_conversion_leaves_its_input_alone(golden: Tensors) -> None:
    names = list(golden)
    convert_state_dict(golden)
    assert list(golden) == names


def test_names_are_those_of_the_models() -> None:
    with torch.device("meta"):
        transformer = WanTransformer3DModel(num_layers=3, num_attention_heads=2)
    assert set(transformer_names(3).values()) == set(transformer.state_dict())
    assert set(vae_names().values()) == set(tiny_vae()[0].state_dict())
    tied = {"encoder.embed_tokens.weight"}
    assert set(text_encoder_names(2).values()) == set(tiny_text_encoder()[0].state_dict()) - tied
    assert (len(transformer_names(30)), len(vae_names()), len(text_encoder_names(24))) == (825, 194, 242)


def test_vae_converts() -> None:
    vae, wan = tiny_vae()
    hub = vae.state_dict()
    wan = {name: hub[renamed] for name, renamed in vae_names().items()}
    assert infer_config(wan, part="vae") == {"base_dim": 4}
    converted = convert_state_dict(wan, part="vae")
    assert converted.keys() == hub.keys() and all(converted[name] is hub[name] for name in hub)
    # Facts of the published file that no shape check would catch if two were swapped.
    assert wan["conv1.bias"] is hub["quant_conv.bias"]
    assert wan["encoder.conv1.bias"] is hub["encoder.conv_in.bias"]
    assert wan["decoder.upsamples.4.shortcut.weight"] is hub["decoder.up_blocks.1.resnets.0.conv_shortcut.weight"]


def t5_forward(weights: Tensors, ids: Tensor, heads: int, blocks: int) -> Tensor:
    """umT5's encoder from Wan's names: pre-norm, a position bias in each block, no scaling, gated GELU."""

    def norm(x: Tensor, name: str) -> Tensor:
        return x * (x.square().mean(-1, keepdim=True) + 1e-6).rsqrt() * weights[f"{name}.weight"]

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ weights[f"{name}.weight"].T

    length = ids.shape[1]
    distance = torch.arange(length)[None] - torch.arange(length)[:, None]
    buckets = 16 * (distance > 0) + distance.abs()  # exact below distance 8
    x = weights["token_embedding.weight"][ids]
    for block in (f"blocks.{n}" for n in range(blocks)):
        y = norm(x, f"{block}.norm1")
        q, k, v = (linear(y, f"{block}.attn.{z}").unflatten(-1, (heads, -1)).transpose(1, 2) for z in "qkv")
        bias = weights[f"{block}.pos_embedding.embedding.weight"][buckets].permute(2, 0, 1)
        attended = (q @ k.mT + bias).softmax(-1) @ v
        x = x + linear(attended.transpose(1, 2).flatten(2), f"{block}.attn.o")
        y = norm(x, f"{block}.norm2")
        gate = torch.nn.functional.gelu(linear(y, f"{block}.ffn.gate.0"), approximate="tanh")
        x = x + linear(gate * linear(y, f"{block}.ffn.fc1"), f"{block}.ffn.fc2")
    return norm(x, "norm")


def test_text_encoder_converts_and_computes_what_wan_computes() -> None:
    _, wan = tiny_text_encoder()
    generator = torch.Generator().manual_seed(0)
    wan = {name: torch.randn(tensor.shape, generator=generator) * 0.5 for name, tensor in wan.items()}
    config = infer_config(wan, part="text_encoder")
    assert config["num_heads"] == 3 and config["d_kv"] == 4 and config["d_ff"] == 24 and config["num_layers"] == 2
    model = UMT5EncoderModel(UMT5Config(**config)).eval()
    assert model.load_state_dict(convert_state_dict(wan, part="text_encoder"), strict=False).missing_keys == [
        "encoder.embed_tokens.weight"
    ]
    ids = torch.tensor([[4, 8, 15, 16, 23, 42]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).last_hidden_state, t5_forward(wan, ids, 3, 2), atol=1e-4, rtol=1e-4)


def test_release_dicts_may_be_wrapped_and_hold_rope_tables(golden: Tensors) -> None:
    plain = convert_state_dict(golden)
    for wrapped in ({"ema": golden}, {"model_state": golden}, golden | {"freqs": torch.zeros(2)}):
        converted = convert_state_dict(wrapped, "lumosx-release")
        assert converted.keys() == plain.keys() and all(converted[k] is plain[k] for k in plain)
        with pytest.raises(InputError, match=r"ema|model_state|freqs"):
            convert_state_dict(wrapped, "wan")


def corruptions(key: str) -> dict[str, tuple[Callable[[Tensors], object], str]]:
    return {
        "missing": (lambda w: w.pop(key), f"missing: {key}"),
        "extra": (lambda w: w.update({f"{key}.lora": w[key]}), f"not part of this model: {key}.lora"),
        "shape": (lambda w: w.update({key: w[key][:-1]}), f"wrong shape: {key}"),
    }


@pytest.mark.parametrize("kind", ["missing", "extra", "shape"])
@pytest.mark.parametrize(
    "key",
    ["blocks.1.self_attn.q.weight", "blocks.0.norm3.bias", "time_projection.1.weight", "head.head.weight"],
)
def test_every_corruption_names_the_tensor(golden: Tensors, kind: str, key: str) -> None:
    corrupt, message = corruptions(key)[kind]
    corrupt(golden)
    with pytest.raises(InputError) as error:
        convert_state_dict(golden)
    assert message in str(error.value)
    assert "1 problem" in str(error.value)


def test_no_single_tensor_can_be_lost_or_misshapen(golden: Tensors) -> None:
    for key in golden:
        for kind in ("missing", "shape"):
            weights = dict(golden)
            corruptions(key)[kind][0](weights)
            with pytest.raises(InputError, match=key.replace(".", r"\.")):
                convert_state_dict(weights)


@pytest.mark.parametrize(
    ("part", "key"),
    [("vae", "decoder.upsamples.7.time_conv.bias"), ("text_encoder", "blocks.1.ffn.gate.0.weight")],
)
def test_other_parts_are_as_strict(part: Literal["vae", "text_encoder"], key: str) -> None:
    _, whole = tiny_vae() if part == "vae" else tiny_text_encoder()
    for corrupt, message in corruptions(key).values():
        weights = dict(whole)
        corrupt(weights)
        with pytest.raises(InputError) as error:
            convert_state_dict(weights, part=part)
        assert message in str(error.value)


def test_all_problems_are_counted_and_the_first_ones_shown(golden: Tensors) -> None:
    weights = {name: tensor for name, tensor in golden.items() if not name.startswith("blocks.0.")}
    with pytest.raises(InputError) as error:
        convert_state_dict(weights | {"odd": torch.zeros(1)})
    message = str(error.value)
    assert "28 problems" in message and "and 18 more" in message
    assert message.count("missing: blocks.0.") == 10


def test_another_model_is_recognised_as_such(golden: Tensors) -> None:
    with pytest.raises(InputError, match="hub format already"):
        convert_state_dict(convert_state_dict(golden))
    with pytest.raises(InputError, match=r"missing: patch_embedding\.weight|missing: head\.modulation"):
        convert_state_dict({"weight": torch.zeros(2)})
    with pytest.raises(InputError, match="img_emb"):
        convert_state_dict(golden | {"img_emb.proj.1.weight": torch.zeros(2, 2)})


def test_things_that_are_no_tensors_are_named(golden: Tensors) -> None:
    with pytest.raises(InputError, match="step must be tensors"):
        convert_state_dict(golden | {"step": 7})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no dict of tensors"):
        convert_state_dict({})


def test_heads_that_no_shape_tells(golden: Tensors) -> None:
    with pytest.raises(InputError, match="width 96 is no multiple of 128"):
        infer_config(golden)
    with pytest.raises(InputError, match="does not divide into 7 heads"):
        infer_config(golden, num_heads=7)
    with pytest.raises(InputError, match=r"text_embedding\.0\.weight is missing"):
        golden.pop("text_embedding.0.weight")
        infer_config(golden, num_heads=2)


def test_unknown_source_and_part(golden: Tensors) -> None:
    with pytest.raises(InputError, match="wan, lumosx-release"):
        convert_state_dict(golden, "wna")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="transformer, vae, text_encoder"):
        convert_state_dict(golden, part="unet")  # type: ignore[arg-type]
