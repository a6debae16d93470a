"""What a stage of curation is: it measures one record, and says by thresholds whether the record stays.

Measuring is dear and pure: what comes out depends on the record, on what earlier stages measured and on the stage's own
settings and models, and on nothing else. It is kept under a fingerprint of all that (`ledger`). Judging is cheap and
done whenever measurements are read, so a threshold can be changed without measuring anything again.
"""

import base64
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import numpy as np

from lumosx.curation.blobs import Blobs
from lumosx.curation.sources import Clip, Source
from lumosx.records import Model

Value = TypeVar("Value", bound=Model)
Record = Source | Clip


@dataclass(frozen=True)
class Rejected:
    """Why a record leaves. `code` names the reason in reports and never changes; `value` and `threshold` show how far
    off it is, None where it is no matter of degree."""

    code: str
    text: str
    value: float | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Failed:
    """A measurement that did not come about: the error's class and message.

    `transient`: another try may help, so that the next run makes one; others are tried again only when asked.
    """

    type: str
    message: str
    transient: bool = False


def threshold(default: Any) -> Any:
    """A setting of `judge` alone: changing it measures nothing again."""
    return field(default=default, metadata={"use": "threshold"})


def model(role: str) -> Any:
    """A model that `measure` asks, by its role in the profile; what its card says is part of the fingerprint."""
    return field(metadata={"use": "model", "role": role})


@dataclass(frozen=True)
class Stage(ABC, Generic[Value]):
    """A stage. Subclasses are frozen dataclasses, of which fields made by `threshold` judge, those made by `model` are
    models, and all others are settings of what is measured.

    name: in settings, ledger and reports. version: counts up when what is measured changes. needs: the stages whose
    values `measure` reads. gives: the class of its value. among_others: it judges a record by those of all records.
    """

    name: ClassVar[str]
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[type["Stage[Any]"], ...]] = ()
    gives: ClassVar[type[Model]]
    among_others: ClassVar[bool] = False

    @abstractmethod
    def measure(self, look: "Look") -> Value:
        """What is found of a record. Raises what it likes: an error is that record's alone."""

    def judge(self, value: Value) -> Rejected | None:
        """Why a record with this value leaves; None: it stays."""
        del value
        return None

    def judge_all(self, values: Mapping[str, Value]) -> dict[str, Rejected]:
        """Why records leave, by id, of a stage that judges among others; `values` are those of all records that came so
        far."""
        raise NotImplementedError

    def identity(self) -> dict[str, Any]:
        """What a value depends on besides the record and what was measured before: plain data."""
        stated: dict[str, Any] = {"stage": self.name, "version": self.version}
        for each in fields(self):
            value, use = getattr(self, each.name), each.metadata.get("use")
            if use == "model":
                stated[each.name] = None if value is None else value.card.to_dict()
            elif use != "threshold":
                stated[each.name] = value
        return stated


def fingerprints(stages: Mapping[type[Stage[Any]], Stage[Any]]) -> dict[type[Stage[Any]], str]:
    """Of every stage a digest of its identity and of those that it needs, directly or not."""
    found: dict[type[Stage[Any]], str] = {}
    for kind, stage in stages.items():  # in their order, so what is needed comes first
        stated = [stage.identity(), [found[needed] for needed in kind.needs]]
        found[kind] = hashlib.sha256(json.dumps(stated, sort_keys=True).encode()).hexdigest()[:16]
    return found


@dataclass(frozen=True)
class Look:
    """What a stage is given: a record, what was measured of it, and the store of blobs.

    seed: of what is chosen when records are packed. Where something is measured it stays 0, as no fingerprint has it.
    """

    record: Record
    values: Mapping[type[Stage[Any]], Model]
    blobs: Blobs
    seed: int = 0

    def of(self, kind: "type[Stage[Value]]") -> Value:
        """What an earlier stage measured. Raises KeyError unless the asking stage `needs` it."""
        return cast(Value, self.values[kind])

    @property
    def clip(self) -> Clip:
        """The record, of stages for clips."""
        assert isinstance(self.record, Clip)
        return self.record

    @property
    def source(self) -> Path:
        """Where the video file lies."""
        return self.record.source.path if isinstance(self.record, Clip) else self.record.path

    def random(self, purpose: str) -> np.random.Generator:
        """Chance for one purpose of this record, the same in whatever order and wherever records are measured."""
        return self._random(self.record.id, purpose)

    def source_random(self, purpose: str) -> np.random.Generator:
        """Chance for one purpose that all clips of a video share."""
        return self._random(self.record.source.id if isinstance(self.record, Clip) else self.record.id, purpose)

    def _random(self, name: str, purpose: str) -> np.random.Generator:
        digest = hashlib.sha256(f"{self.seed}/{name}/{purpose}".encode()).digest()
        return np.random.Generator(np.random.Philox(key=np.frombuffer(digest[:16], np.uint64)))


class Vector(Model):
    """float32 numbers as base64, so that a vector takes little room in a row."""

    data: str

    @classmethod
    def of(cls, numbers: np.ndarray) -> "Vector":
        return cls(data=base64.b64encode(np.asarray(numbers, "<f4").tobytes()).decode())

    @cached_property
    def array(self) -> np.ndarray:
        """float32 [D]."""
        return np.frombuffer(base64.b64decode(self.data), "<f4")
