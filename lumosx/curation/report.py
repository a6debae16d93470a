"""What a report says about a run of curation: plain data, which `report_page` makes a page of.

Nothing is left out in silence: every record that came into a stage is rejected, failed, waits or stays.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lumosx.curation.review import Review, reviewed, shuffled
from lumosx.curation.run import Kind, Stages, Standing, without_names
from lumosx.curation.stage import Failed, Rejected
from lumosx.curation.stages.values import (
    Background,
    Borders,
    Caption,
    Colourfulness,
    FacePicture,
    Faces,
    FlowStrength,
    Kept,
    People,
    Scores,
    Shots,
    Subtitles,
)
from lumosx.records import ClipRecord, Model

# What becomes of a clip, besides the codes of rejections. REVIEW: a reviewer rejected it.
KEPT, REVIEW, FAILED, WAITING, UNPACKED = "kept", "review", "failed", "waiting", "not-packed"
BARS = 40  # of a histogram
TAIL = 0.5  # per cent of the values at either end that do not widen a histogram


@dataclass(frozen=True)
class ReportInput:
    """A run as a report needs it.

    name: of the data set. root: its folder, below which blobs and videos lie. stages: with their thresholds, in order.
    sources, clips: of `survey`. records: what packing chose, by clip, before reviews. unpackable: by clip, why it
    has no record though it went through all stages. reviews: all lines, in order.
    unreadable, copies: of `sources.Found`. card: plain data about settings, models and their licences.
    """

    name: str
    root: Path
    stages: Stages
    sources: Sequence[Standing]
    clips: Sequence[Standing]
    records: Mapping[str, ClipRecord]
    unpackable: Mapping[str, str] = field(default_factory=dict)
    reviews: Sequence[Review] = ()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    copies: Mapping[str, str] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source_kinds(self) -> list[Kind]:
        """The stages that videos go through: those that find clips."""
        return [kind for kind in self.stages if kind.gives is Shots]

    @property
    def clip_kinds(self) -> list[Kind]:
        """The stages that clips go through."""
        return [kind for kind in self.stages if kind.gives is not Shots]

    @cached_property
    def packed(self) -> dict[str, ClipRecord]:
        """The records as reviews leave them, by clip; without those that a reviewer rejected."""
        return reviewed(self.records, self.reviews)

    def outcome(self, standing: Standing) -> str:
        """What became of a clip, in a word: the code of its rejection, or one of KEPT, REVIEW, FAILED ..."""
        if standing.stopped:
            why = standing.stopped[1]
            return why.code if isinstance(why, Rejected) else FAILED
        if standing.waits:
            return WAITING
        if standing.record.id not in self.records:
            return UNPACKED
        return KEPT if standing.record.id in self.packed else REVIEW

    def why(self, standing: Standing) -> str:
        """The same in a sentence, with the numbers that decided."""
        if standing.waits:
            return f"{standing.waits.name}: not measured yet"
        if standing.stopped:
            kind, reason = standing.stopped
            if isinstance(reason, Failed):
                return f"{kind.name} failed: {reason.type}: {reason.message}"
            value = "" if reason.value is None else f": {number(reason.value)}"
            threshold = "" if reason.threshold is None else f", threshold {number(reason.threshold)}"
            return f"{kind.name}: {reason.text}{value}{threshold}"
        problem = self.unpackable.get(standing.record.id)
        waits = f", but cannot be packed: {problem}" if problem else ", and waits to be packed"
        more = {REVIEW: ", but a reviewer rejected it", UNPACKED: waits}
        return "passed all stages" + more.get(self.outcome(standing), "")


@dataclass(frozen=True)
class Reason:
    """Records that left a stage for one reason. `thresholds`: those that they were judged by, usually one."""

    code: str
    text: str
    count: int
    thresholds: list[float]


@dataclass(frozen=True)
class Step:
    """What became of the records that came into a stage; `came` is the sum of all others."""

    stage: str
    came: int
    stayed: int
    failed: int
    waiting: int
    reasons: list[Reason]

    @property
    def rejected(self) -> int:
        return sum(reason.count for reason in self.reasons)


@dataclass(frozen=True)
class Chart:
    """A number that a stage's value holds. `of` may give several; `thresholds` are the names of those that judge it."""

    gives: type[Model]
    label: str
    of: Callable[[Any], Iterable[float]]
    thresholds: tuple[str, ...] = ()


