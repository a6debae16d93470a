"""The plan of every shipped experiment on a fake world of 64 GPUs: no GPU, no weights, no network."""

import socket
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch.distributed as dist

from lumosx.errors import InputError
from lumosx.models import LinearCodec
from lumosx.models.gpus import GPUS, find_gpu, peak_flops
from lumosx.paths import configs_dir
from lumosx.training.config import load_config, load_runs
from lumosx.training.dry_run import report
from lumosx.training.plan import Plan, make_plan

EXPERIMENTS = sorted(path.stem for path in (configs_dir() / "experiment").glob("*.yaml"))
WAN = 1_418_996_800  # parameters


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("a plan must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


@cache
def plan_of(*overrides: str, gpu: str = "H100", world: int = 64) -> Plan:
    return make_plan(load_config(list(overrides), configs_dir()), gpu, world)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_shipped_experiment_has_a_plan_for_64_gpus(name: str) -> None:
    for config in load_runs([f"experiment={name}", "train.batch=64"], configs_dir()):
        text = report(config, "H100", 64)
        assert f"name: {config.run.name}" in text
        assert max(map(len, text.splitlines())) <= 100
        if config.text is None and config.codec is None:
            assert "64 clips a step = 64 GPUs x 1 clip a pass" in text
            assert "It fits" in text
    assert not dist.is_initialized()


def test_the_plan_of_phase_2_says_what_it_takes() -> None:
    text = report(load_config(["experiment=phase2_480p"], configs_dir()), "H200", 64)
    for line in ("832x480x81 21 x 30 x 52 32,760 1,560 39,000 43,680 48,360", "share of clips 83.4% 14.6% 1.9%",
                 "trained 1,418,996,800", "num_layers: 30", "selective (chosen)", "engine fsdp2"):  # fmt: skip
        assert line in " ".join(text.split())


def test_weights_of_a_gpu_are_counted_in_the_sharded_model() -> None:
    plan = plan_of("experiment=phase1_480p")
    held = plan.parameters
    assert WAN / 64 < held.weights < 1.05 * WAN / 64  # not exact: rows are dealt out whole
    assert held.gradients == held.trained == held.averages == held.weights
    assert plan_of("experiment=phase1_480p", "parallel.shard=8").parameters.weights == pytest.approx(WAN / 8, rel=0.01)


def test_gradients_stay_whole_while_they_are_accumulated() -> None:
    plan = plan_of("experiment=phase1_480p", world=8)
    assert plan.parameters.gradients == WAN and plan.parameters.weights < WAN / 7
    assert "x 8 accumulated" in report(plan.config, "H100", 8)


@pytest.mark.parametrize(
    ("engine", "weights", "trained", "averages"),
    [("ddp", WAN, WAN, WAN), ("zero2", WAN, WAN / 64, WAN), ("zero3", WAN / 64, WAN / 64, WAN / 64)],
)
def test_engines_leave_their_parts_on_a_gpu(engine: str, weights: float, trained: float, averages: float) -> None:
    held = plan_of("experiment=phase1_480p", f"parallel.engine={engine}").parameters
    assert held.weights == pytest.approx(weights, rel=0.001)
    assert held.trained == pytest.approx(trained, rel=0.001)
    assert held.averages == pytest.approx(averages, rel=0.001)


def test_lora_trains_little_and_keeps_the_rest() -> None:
    plan = plan_of("experiment=lora_480p", world=8)
    adapters = 30 * 2 * 4 * 2 * 32 * 1536  # blocks, attentions, matrices, factors, rank, width
    assert plan.trained == plan.parameters.trained == adapters
    assert plan.parameters.weights == WAN + adapters
    full = plan_of("experiment=phase2_480p", "data.buckets=[832x480x81,480x832x81]", "data.subjects=[1,1,1]", world=8)
    assert plan.seconds("selective") * 8 < full.seconds("selective")  # batch 8 instead of 64, and no weights' gradients


def test_time_is_that_of_published_kernels() -> None:
    plan = plan_of("experiment=phase1_480p", "data.buckets=[832x480x81]", gpu="H200")
    assert plan.seconds("full") == pytest.approx(2.77, rel=0.05)
    assert plan.seconds("selective") == pytest.approx(2.37, rel=0.05)


def test_a_step_waits_for_its_heaviest_clip() -> None:
    one = plan_of("experiment=phase2_480p", "train.batch=1", world=1)
    many = plan_of("experiment=phase2_480p")
    assert many.seconds("full") > 1.05 * one.seconds("full")


def test_the_models_that_encode_are_counted_in_their_precision() -> None:
    text_encoder, codec = 5_680_910_336, 126_892_531  # parameters
    assert plan_of("experiment=phase1_480p").frozen == {"text encoder": 2 * text_encoder, "codec": 4 * codec}


def test_a_linear_codec_is_counted_and_sets_the_tokens(tmp_path: Path) -> None:
    LinearCodec(16, 4, 256).save_pretrained(tmp_path / "vae")
    channels = ["+model.transformer.in_channels=256", "+model.transformer.out_channels=256"]
    plan = plan_of("experiment=phase1_480p", f"model.codec={tmp_path}", "data.buckets=[640x480x81]", *channels)
    numbers = 3 * 4 * 16 * 16  # of a block
    assert plan.frozen["codec"] == 4 * (256 * numbers + numbers)
    assert plan.heaviest.layout.video == (21, 15, 20)


def test_a_run_of_the_codec_has_nothing_to_plan() -> None:
    text = report(load_config(["experiment=tiny_codec"], configs_dir()), "H100", 1)
    assert "This trains the codec alone" in text and "channels: 64" in text


def test_ranks_that_share_a_clip_share_its_activations_and_time() -> None:
    bucket = "data.buckets=[832x480x81]"
    alone = plan_of("experiment=phase1_480p", bucket, "train.batch=32", world=32)
    shared = plan_of("experiment=phase1_480p", bucket, "train.batch=32", "parallel.sequence=2")
    assert shared.seconds("full") == pytest.approx(alone.seconds("full") / 2)
    assert "64 GPUs / 2 that share a clip x 1 clip a pass" in report(shared.config, "H100", 64)


def test_a_gpu_that_is_too_small_is_told() -> None:
    assert "It DOES NOT FIT" in report(load_config(["experiment=phase1_480p"], configs_dir()), "4090", 64)


def test_the_readme_shows_what_the_command_prints() -> None:
    text = report(load_config(["experiment=phase1_480p"], configs_dir()), "H100", 64)
    table = text[text.index("\ncheckpointing ") + 1 : text.index("\n\nAssumed")]
    assert table in (configs_dir().parent / "README.md").read_text()


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(InputError, match="nearest: 64 or 128"):
        plan_of("experiment=phase1_480p", "train.batch=65")


def test_an_unknown_gpu_is_refused() -> None:
    with pytest.raises(InputError, match="choose one of A100, H20, H100, H200, 4090"):
        plan_of("experiment=phase1_480p", gpu="B300")


@pytest.mark.parametrize(
    ("device", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA GeForce RTX 4090", "4090"),
    ],
)
def test_devices_are_known_by_the_name_that_cuda_gives(device: str, name: str) -> None:
    assert peak_flops(device) == find_gpu(name.lower()).peak == GPUS[name].peak


@pytest.mark.parametrize("device", ["NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA GH200 480GB", "Tesla T4"])
def test_other_devices_have_no_known_peak(device: str) -> None:
    assert peak_flops(device) is None
