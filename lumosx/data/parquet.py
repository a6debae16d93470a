"""Clip records in Parquet: one row a clip, nested as the record is.

Nested columns rather than JSON texts, so that any Parquet reader can select by them (the number of subjects, a
score). `word` and `occurrence` are lists, of one element where there is one; `scores` and `meta` are maps. The schema's
version is a column, because other tools that filter and rewrite a file drop its metadata.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lumosx.data.entries import Entry, Problems
from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.records import ClipRecord

NAME = "clips.parquet"
LISTED = ("word", "occurrence")
ROWS = 4096  # converted at a time


def write_parquet(records: Iterable[ClipRecord], folder: str | Path) -> Path:
    """Writes `clips.parquet` into the folder that holds the media; the same records give the same bytes.

    Raises:
        InputError: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    rows = [_row(record) for record in sorted(records, key=lambda record: record.id)]
    path = Path(folder) / NAME
    with atomic(path) as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema(pa)), temporary, compression="zstd")
    return path


def read_parquet(paths: Sequence[Path], problems: Problems) -> Iterator[Entry]:
    """The rows of `paths`, counted from 0 in each.

    Raises:
        InputError: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    for path in paths:
        try:
            number = 0
            for batch in pq.ParquetFile(path).iter_batches(ROWS):
                for row in batch.to_pylist(maps_as_pydicts="strict"):
                    yield Entry(f"{path} row {number}", _stated(row))
                    number += 1
        except (pa.ArrowException, KeyError, OSError) as error:
            problems.add(path, f"cannot be read as Parquet ({error}); write it again")


def _schema(pa: Any) -> Any:
    text, texts, numbers = pa.string(), pa.list_(pa.string()), pa.list_(pa.int64())
    words = {"word": texts, "occurrence": numbers}
    picture = {"image": text, "frame": pa.int64(), "crop": numbers, "fit": text, "pad": text}
    pictures = pa.list_(pa.struct(picture))
    part = words | {"pictures": pictures}
    thing = part | {"id": text}
    person = {"id": text} | words | {"faces": pictures, "attributes": pa.list_(pa.struct(part))}
    return pa.schema(
        {
            "version": text, "id": text, "video": text, "caption": text,
            "width": pa.int64(), "height": pa.int64(), "frames": pa.int64(), "fps": pa.float64(), "split": text,
            "background": pa.struct(part), "objects": pa.list_(pa.struct(thing)),
            "subjects": pa.list_(pa.struct(person)),
            "scores": pa.map_(text, pa.float64()), "meta": pa.map_(text, text),
        }
    )  # fmt: skip


def _row(record: ClipRecord) -> dict[str, Any]:
    plain = record.model_dump(exclude={"scores", "meta"})
    return _listed(plain) | {"scores": list(record.scores.items()), "meta": list(record.meta.items())}


def _listed(value: Any) -> Any:
    """Single words and numbers as lists of one."""
    if isinstance(value, list):
        return [_listed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        key: [item] if key in LISTED and not isinstance(item, list | None) else _listed(item)
        for key, item in value.items()
    }


def _stated(value: Any) -> Any:
    """Without what is null, which a record leaves out."""
    if isinstance(value, dict):
        return {key: _stated(item) for key, item in value.items() if item is not None}
    return [_stated(item) for item in value] if isinstance(value, list) else value


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'lumosx[parquet]'") from error
    return pyarrow, pyarrow.parquet
