"""Takes records through stages, each as far as it gets, and keeps what was measured in the ledger.

A run is a function of the videos, the settings and the models: in whatever order, by however many processes and by
whichever engine records are measured, and however often the run is killed and begun again, the same comes out.
"""

import errno
import json
import time
from collections import Counter, UserDict
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
from copy import copy
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lumosx.curation.blobs import Blobs
from lumosx.curation.ledger import Ledger, Row
from lumosx.curation.sources import Clip
from lumosx.curation.stage import Failed, Look, Record, Rejected, Stage, Value, fingerprints
from lumosx.errors import TransientError
from lumosx.records import Model

Kind = type[Stage[Any]]
Stages = Mapping[Kind, Stage[Any]]
FEWEST = 20  # records that must have been measured before failures are too many


class TooManyFailures(Exception):
    """More of a run's records failed than its budget allows; carries the commonest errors."""


class Values(UserDict[Kind, Any]):
    """What was measured of a record, by stage. What is put in as the ledger's text is read whenever it is asked for:
    read once for all, the values of many clips take ten times the memory, and Python would search them for garbage
    again and again."""

    def __getitem__(self, kind: Kind) -> Any:
        value = super().__getitem__(kind)
        return kind.gives.model_validate_json(value) if isinstance(value, str) else value

    def __copy__(self) -> "Values":
        made = Values.__new__(Values)  # many times faster than the parent's way, of which all passes make many
        made.data = self.data.copy()
        return made


@dataclass
class Standing:
    """How far a record got: what was measured of it, and what it waits for or what stopped it."""

    record: Record
    values: MutableMapping[Kind, Any] = field(default_factory=Values)
    waits: Kind | None = None
    stopped: tuple[Kind, Rejected | Failed] | None = None

    @property
    def alive(self) -> bool:
        """Whether it went through all stages that were asked about."""
        return self.waits is None and self.stopped is None

    def value(self, gives: type[Value]) -> Value | None:
        """What the stage found that gives values of this class; None: nothing. Other stages' values are not read."""
        kind = next((kind for kind in self.values if kind.gives is gives), None)
        return None if kind is None else self.values[kind]


@dataclass(frozen=True)
class Job:
    """A record and the stages that are due; `values` are those of earlier stages."""

    record: Record
    values: Mapping[Kind, Model]
    due: Sequence[Kind]


def survey(
    standings: Sequence[Standing],
    kinds: Sequence[Kind],
    stages: Stages,
    ledger: Ledger,
    again: Callable[[Failed], bool] = lambda failed: False,
) -> list[Standing]:
    """Where each record stands after some stages, by what the ledger holds and today's thresholds.

    Args:
        standings: before these stages, which are not changed; of all records of the run, because some stages judge a
            record among the others.
        kinds: the stages to go through, in order.
        stages: with their settings.
        ledger: what was measured.
        again: whether a failure counts as not measured.
    """
    prints = fingerprints(stages)
    standings = [Standing(one.record, copy(one.values), one.waits, one.stopped) for one in standings]
    for kind in kinds:
        outcomes = ledger.outcomes(kind.name, prints[kind])
        staying = [standing for standing in standings if standing.alive]
        for standing in staying:
            _read(standing, kind, outcomes.get(standing.record.id), again)
        if kind.among_others and any(standing.waits for standing in standings):
            for standing in staying:
                standing.waits = kind if standing.alive else standing.waits  # for the others
            continue
        measured = [standing for standing in staying if standing.alive]
        for standing, rejected in zip(measured, _judged(measured, kind, stages[kind]), strict=True):
            if rejected:
                standing.stopped = kind, rejected
    return standings


def advance(
    before: Sequence[Standing],
    kinds: Sequence[Kind],
    stages: Stages,
    ledger: Ledger,
    measure: "Engine",
    budget: float,
    again: Callable[[Failed], bool] = lambda failed: failed.transient,
    on_done: Callable[[int, int], None] = lambda done, of: None,
) -> list[Standing]:
    """Measures what is missing of a group of stages; where each record stands afterwards.

    Args:
        before: where all records of the run stand after the earlier stages.
        kinds: the stages of the group.
        stages, ledger: as of `survey`.
        again: whether a failure in the group counts as not measured.
        measure: who measures: `local`, or an engine that spreads jobs over processes.
        budget: share of the jobs that may fail. The run stops when more have failed than may of all of them, which no
            success mends any more, so that their order is of no matter; but not before FEWEST are done.
        on_done: called with the number of jobs done and of all jobs.

    Raises:
        TooManyFailures: more failed.
    """
    standings = survey(before, kinds, stages, ledger, again)
    waiting = [s for s in standings if s.waits in kinds and s.waits not in s.values]
    jobs = [Job(s.record, s.values, kinds[kinds.index(s.waits) :]) for s in waiting if s.waits]
    prints, errors, done = fingerprints(stages), Counter[str](), 0
    on_done(0, len(jobs))
    try:
        for job, outcome in measure(jobs):
            done += 1
            for kind, row in outcome or [(job.due[0], DIED)]:
                ledger.add(kind.name, Row(job.record.id, prints[kind], row.value, row.error, row.seconds))
                if row.error:
                    failed = json.loads(row.error)
                    errors[f"{kind.name}: {failed['type']}: {without_names(failed['message'], job.record)}"] += 1
            on_done(done, len(jobs))
            if done >= FEWEST and errors.total() > budget * len(jobs):
                raise TooManyFailures(_told(errors, done, len(jobs), budget))
    finally:
        ledger.flush()
    # What failed has had its other try. It must not be waited for once more, because those that are judged among
    # others would wait for it.
    return survey(before, kinds, stages, ledger) if jobs else standings


