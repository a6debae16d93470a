"""Verdicts on attributes: hand-made tables, and properties against another way to say the same."""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse.csgraph import connected_components

from lumosx.evaluation.metrics.verdicts import Outfits, Verdict, pooled

NAN = np.nan


def outfits(owners: Sequence[int], slots: str, likeness: np.ndarray | None = None, alike: float = 0.8) -> Outfits:
    """Attributes of owners, each in a slot named by a letter; references unlike each other by default."""
    same = np.eye(len(owners)) if likeness is None else likeness
    return Outfits(max(owners) + 1, list(owners), list(slots), same, alike)


def wearing(*people: Sequence[int], attributes: int) -> np.ndarray:
    """The table of what each person wears."""
    return np.array([[i in worn for i in range(attributes)] for worn in people])


@pytest.mark.parametrize(
    ("worn", "expected"),
    [
        ([[0], [1], [2]], ["right", "right", "right"]),
        ([[1], [0], [2]], ["swap", "swap", "right"]),
        ([[2], [0], [1]], ["swap", "swap", "swap"]),
        # 0's is on 1, 1's on 2, and 2's is lost: a chain that does not close is no exchange
        ([[], [0], [1]], ["leak", "leak", "leak"]),
        # 0's is on 1 alone, whose own it crowds out
        ([[], [0], [2]], ["leak", "leak", "right"]),
        ([[0], [0], [2]], ["dominance", "dominance", "right"]),
        ([[0], [0], [0]], ["dominance", "dominance", "dominance"]),
        ([[], [1], [2]], ["drop", "right", "right"]),
        ([[], [], []], ["drop", "drop", "drop"]),
    ],
)
def test_each_fault_of_three_people_has_its_verdict(worn: list[list[int]], expected: list[Verdict]) -> None:
    case = outfits([0, 1, 2], "aaa")
    assert case.judge(np.ones(3, bool), wearing(*worn, attributes=3)) == expected


def test_what_is_lost_while_the_owner_wears_a_missing_persons_is_a_leak() -> None:
    case = outfits([0, 1], "aa")
    assert case.judge(np.array([False, True]), wearing([], [0], attributes=2)) == ["missing", "leak"]


def test_things_of_other_slots_do_not_crowd_out() -> None:
    case = outfits([0, 1], "ab")
    assert case.judge(np.ones(2, bool), wearing([0], [0], attributes=2)) == ["dominance", "drop"]


def test_a_top_one_way_and_trousers_the_other_way_are_two_leaks() -> None:
    case = outfits([0, 1], "ab")
    assert case.judge(np.ones(2, bool), wearing([1], [0], attributes=2)) == ["leak", "leak"]
    case = outfits([0, 1, 0, 1], "aabb")  # each crowds out what its wearer should have there
    assert case.judge(np.ones(2, bool), wearing([3], [0], attributes=4)) == ["leak"] * 4


def test_two_people_may_exchange_in_two_slots_at_once() -> None:
    case = outfits([0, 1, 0, 1], "aabb")
    assert case.judge(np.ones(2, bool), wearing([1, 3], [0, 2], attributes=4)) == ["swap"] * 4


def test_an_exchange_in_one_slot_says_nothing_of_another() -> None:
    case = outfits([0, 1, 0, 1], "aabb")
    expected = ["swap", "swap", "leak", "leak"]  # the trousers of 0 go to 1 and crowd out those of 1
    assert case.judge(np.ones(2, bool), wearing([1], [0, 2], attributes=4)) == expected


