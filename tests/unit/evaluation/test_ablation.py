"""The ablation's numbers against readings with known answers."""

import itertools

import numpy as np
import pytest
from scipy import stats

from lumosx.errors import InputError
from lumosx.evaluation.ablation import CLAIMS, ROWS, Cell, Form, Table, findings, missing, results
from lumosx.evaluation.ablation_report import write_report
from lumosx.evaluation.binding import Condition, Outcome

FORM = Form(label="readings that a test made up", seeds=[0, 1], clips=6, subjects=[1, 2])


def outcome(name: str, people: int, clip: int, binding: list[bool], face: float = 0.5) -> Outcome:
    return Outcome(
        condition=Condition(name, people), clip=clip, sample=0, seconds=0.1, threads=1, same_noun=clip % 2 == 0,
        binding=binding, verdicts=["right" if bound else "dropped" for bound in binding], identity=[face] * people,
        attribute_likeness=[float(bound) for bound in binding], placed=None, passed=None, all_right=all(binding),
    )  # fmt: skip


def ten(bound: float) -> list[bool]:
    """Ten attributes, the first `bound` of them on their owner."""
    return [index < bound for index in range(10)]


def readings(share: dict[str, float], seeds: tuple[int, ...] = (0, 1), clips: int = 6) -> dict:
    """Of each row a share of attributes on their owners, the same in every seed up to one clip."""
    found = {}
    for row, seed in itertools.product(share, seeds):
        suffix = ", scattered" if row == "scattered" else ""
        found[row, seed] = [
            outcome(f"{captions}{suffix}", people, clip, ten(share[row] * 10 - (clip == seed)))
            for captions in ("placed", "unplaced")
            for people in (1, 2)
            for clip in range(clips)
        ]
    return found


def test_means_count_two_people_and_more_unless_told() -> None:
    found = readings({"none": 0.5})
    found["none", 0].append(outcome("placed", 1, 99, [False] * 10))
    value = Table(found).estimate("none", "binding", Cell("placed"))
    assert value is not None
    # six clips of ten attributes, five of them bound, in each seed one clip has one less
    assert value.mean == pytest.approx((2 * (5 * 5 + 4)) / 120)
    assert value.low < value.mean < value.high and value.n == 120


@pytest.mark.parametrize("nouns", ["same", "distinct"])
def test_cells_of_nouns_part_the_clips(nouns: str) -> None:
    found = {("none", 0): [outcome("placed", 2, clip, [clip % 2 == 0]) for clip in range(8)]}
    value = Table(found).estimate("none", "binding", Cell("placed", nouns))
    assert value is not None and value.mean == (1.0 if nouns == "same" else 0.0) and value.n == 4


def test_a_difference_is_paired_and_its_interval_holds_what_all_clips_share() -> None:
    """Clips differ a lot, the two rows on each clip by exactly one in ten: the paired interval has no width."""
    rng = np.random.default_rng(0)
    hard = rng.integers(1, 9, size=40)
    found = {
        (row, seed): [outcome("placed", 2, clip, ten(hard[clip] + more)) for clip in range(40)]
        for row, more in (("none", 0), ("r2pe", 1))
        for seed in (0, 1, 2)
    }
    table = Table(found)
    change = table.difference("r2pe", "none", "binding", Cell("placed"))
    alone = table.estimate("r2pe", "binding", Cell("placed"))
    assert change is not None and alone is not None
    assert (change.low, change.mean, change.high) == pytest.approx((0.1, 0.1, 0.1))
    assert alone.high - alone.low > 0.1


def test_intervals_hold_the_spread_between_seeds() -> None:
    """Every clip of a seed agrees, and the seeds do not: Student's interval of the three means."""
    found = {
        ("none", seed): [outcome("placed", 2, clip, ten(2 + 3 * seed)) for clip in range(30)] for seed in (0, 1, 2)
    }
    value = Table(found).estimate("none", "binding", Cell("placed"))
    expected = stats.t.interval(0.95, 2, loc=0.5, scale=stats.sem([0.2, 0.5, 0.8]))
    assert value is not None and (value.low, value.high) == pytest.approx(expected)


def test_of_one_seed_the_interval_is_over_clips_and_there_is_no_verdict() -> None:
    bound = [2, 4, 4, 6, 9]
    found = {
        (row, 0): [outcome("placed", 2, clip, ten(number - less)) for clip, number in enumerate(bound)]
        for row, less in (("none", 2), ("r2pe", 0))
    }
    value = Table(found).estimate("r2pe", "binding", Cell("placed"))
    expected = stats.t.interval(0.95, 4, loc=np.mean(bound) / 10, scale=stats.sem(bound) / 10)
    assert value is not None and (value.low, value.high) == pytest.approx(expected)
    assert {finding.verdict for finding in findings(Table(found))} == {"not shown"}


