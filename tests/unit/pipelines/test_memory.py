"""Offload, tiles, quantised weights and compiled blocks, and which of them go together.

A CPU stands in for both ends of an offload: the device is called cpu:0, and weights that are away hold NaN.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import accelerate.hooks
import pytest
import torch
import torchao.quantization.quant_api
from diffusers.hooks.group_offloading import ModuleGroup
from peft import LoraConfig
from tiny_models import tiny_pipeline, tiny_scene
from torch import Tensor, nn

from lumosx import LumosXPipeline, LumosXTransformer3DModel
from lumosx.errors import InputError
from lumosx.models.codec import LinearCodec
from lumosx.pipelines import memory
from lumosx.pipelines.memory import expect_possible, quantization, quantize_blocks, set_up, set_up_of
from lumosx.relations import Reference, TokenLayout

CPU, DEVICE = torch.device("cpu"), torch.device("cpu", 0)
LORA = LoraConfig(r=2, init_lora_weights=False, target_modules=["to_q", "to_v", "ffn.net.2"])
INT8_ERROR = 0.02  # relative L2 of the velocity; rows of 24 normal weights measure 0.004


@torch.no_grad()
def velocity_error(transformer: Any, reference: Any, **inputs: Any) -> float:
    """How far a quantised transformer's velocity is from the unquantised one's: |difference| / |velocity|, L2.

    Args:
        transformer, reference: quantised and not.
        inputs: of their `forward`.
    """
    velocity, expected = (model(**inputs).sample.float() for model in (transformer, reference))
    return float((velocity - expected).norm() / expected.norm())


def frames(pipeline: LumosXPipeline) -> Tensor:
    return torch.from_numpy(pipeline(tiny_scene(), seed=0, progress=False).frames)


def inputs(**changes: object) -> dict:
    """Of a transformer's forward pass: a clip with two references, each named by one word of the text."""
    torch.manual_seed(1)
    layout = TokenLayout((2, 2, 2), [Reference("object"), Reference("member", subject=0)], torch.eye(2, 6))
    given = {"hidden_states": torch.randn(1, 16, 2, 4, 4), "references": [torch.randn(16, 2, 4, 4)]}
    text = {"encoder_hidden_states": torch.randn(1, 6, 24), "timestep": torch.tensor([500.0]), "layouts": [layout]}
    return {**given, **text, **changes}


def base_layers(pipeline: LumosXPipeline) -> dict[str, nn.Linear]:
    return {name: layer for name, layer in pipeline.transformer.named_modules() if isinstance(layer, nn.Linear)}


class Weights:
    """Takes weights away, leaving NaN, and brings them back."""

    def __init__(self) -> None:
        self.kept: dict[int, Tensor] = {}

    def take(self, weights: Iterator[Tensor] | list[Tensor]) -> None:
        for weight in weights:
            if id(weight) not in self.kept:
                self.kept[id(weight)] = weight.data
                weight.data = torch.full_like(weight, torch.nan)

    def bring(self, weights: Iterator[Tensor] | list[Tensor]) -> None:
        for weight in weights:
            weight.data = self.kept.pop(id(weight), weight.data)


