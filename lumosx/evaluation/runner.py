"""Scores clips one by one, so that a run can be killed, repeated and spread over machines.

Each clip is independent. Its scores are a file of their own, written whole when it is done, under a fingerprint of all
that they depend on: a repeated run skips what stands there and scores the rest, and nothing counts that came of other
models, another video or another case. Whatever goes wrong with a clip becomes rows of status "error"; clips with such
rows are tried again when the run is repeated.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import VideoFile
from lumosx.evaluation.evidence import FRAMES, Evidence
from lumosx.evaluation.models import Models
from lumosx.evaluation.protocols import MEASURE, Protocol, Task, measures
from lumosx.evaluation.results import CaseResult, plain, stored_path
from lumosx.evaluation.scores import Measure, Partitioned, Score, Status, nothing_for
from lumosx.files import clear_leftovers, sha256_of, write_json
from lumosx.scene.images import ImageError

CLIPS = "cases"  # folder of the clips' scores
DIED = {"type": "ProcessDied", "message": "the process that scored this clip died of it", "measure": "all"}


@dataclass(frozen=True)
class Item:
    """A clip that there should be. video: None if there is none. problem: why, as an error's detail, where known."""

    case: Case
    seed: int | None = None
    video: Path | None = None
    problem: Mapping[str, str] | None = None


@dataclass(frozen=True)
class Suite:
    """Everything that scores clips: the measures of one task by one protocol, with their models.

    looks: frames of a clip that protocol v1 looks at.
    """

    protocol: Protocol
    task: Task
    models: Models
    measures: Sequence[Measure]
    looks: int = FRAMES

    @classmethod
    def of(cls, protocol: Protocol, task: Task, models: Models, looks: int = FRAMES) -> "Suite":
        """With the protocol's own measures."""
        return cls(protocol, task, models, measures(protocol, task, models), looks)

    @cached_property
    def metrics(self) -> dict[str, bool]:
        """All metrics, in order, with whether more is better."""
        return {name: more for measure in self.measures for name, more in measure.metrics.items()}

    @cached_property
    def misses(self) -> dict[str, float]:
        """What a clip without a value counts in metrics in which it is not the worst (`Partitioned`)."""
        stating = (measure for measure in self.measures if isinstance(measure, Partitioned))
        return {name: value for measure in stating for name, value in measure.misses.items()}

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What scores depend on besides the clip and its case, as plain data."""
        cards = {role: card.to_dict() for role, card in self.models.cards().items()}
        stated = {"protocol": self.protocol, "version": MEASURE[self.protocol], "task": self.task, "looks": self.looks}
        return {**stated, "metrics": self.metrics, "misses": self.misses, "models": cards}


@dataclass(frozen=True)
class _Job:
    """A clip to score, and the fingerprint of what its scores depend on."""

    item: Item
    fingerprint: str


def items_of(cases: Iterable[Case], videos: Mapping[str, Mapping[int | None, Path]]) -> list[Item]:
    """The clips that there should be: each case with every seed that any case has a video of.

    A model that gives up on some seeds of the hard cases must not gain by it, so a case that lacks a seed lacks a clip.
    Where videos state no seed, one a case is enough.

    Args:
        videos: of each case that has any, by seed; None: its name states none.
    """
    found = {seed for by_seed in videos.values() for seed in by_seed}
    wanted = set() if None in found else found
    items = []
    for case in cases:
        own = videos.get(case.id, {})
        due = {*own, *wanted} or {None}
        items += [Item(case, seed, own.get(seed)) for seed in sorted(due, key=lambda seed: (seed is not None, seed))]
    return items


def claim(out: Path, protocol: Protocol, task: Task, profile: str) -> None:
    """Makes a folder that of the results of one protocol, task and profile.

    Raises:
        InputError: it is that of others.
    """
    stated = {"protocol": protocol, "task": task, "profile": profile}
    path = out / "run.json"
    if not path.is_file():
        write_json(stated, path)
        return
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [f"{key} {before[key]}, not {value}" for key, value in stated.items() if before[key] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} does not say what was scored; remove it or choose another --out") from error
    if changed:
        raise InputError(f"{out} holds scores of {'; '.join(changed)}; choose another --out")


def score_items(
    items: Sequence[Item], suite: Suite, out: Path, spread: Callable[[], Suite] | None = None
) -> Iterator[CaseResult]:
    """The scores of all items as they become known, those that stand in `out` first.

    Args:
        out: the folder of the results, of which `cases/` keeps the scores of every clip.
        spread: opens the same suite anew in each process of Ray's that the clips are spread over (see `ray_engine`).
            `out`, videos and pictures must then have the same paths on all machines. None: they are scored here.

    Raises:
        InputError: two items of one case and seed; ray is wanted and not installed.
    """
    if len({_file_name(item) for item in items}) < len(items):
        raise InputError("two videos of one case and seed: give each its own seed")
    (out / CLIPS).mkdir(parents=True, exist_ok=True)
    clear_leftovers(out / CLIPS)
    jobs = []
    for item in items:
        known = _without_video(item, suite.measures)
        if known is None:
            job = _Job(item, _fingerprint(item, suite))
            known = _finished(job, out)
            jobs += [] if known else [job]
        if known:
            yield known
    if spread is None:
        yield from map(_Scorer(suite, out), jobs)
        return
    from lumosx.ray_engine import map_with_ray

    for number, result in map_with_ray(jobs, lambda: _Scorer(spread(), out)):
        item = jobs[number].item
        yield result or _result(item, _without_value(item.case, suite.measures, "error", DIED))


def score_video(
    case: Case,
    video: Path,
    measures: Sequence[Measure],
    models: Models,
    *,
    seed: int | None = None,
    looks: int = FRAMES,
) -> CaseResult:
    """All metrics of one clip. What goes wrong in a measure is the error of its metrics alone, and of all metrics
    where the video cannot be read, but of those that the case has nothing for; nothing is raised."""
    start = time.perf_counter()
    scores: list[Score] = []
    try:
        evidence = Evidence(case, VideoFile(video).clip, models, looks=looks)
    except Exception as error:  # decoders raise what they like
        scores = _without_value(case, measures, "error", described(error, "video"))
    else:
        for measure in measures:
            try:
                scores += _checked(measure.metrics, measure(case, evidence.clip, evidence))
            except Exception as error:
                scores += _without_value(case, [measure], "error", described(error, type(measure).__name__))
    return replace(_result(Item(case, seed, video), scores), seconds=time.perf_counter() - start)


def describe_case(case: Case) -> dict[str, Any]:
    """What a case's scores depend on: its words and the contents of its files, wherever they lie."""
    references = [_described_reference(reference) for reference in case.references]
    truth = None if case.truth is None else _sha256(case.truth)
    return {"id": case.id, "prompt": case.prompt, "references": references, "truth": truth}


