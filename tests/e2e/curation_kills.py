"""Kills runs of `lumosx curate run` with SIGKILL, repeats them until they end, and compares them with one that nobody
disturbed.

python tests/e2e/curation_kills.py ROOT KILLS [ENGINE [NAME...]]. The footage is that of `real_footage`, of it the
videos that are named. Every attempt is a process group of its own, forked after the imports, which take longer than a
run; the models are loaded in each, because some start threads, which do not survive a fork. Every other kill comes
while a file is being written, of which half is there. Prints what was compared as JSON.
"""

import hashlib
import importlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))
from real_footage import VIDEOS, setup, write_footage

from lumosx.cli.curate_run import run
from lumosx.curation.curate import EngineName
from lumosx.curation.ledger import Ledger
from lumosx.curation.setup import Setup

A_RUN = 7  # kills of a run at most, so that there are several runs
LONG = 600.0  # seconds in which an attempt ends
USED = (
    "cv2", "face_recognition_models", "loky", "onnxruntime", "pyarrow.parquet", "rapidocr", "rich.progress",
    "rich.table", "lumosx.cli.sample", "lumosx.curation.report", "lumosx.data.store", "lumosx.vision.faces",
    "lumosx.vision.inpainting", "lumosx.vision.lettering", "lumosx.vision.motion", "lumosx.vision.rules",
    "lumosx.vision.segmentation", "lumosx.vision.sidecar",
)  # fmt: skip

Start = Callable[[int | None], int]


def start(videos: Path, out: Path, own: Setup, engine: EngineName, write: int | None) -> int:
    """Curates in a process of its own, which dies at a write if that is told; returns its id."""
    child = os.fork()
    if child:
        return child
    os.setpgid(0, 0)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    if write is not None:
        die_at(write)
    try:
        run(videos, out, model=list(own.models), settings=list(own.settings), engine=engine, device="cpu")
        if engine == "ray":
            importlib.import_module("ray").shutdown()
        os._exit(0)
    except BaseException:
        import traceback

        traceback.print_exc()
        os._exit(1)


def die_at(write: int) -> None:
    """Kills this process group while it writes a file, the first or a later one, and leaves half of that."""
    replace, done = os.replace, 0

    def cut(source: Path, target: Path) -> None:
        nonlocal done
        done += 1
        if done == write:
            os.truncate(source, Path(source).stat().st_size // 2)
            os.killpg(0, signal.SIGKILL)
        replace(source, target)

    os.replace = cut


def ended(child: int, until: float) -> bool | None:
    """Waits for a child's end (True) or for its own kill (False); None: neither was in time."""
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            assert code in (0, -signal.SIGKILL), f"the run failed with status {code}"
            return code == 0
        time.sleep(0.005)
    return None


def kill(child: int) -> None:
    """A process with all that it started."""
    family = psutil.Process(child).children(recursive=True)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    for each in family:
        if each.is_running():
            each.kill()
    psutil.wait_procs(family, timeout=30)


def kill_until_done(begin: Start, kills: int, seconds: float, writes: int) -> int:
    """Kills and repeats a run until it ends; returns how often it was killed."""
    for killed in range(kills):
        if killed % 2:
            child, until = begin(random.randint(1, max(1, writes // 3))), time.monotonic() + LONG
        else:
            child, until = begin(None), time.monotonic() + random.uniform(0.1, 0.5) * seconds
        end = ended(child, until)
        if end:
            return killed
        if end is None:
            kill(child)
    assert ended(begin(None), time.monotonic() + LONG), "the run does not end"
    return kills


def files(out: Path) -> dict[str, str]:
    """Digests of all files of a data set but the ledger's and the lock, by their names."""
    paths = (path for path in out.rglob("*") if path.is_file() and path.name != "lock")
    names = {path.relative_to(out).as_posix(): path for path in paths}
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in sorted(names.items())
        if not name.startswith("curation/ledger/") or path.suffix != ".parquet"  # leftovers of it count
    }


def rows(out: Path) -> set[tuple[Any, ...]]:
    """What a ledger holds, without seconds, however it is spread over files."""
    ledger = Ledger(out / "curation" / "ledger")
    return {
        (stage, row.record, row.fingerprint, row.value, row.error)
        for stage in ledger.stages()
        for row in ledger.all_rows(stage)
    }


def expect_same(one: Path, other: Path) -> None:
    """That two data sets hold the same bytes and the same rows."""
    was, now = files(one), files(other)
    assert was.keys() == now.keys(), sorted(was.keys() ^ now.keys())
    different = [name for name in was if was[name] != now[name]]
    assert not different, different
    assert rows(one) == rows(other), sorted(rows(one) ^ rows(other))


def ready() -> None:
    """Imports all that runs need, and loads the detector of faces, which takes half a second and has no threads."""
    for name in USED:
        importlib.import_module(name)
    dlib: Any = importlib.import_module("dlib")
    dlib.get_frontal_face_detector = cache(dlib.get_frontal_face_detector)
    dlib.get_frontal_face_detector()


def main(root: Path, kills: int, engine: EngineName = "local", names: Sequence[str] = ()) -> None:
    """Kills `kills` times, over as many runs as that takes."""
    random.seed(0)
    videos = root / "videos"
    write_footage(videos, {name: VIDEOS[name] for name in names or VIDEOS})
    (videos / "broken.mp4").write_bytes(b"no video")
    own = setup(videos)
    ready()
    through = root / "through"
    begun = time.monotonic()
    assert ended(start(videos, through, own, engine, None), begun + LONG), "the run does not end"
    seconds, writes = time.monotonic() - begun, sum(path.is_file() for path in through.rglob("*"))
    done, outs = 0, list[Path]()
    while done < kills:
        outs.append(root / f"killed-{len(outs)}")
        begin = partial(start, videos, outs[-1], own, engine)
        done += kill_until_done(begin, min(kills - done, A_RUN), seconds, writes)
    for out in outs:  # not earlier, as reading starts threads
        expect_same(through, out)
    found = files(through)
    print(
        json.dumps(
            {
                "kills": done,
                "runs": len(outs),
                "blobs": sum(name.startswith("blobs/") for name in found),
                "rows": len(rows(through)),
                "failed": sum(row[4] is not None for row in rows(through)),
                "clips": _clips(through),
                "seconds": seconds,
            }
        )
    )


def _clips(out: Path) -> int:
    from lumosx.data.store import open_store

    return len(open_store(out).records)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4], names=sys.argv[4:])  # pyright: ignore[reportArgumentType]
