"""LumosXTransformer3DModel as a diffusers model: parameters, files, LoRA, types, errors."""

from pathlib import Path

import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from diffusers import (
    FasterCacheConfig,
    PyramidAttentionBroadcastConfig,
    TaylorSeerCacheConfig,
    WanPipeline,
    WanTransformer3DModel,
)
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file
from tiny_transformer import CONFIG
from torch import Tensor

from lumosx.models import LumosXTransformer3DModel
from lumosx.relations import Reference, TokenLayout

WAN_1_3B = {  # of Wan-AI/Wan2.1-T2V-1.3B-Diffusers
    "added_kv_proj_dim": None,
    "attention_head_dim": 128,
    "cross_attn_norm": True,
    "eps": 1e-06,
    "ffn_dim": 8960,
    "freq_dim": 256,
    "image_dim": None,
    "in_channels": 16,
    "num_attention_heads": 12,
    "num_layers": 30,
    "out_channels": 16,
    "patch_size": [1, 2, 2],
    "qk_norm": "rms_norm_across_heads",
    "rope_max_seq_len": 1024,
    "text_dim": 4096,
}
TEXT = 5


def model(**changes: object) -> LumosXTransformer3DModel:
    torch.manual_seed(0)
    return LumosXTransformer3DModel(**{**CONFIG, **changes}).eval()


def inputs(count: int = 2, **changes: object) -> dict:
    torch.manual_seed(1)
    layout = TokenLayout((2, 2, 2), [Reference("member", 0)] * count, torch.eye(count, TEXT))
    made = {
        "hidden_states": torch.randn(1, 4, 2, 4, 4),
        "timestep": torch.tensor([600.0]),
        "encoder_hidden_states": torch.randn(1, TEXT, 8),
        "layouts": [layout],
        "references": [torch.randn(4, count, 4, 4)],
    }
    return {**made, **changes}


@torch.no_grad()
def velocity(net: LumosXTransformer3DModel, **changes: object) -> Tensor:
    return net(**inputs(**changes)).sample


def test_the_1_3b_model_has_wans_parameters() -> None:
    with torch.device("meta"):
        ours, wan = LumosXTransformer3DModel(**WAN_1_3B), WanTransformer3DModel(**WAN_1_3B)
    shapes = {name: tensor.shape for name, tensor in ours.state_dict().items()}
    assert len(shapes) == 825
    assert sum(shape.numel() for shape in shapes.values()) == 1_418_996_800
    assert shapes == {name: tensor.shape for name, tensor in wan.state_dict().items()}


def test_the_default_configuration_is_the_1_3b_models() -> None:
    with torch.device("meta"):
        assert LumosXTransformer3DModel().num_parameters() == 1_418_996_800


def test_files_keep_weights_and_every_key(tmp_path: Path) -> None:
    own = {
        "mcam_ratio": 0.3,
        "reference_timestep": "zero",
        "rules": "release",
        "prediction": "sample",
        "rope_ntk_scaling": True,
    }
    net = model(**own)
    net.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "diffusion_pytorch_model.safetensors",
    ]
    loaded = LumosXTransformer3DModel.from_pretrained(tmp_path)
    assert {key: loaded.config[key] for key in own} == own
    for name, tensor in net.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], tensor)
    torch.testing.assert_close(velocity(loaded), velocity(net))


def test_wans_own_files_load(tmp_path: Path) -> None:
    torch.manual_seed(0)
    wan = WanTransformer3DModel(**CONFIG)
    wan.save_pretrained(tmp_path)
    ours = LumosXTransformer3DModel.from_pretrained(tmp_path)
    assert ours.config.mcam_ratio == 0.5 and ours.config.reference_timestep == "shared"
    for name, tensor in wan.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor)


@pytest.mark.parametrize("asked", [{}, {"use_safetensors": False}], ids=["by default", "when asked to"])
def test_pickled_weights_are_never_loaded(tmp_path: Path, asked: dict) -> None:
    model().save_pretrained(tmp_path, safe_serialization=False)
    assert (tmp_path / "diffusion_pytorch_model.bin").exists()
    with pytest.raises(OSError, match=r"no file named diffusion_pytorch_model\.safetensors"):
        LumosXTransformer3DModel.from_pretrained(tmp_path, **asked)


