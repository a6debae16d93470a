"""Updates that do harm are left out, the others are not."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.training.config import GuardConfig
from lumosx.training.guard import Guard, TrainingFailure


def warmed(norm: float = 1.0, loss: float = 1.0, **options: float) -> Guard:
    """A guard that has seen enough updates to know a large loss or norm."""
    guard = Guard(GuardConfig(**options))  # pyright: ignore[reportArgumentType]
    for _ in range(50):
        assert guard.verdict(loss, norm) is None
    return guard


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_or_norm_that_is_no_number_is_left_out_from_the_first_step(value: float) -> None:
    assert "loss is" in (Guard(GuardConfig()).verdict(value, 1.0) or "")
    assert "norm is" in (Guard(GuardConfig()).verdict(1.0, value) or "")


def test_a_spike_is_left_out_and_the_message_gives_both_numbers() -> None:
    reason = warmed(0.5).verdict(1.0, 100.0)
    assert reason == "the gradient's norm 100 is 200 times its running mean 0.5"
    assert warmed(loss=0.1).verdict(5.0, 1.0) == "the loss 5 is 50 times its running mean 0.1"


def test_a_loss_or_norm_just_below_the_limit_is_taken() -> None:
    assert warmed(spike=20.0).verdict(19.9, 19.9) is None
    assert warmed(spike=20.0).verdict(1.0, 20.1) is not None
    assert warmed(spike=20.0).verdict(20.1, 1.0) is not None


def test_nothing_is_a_spike_before_fifty_updates_were_taken() -> None:
    guard = Guard(GuardConfig())
    for _ in range(49):
        guard.verdict(1.0, 1.0)
    assert guard.verdict(1e6, 1e6) is None


def test_a_left_out_update_does_not_move_the_means() -> None:
    guard = warmed()
    guard.verdict(0.5, 1e9)
    guard.verdict(1e9, 0.5)
    guard.verdict(math.nan, math.nan)
    assert (guard.loss, guard.norm) == (1.0, 1.0)


def test_what_grows_slowly_is_never_left_out() -> None:
    guard, value = warmed(), 1.0
    for _ in range(2000):
        value *= 1.005
        assert guard.verdict(value, value) is None


def test_bad_updates_in_a_row_stop_the_run_and_say_what_to_do() -> None:
    guard = Guard(GuardConfig(patience=3))
    assert guard.verdict(math.nan, 1.0) is not None
    assert guard.verdict(math.nan, 1.0) is not None
    with pytest.raises(TrainingFailure, match=r"3 updates in a row.*loss is nan.*checkpoint stays.*Lower optim\.lr"):
        guard.verdict(math.nan, 1.0)


def test_a_good_update_between_bad_ones_starts_the_count_again() -> None:
    guard = Guard(GuardConfig(patience=2))
    for _ in range(10):
        assert guard.verdict(math.nan, 1.0) is not None
        assert guard.verdict(1.0, 1.0) is None


VALUES = st.floats(0.01, 1e4) | st.sampled_from([math.nan, math.inf])


@given(
    st.lists(st.tuples(VALUES, VALUES), max_size=120),
    st.integers(0, 120),
)
def test_a_guard_restored_from_its_state_judges_as_if_it_had_gone_on(
    updates: list[tuple[float, float]], cut: int
) -> None:
    whole, first = Guard(GuardConfig(patience=10**6)), Guard(GuardConfig(patience=10**6))
    expected = [whole.verdict(*update) for update in updates]
    found = [first.verdict(*update) for update in updates[:cut]]
    second = Guard(GuardConfig(patience=10**6))
    second.load_state_dict(json.loads(json.dumps(first.state_dict())))
    found += [second.verdict(*update) for update in updates[cut:]]
    assert found == expected
    assert second.state_dict() == whole.state_dict()
