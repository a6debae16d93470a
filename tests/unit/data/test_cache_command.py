"""`lumosx cache` on the command line: what it refuses, what it tells, how it ends."""

from pathlib import Path

import pytest
import typer
from clips_in_memory import store_of, two_men, video

from lumosx.cli.cache import command
from lumosx.data.store import write_jsonl
from lumosx.errors import InputError


@pytest.fixture
def run(tmp_path: Path) -> list[str]:
    """Overrides of a run on two clips; the second has no video in its file."""
    store = store_of(two_men("good"), two_men("torn", video="torn.mkv"), **{"torn.mkv": b"torn"})
    for name in {name for record in store.records for name in record.media()}:
        (tmp_path / name).write_bytes(store.open(name).getvalue())
    write_jsonl(store.records, tmp_path)
    data = {"path": tmp_path, "buckets": "[32x32x9]", "cache": f"{tmp_path}/cache", "variants": 1}
    return ["experiment=tiny_1", *(f"data.{key}={value}" for key, value in data.items())]


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["data.cache=c", "data.variants=2"], "the playground's clips never come again"),
        (["data.path=p", "data.variants=2"], "data.cache is not set"),
        (["data.path=p", "data.cache=c"], "data.variants is not set"),
        (["data.path=absent", "data.cache=c", "data.variants=2"], "absent"),
    ],
)
def test_settings_that_leave_nothing_to_cache_are_refused(overrides: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        command(["experiment=tiny_1", *overrides])


def test_impossible_ranks_and_types_are_refused(run: list[str]) -> None:
    with pytest.raises(InputError, match="--rank 2 --ranks 2: ranks count from 0"):
        command(run, rank=2, ranks=2)
    with pytest.raises(InputError, match="--dtype float16: choose float32 or bfloat16"):
        command(run, dtype="float16")


def test_broken_clips_are_listed_at_the_end_and_it_fails(run: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        command(run)
    assert ended.value.exit_code == 1
    out, err = capsys.readouterr()
    assert "rank 0 of 1: 1 entries are whole, 1 of them new" in out
    assert "1 cannot be read:\n  torn#0: torn.mkv: " in err


def test_it_verifies_what_it_made(run: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "torn.mkv").write_bytes(video(20))
    command(run)
    command(run, verify=True)
    assert "rank 0 of 1: 3 entries are whole, 0 of them new" in capsys.readouterr().out
    for path in (tmp_path / "cache").glob("??/*.safetensors"):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(typer.Exit):
        command(run, verify=True)
    err = capsys.readouterr().err
    assert all(f"  {sample}: " in err for sample in ("good#0", "torn#0", "the empty text"))
    assert "run `lumosx cache` with the settings of this run again" in err