def test_sensitive_modules_stay_in_float32(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path)
    net = LumosXTransformer3DModel.from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    kept = {name for name, parameter in net.named_parameters() if parameter.dtype == torch.float32}
    assert "scale_shift_table" in kept and "blocks.1.scale_shift_table" in kept
    assert "condition_embedder.time_embedder.linear_1.weight" in kept and "blocks.0.norm2.weight" in kept
    assert net.blocks[0].attn1.to_q.weight.dtype == net.patch_embedding.weight.dtype == torch.bfloat16
    out, exact = velocity(net), velocity(LumosXTransformer3DModel.from_pretrained(tmp_path))
    assert out.dtype == torch.bfloat16
    assert (out.float() - exact).abs().max() < 0.03 * exact.abs().max()


def test_attention_gets_one_type_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    """On CUDA, autocast runs the norms of queries and keys in float32 and everything around them in half precision."""
    norm = torch.nn.RMSNorm.forward
    monkeypatch.setattr(torch.nn.RMSNorm, "forward", lambda self, x: norm(self, x.float()))
    net = model()
    with torch.autocast("cpu", torch.bfloat16):
        out = net(**inputs()).sample
        out.float().square().sum().backward()
    assert net.blocks[0].attn1.to_q.weight.grad.isfinite().all()
    exact = velocity(model())
    assert (out - exact).abs().max() < 0.03 * exact.abs().max()


def test_a_sample_prediction_is_turned_into_a_velocity() -> None:
    for timestep, sigma in ((600.0, 0.6), (1000.0, 1.0), (0.0, 1e-3)):
        given = inputs(timestep=torch.tensor([timestep]))
        with torch.no_grad():
            clean = model()(**given).sample
            ours = model(prediction="sample")(**given).sample
        noise = (given["hidden_states"] - (1 - sigma) * clean) / sigma  # equation (6)
        torch.testing.assert_close(ours, noise - clean, rtol=1e-4, atol=1e-3)  # equation (7)


@pytest.fixture
def lora_file(tmp_path: Path) -> Path:
    """A LoRA of stock Wan, saved by diffusers."""
    wan = WanTransformer3DModel(**CONFIG)
    wan.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_out.0", "ffn.net.2"], init_lora_weights=False))
    WanPipeline.save_lora_weights(tmp_path, transformer_lora_layers=get_peft_model_state_dict(wan))
    return tmp_path / "pytorch_lora_weights.safetensors"


def test_a_lora_of_wan_applies_and_scales(lora_file: Path) -> None:
    net = model(reference_timestep="zero")
    plain = velocity(net)
    net.load_lora_adapter(load_file(lora_file))
    full = velocity(net)
    assert (full - plain).abs().max() > 1e-2
    assert torch.equal(velocity(net, attention_kwargs={"scale": 0.0}), plain)
    half = velocity(net, attention_kwargs={"scale": 0.5})
    assert (half - plain).abs().max() > 1e-3 < (half - full).abs().max()
    assert torch.equal(velocity(net), full)  # the scale is of one call


@torch.no_grad()
def test_a_loras_scale_reaches_the_reference_cache(lora_file: Path) -> None:
    net, given = model(reference_timestep="zero"), inputs()
    net.load_lora_adapter(load_file(lora_file))
    scale = {"attention_kwargs": {"scale": 0.5}}
    expected = net(**given, **scale).sample
    references = given.pop("references")
    cache = net.encode_references(references, given["encoder_hidden_states"], given["layouts"], **scale)
    torch.testing.assert_close(net(**given, **scale, reference_cache=cache).sample, expected)
    unscaled = net.encode_references(references, given["encoder_hidden_states"], given["layouts"])
    assert (net(**given, **scale, reference_cache=unscaled).sample - expected).abs().max() > 1e-4


