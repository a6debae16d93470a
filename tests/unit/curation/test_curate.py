"""Runs of curation as commands: who may write to a data set, and looking at one whose models are gone."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from lumosx.cli import curate_data, curate_run
from lumosx.curation import curate
from lumosx.curation.curate import Curated, Packed, pack, resurvey
from lumosx.curation.ledger import Ledger, Row
from lumosx.curation.models import REGISTRY
from lumosx.curation.pack import NoRecord
from lumosx.curation.pipeline import make_stages
from lumosx.curation.run import Standing
from lumosx.curation.setup import Absent, Setup, load_past
from lumosx.curation.sources import WORK, Clip, Found, Source
from lumosx.curation.stage import Failed, Look, fingerprints
from lumosx.curation.stages.borders import BorderCrop
from lumosx.data import store
from lumosx.errors import InputError
from lumosx.records import ClipRecord
from lumosx.vision import ModelCard

PROFILE = """
reader: rapidocr
flow: dis
people: people-by-faces
captioner: sidecar
tagger: server
faces: dlib-hog
identities: dlib-resnet
phrases: regions
segmenter: grabcut
settings:
  flow: {most: 3.0}
"""


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "broken.mp4").write_bytes(b"no video")
    return folder


@pytest.fixture
def stand_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    """No models are made, as a video that is broken comes to none."""
    models = {role: Absent(ModelCard(role, "tests", "1", "Apache-2.0", True)) for role in REGISTRY._roles}
    monkeypatch.setattr(Setup, "stages", lambda self: make_stages(models, self.stated()))


@contextmanager
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of one that has a model."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            data = json.dumps({"data": [{"id": "tiny"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=listening.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/v1"
    finally:
        listening.shutdown()
        thread.join()
        listening.server_close()


def test_all_that_a_run_writes_is_written_under_its_lock(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: None
) -> None:
    out, write, free = tmp_path / "out", store.write_parquet, list[str]()
    asking = "import sys, pathlib; from lumosx.files import lock; print(lock(pathlib.Path(sys.argv[1])) is not None)"

    def noted(*arguments: Any) -> Path:
        asked = [sys.executable, "-c", asking, str(out / WORK / "lock")]
        free.append(subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip())
        return write(*arguments)

    monkeypatch.setattr(store, "write_parquet", noted)
    curate_run.run(videos, out, device="cpu")
    assert free == ["False"]
    assert (out / "clips.parquet").is_file()


def test_a_plan_says_what_other_settings_measure_again(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str], stand_ins: None
) -> None:
    curate_run.run(videos, tmp_path / "out", device="cpu")
    told = []
    for settings in (["shots.shortest=5.0625"], ["shots.shortest=6"]):
        capsys.readouterr()
        curate_run.plan(videos, tmp_path / "out", settings=settings, device="cpu")
        told += [line.split()[:4] for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["shots"]]
    assert told == [["shots", "0", "1", "0"], ["shots", "0", "0", "1"]]


def test_a_data_set_is_looked_at_without_its_models(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    dlib: Any = import_module("dlib")
    monkeypatch.setattr(dlib, "get_frontal_face_detector", cache(dlib.get_frontal_face_detector))
    words, profile, out = tmp_path / "words", tmp_path / "own.yaml", tmp_path / "out"
    words.mkdir()
    (words / "broken.txt").write_text("A man.")
    profile.write_text(PROFILE)
    with server(monkeypatch) as url:
        models = [f"captioner=sidecar:{words}", f"tagger=server:{url}"]
        setup = Setup(str(profile), tuple(models), ("technical.least_side=300",), ("server",))
        stages = setup.stages()
        own: Any = {"model": models, "settings": list(setup.settings), "allow": list(setup.allow)}
        curate_run.run(videos, out, profile=str(profile), **own, device="cpu")
    shutil.rmtree(words)
    with pytest.raises(InputError, match=r"(?s)captioner: .*tagger: "):
        setup.stages()
    profile.unlink()
    past = load_past(out)
    assert past.setup == setup
    now = resurvey(out, past.folder, past.stages())
    assert fingerprints(now.stages) == fingerprints(stages)
    (standing,) = now.sources
    assert standing.stopped and isinstance(standing.stopped[1], Failed)
    capsys.readouterr()
    curate_data.report(out)
    assert "wrote" in capsys.readouterr().out
    page = (out / WORK / "report.html").read_text(encoding="utf-8")
    assert "tiny" in page and "sidecar files" in page
    with pytest.raises(InputError, match="no clip came through"):
        curate_data.review(out, browser=False)


def test_a_folder_that_was_never_curated_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run of curation has been there"):
        load_past(tmp_path)


def test_all_that_is_wrong_is_told_at_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    out = tmp_path / "new"
    for told in (curate_run.run, curate_run.plan):
        with pytest.raises(InputError) as raised:
            told(tmp_path / "viedos", out, settings=["flow.mots=3", "shot.most=3"], device="cpu")
        problems = str(raised.value)
        for part in ("viedos: no such folder", "captioner: sidecar needs", "tagger: sidecar needs",
                     "no setting flow.mots; there is most", "no stage 'shot'; did you mean 'shots'?",
                     "--profile permissive", "--demo"):  # fmt: skip
            assert problems.count(part) == 1, problems
        assert "NAME.txt" in problems and "NAME.json" in problems
        assert not out.exists()


def test_a_profile_that_there_is_not_is_told_once(tmp_path: Path, videos: Path) -> None:
    with pytest.raises(InputError) as raised:
        curate_run.run(videos, tmp_path / "out", profile="ofline", device="cpu")
    assert str(raised.value).count("ofline") == 1
    assert "--demo" not in str(raised.value)


def test_a_run_says_what_is_not_in_the_data_set(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str], stand_ins: None
) -> None:
    (videos / "notes.pdf").write_bytes(b"no video")
    out, other = tmp_path / "out", tmp_path / "other"
    curate_run.run(videos, out, device="cpu")
    said = " ".join(capsys.readouterr().out.split())
    assert "1 other file left out (.pdf)" in said
    assert "no clip came through; the stage shots took most: 1 of 1" in said
    assert "train with" not in said and "earlier" not in said
    other.mkdir()
    (other / "another.mp4").write_bytes(b"no video either")
    add_clips(out, "a" * 16, "b" * 16)
    curate_run.run(other, out, device="cpu")
    said = " ".join(capsys.readouterr().out.split())
    assert f"2 videos of earlier runs are not in {other}; the clips are left out" in said
    assert "other file" not in said


def test_a_run_says_what_is_not_as_it_was(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    cards = {role: ModelCard(role, "tests", "1", "Apache-2.0", True) for role in REGISTRY._roles}

    def stages(setup: Setup) -> dict[Any, Any]:
        return make_stages({role: Absent(card) for role, card in cards.items()}, setup.stated())

    monkeypatch.setattr(Setup, "stages", stages)
    run = partial(curate_run.run, videos, tmp_path / "out", device="cpu")
    for _ in range(2):
        run()
        assert "last run" not in capsys.readouterr().err
    cards["tagger"] = replace(cards["tagger"], name="another", revision="2")
    run(profile="permissive")
    said = " ".join(capsys.readouterr().err.split())
    assert "not as in the last run: profile permissive (was offline), tagger another 2 (was tagger 1)" in said
    run(settings=["flow.most=3.0"])  # models and profile as in the last run, which states neither
    said = " ".join(capsys.readouterr().err.split())
    assert "not as in the last run: --set flow.most=3.0 (was none) shots" in said


def test_a_clip_without_a_record_is_left_out(
    tmp_path: Path, videos: Path, monkeypatch: pytest.MonkeyPatch, stand_ins: None
) -> None:
    def unable(look: Look, *_: Any) -> ClipRecord:
        raise NoRecord(f"nothing of {look.record.id}")

    monkeypatch.setattr(curate, "record_of", unable)
    clip = Clip(Source("a" * 16, videos / "a.mp4", "a.mp4"), 0.0, 1.0)
    found = Found([clip.source], {}, {})
    packed = pack(Curated(found, Setup().stages(), [], [Standing(clip)]), tmp_path, Setup())
    assert packed == Packed({}, {}, {clip.id: f"nothing of {clip.id}"})


def test_what_was_erased_does_not_come_back(
    tmp_path: Path, videos: Path, capsys: pytest.CaptureFixture[str], stand_ins: None
) -> None:
    out = tmp_path / "out"
    (videos / "ada.mp4").write_bytes(b"nor is this")
    (tmp_path / "anna.mp4").write_bytes(b"no video of Anna")
    (videos / "ben.mp4").symlink_to(tmp_path / "anna.mp4")
    curate_run.run(videos, out, device="cpu")
    digests = {Path(key.split("|")[0]).name: digest for key, digest in known(out).items()}
    other = tmp_path / "other"
    other.mkdir()
    (other / "another.mp4").write_bytes(b"no video either")
    curate_run.run(other, out, device="cpu")
    with pytest.raises(InputError, match=r"no video ann\.mp4; there is .*ben\.mp4"):
        curate_data.erase(out, ["ann.mp4"])
    curate_data.erase(out, ["ben.mp4", str(videos / "broken.mp4")])
    for _ in range(2):
        curate_run.run(videos, out, device="cpu")
        assert {Path(key.split("|")[0]).name for key in known(out)} == {"ada.mp4", "another.mp4"}
        text = "".join(path.read_text("latin-1") for path in out.rglob("*") if path.is_file())
        assert "ben.mp4" not in text and digests["ben.mp4"] not in text
        (videos / "ben.mp4").unlink(missing_ok=True)
    (out / WORK / "sources.json").unlink()
    only = digests["ada.mp4"][:16]
    curate_data.erase(out, [only])
    assert not Ledger(out / WORK / "ledger").records("shots") & {only}


def known(out: Path) -> dict[str, str]:
    return json.loads((out / WORK / "sources.json").read_text())


def add_clips(out: Path, *videos: str) -> None:
    """Rows of a clip of each."""
    ledger = Ledger(out / WORK / "ledger")
    for video in videos:
        ledger.add(BorderCrop.name, Row(f"{video}-00000000-00005000", "f", "{}", None, 1.0))
    ledger.flush()
