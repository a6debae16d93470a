"""Outcomes on disk: all that was written comes back, a kill costs one line, no other model's are mixed in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from lumosx.errors import InputError
from lumosx.evaluation.binding import Condition, Outcome
from lumosx.evaluation.outcomes import append, resume

MEASURED = {"model": {"transformer": "ab" * 32}, "size": "32x32", "frames": 9}
OUTCOME = Outcome(
    condition=Condition("unplaced, MCAM off", 3, 10, "euler", 1.5),
    clip=7,
    sample=0,
    seconds=0.25,
    threads=2,
    same_noun=True,
    binding=[True, False],
    verdicts=["right", "dropped"],
    identity=[0.5, 1 / 3],
    attribute_likeness=[0.1, 0.9],
    placed=None,
    passed=True,
    all_right=False,
)
OUTCOMES = [replace(OUTCOME, sample=number, placed=placed) for number, placed in enumerate((None, True, False))]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "new" / "binding.jsonl"
    assert resume(path, MEASURED) == {}
    for outcome in OUTCOMES:
        append(path, outcome)
    return path


def test_what_was_written_comes_back(file: Path) -> None:
    assert resume(file, MEASURED) == {outcome.key: outcome for outcome in OUTCOMES}


def test_a_file_cut_anywhere_keeps_its_whole_lines_and_goes_on(file: Path) -> None:
    whole = file.read_bytes()
    starts = [index + 1 for index, byte in enumerate(whole) if byte == ord("\n")]
    for cut in [0, 5, *(start + offset for start in starts[:-1] for offset in (-1, 0, 1, 200))]:
        file.write_bytes(whole[:cut])
        lines = whole[:cut].count(b"\n")
        assert list(resume(file, MEASURED).values()) == OUTCOMES[: max(0, lines - 1)]
        append(file, OUTCOMES[2])
        assert resume(file, MEASURED)[OUTCOMES[2].key] == OUTCOMES[2]


@pytest.mark.parametrize(
    ("measured", "named"),
    [
        (MEASURED | {"model": {"transformer": "cd" * 32}}, "another model;"),
        (MEASURED | {"size": "64x64", "frames": 17}, "another frames, size;"),
        (MEASURED | {"shift": 3.0}, "another shift;"),
    ],
)
def test_outcomes_of_something_else_are_refused_by_name(file: Path, measured: dict, named: str) -> None:
    before = file.read_bytes()
    with pytest.raises(InputError, match=named):
        resume(file, measured)
    assert file.read_bytes() == before


@pytest.mark.parametrize("line", ["{}", "[1]", "no JSON", json.dumps({"condition": {}})])
def test_a_line_that_is_no_outcome_is_named(file: Path, line: str) -> None:
    with file.open("a") as handle:
        handle.write(line + "\n")
    with pytest.raises(InputError, match=rf"{file.name}:5 is no reading"):
        resume(file, MEASURED)


@pytest.mark.parametrize("content", [b"my notes", b"my notes\n", b"\xff\xfe\n", b"{}\n"])
def test_a_file_of_another_kind_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "notes.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"notes.jsonl:1 does not say what was measured"):
        resume(path, MEASURED)
    assert path.read_bytes() == content
