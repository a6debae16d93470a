"""`lumosx cache` as real processes: ranks that know nothing of each other, and one that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from lumosx.cli.cache import command
from lumosx.data.cache import read_entry
from lumosx.data.store import write_jsonl
from lumosx.records import ClipRecord

CLIPS, VARIANTS = 3, 16


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of one person each."""
    folder, records = tmp_path_factory.mktemp("clips"), []
    for number in range(CLIPS):
        _write_video(folder / f"{number}.mkv")
        Image.new("RGB", (24, 32), (80 * number, 90, 20)).save(folder / f"{number}.png")
        records.append(
            ClipRecord.from_dict(
                {
                    "id": f"clip-{number}", "video": f"{number}.mkv", "caption": "A man walks.", "width": 32,
                    "height": 32, "frames": 20, "fps": 8.0,
                    "subjects": [{"id": "ben", "word": "man", "faces": [{"image": f"{number}.png"}]}],
                }
            )
        )  # fmt: skip
    write_jsonl(records, folder)
    return folder


def _write_video(path: Path) -> None:
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("ffv1", rate=8)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "bgr0"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 5 * number, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame.reformat(format="bgr0")))
        container.mux(stream.encode(None))


def overrides(data: Path, cache: Path) -> list[str]:
    return [
        "experiment=tiny_1", f"data.path={data}", "data.buckets=[32x32x9]", f"data.cache={cache}",
        f"data.variants={VARIANTS}", "data.workers=0",
    ]  # fmt: skip


def start(data: Path, cache: Path, rank: int = 0, ranks: int = 1) -> subprocess.Popen[str]:
    """A rank as torchrun starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "lumosx.cli.main", "cache", *overrides(data, cache)],
        env=os.environ | {"RANK": str(rank), "WORLD_SIZE": str(ranks), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def contents(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in cache.glob("??/*.safetensors")}


@pytest.fixture(scope="module")
def alone(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes."""
    cache = tmp_path_factory.mktemp("alone")
    command(overrides(data, cache))
    return contents(cache)


def test_two_ranks_make_what_one_makes(data: Path, alone: dict[str, bytes], tmp_path: Path) -> None:
    processes = [start(data, tmp_path, rank, 2) for rank in range(2)]
    outputs = [process.communicate(timeout=200)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], outputs
    assert contents(tmp_path) == alone
    assert sorted(path.name for path in tmp_path.glob("manifests/*/*.json")) == ["0-of-2.json", "1-of-2.json"]


def test_killed_at_work_it_leaves_whole_files_and_goes_on(
    data: Path, alone: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    process = start(data, tmp_path)
    deadline = time.monotonic() + 200
    while len(contents(tmp_path)) < 3 and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    survivors = contents(tmp_path)
    assert 3 <= len(survivors) < len(alone)
    for name in survivors:
        read_entry(tmp_path, name.removesuffix(".safetensors"))
    command(overrides(data, tmp_path))
    assert contents(tmp_path) == alone
    missing = len(alone) - 1 - len(survivors)  # the empty text is made last, and no entry
    assert f"{CLIPS * VARIANTS} entries are whole, {missing} of them new" in capsys.readouterr().out
