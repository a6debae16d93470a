"""A small curation without videos: stages whose answers are arithmetic, and which tell when they are asked."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from lumosx.curation.blobs import Blobs
from lumosx.curation.run import Kind, Stages
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.errors import TransientError
from lumosx.records import Model
from lumosx.vision import ModelCard


@dataclass(frozen=True)
class Adder:
    """A "model" that adds; its revision is what it adds."""

    amount: int

    @property
    def card(self) -> ModelCard:
        return ModelCard("adder", "tests", str(self.amount), "Apache-2.0", True)


class Number(Model):
    value: int
    blob: str | None = None


@dataclass(frozen=True)
class Toy(Stage[Number]):
    """Of clip number n: n + 100 and what the model adds, and a blob; `calls` is a file with a line for each measure."""

    gives: ClassVar = Number

    calls: Path = field(metadata={"use": "threshold"})  # no part of the fingerprint

    def called(self, look: Look) -> int:
        """Notes the call; the clip's number."""
        number = int(look.clip.start)
        with self.calls.open("a") as file:
            file.write(f"{self.name} {number}\n")
        return number


@dataclass(frozen=True)
class First(Toy):
    name: ClassVar[str] = "first"
    adder: Adder = model("adder")
    factor: int = 1
    most: int = threshold(1000)
    fails: tuple[int, ...] = threshold(())
    transient: tuple[int, ...] = threshold(())
    pause: float = threshold(0.0)

    def measure(self, look: Look) -> Number:
        number = self.called(look)
        time.sleep(self.pause)
        if number in self.fails:
            raise ValueError(f"clip {number} is not to be\nmeasured")
        if number in self.transient:
            raise TransientError("later")
        blob = look.blobs.put(f"first of {number}".encode() * 1000, ".txt")
        return Number(value=self.factor * number + self.adder.amount, blob=blob)

    def judge(self, value: Number) -> Rejected | None:
        return Rejected("high", "too high", value.value, self.most) if value.value > self.most else None


@dataclass(frozen=True)
class Second(Toy):
    name: ClassVar[str] = "second"
    needs: ClassVar = (First,)

    def measure(self, look: Look) -> Number:
        self.called(look)
        return Number(value=look.of(First).value * 2 + int(look.random("second").integers(10)))


@dataclass(frozen=True)
class Among(Toy):
    """Of all numbers with one remainder the lowest stays."""

    name: ClassVar[str] = "among"
    needs: ClassVar = (First,)
    among_others: ClassVar[bool] = True
    modulus: int = threshold(1000)

    def measure(self, look: Look) -> Number:
        self.called(look)
        return Number(value=look.of(First).value)

    def judge_all(self, values: Mapping[str, Number]) -> dict[str, Rejected]:
        kept: dict[int, str] = {}
        for record in sorted(values, key=lambda record: values[record].value):
            kept.setdefault(values[record].value % self.modulus, record)
        return {record: Rejected("again", "the same") for record in values if record not in kept.values()}


@dataclass(frozen=True)
class Last(Toy):
    name: ClassVar[str] = "last"
    needs: ClassVar = (Among, Second)

    def measure(self, look: Look) -> Number:
        self.called(look)
        return Number(value=look.of(Second).value + look.of(Among).value)


def toys(calls: Path, amount: int = 0, **first: Any) -> dict[Kind, Stage[Any]]:
    """The stages in order, with settings of the first."""
    return {
        First: First(calls, adder=Adder(amount), **first),
        Second: Second(calls),
        Among: Among(calls),
        Last: Last(calls),
    }


def clips(count: int, folder: Path) -> list[Clip]:
    """Clips number 0, 1, ... of one source."""
    source = Source("a" * 16, folder / "no.mp4", "no.mp4")
    return [Clip(source, float(number), number + 1.0) for number in range(count)]


def asked(calls: Path) -> list[str]:
    """The calls so far, in order."""
    return calls.read_text().splitlines() if calls.exists() else []


def blob_names(blobs: Blobs) -> dict[str, bytes]:
    """All that lies in a store, by name."""
    paths = (path for path in blobs.root.rglob("*") if path.is_file())
    return {os.fspath(path.relative_to(blobs.root)): path.read_bytes() for path in paths}


def kinds(stages: Stages) -> list[Kind]:
    return list(stages)