@pytest.mark.parametrize(("of_seeds", "of_clips"), [(0.0, 0.3), (0.1, 0.3), (0.2, 0.05)])
def test_of_differences_that_are_none_one_in_twenty_is_taken_for_one(of_seeds: float, of_clips: float) -> None:
    """Three seeds and forty clips, both drawn: how often the interval misses 0. The measure here takes any number."""
    rng = np.random.default_rng(1)
    misses = 0
    for _ in range(150):
        values = (
            rng.normal(0, of_seeds, (2, 3, 1)) + rng.normal(0, of_clips, (2, 1, 40)) + rng.normal(0, 0.1, (2, 3, 40))
        )
        found = {
            (row, seed): [outcome("placed", 2, clip, [], values[index, seed, clip]) for clip in range(40)]
            for index, row in enumerate(("none", "r2pe"))
            for seed in range(3)
        }
        change = Table(found).difference("r2pe", "none", "faces", Cell("placed"))
        assert change is not None
        misses += not change.low <= 0 <= change.high
    assert misses <= 0.1 * 150


def test_claims_are_judged_by_their_interval() -> None:
    found = {
        (finding.claim.text, finding.captions): finding.verdict
        for finding in findings(
            Table(readings({"none": 0.8, "scattered": 0.4, "r2pe": 0.4, "csam": 0.4}, seeds=(0, 1, 2)))
        )
    }
    assert found["Without relations, the order of the references tells owners", "placed"] == "yes"
    assert found["R2PE puts more attributes on their owners", "unplaced"] == "no, the opposite"
    assert found["CSAM does", "placed"] == "not shown"
    assert found["R2PE costs a little likeness of attributes", "placed"] == "reproduced"
    assert not any("MCAM" in text for text, _ in found)


def test_claims_speak_of_rows_that_exist() -> None:
    names = {row.name for row in ROWS}
    assert {claim.more for claim in CLAIMS} | {claim.less for claim in CLAIMS} <= names


def test_results_are_plain_data_and_name_what_is_missing() -> None:
    found = readings({"none": 0.5, "scattered": 0.4})
    data = results(Table(found), FORM)
    assert [row["row"] for row in data["rows"]] == ["none", "scattered"]
    numbers = [n for n in data["rows"][1]["numbers"] if n["measure"] == "binding" and n["captions"] == "unplaced"]
    assert {number["subjects"] for number in numbers} == {None, 1, 2} and len(numbers[0]["by_seed"]) == 2
    assert ("r2pe", 1) in missing(found, FORM.seeds) and ("none", 0) not in missing(found, FORM.seeds)


def test_nothing_read_yet_is_a_report_too(tmp_path) -> None:
    write_report({}, FORM, "lumosx bench ablation", tmp_path / "runs", tmp_path / "out")
    assert not list((tmp_path / "out" / "configs").iterdir())


@pytest.mark.parametrize("wrong", [{"seeds": []}, {"seeds": [1, 1]}, {"clips": 1}, {"subjects": [5]}])
def test_a_form_that_cannot_be_run_is_refused_before_anything_is_trained(wrong: dict) -> None:
    with pytest.raises(InputError, match=next(iter(wrong))):
        Form(**{"label": "x", "seeds": [0], "clips": 2, "subjects": [2]} | wrong)


def test_the_report_says_what_was_cut_and_where_the_numbers_come_from(tmp_path) -> None:
    found = readings({"none": 0.5, "r2pe": 0.7}, seeds=(0, 1, 2))
    for name in ["base", *(f"seed-{seed}/{row}" for row, seed in found)]:
        run = tmp_path / "runs" / name
        run.mkdir(parents=True)
        (run / "log.jsonl").write_text(
            '{"step": 20, "loss": 1.0, "seconds_per_step": 90.0, "samples_seen": 160}\n'
            '{"step": 40, "loss": 0.5, "seconds_per_step": 90.0, "samples_seen": 320}\n'
        )
        (run / "machine.json").write_text('{"processor": "abacus", "threads": 1, "torch": "x", "device": "cpu"}')
        (run / "config.yaml").write_text(f"run:\n  root: {tmp_path}\n  name: {name}\n")
    write_report(found, FORM, "lumosx bench ablation --form mine", tmp_path / "runs", tmp_path / "out")
    page = (tmp_path / "out" / "README.md").read_text()
    assert "Readings that a test made up" in page and "--form mine" in page
    assert "| seed-0/none | 40 | 320 | 0.500 | 1.00 | abacus, cpu |" in page
    assert "R2PE puts more attributes on their owners; placed captions: **yes**, +0.200" in page
    assert {path.name for path in (tmp_path / "out" / "configs").iterdir()} >= {"seed-0_none.yaml", "base.yaml"}
    assert (tmp_path / "out" / "configs" / "base.yaml").read_text() == "run:\n  name: base\n"  # no folder of a machine
    assert (tmp_path / "out" / "ablation.png").read_bytes()[:4] == b"\x89PNG"
