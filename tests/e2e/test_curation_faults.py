"""Faults of videos, models, servers and machines, each planted among videos with real faces: a run of curation makes a
typed row of every one, and all other clips come through."""

import errno
import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import av
import numpy as np
import pytest
import torch
from PIL import Image
from real_footage import Who, caption, entities, frames_of, setup, write_footage
from slow_decoder import NAME, limit_memory, scan_or_hang

from lumosx.cli.main import main
from lumosx.curation import isolated
from lumosx.curation.curate import Curated, curate, pack
from lumosx.curation.ledger import Ledger
from lumosx.curation.run import FEWEST, failure
from lumosx.curation.scan import scan
from lumosx.curation.setup import Setup
from lumosx.curation.sources import Clip
from lumosx.curation.stage import Failed, Rejected
from lumosx.curation.stages import shots, video
from lumosx.errors import TransientError
from lumosx.mp4 import write_mp4
from lumosx.vision import motion, rules, server

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="/dev/full and /proc are Linux's")

FULL = Path("/dev/full")  # the disk that is full
HANG = 0.5  # seconds after which a video that hangs is given up
KEPT = ("obama.mp4", "biden.mp4")
PEOPLE: dict[str, tuple[Who, ...]] = {
    "obama.mp4": ("obama",),
    "biden.mp4": ("biden",),
    "both.mp4": ("obama", "biden"),
    "astronaut.mp4": ("astronaut",),
}
RED, BLUE = 0, 2  # channels that are full throughout a video


class Expected(NamedTuple):
    """A row's stage, the class of its error, words of its message, and whether the next run tries again."""

    stage: str
    type: str
    words: str
    transient: bool = False


EXPECTED = {
    "corrupt.mp4": Expected("shots", "InputError", "is damaged after"),
    "truncated.mp4": Expected("shots", "InputError", "get it again"),
    "noise.mp4": Expected("shots", "InputError", "is no video that can be read"),
    "no frames.avi": Expected("shots", "InputError", "get it again"),
    "hangs.mp4": Expected("shots", "TimeoutError", "gives it twice the time"),
    "huge.webm": Expected("shots", "InputError", "is damaged after 0.0 s (Invalid argument)"),
    "large.webm": Expected("shots", "InputError", "its frames have 9000x9000 pixels"),
    "red.mp4": Expected("quality", "RuntimeError", "device-side assert"),
    "blue.mp4": Expected("flow", "MemoryError", "Unable to allocate", True),
    "both.mp4": Expected("entities", "InvalidAnswer", "Invalid JSON"),
    "astronaut.mp4": Expected("entities", "TransientError", "no answer in 4 tries: 503 overloaded", True),
}


class Run(NamedTuple):
    """A run with all faults, another one without those of models, server and machine, and what the server was asked."""

    out: Path
    first: Curated
    second: Curated
    asked: list[str]