@dataclass(frozen=True)
class Measured:
    """A stage's outcome as the ledger's row holds it."""

    value: str | None
    error: str | None
    seconds: float


DIED = Measured(None, json.dumps(asdict(Failed("ProcessDied", "the process that measured it died of it"))), 0.0)
Outcome = list[tuple[Kind, Measured]]
Engine = Callable[[Sequence[Job]], Iterable[tuple[Job, Outcome | None]]]


class Worker:
    """Measures jobs in this process. `stages` may share models, which load when they are first asked."""

    def __init__(self, stages: Stages, out: Path) -> None:
        self.stages, self.blobs = stages, Blobs(out)

    def __call__(self, job: Job) -> Outcome:
        """One outcome a stage, up to the first that fails or by whose value the record leaves; raises nothing."""
        values, outcome = dict(job.values), Outcome()
        for kind in job.due:
            stage, start = self.stages[kind], time.perf_counter()
            try:
                text = stage.measure(Look(job.record, values, self.blobs)).model_dump_json()
                values[kind] = kind.gives.model_validate_json(text)  # what a later run will read
            except Exception as error:
                outcome.append((kind, Measured(None, json.dumps(asdict(failure(error))), time.perf_counter() - start)))
                break
            outcome.append((kind, Measured(text, None, time.perf_counter() - start)))
            if kind.among_others or stage.judge(values[kind]):
                break
        return outcome


def local(worker: Worker) -> Engine:
    """One job after the other in this process."""

    def measure(jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome]]:
        for job in jobs:
            yield job, worker(job)

    return measure


def spread(
    make: Callable[[], Worker], workers: int | None = None, address: str | None = None, gpu: bool = True
) -> Engine:
    """Jobs over the processes of Ray, each of which makes its own worker; `workers`, `address` and `gpu` as of
    `map_with_ray`."""
    from lumosx.ray_engine import map_with_ray

    def measure(jobs: Sequence[Job]) -> Iterator[tuple[Job, Outcome | None]]:
        for number, outcome in map_with_ray(jobs, make, workers, address, gpu):
            yield jobs[number], outcome

    return measure


def failure(error: Exception) -> Failed:
    """An error as a row states it. What a machine lacked (memory, room on the disk) it may have another time."""
    lacking = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
    message = " ".join(str(error).split())[:500]
    return Failed(type(error).__name__, message, lacking or full or isinstance(error, TransientError))


def without_names(message: str, record: Record) -> str:
    """An error's message without what names the record, so that those of one cause are the same."""
    source = record.source if isinstance(record, Clip) else record
    for own in (str(source.path), source.name, record.id, source.id):
        message = message.replace(own, "…")
    return message


def _read(
    standing: Standing, kind: Kind, outcome: tuple[str | None, str | None] | None, again: Callable[[Failed], bool]
) -> None:
    """Takes what the ledger has of a record, value and error, into its standing."""
    value, error = outcome or (None, None)
    if value is not None:
        standing.values[kind] = value
    elif error is None or again(failed := Failed(**json.loads(error))):
        standing.waits = kind
    else:
        standing.stopped = kind, failed


def _judged(standings: Sequence[Standing], kind: Kind, stage: Stage[Any]) -> Iterator[Rejected | None]:
    """Why records leave; None: they stay."""
    if kind.among_others:
        rejected = stage.judge_all({standing.record.id: standing.values[kind] for standing in standings})
        yield from (rejected.get(standing.record.id) for standing in standings)
    elif type(stage).judge is Stage.judge:  # it rejects nobody, so that no value need be read
        yield from (None for _ in standings)
    else:  # one after the other, so that one value is read at a time
        yield from (stage.judge(standing.values[kind]) for standing in standings)


def _told(errors: Counter[str], done: int, of: int, budget: float) -> str:
    commonest = [f"  {count} x {text}" for text, count in errors.most_common(5)]
    share = f"{errors.total()} of {done} records failed, more than {budget:.0%} of all {of}"
    return "\n".join([f"{share}. The commonest errors:", *commonest])
