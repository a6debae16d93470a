"""Records through stages: what is measured when, what stops whom, and that nothing else changes the outcome."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from curation_toys import Among, First, Last, Number, Second, asked, clips, toys

from lumosx.curation.ledger import Ledger
from lumosx.curation.run import FEWEST, Standing, TooManyFailures, Worker, advance, local, survey
from lumosx.curation.sources import Clip
from lumosx.curation.stage import Failed, Rejected

GROUPS = ((First, Second), (Among,), (Last,))


def run(out: Path, records: Sequence[Clip], stages, budget: float = 1.0, **more) -> list[Standing]:
    """All groups, one after the other."""
    ledger = Ledger(out / "ledger")
    standings = [Standing(record) for record in records]
    for group in GROUPS:
        measure = local(Worker(stages, out))
        standings = advance(standings, group, stages, ledger, measure, budget, **more)
    return standings


def outcome(standings: Sequence[Standing]) -> list[tuple]:
    """What came out, as plain data in the order of records."""
    ordered = sorted(standings, key=lambda standing: standing.record.id)
    return [(s.record.id, {k.name: v for k, v in s.values.items()}, s.stopped, s.waits) for s in ordered]


def test_each_stage_measures_each_clip_once_and_a_second_run_nothing(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(5, tmp_path)
    first = run(tmp_path, records, toys(calls))
    assert all(standing.alive for standing in first)
    assert sorted(asked(calls)) == sorted(
        f"{name} {n}" for name in ("first", "second", "among", "last") for n in range(5)
    )
    again = run(tmp_path, records, toys(calls))
    assert len(asked(calls)) == 20
    assert outcome(again) == outcome(first)
    last = first[3].values[Last]
    assert last.value == first[3].values[Second].value + 3


def test_a_run_with_nothing_to_do_reads_each_stage_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, records = tmp_path / "calls", clips(5, tmp_path)
    run(tmp_path, records, toys(calls))
    read, outcomes = list[str](), Ledger.outcomes

    def noted(self: Ledger, stage: str, fingerprint: str) -> Any:
        read.append(stage)
        return outcomes(self, stage, fingerprint)

    monkeypatch.setattr(Ledger, "outcomes", noted)
    assert all(standing.alive for standing in run(tmp_path, records, toys(calls)))
    assert read == ["first", "second", "among", "last"]


def test_only_what_is_judged_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second and the last stage reject nobody."""
    calls, records = tmp_path / "calls", clips(5, tmp_path)
    run(tmp_path, records, toys(calls))
    read, validate = list[str](), Number.model_validate_json
    monkeypatch.setattr(Number, "model_validate_json", lambda text: read.append(text) or validate(text))
    standings = run(tmp_path, records, toys(calls))
    assert len(read) == 2 * len(records)
    assert standings[0].values[Last].value == standings[0].values[Second].value