@pytest.fixture
def grouped(monkeypatch: pytest.MonkeyPatch) -> Weights:
    """diffusers' groups of weights, which are really away."""
    weights = Weights()

    def members(group: ModuleGroup) -> list[Tensor]:
        return [*(p for module in group.modules for p in module.parameters()), *group.parameters]

    def away(group: ModuleGroup) -> None:
        if group.offload_device != group.onload_device:
            weights.take(members(group))

    monkeypatch.setattr(ModuleGroup, "_offload_to_memory", away)
    monkeypatch.setattr(ModuleGroup, "_onload_from_memory", lambda group: weights.bring(members(group)))
    return weights


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Names of the models that are there when one is called, call by call, with weights that are really away."""
    weights, here, calls = Weights(), set(), []

    def away(_: object, module: nn.Module) -> nn.Module:
        weights.take(module.parameters())
        here.discard(type(module).__name__)
        return module

    def called(hook: accelerate.hooks.CpuOffload, module: nn.Module, *args: object, **kwargs: object) -> tuple:
        if hook.prev_module_hook is not None:
            hook.prev_module_hook.offload()
        weights.bring(module.parameters())
        here.add(type(module).__name__)
        calls.append(set(here))
        return args, kwargs

    monkeypatch.setattr(accelerate.hooks.CpuOffload, "init_hook", away)
    monkeypatch.setattr(accelerate.hooks.CpuOffload, "pre_forward", called)
    return calls


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Compiled blocks run as they are traced, so that no compiler is waited for."""
    torch._dynamo.reset()
    whole = partial(LumosXTransformer3DModel.compile_repeated_blocks, backend="eager")
    monkeypatch.setattr(LumosXTransformer3DModel, "compile_repeated_blocks", lambda model: whole(model))
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize("reference_timestep", ["shared", "zero"])
def test_grouped_weights_are_there_when_they_are_used(grouped: Weights, reference_timestep: str) -> None:
    expected = frames(tiny_pipeline(reference_timestep=reference_timestep))
    pipeline = tiny_pipeline(reference_timestep=reference_timestep)
    memory.offload_groups(pipeline, DEVICE)
    away = {id(p) for part in (pipeline.transformer.blocks, pipeline.text_encoder) for p in part.parameters()}
    assert grouped.kept.keys() == away
    assert torch.equal(frames(pipeline), expected)
    assert torch.equal(frames(pipeline), expected)  # a second scene
    assert grouped.kept.keys() == away


def test_a_block_of_the_transformer_is_alone(grouped: Weights) -> None:
    pipeline = tiny_pipeline(num_layers=3)
    memory.offload_groups(pipeline, DEVICE)
    blocks, here = pipeline.transformer.blocks, []

    def look(*_: object) -> None:
        here.append([not block.attn1.to_q.weight.isnan().any().item() for block in blocks])

    for block in blocks:
        block.ffn.register_forward_pre_hook(look)
    frames(pipeline)
    assert here and all(sum(row) == 1 for row in here)


def test_only_the_hooks_move_a_grouped_text_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    pipeline = tiny_pipeline()
    memory.offload_groups(pipeline, DEVICE)
    monkeypatch.setattr(pipeline.text_encoder, "to", None)
    pipeline.encode_text(["A street."])


@pytest.mark.parametrize("reference_timestep", ["shared", "zero"])
def test_a_model_is_there_when_it_is_called_and_alone(together: list[set[str]], reference_timestep: str) -> None:
    expected = frames(tiny_pipeline(reference_timestep=reference_timestep))
    pipeline = tiny_pipeline(reference_timestep=reference_timestep)
    memory.offload_models(pipeline, DEVICE)
    assert torch.equal(frames(pipeline), expected)
    assert all(len(models) == 1 for models in together)
    order = [name for models in together for name in models]
    first_time = list(dict.fromkeys(order))
    assert first_time == ["UMT5EncoderModel", "AutoencoderKLWan", "LumosXTransformer3DModel"]
    assert order[-1] == "AutoencoderKLWan"


def test_without_pictures_the_text_encoder_goes_too(together: list[set[str]]) -> None:
    pipeline = tiny_pipeline()
    memory.offload_models(pipeline, DEVICE)
    pipeline(tiny_scene(subjects=None, background=None), seed=0, progress=False)
    assert all(len(models) == 1 for models in together)


def with_codec_of_blocks() -> LumosXPipeline:
    """Its codec has no parameters."""
    pipeline = tiny_pipeline(in_channels=64, out_channels=64)
    pipeline.register_modules(vae=LinearCodec())
    return pipeline


@pytest.mark.parametrize("offload", [memory.offload_models, memory.offload_groups])
def test_a_codec_without_parameters_stays(offload: object) -> None:
    expected = frames(with_codec_of_blocks())
    pipeline = with_codec_of_blocks()
    offload(pipeline, DEVICE)
    assert torch.equal(frames(pipeline), expected)


