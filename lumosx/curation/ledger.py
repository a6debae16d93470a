"""What was measured, kept so that nothing is measured twice: rows that are only ever added.

A stage's rows lie in a folder of their own, as Parquet files that appear whole, so that a kill loses the last moments
and nothing else, and so that any tool can read them. One process writes; which measured is of no matter.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lumosx.errors import InputError
from lumosx.files import atomic, clear_leftovers
from lumosx.vision.places import library

EVERY = 2.0  # seconds of work that a kill may lose
MOST = 512  # rows that wait to be written
MANY = 64  # files of a stage that are made one when they are read


class Row(NamedTuple):
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
        names = "pyarrow", "pyarrow.parquet", "pyarrow.compute"
        self._pa, self._pq, self._compute = (library(name, "'lumosx[curate]'") for name in names)
        self._waiting: dict[str, list[Row]] = {}
        self._written = time.monotonic()

    def outcomes(self, stage: str, fingerprint: str) -> dict[str, tuple[str | None, str | None]]:
        """By record, value and error of the last row that a stage measured under this fingerprint. No rows, because
        to make a million of them takes Python several times as long as to read them."""
        found: dict[str, tuple[str | None, str | None]] = {}
        for file in self._files(stage):
            table = self._read(file, ["record", "fingerprint", "value", "error"])
            table = table.filter(self._compute.equal(table["fingerprint"], fingerprint))
            record, value, error = (table[name].to_pylist() for name in ("record", "value", "error"))
            found.update(zip(record, zip(value, error, strict=True), strict=True))
        waiting = self._waiting.get(stage, [])
        return found | {row.record: (row.value, row.error) for row in waiting if row.fingerprint == fingerprint}

    def all_rows(self, stage: str) -> list[Row]:
        """Every row of a stage, in the order in which they were written."""
        tables = (self._read(file, list(Row._fields)) for file in self._files(stage))
        rows = [row for table in tables for row in map(Row, *(table[name].to_pylist() for name in Row._fields))]
        return rows + self._waiting.get(stage, [])

    def records(self, stage: str) -> set[str]:
        """The ids of all records of which a stage has rows."""
        found = {name for file in self._files(stage) for name in self._read(file, ["record"])["record"].to_pylist()}
        return found | {row.record for row in self._waiting.get(stage, [])}

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
                self.rewrite(stage, self.all_rows(stage))

    def rewrite(self, stage: str, rows: Sequence[Row]) -> None:
        """One file in the place of all of a stage; those go only when it is there, and rows written twice do no harm.
        Nobody else may be writing, and nothing may wait."""
        files = self._files(stage)
        if rows:
            self._write(stage, list({(row.record, row.fingerprint): row for row in rows}.values()))
        for file in files:
            file.unlink()

    def _files(self, stage: str) -> list[Path]:
        return sorted((self.root / stage).glob("[0-9]*.parquet"))

    def _read(self, path: Path, columns: list[str]) -> Any:
        try:
            return self._pq.read_table(path, columns=columns)
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
        table = self._pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
        with atomic(path) as temporary:
            self._pq.write_table(table, temporary, compression="zstd")
        return path
