"""What was measured, kept so that nothing is measured twice: rows that are only ever added.

A stage's rows lie in a folder of their own, as Parquet files that appear whole, so that a kill loses the last moments
and nothing else, and so that any tool can read them. One process writes; which measured is of no matter.
"""

import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lumosx.errors import InputError
from lumosx.files import atomic, clear_leftovers
from lumosx.vision.places import library

EVERY = 2.0  # seconds of work that a kill may lose
MOST = 512  # rows that wait to be written
MANY = 64  # files of a stage that are made one when they are read


@dataclass(frozen=True)
class Row:
    """A measurement. `value` is the stage's as JSON; None: it failed, and `error` says how (`stage.Failed` as JSON).
    `seconds`: what it took."""

    record: str
    fingerprint: str
    value: str | None
    error: str | None
    seconds: float


class Ledger:
    """The rows of a data set's stages, in the folder `root`.

    Raises:
        InputError: pyarrow is not installed.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._pa, self._pq = (library(name, "'lumosx[curate]'") for name in ("pyarrow", "pyarrow.parquet"))
        self._waiting: dict[str, list[Row]] = {}
        self._written = time.monotonic()

    def rows(self, stage: str, fingerprint: str) -> Mapping[str, Row]:
        """By record, the last row that a stage measured under this fingerprint."""
        return {row.record: row for row in self.all_rows(stage) if row.fingerprint == fingerprint}

    def all_rows(self, stage: str) -> list[Row]:
        """Every row of a stage, in the order in which they were written."""
        files = self._files(stage)
        rows = [Row(**row) for file in files for row in self._read(file)]
        return rows + self._waiting.get(stage, [])

    def stages(self) -> list[str]:
        """The names of all stages that have rows."""
        return sorted({path.name for path in self.root.glob("*") if path.is_dir()} | self._waiting.keys())

    def add(self, stage: str, row: Row) -> None:
        """Adds a row. It is on the disk within EVERY seconds of further work, and after `flush`."""
        self._waiting.setdefault(stage, []).append(row)
        waiting = sum(map(len, self._waiting.values()))
        if waiting >= MOST or time.monotonic() - self._written >= EVERY:
            self.flush()

    def flush(self) -> None:
        """Writes what waits."""
        for stage, rows in self._waiting.items():
            self._write(stage, rows)
        self._waiting.clear()
        self._written = time.monotonic()

    def tidy(self) -> None:
        """Makes one file of many, and removes what a kill left. Nobody else may be writing."""
        for stage in self.stages():
            clear_leftovers(self.root / stage)
            if len(self._files(stage)) >= MANY:
                self._rewrite(stage, self.all_rows(stage))

    def remove(self, records: Iterable[str]) -> None:
        """Removes all rows of records, for good."""
        doomed = set(records)
        self.flush()
        for stage in self.stages():
            rows = self.all_rows(stage)
            if any(row.record in doomed for row in rows):
                self._rewrite(stage, [row for row in rows if row.record not in doomed])

    def _files(self, stage: str) -> list[Path]:
        return sorted((self.root / stage).glob("[0-9]*.parquet"))

    def _read(self, path: Path) -> list[dict[str, Any]]:
        try:
            return self._pq.read_table(path).to_pylist()
        except (self._pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: cannot be read ({error}); remove it, and its rows are measured again") from error

    def _write(self, stage: str, rows: list[Row]) -> Path:
        files = self._files(stage)
        number = int(files[-1].stem) + 1 if files else 0
        path = self.root / stage / f"{number:08d}.parquet"
        schema = self._pa.schema(
            {name: self._pa.string() for name in ("record", "fingerprint", "value", "error")}
            | {"seconds": self._pa.float64()}
        )
        with atomic(path) as temporary:
            self._pq.write_table(
                self._pa.Table.from_pylist([asdict(row) for row in rows], schema=schema), temporary, compression="zstd"
            )
        return path

    def _rewrite(self, stage: str, rows: list[Row]) -> None:
        """One file in the place of all; the old ones go only when it is there, and rows written twice do no harm."""
        files = self._files(stage)
        if rows:
            self._write(stage, list({(row.record, row.fingerprint): row for row in rows}.values()))
        for file in files:
            file.unlink()
