"""Scores: what a measure says about one clip of one case, and the interface of all measures."""

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence

Status = Literal["ok", "not_applicable", "missing", "error"]


@dataclass(frozen=True)
class Score:
    """One metric of one clip.

    status: "ok" with a value; "not_applicable" where the case has nothing to measure (no objects, no ground truth);
    "missing" where there is no video; "error" where scoring failed. Only "ok" has a value. `detail` is plain data that
    explains the value: parts of the mean, boxes, a confusion matrix, or an error's type and message.
    """

    metric: str
    value: float | None
    status: Status = "ok"
    detail: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.status == "ok") != (self.value is not None):
            raise ValueError(f"{self.metric}: a value of {self.value} with status {self.status}")


def not_applicable(metric: str, why: str) -> Score:
    """A metric that this case has nothing for."""
    return Score(metric, None, "not_applicable", {"why": why})


class Measure(Protocol):
    """A family of metrics that look at the same things.

    `metrics`: the names that it may give, each with whether more is better; a call gives every one of them.
    """

    @property
    def metrics(self) -> dict[str, bool]: ...

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]: ...


@runtime_checkable
class Selective(Protocol):
    """A measure with metrics that some cases have nothing for, whatever their clips show."""

    def nothing_for(self, case: Case) -> list[Score]:
        """`not_applicable` for each such metric, by the case alone."""
        ...


@runtime_checkable
class Partitioned(Protocol):
    """A measure with rates that share out one whole, so that a clip without a value can count in one of them alone.

    `misses`: by metric what such a clip counts in a strict mean, for those in which it is not the worst.
    """

    @property
    def misses(self) -> dict[str, float]: ...


def nothing_for(measure: Measure, case: Case) -> dict[str, Score]:
    """The scores, by metric, that a case has of a measure without any clip."""
    scores = measure.nothing_for(case) if isinstance(measure, Selective) else []
    return {score.metric: score for score in scores}