def digest(data: Any) -> str:
    """sha256 of plain data."""
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def described(error: Exception, where: str) -> dict[str, str]:
    """An error as the detail of a score, with the measure, or the step, that raised it."""
    return {"type": type(error).__name__, "message": " ".join(str(error).split()), "measure": where}


class _Scorer:
    """Scores clips and writes their files."""

    def __init__(self, suite: Suite, out: Path) -> None:
        self.suite, self.out = suite, out

    def __call__(self, job: _Job) -> CaseResult:
        item, suite = job.item, self.suite
        assert item.video is not None
        scored = score_video(item.case, item.video, suite.measures, suite.models, seed=item.seed, looks=suite.looks)
        result = replace(scored, video=stored_path(item.video, self.out))
        write_json({"fingerprint": job.fingerprint, **result.to_dict()}, self.out / CLIPS / _file_name(item))
        return result


def _without_video(item: Item, measures: Sequence[Measure]) -> CaseResult | None:
    """The result of an item that has no video; None of one that has."""
    if item.video is not None:
        return None
    if item.problem is not None:
        return _result(item, _without_value(item.case, measures, "error", item.problem))
    return _result(item, _without_value(item.case, measures, "missing", {"why": "there is no video of it"}))


def _finished(job: _Job, out: Path) -> CaseResult | None:
    """The scores that stand in a clip's file, if they are of the same fingerprint and without error."""
    item = job.item
    assert item.video is not None
    try:
        data = json.loads((out / CLIPS / _file_name(item)).read_text(encoding="utf-8"))
        if data.pop("fingerprint") != job.fingerprint:
            return None
        result = CaseResult.from_dict(data)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if any(score.status == "error" for score in result.scores):
        return None
    return replace(result, video=stored_path(item.video, out))  # the same video may have moved


def _fingerprint(item: Item, suite: Suite) -> str:
    assert item.video is not None
    return digest([suite.identity, describe_case(item.case), _sha256(item.video)])


def _result(item: Item, scores: list[Score]) -> CaseResult:
    video, sha256 = (None, None) if item.video is None else (str(item.video), _sha256(item.video))
    return CaseResult(item.case.id, item.seed, item.case.subjects, video, sha256, scores)


def _file_name(item: Item) -> str:
    """No case's id can hold the @, quoted, so that no two clips share a file."""
    name = quote(item.case.id, safe=" ")
    return f"{name}.json" if item.seed is None else f"{name}@{item.seed}.json"


def _sha256(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:  # said by whatever reads it
        return None


def _described_reference(reference: CaseReference) -> dict[str, Any]:
    picture: Any = None
    if (image := reference.image) is not None:
        try:
            picture = {"sha256": image.sha256, "crop": image.crop, "pad": image.pad}
        except ImageError as error:
            picture = str(error)  # once it is mended the case is another
    stated = {"id": reference.id, "kind": reference.kind, "subject": reference.subject, "word": reference.word}
    return {**stated, "picture": picture}


def _checked(metrics: Mapping[str, bool], scores: Sequence[Score]) -> list[Score]:
    """The scores of a measure in the order of its metrics, as plain data, each number finite."""
    given = {score.metric: score for score in scores}
    if given.keys() != metrics.keys() or len(scores) != len(metrics):
        raise ValueError(f"gave {[score.metric for score in scores]} for {list(metrics)}")
    return [_plain(given[name]) for name in metrics]


def _plain(score: Score) -> Score:
    value = None if score.value is None else float(score.value)
    if value is not None and not math.isfinite(value):
        problem = {"type": "NotFinite", "message": f"a value of {value}", "measure": score.metric}
        return Score(score.metric, None, "error", problem)
    return replace(score, value=value, detail=plain(score.detail))


def _without_value(case: Case, measures: Iterable[Measure], status: Status, detail: Mapping[str, str]) -> list[Score]:
    """All metrics of a clip that nothing is known of: of one status, but for those that the case has nothing for."""
    scores = []
    for measure in measures:
        nothing = nothing_for(measure, case)
        scores += [nothing.get(name) or Score(name, None, status, dict(detail)) for name in measure.metrics]
    return scores
