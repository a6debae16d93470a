"""The order of clips: the same however a run is cut, each clip once a round, the mixture as asked."""

import json
from collections import Counter
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.data.batch import Bucket
from lumosx.data.buckets import Pool, Pools
from lumosx.data.sampler import Pick, PickSource, StepPlan, StepSampler
from lumosx.errors import InputError

WIDE, TALL = Bucket(832, 480, 81), Bucket(480, 832, 81)
SIZES = {Pool(WIDE, 1): 7, Pool(WIDE, 2): 12, Pool(TALL, 2): 5, Pool(TALL, 3): 1}
SHARES = {Pool(WIDE, 1): 0.25, Pool(WIDE, 2): 0.4, Pool(TALL, 2): 0.15, Pool(TALL, 3): 0.2}
IDS = [f"clip-{number:02d}" for number in range(sum(SIZES.values()))]


def pools(sizes: dict[Pool, int] = SIZES, shares: dict[Pool, float] = SHARES) -> Pools:
    """Records dealt out in turn, so that a pool's places are not a range."""
    order = np.random.default_rng(0).permutation(sum(sizes.values()))
    parts = np.split(order, np.cumsum(list(sizes.values()))[:-1])
    return Pools({pool: np.sort(part) for pool, part in zip(sizes, parts, strict=True)}, shares, {})


def sampler(seed: int = 0, batch: int = 4) -> StepSampler:
    return StepSampler(IDS, pools(), seed=seed, batch=batch)


def taken(source: PickSource, steps: int, position: dict | None = None) -> list[StepPlan]:
    return list(islice(source.plans(position), steps))


def pool_of(pick: Pick) -> Pool:
    return next(pool for pool, members in pools().members.items() if pick.index in members)


def by_pool(plans: list[StepPlan]) -> dict[Pool, list[Pick]]:
    """Each pool's picks in the order in which they came."""
    found: dict[Pool, list[Pick]] = {}
    for plan in plans:
        for pick in plan.picks:
            found.setdefault(pool_of(pick), []).append(pick)
    return found


def test_the_same_seed_gives_the_same_plans_and_another_one_others() -> None:
    assert taken(sampler(), 30) == taken(sampler(), 30)
    assert taken(sampler(seed=1), 30) != taken(sampler(), 30)


@given(st.integers(0, 40), st.integers(0, 3), st.integers(1, 9))
def test_from_any_position_on_plans_are_those_of_an_uncut_run(cut: int, seed: int, batch: int) -> None:
    uncut = taken(sampler(seed, batch), cut + 10)
    position = json.loads(json.dumps(uncut[cut - 1].position)) if cut else None
    assert taken(sampler(seed, batch), 10, position) == uncut[cut:]


def test_positions_do_not_change_when_later_plans_are_drawn() -> None:
    stream = sampler().plans()
    first = next(stream)
    before = json.dumps(first.position)
    list(islice(stream, 20))
    assert json.dumps(first.position) == before


def test_two_iterations_of_one_sampler_do_not_disturb_each_other() -> None:
    source = sampler()
    expected = taken(sampler(), 40)
    early, late = source.plans(), source.plans(expected[19].position)
    mixed = [(next(early), next(late)) for _ in range(20)]
    assert [first for first, _ in mixed] == expected[:20]
    assert [second for _, second in mixed] == expected[20:]


def test_iterating_moves_the_state_that_can_be_saved_and_loaded() -> None:
    source, expected = sampler(), taken(sampler(), 12)
    assert list(islice(source, 5)) == expected[:5]
    state = json.loads(json.dumps(source.state_dict()))
    assert list(islice(source, 3)) == expected[5:8]
    resumed = sampler()
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert list(islice(resumed, 7)) == expected[5:]


def test_steps_are_numbered_and_of_one_bucket() -> None:
    plans = taken(sampler(), 50)
    assert [plan.step for plan in plans] == list(range(50))
    for plan in plans:
        assert len(plan.picks) == 4
        assert {pool_of(pick).bucket for pick in plan.picks} == {plan.bucket}
    assert {plan.bucket for plan in plans} == {WIDE, TALL}


