"""Checks of the engines, each against one process."""

from functools import cache
from pathlib import Path

from worker import ALONE, Course, check, expect_same, main, run, tiny_config

from lumosx.training.ranks import Ranks


@cache
def alone() -> Course:
    return run(ALONE, tiny_config("single"))[2]


def as_one_process(ranks: Ranks, engine: str, micro_batch: int = 4, **parallel: object) -> None:
    made, _, course = run(ranks, tiny_config(engine, **parallel), micro_batch)
    assert made.name == engine
    expect_same(ranks, course, alone())


@check
def ddp(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "ddp")


@check
def fsdp2(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "fsdp2")


@check
def hsdp(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "fsdp2", shard=2)


@check
def ddp_accumulates(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "ddp", micro_batch=1)


@check
def fsdp2_accumulates(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "fsdp2", micro_batch=1)


@check
def zero2(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "zero2")


@check
def zero3(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "zero3")


@check
def zero2_accumulates(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "zero2", micro_batch=1)


@check
def zero3_accumulates(ranks: Ranks, folder: Path) -> None:
    as_one_process(ranks, "zero3", micro_batch=1)


if __name__ == "__main__":
    main()