def test_tiles_are_the_vaes_own() -> None:
    pipeline = set_up(tiny_pipeline(), CPU, tiling=True)
    assert pipeline.vae.use_tiling and set_up_of(pipeline)["tiling"]
    with pytest.raises(InputError, match="LinearCodec"):
        set_up(with_codec_of_blocks(), CPU, tiling=True)


def test_int8_is_in_the_linear_layers_of_the_blocks_and_nowhere_else() -> None:
    pipeline = set_up(tiny_pipeline(), CPU, quantize="int8")
    kinds = {name: getattr(layer.weight, "qdata", layer.weight).dtype for name, layer in base_layers(pipeline).items()}
    assert {name for name, kind in kinds.items() if kind == torch.int8} == {n for n in kinds if n.startswith("blocks.")}
    assert len(kinds) > sum(name.startswith("blocks.") for name in kinds)
    others = [p for p in pipeline.transformer.parameters() if p.ndim != 2]
    assert {p.dtype for p in others} == {torch.float32}
    assert pipeline.transformer.dtype == torch.float32


def test_int8_changes_the_velocity_a_little() -> None:
    reference, quantised = tiny_pipeline().transformer, tiny_pipeline().transformer
    assert velocity_error(quantised, reference, **inputs()) == 0
    quantize_blocks(quantised, "int8")
    assert (quantization(reference), quantization(quantised)) == (None, "int8")
    assert 0 < velocity_error(quantised, reference, **inputs()) < INT8_ERROR


def test_the_error_of_a_velocity_is_relative() -> None:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = value

        def forward(self, x: Tensor) -> object:
            return type("Output", (), {"sample": x * self.value})

    error = velocity_error(Constant(3.0), Constant(2.0), x=torch.tensor([3.0, -4.0]))  # pyright: ignore
    assert error == pytest.approx(0.5)


@pytest.mark.parametrize("offload", [memory.offload_models, memory.offload_groups])
def test_quantised_weights_can_be_offloaded(offload: object) -> None:
    expected = frames(set_up(tiny_pipeline(), CPU, quantize="int8"))
    pipeline = tiny_pipeline()
    quantize_blocks(pipeline.transformer, "int8")
    offload(pipeline, CPU)
    assert torch.equal(frames(pipeline), expected)


@torch.no_grad()
def test_adapters_are_loaded_before_or_after_and_stay_whole() -> None:
    expected = tiny_pipeline().transformer
    before, after = tiny_pipeline().transformer, tiny_pipeline().transformer
    quantize_blocks(after, "int8")
    for model in (expected, before, after):
        torch.manual_seed(2)
        model.add_adapter(LORA)
    quantize_blocks(before, "int8")
    assert velocity_error(tiny_pipeline().transformer, expected, **inputs()) > 10 * INT8_ERROR  # the adapter acts
    for model in (before, after):
        layer = model.blocks[0].attn1.to_q
        assert type(layer.base_layer.weight).__name__ == "Int8Tensor"
        assert layer.lora_A["default"].weight.dtype == torch.float32
        assert quantization(model) == "int8"
        assert velocity_error(model, expected, **inputs()) < INT8_ERROR
    with pytest.raises((NotImplementedError, ValueError)):
        before.fuse_lora()