@given(st.integers(1, 4).flatmap(lambda people: st.tuples(
    st.just(people), st.lists(st.tuples(st.integers(0, people - 1), st.sampled_from("ab")), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)))  # fmt: skip
def test_verdicts_follow_from_who_wears_what(drawn) -> None:
    people, attributes, random = drawn
    owners, slots = [owner for owner, _ in attributes], "".join(place for _, place in attributes)
    case = Outfits(people, owners, list(slots), np.eye(len(owners)), 0.8)
    table = np.array([[random.random() < 0.35 for _ in owners] for _ in range(people)])
    present = np.array([random.random() < 0.8 for _ in range(people)])
    table &= present[:, None]
    graphs = {place: np.zeros((people, people)) for place in slots}
    for i, owner in enumerate(owners):
        if table[:, i].sum() == 1:
            graphs[slots[i]][owner, table[:, i].argmax()] = 1
    components = {place: connected_components(graph, connection="strong")[1] for place, graph in graphs.items()}
    for i, verdict in enumerate(case.judge(present, table)):
        wearers = np.flatnonzero(table[:, i]).tolist()
        rivals_on_owner = [
            j for j in range(len(owners)) if table[owners[i], j] and slots[j] == slots[i] and owners[j] != owners[i]
        ]
        assert (verdict == "missing") == (not present[owners[i]])
        if verdict == "missing":
            continue
        assert (verdict == "right") == (wearers == [owners[i]])
        assert (verdict == "drop") == (not wearers and not rivals_on_owner)
        if len(wearers) > 1:
            assert verdict == "dominance"
        elif wearers and wearers != [owners[i]]:
            component = components[slots[i]]
            assert verdict == ("swap" if component[wearers[0]] == component[owners[i]] else "leak")


def test_what_is_worn_is_the_most_alike_of_a_slot_if_alike_enough() -> None:
    case = outfits([0, 1, 0], "aab")
    likeness = np.array([[0.9, 0.7, 0.4], [0.6, 0.55, 0.6]])
    expected = [[True, False, False], [True, False, True]]
    assert case.worn(likeness, np.array([0, 1]), 0.5).tolist() == expected


def test_several_things_of_one_owner_do_not_compete() -> None:
    case = outfits([0, 0, 1], "aaa")
    assert case.worn(np.array([[0.9, 0.8, 0.7]]), np.array([0]), 0.5).tolist()[0] == [True, True, False]


def test_a_person_wears_what_any_of_his_figures_wears_and_nothing_without_one() -> None:
    case = outfits([0, 1], "aa")
    likeness = np.array([[0.9, 0.2], [0.3, 0.8]])
    assert case.worn(likeness, np.array([0, 0]), 0.5).tolist() == [[True, True], [False, False]]


def test_what_was_not_found_is_not_worn() -> None:
    case = outfits([0, 1], "aa")
    assert case.worn(np.array([[NAN, 0.6], [NAN, NAN]]), np.array([0, 1]), -1.0).tolist() == [
        [False, True],
        [False, False],
    ]


def test_alike_references_are_no_rivals_and_their_pairs_do_not_count() -> None:
    """0 and 1 should wear the same, 2 something else: who of the first two wears which is not asked."""
    likeness = np.array([[1, 0.9, 0.1], [0.9, 1, 0.1], [0.1, 0.1, 1]])
    case = outfits([0, 1, 2], "aaa", likeness)
    assert case.counted.tolist() == [True, True, True]
    exchanged = np.array([[0.9, 0.99, 0.1], [0.99, 0.9, 0.1], [0.1, 0.1, 0.9]])
    worn = case.worn(exchanged, np.arange(3), 0.5)
    assert case.judge(np.ones(3, bool), worn) == ["right", "right", "right"]
    leaked = np.array([[0.9, 0.9, 0.1], [0.9, 0.9, 0.1], [0.9, 0.88, 0.1]])
    assert case.judge(np.ones(3, bool), case.worn(leaked, np.arange(3), 0.5)) == ["dominance"] * 3


def test_what_everybody_else_has_alike_is_not_counted() -> None:
    case = outfits([0, 1, 0], "aab", np.array([[1, 0.9, 0], [0.9, 1, 0], [0, 0, 1]]))
    assert case.counted.tolist() == [False, False, True]


def test_things_of_different_slots_may_be_alike() -> None:
    assert outfits([0, 1], "ab", np.ones((2, 2))).counted.all()


def test_the_baseline_is_what_a_perfect_clip_would_score() -> None:
    likeness = np.array([[1, 0.3, 0.6, 0.2], [0.3, 1, 0.4, 0.1], [0.6, 0.4, 1, 0.5], [0.2, 0.1, 0.5, 1]])
    case = outfits([0, 1, 1, 0], "aaab", likeness)
    expected = [[1, 0.3, 0.6, 1], [0.6, 1, 1, NAN]]
    np.testing.assert_array_equal(case.baseline, expected)


def test_a_clip_counts_what_is_found_on_a_third_of_the_looks_and_takes_the_median() -> None:
    looks = np.full((6, 1, 3), NAN)
    looks[:2, 0, 0] = [0.2, 0.8]  # on 2 of 6
    looks[:1, 0, 1] = 0.9  # on 1 of 6
    looks[:3, 0, 2] = [0.1, 0.9, 0.8]
    np.testing.assert_allclose(pooled(looks, np.ones((6, 1), bool)), [[0.5, NAN, 0.8]])


def test_looks_at_which_a_person_is_not_visible_do_not_count() -> None:
    looks = np.full((6, 1, 1), NAN)
    looks[0] = 0.9
    visible = np.zeros((6, 1), bool)
    visible[:3] = True
    np.testing.assert_allclose(pooled(looks, visible), [[0.9]])


def test_nobody_is_in_the_clip() -> None:
    case = outfits([0, 1], "aa")
    nothing = pooled(np.full((3, 0, 2), NAN), np.zeros((3, 0), bool))
    worn = case.worn(nothing, np.zeros(0, int), 0.5)
    assert case.judge(np.zeros(2, bool), worn) == ["missing", "missing"]
