"""`lumosx curate run --demo` as a new user runs it: what was planted is found, who wears what is told truly, and
`lumosx train` trains on the data set."""

import json
import os
import re
import subprocess
import sys
from itertools import pairwise
from math import isfinite
from pathlib import Path

import pytest

from lumosx.curation.demo_footage import Planted, read_truth
from lumosx.data.store import open_store
from lumosx.playground.truth import Subject
from lumosx.records import ClipRecord, Person
from lumosx.scene import Scene

STEPS = 20
FAULTS = ("cuts", "borders", "subtitles", "grey", "flow-low", "flow-high", "quality", "crowd", "no-people", "duplicate")


def lumosx(*words: object) -> str:
    command = [sys.executable, "-m", "lumosx.cli.main", *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The data set, and what was printed."""
    out = tmp_path_factory.mktemp("demo") / "dataset"
    return out, lumosx("curate", "run", "--demo", "--out", out)


def _pairs(out: Path) -> list[tuple[ClipRecord, Planted]]:
    """Every record with the shot that it is of."""
    planted = read_truth(out / "footage")

    def shot_of(record: ClipRecord) -> Planted:
        start = float(record.meta["start"])
        return next(s for s in planted if s.video == record.meta["file"] and s.start <= start + 0.5 < s.end)

    return [(record, shot_of(record)) for record in open_store(out).records]


@pytest.mark.timeout(900)
def test_what_was_planted_is_found(demo: tuple[Path, str]) -> None:
    rows = re.findall(r"^ (\S[\w -]*?) +(\d+) +(\d+) +(\d+) +[-\d.]+ +[-\d.]+", demo[1], re.MULTILINE)
    found = {name: tuple(map(int, counts)) for name, *counts in rows}
    assert found.keys() == {*FAULTS, "kept", "attributes on their owners"}
    for name in FAULTS:
        there, told, right = found[name]
        assert right == there > 0, name
        assert told <= there + 1, name
    there, told, right = found["kept"]
    assert right == told >= 0.9 * there
    there, told, right = found["attributes on their owners"]
    assert right >= 0.9 * there and right >= 0.9 * told


@pytest.mark.timeout(900)
def test_owners_and_spans_are_those_of_the_truth(demo: tuple[Path, str]) -> None:
    right = said = true = 0
    for record, planted in _pairs(demo[0]):
        people = sorted(planted.truth.subjects, key=lambda person: person.slot)
        assert len(record.subjects) == len(people)
        assert all(person.faces for person in record.subjects)
        told = {(n, word) for n, person in enumerate(record.subjects) for word in _words(person)}
        known = {(n, word) for n, person in enumerate(people) for word in _known(person)}
        right, said, true = right + len(told & known), said + len(told), true + len(known)
        expect_spans_in_own_clauses(record, demo[0])
    assert right >= 0.9 * said and right >= 0.9 * true and true > 60


def _words(person: Person) -> list[str]:
    return [str(person.word), *(str(part.word) for part in person.attributes)]


def _known(person: Subject) -> list[str]:
    return [person.word, *(item.word for item in person.attributes)]


def expect_spans_in_own_clauses(record: ClipRecord, out: Path) -> None:
    """Whoever the caption names goes on up to whoever is named next, and what is worn is named in between."""
    scene = Scene.from_dict(record.scene(lambda pictures: pictures[0].in_scene(str(out / pictures[0].image))))
    starts = [entity.spans[0][0] for entity in scene.entities if entity.kind == "face"]
    clauses = list(pairwise([*starts, len(scene.prompt)]))
    assert starts == sorted(starts)
    for entity in scene.entities:
        assert entity.spans
        for start, stop in entity.spans:
            assert scene.prompt[start:stop].lower() in entity.words
            if entity.kind == "attribute":
                assert entity.subject is not None
                first, last = clauses[entity.subject]
                assert first < start < stop <= last


@pytest.mark.timeout(900)
def test_the_data_set_trains(demo: tuple[Path, str], tmp_path: Path) -> None:
    lumosx(
        "train", "experiment=lora_tiny", f"data.path={demo[0]}", f"train.steps={STEPS}", "train.log_every=1",
        "train.batch=4", f"run.root={tmp_path}", "run.name=demo",
    )  # fmt: skip
    log = [json.loads(line) for line in (tmp_path / "demo" / "log.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in log if "loss" in row]
    assert len(losses) == STEPS and all(map(isfinite, losses))
