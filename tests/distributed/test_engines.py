"""Every engine on real processes gives what one process gives, keeps it in checkpoints, and says what it cannot do."""

from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from launching import expect, launch
from worker import ALONE, build, tiny_config, tiny_model, train

from lumosx.errors import InputError
from lumosx.training.engines.choice import engine_name, make_engine

FOUR = ["matches:ddp", "matches:fsdp2", "matches:fsdp2:copies", "saves:ddp", "saves:fsdp2"]
TWO = ["matches:ddp:accumulating", "matches:ddp:lora", "skips:ddp", "keeps_islands:ddp", "sharded_muon", "muon_resumes"]
TWO += [
    f"{check}:fsdp2{variant}"
    for check, variant in [
        ("matches", ":accumulating"), ("matches", ":lora"), ("skips", ""), ("keeps_islands", ""), ("swaps", ""),
        ("caches", ""), ("loads", ""),
    ]
]  # fmt: skip
ZERO_FOUR = ["saves:zero2", "saves:zero3", "matches:zero2", "matches:zero3"]
ZERO_TWO = [check.replace("fsdp2", stage) for stage in ("zero2", "zero3") for check in TWO if "fsdp2" in check]
SLOW = [pytest.mark.slow, pytest.mark.timeout(1200)]  # DeepSpeed compiles when it first runs
ZERO = [pytest.param(stage, marks=SLOW) for stage in ("zero2", "zero3")]
ENGINES = ["ddp", "fsdp2", *ZERO]
SHARDED = ["fsdp2", *ZERO]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What four processes leave for others."""
    return tmp_path_factory.mktemp("saved")


@pytest.fixture(scope="module")
def of_four(saved: Path) -> dict[str, str]:
    return launch("engine_worker.py", 4, FOUR, saved)


@pytest.fixture(scope="module")
def of_two(saved: Path, of_four: dict[str, str]) -> dict[str, str]:
    return launch("engine_worker.py", 2, TWO, saved)


@pytest.fixture(scope="module")
def zero_of_four(saved: Path) -> dict[str, str]:
    pytest.importorskip("deepspeed")
    return launch("engine_worker.py", 4, ZERO_FOUR, saved, seconds=580)


@pytest.fixture(scope="module")
def zero_of_two(saved: Path, zero_of_four: dict[str, str]) -> dict[str, str]:
    return launch("engine_worker.py", 2, ZERO_TWO, saved, seconds=580)


@pytest.fixture
def four(request: pytest.FixtureRequest, engine: str) -> dict[str, str]:
    return request.getfixturevalue("zero_of_four" if engine.startswith("zero") else "of_four")


@pytest.fixture
def two(request: pytest.FixtureRequest, engine: str) -> dict[str, str]:
    return request.getfixturevalue("zero_of_two" if engine.startswith("zero") else "of_two")


@pytest.mark.parametrize("engine", [*ENGINES, "fsdp2:copies"])
def test_loss_gradients_weights_and_averages_are_those_of_one_process(four: dict[str, str], engine: str) -> None:
    expect(four, f"matches:{engine}")


@pytest.mark.parametrize("engine", ENGINES)
def test_micro_batches_add_up_to_the_batch(two: dict[str, str], engine: str) -> None:
    expect(two, f"matches:{engine}:accumulating")


@pytest.mark.parametrize("engine", ENGINES)
def test_adapters_train_and_nothing_else(two: dict[str, str], engine: str) -> None:
    expect(two, f"matches:{engine}:lora")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_step_that_is_left_out_leaves_nothing_behind(two: dict[str, str], engine: str) -> None:
    expect(two, f"skips:{engine}")


@pytest.mark.parametrize("engine", ENGINES)
def test_norms_modulation_and_time_stay_in_fp32_under_bf16(two: dict[str, str], engine: str) -> None:
    expect(two, f"keeps_islands:{engine}")


@pytest.mark.parametrize("engine", SHARDED)
def test_averages_take_the_weights_place_and_leave_no_trace(two: dict[str, str], engine: str) -> None:
    expect(two, f"swaps:{engine}")


@pytest.mark.parametrize("engine", SHARDED)
def test_references_are_cached_between_steps(two: dict[str, str], engine: str) -> None:
    expect(two, f"caches:{engine}")


def test_muon_over_shards_is_muon_over_whole_matrices(of_two: dict[str, str]) -> None:
    expect(of_two, "sharded_muon")
    expect(of_two, "muon_resumes")


@pytest.mark.parametrize("engine", SHARDED)
def test_two_processes_go_on_from_what_four_saved(four: dict[str, str], two: dict[str, str], engine: str) -> None:
    expect(four, f"saves:{engine}")
    expect(two, f"loads:{engine}")


@pytest.mark.parametrize("engine", ["ddp", "fsdp2"])
def test_one_process_goes_on_from_what_four_saved(saved: Path, four: dict[str, str], engine: str) -> None:
    expect(four, f"saves:{engine}")
    config = tiny_config("single")
    reference, averages = build(ALONE, config)
    wanted = train(reference, ALONE, config, averages, range(3))
    single, ema = build(ALONE, config)
    with torch.no_grad():
        for parameter in single.model.parameters():
            parameter.add_(1.0)
    state = {"engine": single.state_dict(), "ema": ema.state_dict()}
    dcp.load(state, checkpoint_id=saved / engine)
    single.load_state_dict(state["engine"])
    ema.load_state_dict(state["ema"])
    course = train(single, ALONE, config, ema, range(2, 3))
    for ours, theirs in ((course.weights, wanted.weights), (course.averages, wanted.averages)):
        for name in theirs:
            torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-5)


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
        ("fsdp2", 2, {"optim.name": "adamw8bit"}, "take optim.name=adamw, or parallel.engine=ddp"),
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
