"""The choice of one picture for each entity."""

from collections import Counter
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.curation.stages.choice import Chosen, choose, drawn
from lumosx.curation.stages.values import CleanBackground, Cutout, FacePicture


@dataclass(frozen=True)
class Taken:
    """A picture of an entity from a key frame."""

    entity: int
    key: int


KEYS = st.lists(st.sets(st.integers(0, 2)).map(sorted), max_size=8)  # of every entity


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def candidates(keys: list[list[int]]) -> list[list[Taken]]:
    return [[Taken(entity, key) for key in of] for entity, of in enumerate(keys)]


@given(KEYS, st.integers(0, 1000))
def test_everybody_gets_one_of_the_own_and_not_all_of_one_frame(keys, seed):
    entities = candidates(keys)
    picked = drawn(entities, random(seed))
    assert len(picked) == len(entities)
    for of, one in zip(entities, picked, strict=True):
        assert one in of if of else one is None
    possible = product(*(of for of in keys if of))
    avoidable = any(len(set(choice)) > 1 for choice in possible)
    used = {one.key for one in picked if one}
    assert len(used) > 1 or not avoidable


@given(KEYS, st.integers(0, 1000))
def test_the_seed_decides(keys, seed):
    assert drawn(candidates(keys), random(seed)) == drawn(candidates(keys), random(seed))


@pytest.mark.parametrize(
    ("keys", "allowed"),
    [
        ([[0, 1, 2]], [(0,), (1,), (2,)]),  # one entity has one picture
        ([[0, 1], [0, 1]], [(0, 1), (1, 0)]),
        ([[0, 1], [0]], [(1, 0)]),
        ([[0], [0]], [(0, 0)]),  # there is no other way
        ([[0, 1, 2], [0, 1]], [(0, 1), (1, 0), (2, 0), (2, 1)]),
    ],
)
def test_allowed_choices_are_as_likely(keys, allowed):
    rounds, source = 400 * len(allowed), random(0)
    counts = Counter(tuple(one.key for one in drawn(candidates(keys), source) if one) for _ in range(rounds))
    assert set(counts) == set(allowed)
    # 400 of each, give or take 5 standard deviations
    assert all(abs(count - 400) <= 100 for count in counts.values())


def cutout(key: int, name: str) -> Cutout:
    return Cutout(key=key, box=(0, 0, 9, 9), score=1.0, area=0.1, picture=name, mask="none")


def test_pictures_come_back_in_their_places():
    background = CleanBackground(key=0, foreground=0.2, people_left=0, picture="beach")
    face = FacePicture(
        key=1, person=0, box=(0, 0, 9, 9), score=1.0, sharpness=1.0, turned=None, likeness=1.0, picture="ann"
    )
    hat, coat, boat = cutout(0, "hat"), cutout(1, "coat"), cutout(2, "boat")
    chosen = choose([background], [[], [boat]], [[face], []], [[[hat], []], [[coat]]], random(0))
    assert chosen == Chosen(background, [None, boat], [face, None], [[hat, None], [coat]])
    assert choose([], [], [], [], random(0)) == Chosen(None, [], [], [])
