"""Curation of real faces that is killed at random moments, or spread over processes, gives the bytes of a run in one
process that nobody disturbed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from curation_kills import expect_same
from real_footage import setup, write_footage

from lumosx.curation.curate import Curated, curate, pack
from lumosx.data.store import open_store, write_parquet

SHORT = ("obama", "nobody")


@pytest.mark.parametrize(
    ("kills", "names", "clips"),
    [(5, SHORT, 1), pytest.param(50, (), 3, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
def test_killed_runs_end_as_if_nothing_had_happened(
    tmp_path: Path, kills: int, names: tuple[str, ...], clips: int
) -> None:
    script = Path(__file__).with_name("curation_kills.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path), str(kills), "local", *names],
        capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=3500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    facts = json.loads(done.stdout.splitlines()[-1])
    assert facts["kills"] >= kills
    assert (facts["clips"], facts["failed"]) == (clips, 1)
    assert facts["blobs"] >= 15 * clips and facts["rows"] >= 16 * clips


@pytest.mark.slow
@pytest.mark.timeout(3600)  # seven passes of Ray with up to four processes each, three times
def test_engines_and_numbers_of_workers_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    videos = tmp_path / "videos"
    write_footage(videos)
    (videos / "broken.mp4").write_bytes(b"no video")
    own = setup(videos)

    def write(out: Path, curated: Curated) -> Path:
        write_parquet(pack(curated, out, own).kept.values(), out)
        return out

    here = write(tmp_path / "local", curate(videos, tmp_path / "local", own))
    assert len(open_store(here).records) == 3
    for workers in (1, 2, 4):
        out = tmp_path / f"ray-{workers}"
        try:
            curated = curate(videos, out, own, "ray", workers)
        finally:
            ray.shutdown()
        expect_same(here, write(out, curated))
