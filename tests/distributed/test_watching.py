"""Validation and sampled clips on two processes with a sharded model."""

import pytest
from launching import expect, launch

CHECKS = ["validation", "samples"]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return launch("watching_worker.py", 2, CHECKS, tmp_path_factory.mktemp("two"))


def test_the_validation_loss_is_the_one_of_one_process(two: dict[str, str]) -> None:
    expect(two, "validation")


def test_clips_sampled_on_a_sharded_model_are_those_of_one_process(two: dict[str, str]) -> None:
    expect(two, "samples")
