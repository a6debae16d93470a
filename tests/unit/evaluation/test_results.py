"""Results on the disk: the same scores are the same bytes, and what comes back is what was written."""

import json
from dataclasses import replace
from pathlib import Path

import bench_fakes as fakes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.evaluation.results import CaseResult, plain, read_results, rows_of, stored_path, write_results, write_rows
from lumosx.evaluation.scores import Score

IDENTITY = {
    "protocol": "v1", "version": 1, "task": "subject", "looks": 16, "metrics": {"b": True, "a": False},
    "models": {"faces": fakes.card("fake").to_dict()},
}  # fmt: skip
PROBLEM = {"type": "RuntimeError", "message": "nein, ökonomisch", "measure": "M"}
NONE = {"why": "there is no video of it"}
RESULTS = [
    CaseResult(
        "z", None, 2, "/videos/z.mp4", "0" * 64, [Score("b", 0.1 + 0.2), Score("a", 1 / 3, detail={"n": [1]})], 2.5
    ),
    CaseResult(
        "a", 1, 1, "videos/a_s1.mp4", "1" * 64, [Score(name, None, "error", PROBLEM) for name in ("b", "a")], 0.5
    ),
    CaseResult("a", 0, 1, None, None, [Score(name, None, "missing", NONE) for name in ("b", "a")]),
]


def write(out: Path, results: list[CaseResult]):
    digests = {result.case: f"digest of {result.case}" for result in results}
    return write_results(
        results, out, IDENTITY, profile="offline", source="cases", digests=digests, strays=[out / "stray.mp4"]
    )


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    written = write(tmp_path, RESULTS)
    for path in (tmp_path, tmp_path / "results.parquet"):
        assert read_results(path) == written
    assert [(row.case, row.seed, row.metric) for row in written.rows] == [
        ("a", 0, "b"), ("a", 0, "a"), ("a", 1, "b"), ("a", 1, "a"), ("z", None, "b"), ("z", None, "a"),
    ]  # fmt: skip
    assert [row.value for row in written.rows] == [None] * 4 + [0.1 + 0.2, 1 / 3]
    assert json.loads(written.rows[5].detail) == {"n": [1]}
    assert written.metrics == {"b": True, "a": False} and list(written.metrics) == ["b", "a"]


def test_any_parquet_reader_sees_typed_columns(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    write(tmp_path, RESULTS)
    table = pq.read_table(tmp_path / "results.parquet")
    assert {field.name: str(field.type) for field in table.schema} == {
        "protocol": "string", "task": "string", "case": "string", "seed": "int64", "subjects": "int64",
        "metric": "string", "value": "double", "status": "string", "detail": "string", "video": "string",
        "video_sha256": "string",
    }  # fmt: skip
    assert table["seed"].to_pylist() == [0, 0, 1, 1, None, None]


def test_the_same_scores_are_the_same_bytes_whatever_their_order_and_time(tmp_path: Path) -> None:
    write(tmp_path / "one", RESULTS)
    write(tmp_path / "two", [replace(result, seconds=9.0) for result in reversed(RESULTS)])
    files = [(tmp_path / name / "results.parquet").read_bytes() for name in ("one", "two")]
    assert files[0] == files[1]


def test_the_card_says_what_the_rows_mean(tmp_path: Path) -> None:
    card = write(tmp_path, RESULTS).card
    assert card.items() >= (IDENTITY | {"profile": "offline", "seeds": [0, 1], "clips": 3, "seconds": 3.0}).items()
    assert card["cases"] == {"source": "cases", "count": 2, "digests": {"a": "digest of a", "z": "digest of z"}}
    assert card["rows"] == {"ok": 2, "not_applicable": 0, "missing": 2, "error": 2}
    assert card["missing"] == ["a, seed 0"]
    assert card["errors"] == [{"clip": "a, seed 1", **PROBLEM}]  # once, though of two metrics
    assert card["videos of no case"] == [str(tmp_path / "stray.mp4")]
    assert {"torch", "lumosx", "pyarrow", "python"} <= card["versions"].keys()
    assert card["models"]["faces"]["licence"] == "Apache-2.0"


def test_what_is_no_result_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no finished results; `lumosx bench run"):
        read_results(tmp_path)
    write(tmp_path, RESULTS)
    card, rows = tmp_path / "card.json", tmp_path / "results.parquet"
    whole = card.read_text()
    card.write_text(whole.replace('"lumosx_bench": 1', '"lumosx_bench": 2'))
    with pytest.raises(InputError, match="a card of version 2, this program reads 1"):
        read_results(tmp_path)
    card.write_text("[]")
    with pytest.raises(InputError, match="no card of a benchmark"):
        read_results(tmp_path)
    card.unlink()
    with pytest.raises(InputError, match="without it nobody knows what the scores"):
        read_results(tmp_path)
    card.write_text(whole)
    rows.write_bytes(b"no parquet")
    with pytest.raises(InputError, match="no results of `lumosx bench run`"):
        read_results(tmp_path)


def test_a_result_is_plain_data_and_back() -> None:
    for result in RESULTS:
        assert CaseResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    with pytest.raises((KeyError, TypeError)):
        CaseResult.from_dict({"case": "a"})


def test_videos_inside_the_folder_move_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert stored_path(Path("out/videos/a.mp4"), Path("out")) == "videos/a.mp4"
    assert stored_path(tmp_path / "out/a.mp4", Path("out")) == "a.mp4"
    assert stored_path(Path("elsewhere/a.mp4"), Path("out")) == str(tmp_path / "elsewhere" / "a.mp4")


def test_plain_data_holds_no_numpy_and_nothing_that_is_not_finite() -> None:
    mixed = {1: np.float32(0.5), "table": np.array([[1, 2]]), "none": [np.nan, float("inf"), None], "path": Path("a")}
    found = plain(mixed | {"pair": (np.bool_(True), np.int64(3))})
    assert found == {"1": 0.5, "table": [[1, 2]], "none": [None, None, None], "path": "a", "pair": [True, 3]}
    json.dumps(found, allow_nan=False)


@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=5), st.none() | st.integers(0, 99), st.floats(-1e6, 1e6)),
        unique_by=lambda row: row[:2], max_size=8,
    ),
    st.randoms(),
)  # fmt: skip
def test_rows_do_not_depend_on_the_order_in_which_clips_end(clips, random) -> None:
    results = [CaseResult(case, seed, 1, None, None, [Score("m", value)]) for case, seed, value in clips]
    mixed = random.sample(results, len(results))
    assert rows_of(mixed, "v1", "subject") == rows_of(results, "v1", "subject")


def test_without_pyarrow_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'lumosx\[bench\]'"):
        write_rows([], tmp_path)