@pytest.fixture(scope="module", autouse=True)
def faces_load_once() -> Iterator[None]:
    """dlib makes its detector of faces for half a second, twice in a run."""
    dlib: Any = import_module("dlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dlib, "get_frontal_face_detector", cache(dlib.get_frontal_face_detector))
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    root = tmp_path_factory.mktemp("faults")
    videos, out = root / "videos", root / "out"
    plant(videos)
    with pytest.MonkeyPatch.context() as patch, tagger(patch) as (url, asked):
        own = setup(videos)
        own = replace(own, models=(own.models[0], f"tagger=server:{url}"))
        with pytest.MonkeyPatch.context() as faults:
            break_models(faults)
            first = curate(videos, out, own)
        before, asked[:] = list(asked), ["mended"]
        yield Run(out, first, curate(videos, out, own), before)


def plant(folder: Path) -> None:
    """Two whole videos, and one for each fault."""
    write_footage(folder, {Path(name).stem: people for name, people in PEOPLE.items()})
    for name, channel in {"red": RED, "blue": BLUE}.items():
        frames = np.stack(frames_of(()))
        frames[..., channel] = 255
        write_mp4(frames, folder / f"{name}.mp4", 16, {"preset": "ultrafast"})
    whole = (folder / "obama.mp4").read_bytes()
    half = len(whole) // 2
    (folder / "corrupt.mp4").write_bytes(whole[:half] + bytes(len(whole) - half))
    (folder / "truncated.mp4").write_bytes(whole[:half])
    (folder / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    (folder / "hangs.mp4").write_bytes(whole + b"\0\0\0\x08free")
    write_huge(folder / "huge.webm", 40000)
    write_huge(folder / "large.webm", 9000)
    with av.open(str(folder / "no frames.avi"), "w") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.start_encoding()


def write_huge(path: Path, side: int) -> None:
    """A film of half a kilobyte whose frames have so many pixels on each side, as GIF, which any name may hold."""
    pictures = [Image.new("L", (8, 8), 60 * number) for number in range(4)]
    pictures[0].save(path, "GIF", save_all=True, append_images=pictures[1:], duration=60)
    data = path.read_bytes()
    path.write_bytes(data[:6] + side.to_bytes(2, "little") * 2 + data[10:])


def break_models(patch: pytest.MonkeyPatch) -> None:
    """A decoder hangs, models raise, and the disk is full when the first clip's video is written to it."""
    call, score, flow, folder = isolated.call, rules.Sharpness.score, motion.DisFlow.flow, video.tempfile
    disks = iter([FULL])

    def hurried(function: Any, path: Path, *arguments: Any, seconds: float) -> Any:
        hangs = function is scan_or_hang and path.name == NAME
        return call(function, path, *arguments, seconds=HANG if hangs else seconds)

    def raising(self: Any, frames: Any) -> Any:
        if frames[0][..., RED].mean() > 200:
            raise RuntimeError("CUDA error: device-side assert triggered")
        return score(self, frames)

    def hungry(self: Any, first: Any, second: Any) -> Any:
        if first[..., BLUE].mean() > 200:
            raise MemoryError("Unable to allocate 9.0 GiB")
        return flow(self, first, second)

    @contextmanager
    def full(**place: Any) -> Iterator[str]:
        with folder.TemporaryDirectory(**place) as name:
            for disk in disks:
                Path(name, "clip.mp4").symlink_to(disk)
            yield name

    patch.setattr(shots, "scan", scan_or_hang)
    patch.setattr(isolated, "call", hurried)
    patch.setattr(rules.Sharpness, "score", raising)
    patch.setattr(motion.DisFlow, "flow", hungry)
    patch.setattr(video, "tempfile", SimpleNamespace(TemporaryDirectory=full))


@contextmanager
def tagger(patch: pytest.MonkeyPatch) -> Iterator[tuple[str, list[str]]]:
    """The address of a server that knows who wears what, and what it was asked: it answers about two people what is no
    JSON, and about the astronaut nothing until the list begins with "mended"."""
    patch.delenv("OPENAI_API_KEY", raising=False)
    patch.setenv("NO_PROXY", "127.0.0.1")
    patch.setattr(server, "time", SimpleNamespace(sleep=lambda seconds: None))
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.reply(200, {"data": [{"id": "tiny"}]})

        def do_POST(self) -> None:
            prompt = self.rfile.read(int(self.headers["Content-Length"])).decode()
            (people,) = (who for who in PEOPLE.values() if caption(who) in prompt)
            asked.append(" ".join(people))
            if people == ("astronaut",) and asked[0] != "mended":
                self.reply(503, "overloaded")
            else:
                answer = "Sure! Here they are: {" if len(people) > 1 else json.dumps(entities(people))
                self.reply(200, {"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]})

        def reply(self, status: int, body: Any) -> None:
            data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1", asked
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def ends(curated: Curated) -> dict[str, Any]:
    """By file, what stopped it or its only clip; None: it came through, or waits."""
    records: list[Any] = [standing.record for standing in (*curated.sources, *curated.clips)]
    names = [record.source.name if isinstance(record, Clip) else record.name for record in records]
    return dict(zip(names, (each.stopped for each in (*curated.sources, *curated.clips)), strict=True))


@pytest.mark.parametrize("name", EXPECTED)
def test_a_fault_is_a_typed_row(run: Run, name: str) -> None:
    expected = EXPECTED[name]
    kind, failed = ends(run.first)[name]
    assert isinstance(failed, Failed)
    assert (kind.name, failed.type, failed.transient) == (expected.stage, expected.type, expected.transient)
    assert expected.words in failed.message
    written = [row.error for row in Ledger(run.out / "curation" / "ledger").all_rows(expected.stage)]
    assert json.dumps({"type": failed.type, "message": failed.message, "transient": failed.transient}) in written


def test_a_full_disk_is_a_typed_row(run: Run) -> None:
    (failed,) = (stopped[1] for name, stopped in ends(run.first).items() if name in KEPT and stopped)
    assert (failed.type, failed.transient) == ("OSError", True)
    assert os.strerror(errno.ENOSPC) in failed.message


def test_all_others_come_through(run: Run) -> None:
    found = ends(run.first)
    assert found.keys() == EXPECTED.keys() | set(KEPT)
    assert [found[name] for name in KEPT].count(None) == 1  # the other one's disk was full
    assert sum(standing.alive for standing in run.first.clips) == 1


def test_the_next_run_tries_what_may_pass_and_nothing_else(run: Run) -> None:
    found = ends(run.second)
    assert {name for name, stopped in found.items() if stopped is None} == {*KEPT, "astronaut.mp4"}
    kind, rejected = found["blue.mp4"]
    assert kind.name == "people" and isinstance(rejected, Rejected)  # it shows nobody
    for name, expected in EXPECTED.items():
        if not expected.transient:
            assert found[name] == ends(run.first)[name]
    packed = pack(run.second, run.out, Setup())
    assert len(packed.kept) == 3 and not packed.without


def test_a_server_in_trouble_is_asked_again_and_one_that_talks_nonsense_is_told(run: Run) -> None:
    assert sorted(run.asked) == sorted(["astronaut"] * 4 + ["obama biden"] * 2 + ["obama", "biden"])


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (OSError(errno.ENOSPC, "no room"), True),
        (OSError(errno.EDQUOT, "no more"), True),
        (TransientError("later"), True),
        (OSError(errno.EIO, "broken"), False),
        (RuntimeError("wrong"), False),
    ],
)
def test_what_a_machine_lacked_it_may_have_another_time(error: Exception, transient: bool) -> None:
    assert failure(error) == Failed(type(error).__name__, str(error), transient)


def test_want_of_memory_is_no_fault_of_the_video(tmp_path: Path) -> None:
    write_huge(tmp_path / "a.webm", 5000)  # 100 MB a frame
    asked = (scan, tmp_path / "a.webm", 15.0, 3.0)
    assert isolated.call(*asked, seconds=60).width == 5000
    isolated.call(limit_memory, 2**26, seconds=60)
    try:
        with pytest.raises(MemoryError):
            isolated.call(*asked, seconds=60)
    finally:
        with pytest.raises(isolated.Crashed):
            isolated.call(os._exit, 1, seconds=60)


@pytest.fixture
def lumosx(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the program; its exit code, and what it said: to stdout, then to stderr."""

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["lumosx", *words])
        with pytest.raises(SystemExit) as left:
            main()
        return int(left.value.code or 0), "".join(capsys.readouterr())

    return call


def test_too_many_failures_stop_the_program_with_a_report(tmp_path: Path, lumosx: Any) -> None:
    for number in range(FEWEST + 3):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video" * (number + 1))
    (tmp_path / "a.txt").write_text("words")
    sidecar = [f"--model={role}=sidecar:{tmp_path}" for role in ("captioner", "tagger")]
    curating = ("curate", "run", str(tmp_path), f"--out={tmp_path / 'out'}", "--device=cpu", *sidecar)
    code, said = lumosx(*curating)
    assert code == 1 and "Traceback" not in said
    assert f"{FEWEST} of {FEWEST} records failed, more than 5% of all {FEWEST + 3}. The commonest errors:" in said
    assert f"  {FEWEST} x shots: InputError: …: is no video that can be read" in said
    ledger = Ledger(tmp_path / "out" / "curation" / "ledger")
    assert len(ledger.all_rows("shots")) == FEWEST
    code, said = lumosx(*curating, "--failures=1")
    assert code == 0 and "Traceback" not in said
    assert len(ledger.all_rows("shots")) == FEWEST + 3  # nothing was measured again


def test_a_few_failures_do_not_stop_it(tmp_path: Path, lumosx: Any) -> None:
    """One of 21 is less than 5 %; the others are too short for a clip."""
    for number in range(FEWEST):
        write_mp4(np.full((4, 32, 48, 3), 12 * number, np.uint8), tmp_path / f"{number}.mp4", 16, {})
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    (tmp_path / "a.txt").write_text("words")
    sidecar = [f"--model={role}=sidecar:{tmp_path}" for role in ("captioner", "tagger")]
    code, said = lumosx("curate", "run", str(tmp_path), f"--out={tmp_path / 'out'}", "--device=cpu", *sidecar)
    assert code == 0
    assert next(line.split()[:5] for line in said.splitlines() if line.split()[:1] == ["shots"]) == [
        "shots", str(FEWEST + 1), "0", "1", str(FEWEST)
    ]  # fmt: skip


def test_a_disk_too_full_for_the_ledger_ends_the_run_and_the_next_one_goes_on(
    tmp_path: Path, lumosx: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.mp4").write_bytes(b"no video" * (number + 1))
    (tmp_path / "a.txt").write_text("words")
    sidecar = [f"--model={role}=sidecar:{tmp_path}" for role in ("captioner", "tagger")]
    curating = ("curate", "run", str(tmp_path), f"--out={tmp_path / 'out'}", "--device=cpu", *sidecar)
    move = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).suffix == ".parquet":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        move(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", full)
        code, said = lumosx(*curating)
    assert code == 1 and os.strerror(errno.ENOSPC) in said and "Traceback" not in said
    assert not [*(tmp_path / "out").rglob(".*.part")]
    assert lumosx(*curating)[0] == 0
    assert len(Ledger(tmp_path / "out" / "curation" / "ledger").all_rows("shots")) == 3
