"""What a benchmark run leaves: `results.parquet`, a row for each case, seed and metric, and `card.json`, its meaning.

The rows hold nothing that differs between two runs of the same thing: times are in the card and in the files of the
single clips, so that the same scores are the same bytes.
"""

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, get_args

import numpy as np

from lumosx.errors import InputError
from lumosx.evaluation.scores import Score, Status
from lumosx.files import atomic, write_json

ROWS, CARD = "results.parquet", "card.json"
CARD_VERSION = 1
PACKAGES = ("scipy", "opencv-python-headless", "onnxruntime", "dlib-bin", "pyarrow", "ray")  # that scores may depend on


@dataclass(frozen=True)
class CaseResult:
    """All scores of one clip. seed: None where the video's name states none. video: None where there is none."""

    case: str
    seed: int | None
    subjects: int
    video: str | None
    video_sha256: str | None
    scores: list[Score]
    seconds: float = field(default=0.0, compare=False)

    @property
    def key(self) -> tuple[str, int]:
        """What tells clips of a run apart, and their order; no seed comes first."""
        return self.case, -1 if self.seed is None else self.seed

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "CaseResult":
        """Of `to_dict`. Raises KeyError, TypeError or ValueError for anything else."""
        return cls(**{**data, "scores": [Score(**score) for score in data["scores"]]})


@dataclass(frozen=True)
class Row:
    """One metric of one clip. `detail` is JSON."""

    protocol: str
    task: str
    case: str
    seed: int | None
    subjects: int
    metric: str
    value: float | None
    status: Status
    detail: str
    video: str | None
    video_sha256: str | None


@dataclass(frozen=True)
class Results:
    """A run: its rows, and its card as plain data."""

    rows: list[Row]
    card: dict[str, Any]

    @property
    def metrics(self) -> dict[str, bool]:
        """Each metric with whether more is better, in the order of the protocol."""
        return self.card["metrics"]

    @property
    def misses(self) -> dict[str, float]:
        """What a clip without a value counts in metrics in which it is not the worst."""
        return self.card.get("misses", {})

    @property
    def name(self) -> str:
        """Of the protocol and task, as people call them."""
        return f"protocol {self.card['protocol']}, version {self.card['version']}, {self.card['task']} task"


def plain(value: Any) -> Any:
    """Data that JSON can hold: numpy's numbers and arrays as Python's, what is not finite as None, keys as text."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def rows_of(results: Iterable[CaseResult], protocol: str, task: str) -> list[Row]:
    """The rows of all clips in canonical order: by case, seed, then the protocol's order of metrics."""
    return [
        Row(
            protocol, task, result.case, result.seed, result.subjects, score.metric, score.value, score.status,
            json.dumps(score.detail, sort_keys=True, ensure_ascii=False), result.video, result.video_sha256,
        )
        for result in sorted(results, key=lambda result: result.key)
        for score in result.scores
    ]  # fmt: skip


def stored_path(video: Path, out: Path) -> str:
    """How rows name a video: seen from `out` if it lies there, so that the folder can be moved, else in full."""
    path = Path(os.path.abspath(video))
    root = Path(os.path.abspath(out))
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def write_rows(rows: Sequence[Row], out: Path) -> Path:
    """Writes `results.parquet`; the same rows give the same bytes.

    Raises:
        InputError: pyarrow is not installed.
    """
    pa, pq = _pyarrow()
    table = pa.Table.from_pylist([asdict(row) for row in rows], schema=_schema(pa))
    with atomic(out / ROWS) as temporary:
        pq.write_table(table, temporary, compression="zstd")
    return out / ROWS


def write_results(
    results: Sequence[CaseResult],
    out: Path,
    identity: Mapping[str, Any],
    *,
    profile: str,
    source: str,
    digests: Mapping[str, str],
    strays: Sequence[Path] = (),
) -> Results:
    """Writes the rows and the card of a finished run, the rows last: where they stand, the run is finished.

    Args:
        identity: of `Suite`: protocol, version, task, looks, metrics, misses and models.
        profile: the name that the models were chosen by.
        source: where the cases are from.
        digests: sha256 of the content of each case, missing ones included.
        strays: videos that belong to no case.

    Raises:
        InputError: pyarrow is not installed.
    """
    from lumosx.pipelines.provenance import versions

    rows = rows_of(results, identity["protocol"], identity["task"])
    clips = [_named(row) for row in rows]
    # one problem of a clip is that of many metrics
    errors = dict.fromkeys((c, row.detail) for c, row in zip(clips, rows, strict=True) if row.status == "error")
    card = {
        "lumosx_bench": CARD_VERSION,
        **identity,
        "profile": profile,
        "seeds": sorted({result.seed for result in results if result.seed is not None}),
        "cases": {"source": source, "count": len(digests), "digests": dict(sorted(digests.items()))},
        "clips": len(results),
        "rows": {status: sum(row.status == status for row in rows) for status in get_args(Status)},
        "missing": sorted({clip for clip, row in zip(clips, rows, strict=True) if row.status == "missing"}),
        "errors": [{"clip": clip, **json.loads(detail)} for clip, detail in errors],
        "videos of no case": [str(path) for path in strays],
        "seconds": round(sum(result.seconds for result in results), 3),
        "versions": versions(*PACKAGES),
    }
    write_json(card, out / CARD)
    write_rows(rows, out)
    return Results(rows, card)


def _named(row: Row) -> str:
    return row.case if row.seed is None else f"{row.case}, seed {row.seed}"


def read_results(path: str | Path) -> Results:
    """Results by their folder, or by the Parquet file, beside which its card lies.

    Raises:
        InputError: no results there, or not of this version; pyarrow is not installed.
    """
    path = Path(path)
    file = path / ROWS if path.is_dir() else path
    pa, pq = _pyarrow()
    if not file.is_file():
        raise InputError(f"{path}: holds no finished results; `lumosx bench run ... --out {path}` makes them")
    card = _read_card(file.with_name(CARD))
    try:
        listed = pq.read_table(file).to_pylist()
        rows = [Row(**{column.name: row[column.name] for column in fields(Row)}) for row in listed]
    except (pa.ArrowException, KeyError, OSError) as error:
        raise InputError(f"{file}: no results of `lumosx bench run` ({error}); score the videos again") from error
    return Results(rows, card)


def _read_card(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path} is missing: without it nobody knows what the scores beside it mean")
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        version = card["lumosx_bench"]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: no card of a benchmark; score the videos again") from error
    if version != CARD_VERSION:
        raise InputError(f"{path}: a card of version {version}, this program reads {CARD_VERSION}; score again")
    return card


def _schema(pa: Any) -> Any:
    kinds = {"seed": pa.int64(), "subjects": pa.int64(), "value": pa.float64()}
    return pa.schema([(column.name, kinds.get(column.name, pa.string())) for column in fields(Row)])


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise InputError("results are Parquet, which needs pyarrow: pip install 'lumosx[bench]'") from error
    return pyarrow, pyarrow.parquet