def _faces(measure: Callable[[FacePicture], float | None]) -> Callable[[Faces], list[float]]:
    """A measure of every face, where there is one."""
    return lambda value: [it for own in value.subjects for face in own if (it := measure(face)) is not None]


def _side(face: FacePicture) -> float:
    return min(face.box[2] - face.box[0], face.box[3] - face.box[1])


CHARTS = (
    Chart(Borders, "share of the picture inside of borders", lambda value: [value.kept], ("least_kept",)),
    Chart(Colourfulness, "colourfulness", lambda value: [value.value], ("least",)),
    Chart(Subtitles, "share of the picture under lettering", lambda value: [value.left], ("most_left",)),
    Chart(Kept, "frames at 16 a second", lambda value: [value.frames], ("least_frames",)),
    Chart(Kept, "frames a second of the source", lambda value: [value.stored_fps], ("least_fps",)),
    Chart(Kept, "shorter side, pixels", lambda value: [min(value.width, value.height)], ("least_side",)),
    Chart(FlowStrength, "flow, pixels a frame at 256", lambda value: [value.value], ("least", "most")),
    Chart(Scores, "quality", lambda value: [value.quality], ("least_quality",)),
    Chart(Scores, "aesthetics", lambda value: [value.aesthetic], ("least_aesthetic",)),
    Chart(People, "most people in a key frame", lambda value: [max(map(len, value.frames))], ("least", "most")),
    Chart(Caption, "words of the caption", lambda value: [len(value.text.split())], ("least_words", "most_words")),
    Chart(Faces, "shorter side of faces, pixels", _faces(_side), ("least_side",)),
    Chart(Faces, "sharpness of faces", _faces(lambda face: face.sharpness), ("least_sharpness",)),
    Chart(Faces, "how far faces are turned", _faces(lambda face: face.turned), ("most_turned",)),
    Chart(Faces, "share of faces that may be hidden", _faces(lambda face: face.hidden), ("most_hidden",)),
    Chart(Background, "foreground, share of the frame", lambda value: value.foreground, ("most_foreground",)),
)


@dataclass(frozen=True)
class Histogram:
    """How often a number is what, from `low` to `high` in equal steps. What lies beyond is counted at the ends."""

    stage: str
    label: str
    low: float
    high: float
    counts: list[int]
    thresholds: list[tuple[str, float]]

    @property
    def total(self) -> int:
        return sum(self.counts)

    def place(self, value: float) -> float:
        """Where a number stands, from 0 (`low`) to 1."""
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True)
class Problem:
    """Failures of one stage that are alike, and the first records that they befell."""

    stage: str
    type: str
    message: str
    count: int
    transient: bool
    examples: list[str]


def funnel(standings: Sequence[Standing], kinds: Sequence[Kind]) -> list[Step]:
    """For every stage in order, what became of the records that came into it."""
    steps, left = [], list(standings)
    for kind in kinds:
        here = [standing for standing in left if _ends(standing) is kind]
        why = [standing.stopped[1] for standing in here if standing.stopped]
        rejected = [reason for reason in why if isinstance(reason, Rejected)]
        failed = len(why) - len(rejected)
        stayed = [standing for standing in left if _ends(standing) is not kind]
        steps.append(Step(kind.name, len(left), len(stayed), failed, len(here) - len(why), _reasons(rejected)))
        left = stayed
    return steps


def packing_steps(report: ReportInput) -> list[Step]:
    """What packing and reviews made of the clips that went through all stages."""
    outcomes = Counter(map(report.outcome, report.clips))
    unpackable = sum(report.outcome(each) == UNPACKED and each.record.id in report.unpackable for each in report.clips)
    rejected, packed, waiting = outcomes[REVIEW], outcomes[KEPT] + outcomes[REVIEW], outcomes[UNPACKED] - unpackable
    reasons = [Reason(REVIEW, "a reviewer rejected it", rejected, [])] if rejected else []
    packing = Step("packing", packed + outcomes[UNPACKED], packed, failed=unpackable, waiting=waiting, reasons=[])
    return [packing, Step("review", packed, packed - rejected, failed=0, waiting=0, reasons=reasons)]


