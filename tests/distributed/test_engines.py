"""Every engine on real processes gives what one process gives, keeps it in checkpoints, and refuses what it cannot do."""

from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from launching import expect, launch
from worker import ALONE, build, tiny_config, tiny_model, train

from lumosx.errors import InputError
from lumosx.training.engines.choice import engine_name, make_engine

FOUR = ["matches:ddp", "matches:fsdp2", "matches:fsdp2:copies", "saves:ddp", "saves:fsdp2"]
TWO = [
    "matches:ddp:accumulating", "matches:fsdp2:accumulating", "matches:ddp:lora", "matches:fsdp2:lora",
    "skips:ddp", "skips:fsdp2", "keeps_islands:ddp", "keeps_islands:fsdp2", "sharded_muon", "loads:fsdp2",
]  # fmt: skip
ZERO_FOUR = ["saves:zero2", "saves:zero3"]
ZERO_TWO = [
    f"{check}:{stage}{variant}"
    for stage in ("zero2", "zero3")
    for check, variant in [
        ("matches", ""), ("matches", ":accumulating"), ("matches", ":lora"), ("skips", ""), ("keeps_islands", ""),
        ("swaps", ""), ("loads", ""),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four processes leave for others."""
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def four(saved: Path) -> dict[str, str]:
    return launch("engine_worker.py", 4, FOUR, saved)


@pytest.fixture(scope="module")
def two(saved: Path, four: dict[str, str]) -> dict[str, str]:
    return launch("engine_worker.py", 2, TWO, saved)


@pytest.mark.parametrize("check", FOUR)
def test_four_processes(four: dict[str, str], check: str) -> None:
    expect(four, check)


@pytest.mark.parametrize("check", TWO)
def test_two_processes(two: dict[str, str], check: str) -> None:
    expect(two, check)


@pytest.mark.slow  # DeepSpeed compiles when it first runs
@pytest.mark.timeout(1200)
def test_zero(tmp_path: Path) -> None:
    pytest.importorskip("deepspeed")
    for processes, checks in ((4, ZERO_FOUR), (2, ZERO_TWO)):
        results = launch("engine_worker.py", processes, checks, tmp_path, seconds=550)
        for check in checks:
            expect(results, check)


@pytest.mark.parametrize("name", ["ddp", "fsdp2"])
def test_one_process_goes_on_from_the_state_of_four(saved: Path, four: dict[str, str], name: str) -> None:
    expect(four, f"saves:{name}")
    config = tiny_config("single")
    engine, ema = build(ALONE, config)
    wanted = train(engine, ALONE, config, ema, range(3))
    torch.manual_seed(1)
    engine, ema = build(ALONE, config, tiny_model(num_layers=2))
    state = {"engine": engine.state_dict(), "ema": ema.state_dict()}
    dcp.load(state, checkpoint_id=saved / name)
    engine.load_state_dict(state["engine"])
    ema.load_state_dict(state["ema"])
    course = train(engine, ALONE, config, ema, range(2, 3))
    for ours, theirs in ((course.weights, wanted.weights), (course.averages, wanted.averages)):
        for tensor in theirs:
            torch.testing.assert_close(ours[tensor], theirs[tensor], rtol=0, atol=1e-5)


def test_auto_is_single_for_one_process_and_ddp_for_several() -> None:
    assert [engine_name(tiny_config("auto"), size) for size in (1, 2, 8)] == ["single", "ddp", "ddp"]
    assert make_engine(tiny_model(), tiny_config("auto"), ALONE).name == "single"


@pytest.mark.parametrize(
    ("engine", "size", "changes", "message"),
    [
        ("fsdp", 2, {}, "parallel.engine=fsdp is not known; it is auto or one of single, ddp, fsdp2, zero2, zero3"),
        ("single", 2, {}, "one process, but 2 were started; start one, or take parallel.engine=ddp or fsdp2"),
        ("ddp", 2, {"parallel.shard": 2}, "parallel.shard is of parallel.engine=fsdp2, not of ddp"),
        ("fsdp2", 6, {"parallel.shard": 4}, "does not divide the 6 processes; take one of 1, 2, 3, 6"),
        ("zero2", 2, {"optim.muon_lr": 0.02}, "Muon needs whole matrices, which parallel.engine=zero2 cuts"),
    ],
)
def test_what_an_engine_cannot_do_is_said(engine: str, size: int, changes: dict, message: str) -> None:
    config = tiny_config(engine)
    for key, value in changes.items():
        part, name = key.split(".")
        setattr(getattr(config, part), name, value)
    with pytest.raises(InputError) as error:
        engine_name(config, size)
    assert message in str(error.value)
