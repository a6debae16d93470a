"""Settings that cannot work are refused before anything loads: all at once, each with its nearest legal value."""

import re
from pathlib import Path

import pytest

from lumosx.errors import InputError
from lumosx.models import LinearCodec
from lumosx.paths import configs_dir
from lumosx.training.checks import check
from lumosx.training.config import load_config

PHASE_1 = ["experiment=phase1_480p"]


def refusal(overrides: list[str], world: int = 64) -> str:
    with pytest.raises(InputError) as caught:
        check(load_config([*PHASE_1, *overrides], configs_dir()), world)
    return str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "world", "problem"),
    [
        (["parallel.sequence=5", "train.batch=60"], 60, r"sequence=5 does not divide 12 heads .*; nearest: 4, of"),
        (["parallel.sequence=3"], 192, r"sequence=3 .* 40 x 40 tokens of a picture of 640x640x81; nearest: 2, of"),
        (["parallel.sequence=4"], 6, "sequence=4 does not divide 6 processes; nearest: 3, or 4 or 8 processes"),
        (["parallel.shard=5"], 64, r"shard=5 does not divide the 64 processes; take one of 1, 2, 4, 8"),
        (["data.buckets=[850x480x81]"], 64, "width 850 is not a multiple of 16; nearest: 848 or 864"),
        (["data.buckets=[832x480x80]"], 64, r"frames 80 is not 1 \+ a multiple of 4; nearest: 77 or 81"),
        (["data.buckets=[832x480]"], 64, "is not WIDTHxHEIGHTxFRAMES"),
        (["data.buckets=[]"], 64, r"data\.buckets names none"),
        (["data.buckets=[32x32x9,32x32x9]"], 64, "names 32x32x9 twice"),
        (["train.batch=70"], 64, r"train\.batch=70 cannot be shared out evenly over 64 ranks; nearest: 64 or 128"),
        (["train.batch=6"], 64, r"train\.batch=6 .*; nearest: 64$"),
        (["train.batch=96", "train.micro_batch=4"], 16, r"micro_batch=4 does not divide a rank's 6 clips; nearest: 3"),
        (["train.checkpointing=selectiv"], 64, r"train\.checkpointing=selectiv: did you mean selective\?"),
        (["train.precision=fp64"], 64, r"train\.precision=fp64: .*fp32"),
        (["optim.name=lion"], 64, r"optim\.name=lion: choose one of adamw, adamw8bit"),
        (["track.to=[wnadb]"], 64, r"track\.to=wnadb: did you mean wandb\?"),
        (["objective.distribution=normal"], 64, "distribution must be logit_normal, uniform or shifted"),
        (["objective.shift=3"], 64, "shift belongs to shifted"),
        (["parallel.engine=fsdp"], 64, r"parallel\.engine=fsdp is not known"),
        (["parallel.engine=single"], 64, "single is for one process"),
        (["parallel.engine=zero2", "optim.muon_lr=0.02"], 64, "Muon needs whole matrices"),
        (["data.cache=cache"], 64, r"data\.cache needs data\.variants"),
        (["data.cache=cache", "data.variants=1", "data.path=null"], 64, r"data\.cache is of clips at data\.path"),
        (["train.steps=0"], 64, r"train\.steps=0: the least is 1"),
        (["optim.lr=0"], 64, r"optim\.lr=0\.0: give a number above 0"),
        (["optim.betas=[0.9]"], 64, r"optim\.betas=\[0\.9\]: give two numbers from 0 up and below 1"),
        (["optim.betas=[0.9,1.0]"], 64, r"optim\.betas=\[0\.9, 1\.0\]: give two numbers"),
        (["optim.betas=[-0.1,0.9]"], 64, r"optim\.betas=\[-0\.1, 0\.9\]: give two numbers"),
        (["data.text_dropout=1.5"], 64, r"text_dropout=1\.5: a share lies between 0 and 1; nearest: 1"),
        (["data.subjects=[]"], 64, r"data\.subjects=\[\]: give the shares"),
        (["data.subjects=[1,-1]"], 64, "give the shares"),
        (["validation.sigmas=[0,0.5]"], 64, r"sigmas holds 0\.0"),
        (["+model.generation.stepz=5"], 64, r"model\.generation: .*stepz"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_with_the_nearest_that_can(overrides: list[str], world: int, problem: str) -> None:
    message = refusal(overrides, world)
    assert any(re.search(problem, line) for line in message.splitlines()[1:]), message


def test_all_problems_come_in_one_message() -> None:
    message = refusal(["train.steps=0", "train.batch=70", "data.buckets=[850x480x80]", "optim.name=adam"])
    assert len(message.splitlines()) == 1 + 4


def test_a_sequence_of_no_ranks_is_told_once_and_not_for_every_size() -> None:
    assert refusal(["parallel.sequence=0"]).splitlines()[1:] == ["  parallel.sequence=0: the least is 1"]


@pytest.mark.parametrize(
    ("overrides", "world"),
    [
        ([], 64),
        (["parallel.sequence=2", "data.buckets=[832x480x81]"], 128),
        (["parallel.sequence=12", "data.buckets=[832x480x81,480x832x81]"], 12),
        (["parallel.shard=8"], 16),
        (["data.cache=cache", "data.variants=2"], 1),
        (["train.micro_batch=null"], 8),
        (["model.csam=false", "parallel.sequence=4", "data.buckets=[832x480x81]"], 4),
    ],
)
def test_what_can_work_passes(overrides: list[str], world: int) -> None:
    check(load_config([*PHASE_1, *overrides], configs_dir()), world)


def test_adapters_need_a_rank_and_a_model_to_adapt() -> None:
    config = load_config(["experiment=lora_tiny", "lora.rank=0", "model.init_from=null"], configs_dir())
    with pytest.raises(InputError, match=r"lora\.rank=0: the least is 1(.|\n)*name one in model\.init_from"):
        check(config, 1)


def test_parts_must_fit_each_other() -> None:
    message = refusal(["model.codec=checkpoints/lumosx-tiny", "model.text_encoder=checkpoints/lumosx-tiny"])
    assert "in_channels=16, but latents of model.codec have 64 channels" in message
    assert "text_dim=4096, but embeddings of model.text_encoder have 64 channels" in message


def test_a_linear_codec_must_fit_the_transformer_too(tmp_path: Path) -> None:
    LinearCodec(8, 4, 64).save_pretrained(tmp_path / "vae")
    message = refusal([f"model.codec={tmp_path}"])
    assert "in_channels=16, but latents of model.codec have 64 channels" in message
    fitting = ["+model.transformer.in_channels=64", "+model.transformer.out_channels=64"]
    check(load_config([*PHASE_1, f"model.codec={tmp_path}", *fitting], configs_dir()), 64)


def test_a_codec_of_another_class_is_refused(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "config.json").write_text('{"_class_name": "AutoencoderKL", "z_dim": 16}')
    assert "is of class AutoencoderKL; known are AutoencoderKLWan" in refusal([f"model.codec={tmp_path}"])


def test_parts_that_are_not_there_are_named() -> None:
    message = refusal(["model.codec=nowhere", "model.text_encoder=somebody/unknown", "model.init_from=phase0"])
    assert "model.codec: checkpoint nowhere" in message
    assert "model.text_encoder=somebody/unknown: not on this machine. Fetch it: hf download somebody/unknown" in message
    assert "model.init_from: checkpoint phase0" in message