@torch.no_grad()
def test_fp8_computes_what_the_layers_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its sums, on a CPU, where it is refused for use."""
    monkeypatch.setattr(torchao.quantization.quant_api, "_check_hardware_support", lambda _: None)
    reference, quantised = (tiny_pipeline(attention_head_dim=16).transformer.to(torch.bfloat16) for _ in range(2))
    quantize_blocks(quantised, "fp8")
    assert quantization(quantised) == "fp8"
    assert 0 < velocity_error(quantised, reference, **inputs()) < 0.1


def test_fp8_refuses_layers_that_it_would_leave_out() -> None:
    with pytest.raises(InputError, match=r"multiples of 16.*blocks.0.attn1.to_q"):
        quantize_blocks(tiny_pipeline().transformer, "fp8")  # 24 wide


@pytest.mark.parametrize("offload", ["none", "model"])
def test_compiled_blocks_go_with_the_others(eager: None, offload: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "expect_possible", lambda *_, **__: None)  # a model's offload from the CPU to itself
    expected = frames(set_up(tiny_pipeline(), CPU, quantize="int8"))
    pipeline = set_up(tiny_pipeline(), DEVICE, offload=offload, quantize="int8", compile=True)
    assert set_up_of(pipeline) == {"tiling": False, "quantize": "int8", "compile": True}
    assert (frames(pipeline).int() - expected.int()).abs().max() <= 1  # sums in another order


def test_what_was_set_up_can_be_set_up_again() -> None:
    assert set_up_of(tiny_pipeline()) == {"tiling": False, "quantize": None, "compile": False}
    once = set_up(tiny_pipeline(), CPU, tiling=True, quantize="int8")
    again = set_up(tiny_pipeline(), CPU, **set_up_of(once))
    assert set_up_of(again) == set_up_of(once)
    assert torch.equal(frames(again), frames(once))


@pytest.mark.parametrize(
    ("device", "choices", "words"),
    [
        ("cpu", {"offload": "disk"}, "choose none, model, group"),
        ("cpu", {"quantize": "int4"}, "choose none, int8, fp8"),
        ("cpu", {"offload": "model"}, "nothing to offload to"),
        ("cpu", {"offload": "group"}, "nothing to offload to"),
        ("cuda", {"offload": "group", "compile": True}, "does not go with compile"),
        ("cpu", {"quantize": "fp8"}, "choose int8"),
    ],
)
def test_what_is_refused_and_why(device: str, choices: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        expect_possible(torch.device(device), torch.bfloat16, **choices)
    if device == "cpu":
        with pytest.raises(InputError, match=words):
            set_up(tiny_pipeline(), CPU, **choices)


@pytest.mark.parametrize(
    ("capability", "dtype", "words"),
    [((8, 0), torch.bfloat16, "Ada, Hopper"), ((9, 0), torch.float32, "bfloat16, not float32")],
)
def test_fp8_needs_a_gpu_of_its_kind(
    capability: tuple[int, int], dtype: torch.dtype, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    with pytest.raises(InputError, match=words):
        expect_possible(torch.device("cuda"), dtype, quantize="fp8")


def test_possible_choices_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (8, 9))
    expect_possible(torch.device("cuda"), torch.bfloat16, offload="model", quantize="fp8", compile=True)
    expect_possible(torch.device("cuda"), torch.float32, offload="group", quantize="int8")


def test_without_torchao_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"pip install 'lumosx\[quantize\]'"):
        set_up(tiny_pipeline(), CPU, quantize="int8")


@pytest.mark.gpu
@pytest.mark.parametrize("choices", [{"offload": "model"}, {"offload": "group"}])
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_offload_gives_the_same_frames_on_a_gpu(choices: dict, quantize: str | None) -> None:
    """Not run yet: no GPU was at hand."""
    device = torch.device("cuda")
    expected = frames(set_up(tiny_pipeline(reference_timestep="zero"), device, quantize=quantize))
    pipeline = set_up(tiny_pipeline(reference_timestep="zero"), device, quantize=quantize, **choices)
    for _ in range(2):
        assert torch.equal(frames(pipeline), expected)
    assert pipeline.transformer.blocks[1].attn1.to_q.weight.device.type == "cpu"


@pytest.mark.gpu
def test_the_1_3_billion_sample_within_8_gb() -> None:
    """Not run yet: no GPU was at hand. Wan's sizes and random weights, 480p, 81 frames, five references."""
    from diffusers import AutoencoderKLWan

    device = torch.device("cuda")
    pipeline = tiny_pipeline(num_layers=1)
    torch.manual_seed(0)
    with device:
        transformer = LumosXTransformer3DModel(text_dim=24)
    vae = AutoencoderKLWan().eval()
    pipeline.register_modules(transformer=transformer.to(CPU, torch.bfloat16).eval(), vae=vae)
    set_up(pipeline, device, offload="group", tiling=True)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    settings = {"size": "832x480", "frames": 81, "steps": 2}
    clip = pipeline(tiny_scene(), seed=0, progress=False, **settings)
    assert clip.frames.shape == (81, 480, 832, 3)
    assert torch.cuda.max_memory_allocated() < 8e9
