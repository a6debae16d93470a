"""Rows on the disk."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from lumosx.curation.ledger import MANY, Ledger, Row
from lumosx.errors import InputError


def row(record: str, value: str | None = "1", fingerprint: str = "f") -> Row:
    return Row(record, fingerprint, value, None if value else "{}", 0.5)


def test_rows_come_back_by_fingerprint_and_the_last_one_counts(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for each in (row("a"), row("b"), row("a", "2"), row("a", "3", "other"), row("c", None)):
        ledger.add("flow", each)
    ledger.flush()
    found = Ledger(tmp_path).outcomes("flow", "f")
    assert found == {"a": ("2", None), "b": ("1", None), "c": (None, "{}")}
    assert Ledger(tmp_path).outcomes("flow", "none") == {}
    assert Ledger(tmp_path).outcomes("nothing", "f") == {}


def test_rows_that_wait_are_seen(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add("flow", row("a"))
    assert ledger.outcomes("flow", "f") == {"a": ("1", None)}
    assert ledger.outcomes("flow", "other") == {}


def test_many_files_become_one_with_the_same_rows(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for number in range(MANY + 3):
        ledger.add("flow", row(f"r{number % 50}", str(number)))
        ledger.flush()
    (tmp_path / "flow" / ".00000099.parquet.abc.part").write_text("left by a kill")
    before = ledger.outcomes("flow", "f")
    again = Ledger(tmp_path)
    again.tidy()
    assert [path.suffix for path in (tmp_path / "flow").iterdir()] == [".parquet"]
    assert again.outcomes("flow", "f") == before
    again.add("flow", row("r0", "new"))
    again.flush()
    assert Ledger(tmp_path).outcomes("flow", "f")["r0"] == ("new", None)


def test_removed_records_leave_no_byte(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for stage in ("flow", "faces"):
        for record in ("keep", "secret"):
            ledger.add(stage, row(record))
        ledger.flush()
        ledger.rewrite(stage, [each for each in ledger.all_rows(stage) if each.record != "secret"])
    assert ledger.outcomes("faces", "f").keys() == {"keep"}
    tables = [pq.read_table(path).to_pydict()["record"] for path in tmp_path.rglob("*.parquet")]
    assert tables == [["keep"], ["keep"]]


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    ledger.add("flow", row("a"))
    ledger.flush()
    (file,) = tmp_path.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(InputError, match=r"00000000\.parquet: cannot be read .*remove it"):
        Ledger(tmp_path).outcomes("flow", "f")