@pytest.mark.parametrize("batch", [1, 4, 64])
def test_every_round_of_a_pool_visits_each_record_once_and_visits_count_the_rounds(batch: int) -> None:
    for pool, picks in by_pool(taken(sampler(batch=batch), 1600 // batch)).items():
        size = SIZES[pool]
        rounds = [picks[start : start + size] for start in range(0, len(picks) - size + 1, size)]
        assert len(rounds) > 5
        for number, one in enumerate(rounds):
            assert sorted(pick.index for pick in one) == pools().members[pool].tolist()
            assert {pick.visit for pick in one} == {number}


def test_rounds_come_in_different_orders() -> None:
    for pool, picks in by_pool(taken(sampler(), 300)).items():
        size = SIZES[pool]
        orders = {tuple(pick.index for pick in picks[start : start + size]) for start in range(0, 5 * size, size)}
        assert len(orders) == 5 or size < 7  # few records have few orders


def test_a_sample_is_the_record_and_its_visit_so_no_key_comes_twice() -> None:
    picks = [pick for plan in taken(sampler(), 300) for pick in plan.picks]
    assert all(pick.sample == f"{IDS[pick.index]}#{pick.visit}" for pick in picks)
    assert len({pick.sample for pick in picks}) == len(picks)


def test_pools_get_their_shares() -> None:
    steps, batch = 4000, 4
    counts = Counter({pool: len(picks) for pool, picks in by_pool(taken(sampler(batch=batch), steps)).items()})
    for pool, share in SHARES.items():
        bucket_share = sum(other for key, other in SHARES.items() if key.bucket == pool.bucket)
        # picks of a step share their bucket, so the bucket's part of the variance does not shrink with the batch
        inner = share / bucket_share
        variance = inner**2 * bucket_share * (1 - bucket_share) + bucket_share * inner * (1 - inner) / batch
        assert abs(counts[pool] / (steps * batch) - share) < 4 * (variance / steps) ** 0.5


def test_a_position_suits_another_batch_size() -> None:
    """What was drawn stays drawn: rounds are completed with what they lack."""
    before = taken(sampler(batch=4), 37)
    after = taken(sampler(batch=6), 200, before[-1].position)
    assert [plan.step for plan in after[:2]] == [37, 38]
    assert {len(plan.picks) for plan in after} == {6}
    for pool, picks in by_pool(before + after).items():
        for number in range(len(picks) // SIZES[pool]):
            one = picks[number * SIZES[pool] : (number + 1) * SIZES[pool]]
            assert sorted(pick.index for pick in one) == pools().members[pool].tolist()


def test_a_pool_smaller_than_the_batch_goes_round_within_a_step() -> None:
    alone = StepSampler(["a", "b"], Pools({Pool(WIDE, 1): np.arange(2)}, {Pool(WIDE, 1): 1.0}, {}), seed=0, batch=5)
    (plan,) = taken(alone, 1)
    assert [pick.visit for pick in plan.picks] == [0, 0, 1, 1, 2]
    assert {pick.sample for pick in plan.picks[:4]} == {"a#0", "b#0", "a#1", "b#1"}


def test_the_order_of_pools_in_memory_does_not_matter() -> None:
    turned = pools()
    turned = Pools(dict(reversed(turned.members.items())), dict(reversed(turned.shares.items())), {})
    assert taken(StepSampler(IDS, turned, seed=0, batch=4), 30) == taken(sampler(), 30)


def test_a_position_of_other_clips_is_refused_unless_it_does_not_say_which() -> None:
    position = taken(sampler(), 10)[-1].position
    renamed = StepSampler(["new", *IDS[1:]], pools(), seed=0, batch=4)
    with pytest.raises(InputError, match="clips"):
        next(renamed.plans(position))
    with pytest.raises(InputError, match="clips"):
        renamed.load_state_dict(position)
    del position["clips"]
    assert next(renamed.plans(position)).step == 10


def test_a_position_knows_a_pool_only_where_it_still_exists() -> None:
    position = taken(sampler(), 10)[-1].position
    del position["clips"]
    sizes = {Pool(WIDE, 1): 7, Pool(WIDE, 4): 18}
    other = StepSampler(IDS, pools(sizes, dict.fromkeys(sizes, 0.5)), seed=0, batch=4)
    after = taken(other, 1, position)[0].position["drawn"]
    assert after.keys() == {str(pool) for pool in sizes}
    assert after[str(Pool(WIDE, 1))] >= position["drawn"][str(Pool(WIDE, 1))]
    assert after[str(Pool(WIDE, 4))] <= 4


def test_a_broken_clip_is_replaced_by_others_of_its_pool_in_an_order_of_its_own() -> None:
    source = sampler()
    orders = set()
    for pick in by_pool(taken(source, 60))[Pool(WIDE, 2)][:12]:
        others = list(source.replacements(pick))
        assert sorted([pick.index, *(other.index for other in others)]) == pools().members[Pool(WIDE, 2)].tolist()
        assert all(other.sample == f"{IDS[other.index]}#{pick.visit}" for other in others)
        assert others == list(sampler(batch=9).replacements(pick))
        orders.add(tuple(other.index for other in others))
    assert len(orders) == 12


def test_a_clip_alone_in_its_pool_has_no_replacement() -> None:
    source = sampler()
    alone = by_pool(taken(source, 60))[Pool(TALL, 3)][0]
    assert list(source.replacements(alone)) == []


def test_a_large_data_set_is_permuted_only_where_steps_reach() -> None:
    """1.5 million records: the pools that a step draws from, once each."""
    sizes = {Pool(Bucket(16 * n, 480, 81), people): 30_000 for n in range(1, 18) for people in (1, 2, 3)}
    large = Pools({}, dict.fromkeys(sizes, 1 / len(sizes)), {})
    for number, pool in enumerate(sizes):
        large.members[pool] = np.arange(number * 30_000, (number + 1) * 30_000)
    source = StepSampler([str(number) for number in range(30_000 * len(sizes))], large, seed=0, batch=64)
    stream: Iterator[StepPlan] = source.plans()
    plan = next(stream)
    assert 0 < len(source._orders) <= 3
    assert len(json.dumps(plan.position)) < 3000