def test_a_threshold_measures_nothing_again_but_what_it_lets_through(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(6, tmp_path)
    strict = run(tmp_path, records, toys(calls, most=2))
    assert [s.stopped for s in strict[3:]] == [(First, Rejected("high", "too high", n, 2)) for n in (3, 4, 5)]
    assert [call for call in asked(calls) if call.startswith("second")] == ["second 0", "second 1", "second 2"]
    loose = run(tmp_path, records, toys(calls, most=4))
    assert [s.alive for s in loose] == [True] * 5 + [False]
    assert asked(calls).count("first 3") == 1
    assert sorted(call for call in asked(calls) if call.startswith("second")) == [f"second {n}" for n in range(5)]
    assert outcome(run(tmp_path, records, toys(calls, most=2))) == outcome(strict)


def test_another_model_measures_again_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(2, tmp_path)
    before = run(tmp_path, records, toys(calls))
    done = len(asked(calls))
    after = run(tmp_path, records, toys(calls, amount=5))
    assert len(asked(calls)) == 2 * done  # all needs the first stage
    assert after[1].values[First].value == before[1].values[First].value + 5
    stages = toys(calls)
    stages[Among] = Among(calls, modulus=1)
    run(tmp_path, records, stages)
    assert len(asked(calls)) == 2 * done  # the first model's rows are still there, and a threshold is none


def test_order_and_interruptions_change_nothing(tmp_path: Path) -> None:
    whole = run(tmp_path / "whole", clips(7, tmp_path), toys(tmp_path / "calls", most=5))
    backwards = run(tmp_path / "backwards", clips(7, tmp_path)[::-1], toys(tmp_path / "calls", most=5))
    run(tmp_path / "parts", clips(3, tmp_path), toys(tmp_path / "calls", most=5))
    parts = run(tmp_path / "parts", clips(7, tmp_path), toys(tmp_path / "calls", most=5))
    assert outcome(whole) == outcome(backwards) == outcome(parts)


def test_a_stage_that_judges_among_others_waits_for_all(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(4, tmp_path)
    stages = toys(calls)
    stages[Among] = Among(calls, modulus=2)
    standings = run(tmp_path, records, stages)
    assert [s.alive for s in standings] == [True, True, False, False]
    assert standings[2].stopped == (Among, Rejected("again", "the same"))
    ledger = Ledger(tmp_path / "ledger")
    everybody = [Standing(clip) for clip in clips(5, tmp_path)]
    waiting = survey(everybody, [First, Second, Among], stages, ledger)
    assert [s.waits for s in waiting] == [Among] * 4 + [First]


def test_an_error_is_one_record_s_and_stays_until_it_is_asked_for(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(4, tmp_path)
    standings = run(tmp_path, records, toys(calls, fails=(1,)))
    assert standings[1].stopped == (First, Failed("ValueError", "clip 1 is not to be measured"))
    assert [s.alive for s in standings] == [True, False, True, True]
    mended = toys(calls)
    assert run(tmp_path, records, mended)[1].stopped == standings[1].stopped
    assert run(tmp_path, records, mended, again=lambda failed: True)[1].alive
    assert asked(calls).count("first 1") == 2


def test_what_may_pass_is_tried_again(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(2, tmp_path)
    standings = run(tmp_path, records, toys(calls, transient=(0,)))
    assert standings[0].stopped == (First, Failed("TransientError", "later", transient=True))
    assert run(tmp_path, records, toys(calls))[0].alive


def test_what_may_pass_holds_up_nobody(tmp_path: Path) -> None:
    """A stage that judges among others comes after the one that failed; the next run has all of them."""
    calls, records = tmp_path / "calls", clips(3, tmp_path)
    standings = run(tmp_path, records, toys(calls, transient=(0,)))
    assert [s.alive for s in standings] == [False, True, True]
    assert all(s.alive for s in run(tmp_path, records, toys(calls)))
    whole = run(tmp_path / "whole", records, toys(calls))
    assert outcome(run(tmp_path, records, toys(calls))) == outcome(whole)


def test_too_many_failures_stop_the_run_and_lose_nothing(tmp_path: Path) -> None:
    calls, records = tmp_path / "calls", clips(3 * FEWEST, tmp_path)
    fails = (1, 30, 40, 50)
    with pytest.raises(
        TooManyFailures, match=r"4 of 51 records failed, more than 5% of all 60(.|\n)*1 x first: ValueError: clip"
    ):
        run(tmp_path, records, toys(calls, fails=fails), budget=0.05)
    assert len([c for c in asked(calls) if c.startswith("first")]) == 51
    run(tmp_path, records, toys(calls, fails=fails), budget=0.5)
    assert len([c for c in asked(calls) if c.startswith("first")]) == 3 * FEWEST


@pytest.mark.parametrize("first", [0, 40, 95])
def test_whether_failures_are_too_many_is_no_matter_of_when_they_come(tmp_path: Path, first: int) -> None:
    records = clips(100, tmp_path)
    few = toys(tmp_path / "calls", fails=tuple(range(first, first + 5)))
    standings = run(tmp_path / "few", records, few, budget=0.05)
    assert sum(standing.alive for standing in standings) == 95
    many = toys(tmp_path / "calls", fails=tuple(range(first - 1, first + 5) if first else range(6)))
    with pytest.raises(TooManyFailures, match=r"^6 of \d+ records failed, more than 5% of all 100\."):
        run(tmp_path / "many", records, many, budget=0.05)


def test_one_failure_of_a_few_is_not_too_many(tmp_path: Path) -> None:
    standings = run(tmp_path, clips(FEWEST - 1, tmp_path), toys(tmp_path / "calls", fails=(0,)), budget=0.05)
    assert [standing.alive for standing in standings] == [False, *[True] * (FEWEST - 2)]