def numbers(standing: Standing) -> list[tuple[str, str]]:
    """What stages measured of a record that is one number, by its label."""
    found = []
    for chart in CHARTS:
        value = standing.value(chart.gives)
        if value is not None and len(several := list(chart.of(value))) == 1:
            found.append((chart.label, number(several[0])))
    return found


def number(value: float) -> str:
    """Three digits, as people write them."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def histograms(standings: Sequence[Standing], stages: Stages) -> list[Histogram]:
    """Of each stage's numbers, over all records that were measured, whether they stayed or not."""
    found = []
    for chart in CHARTS:
        kind = next((kind for kind in stages if kind.gives is chart.gives), None)
        measured = [standing.values[kind] for standing in standings if kind in standing.values] if kind else []
        values = np.array([number for value in measured for number in chart.of(value)], dtype=float)
        values = values[np.isfinite(values)]
        if kind and len(values):
            thresholds = [(name, float(getattr(stages[kind], name))) for name in chart.thresholds]
            found.append(_histogram(kind.name, chart.label, values, thresholds))
    return found


def problems(standings: Sequence[Standing], unpackable: Mapping[str, str], most: int = 20) -> list[Problem]:
    """Failures by stage, type and message, the commonest first. A file's path in a message counts as no difference.

    Args:
        standings: of videos and clips.
        unpackable: by id of a clip, why it has no record.
        most: how many are told.
    """
    groups = defaultdict[tuple[str, str, str, bool], list[str]](list)
    for standing in standings:
        if standing.stopped and isinstance(failed := standing.stopped[1], Failed):
            message = without_names(failed.message, standing.record)
            groups[standing.stopped[0].name, failed.type, message, failed.transient].append(standing.record.called)
        elif standing.record.id in unpackable:
            groups["packing", "cannot be packed", unpackable[standing.record.id], False].append(standing.record.called)
    commonest = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    return [
        Problem(stage, kind, message, len(ids), transient, sorted(ids)[:3])
        for (stage, kind, message, transient), ids in commonest[:most]
    ]


def people(records: Iterable[ClipRecord]) -> dict[int, int]:
    """How many of the packed clips have how many subjects."""
    return dict(sorted(Counter(len(record.subjects) for record in records).items()))


def sample(report: ReportInput, count: int, seed: int = 0) -> dict[str, list[Standing]]:
    """At most `count` clips, as many of every outcome as there can be: by outcome, KEPT first, then the commonest.

    The same clips whatever their order, and of each outcome a fair sample.
    """
    strata = defaultdict[str, list[Standing]](list)
    for standing in report.clips:
        strata[report.outcome(standing)].append(standing)
    order = sorted(strata, key=lambda name: (name != KEPT, -len(strata[name]), name))
    shares, left = dict.fromkeys(order, 0), min(count, len(report.clips))
    while left:
        for name in order:
            if left and shares[name] < len(strata[name]):
                shares[name], left = shares[name] + 1, left - 1
    return {
        name: sorted(strata[name], key=lambda standing: shuffled(standing.record.id, seed))[: shares[name]]
        for name in order
        if shares[name]
    }


def _ends(standing: Standing) -> Kind | None:
    """The stage that a record did not leave."""
    return standing.stopped[0] if standing.stopped else standing.waits


def _reasons(rejected: Sequence[Rejected]) -> list[Reason]:
    """By code, the commonest first."""
    by_code = defaultdict[str, list[Rejected]](list)
    for each in rejected:
        by_code[each.code].append(each)
    made = [
        Reason(code, texts[0] if len(texts := sorted({each.text for each in own})) == 1 else "", len(own), thresholds)
        for code, own in by_code.items()
        for thresholds in [sorted({each.threshold for each in own if each.threshold is not None})]
    ]
    return sorted(made, key=lambda reason: (-reason.count, reason.code))


def _histogram(stage: str, label: str, values: np.ndarray, thresholds: list[tuple[str, float]]) -> Histogram:
    marks = [value for _, value in thresholds]
    low = min([float(np.percentile(values, TAIL)), *marks])
    high = max([float(np.percentile(values, 100 - TAIL)), *marks])
    room = (high - low) * 0.02 or 0.5  # so that no threshold lies on the edge
    low, high = max(low - room, 0.0) if low >= 0 else low - room, high + room
    counts, _ = np.histogram(np.clip(values, low, high), BARS, (low, high))
    return Histogram(stage, label, low, high, counts.tolist(), thresholds)