def test_offloading_brings_the_model_back_for_its_references_too() -> None:
    """`enable_model_cpu_offload` moves a model in this hook."""
    moved = []

    class Moving(ModelHook):
        def pre_forward(self, module: torch.nn.Module, *args: object, **kwargs: object) -> tuple:
            moved.append(module)
            return args, kwargs

    net, given = model(reference_timestep="zero"), inputs()
    add_hook_to_module(net, Moving())
    cache = net.encode_references(given["references"], given["encoder_hidden_states"], given["layouts"])
    assert moved == [net]
    velocity(net, references=None, reference_cache=cache)
    assert moved == [net, net]


@pytest.mark.parametrize(
    "cache",
    [
        PyramidAttentionBroadcastConfig(spatial_attention_block_skip_range=2, current_timestep_callback=lambda: 600),
        FasterCacheConfig(current_timestep_callback=lambda: 600),
        TaylorSeerCacheConfig(),
    ],
    ids=lambda cache: type(cache).__name__,
)
def test_caches_of_diffusers_are_refused(cache: object) -> None:
    net = model()
    with pytest.raises(ValueError, match=f"{type(cache).__name__} does not work here.*hook whole blocks"):
        net.enable_cache(cache)
    assert not net.is_cache_enabled
    with net.cache_context("cond"):  # as diffusers' own WanPipeline does
        assert torch.equal(velocity(net), velocity(model()))


def test_a_fresh_adapter_trains_alone() -> None:
    net = model()
    net.requires_grad_(False)
    net.add_adapter(LoraConfig(r=2, target_modules=["to_k", "to_v"]))
    net(**inputs()).sample.square().sum().backward()
    trained = {name for name, parameter in net.named_parameters() if parameter.grad is not None}
    assert trained and all("lora_" in name for name in trained)


def test_weights_may_serve_right_after_inference_mode() -> None:
    net, given = model(), inputs(count=3)
    with torch.inference_mode():
        net(**given)
    net(**given).sample.sum().backward()
    assert net.proj_out.weight.grad is not None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layouts": [TokenLayout((2, 2, 3), [], [])]},
            r"layout is of a video of \(2, 2, 3\) tokens but .*\(2, 2, 2\)",
        ),
        ({"layouts": []}, "0 layouts but text embeddings of 1 samples"),
        ({"references": None}, r"layouts have \[2\] references, but these are given: None"),
        ({"references": [torch.zeros(4, 1, 4, 4)]}, r"layouts have \[2\] references, but these are given: \[1\]"),
        ({"references": [torch.zeros(4, 2, 4, 6)]}, r"references of \(4, 6\) beside a video of \(4, 4\)"),
        ({"encoder_hidden_states": torch.zeros(1, 6, 8)}, "words are over 5 text tokens but the text has 6"),
        (
            {"hidden_states": torch.zeros(2, 4, 2, 4, 4), "timestep": torch.zeros(3)},
            r"2 videos need timesteps \[2\] or \[1\], not \[3\]",
        ),
        ({"timestep": torch.tensor(5.0)}, r"1 videos need timesteps \[1\], not \[\]"),
        ({"layouts": [TokenLayout((2, 2, 2), [], [])]}, r"layouts have \[0\] references, but these are given: \[2\]"),
        ({"layouts": None}, r"the layouts have \[0\] references, but these are given: \[2\]"),
    ],
)
def test_inputs_that_do_not_fit(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        velocity(model(), **changes)


def test_videos_must_share_out() -> None:
    given = inputs()
    given |= {
        "hidden_states": torch.zeros(3, 4, 2, 4, 4),
        "timestep": torch.zeros(3),
        "encoder_hidden_states": torch.zeros(2, TEXT, 8),
        "layouts": given["layouts"] * 2,
    }
    with pytest.raises(ValueError, match="3 videos cannot be shared out over 2 layouts"):
        model()(**given)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rules": "papers"}, r"rules is one of \('paper', 'release'\), not 'papers'"),
        ({"reference_timestep": "one"}, "reference_timestep is one of"),
        ({"prediction": "noise"}, "prediction is one of"),
        ({"image_dim": 1280, "added_kv_proj_dim": 24}, "text-to-video model: image_dim, added_kv_proj_dim"),
        ({"pos_embed_seq_len": 514}, "text-to-video model: pos_embed_seq_len"),
    ],
)
def test_wrong_configurations(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        model(**changes)
