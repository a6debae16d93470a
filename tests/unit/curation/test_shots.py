"""Where videos are cut, and which ones are no whole videos."""

import errno
import re
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av import error as av_error
from curation_footage import look_at, pan, save_video, scenery

from lumosx.curation import isolated
from lumosx.curation.footage import Span
from lumosx.curation.scan import scan
from lumosx.curation.stages.shots import ShotSplit
from lumosx.curation.stages.values import Shots
from lumosx.errors import InputError


def cuts(path: Path) -> list[int]:
    return scan(path, 15.0, 3.0).cuts


def split(path: Path, **settings: float) -> Shots:
    return ShotSplit(**settings).measure(look_at(path))  # pyright: ignore[reportArgumentType]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a process of its own, which `test_isolated` covers."""
    monkeypatch.setattr(isolated, "call", lambda function, *arguments, seconds: function(*arguments))


def test_want_of_memory_is_no_fault_of_the_video(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: Any, **__: Any) -> None:
        raise av_error.MemoryError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(av, "open", lacking)
    with pytest.raises(MemoryError):
        cuts(tmp_path / "a.mp4")


def test_hard_cuts_are_found_to_the_frame(tmp_path: Path) -> None:
    shots = [pan(length, seed=seed) for seed, length in enumerate((20, 9, 31))]
    assert cuts(save_video(tmp_path / "a.mp4", np.concatenate(shots))) == [20, 29]


@pytest.mark.parametrize(("fade", "black"), [(40, 0), (40, 3), (25, 10), (12, 2)])
def test_fades_through_black_are_cut_in_the_black(tmp_path: Path, fade: int, black: int) -> None:
    light = np.concatenate([np.linspace(1, 0, fade), np.zeros(black), np.linspace(0, 1, fade)])
    count, middle = len(light), fade + black // 2
    shots = np.where(np.arange(count)[:, None, None, None] < middle, pan(count, seed=1), pan(count, seed=2))
    grain = np.random.default_rng(0).normal(0, 4, (count, 1, 1, 1))
    frames = np.clip(shots * light[:, None, None, None] + grain, 0, 255).astype(np.uint8)
    found = cuts(save_video(tmp_path / "a.mp4", frames))
    assert middle in found
    assert all(light[cut] < 0.1 for cut in found)


def test_pans_are_no_cuts(tmp_path: Path) -> None:
    for step in (1, 8, 16):  # of 160 pixels a frame
        assert cuts(save_video(tmp_path / "a.mp4", pan(40, step))) == []


def test_a_shot_is_what_lies_between_cuts_less_the_margins(tmp_path: Path) -> None:
    frames = np.concatenate([pan(20, seed=1), pan(30, seed=2)])
    shots = split(save_video(tmp_path / "a.mp4", frames, fps=25), margin=2, shortest=0.1)
    assert shots == Shots(width=160, height=96, fps=25.0, seconds=2.0, clips=[(0.0, 18 / 25), (22 / 25, 2.0)])


def test_no_frame_of_a_clip_is_of_another_shot(tmp_path: Path) -> None:
    colours = [np.full((length, *scenery(0).shape), shade, np.uint8) for length, shade in ((21, 40), (22, 200))]
    for fps in (7, 16, 25, 60):
        path = save_video(tmp_path / f"{fps}.mp4", np.concatenate(colours), fps)
        (first, second) = split(path, margin=0, shortest=0.1).clips
        for (start, end), shade in ((first, 40), (second, 200)):
            frames = Span.of(path, start, end).read()
            assert abs(frames.astype(int) - shade).max() < 8


def test_long_shots_are_cut_evenly_and_short_ones_dropped(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.mp4", pan(64))  # 4 seconds
    assert split(path, longest=1.5, shortest=1.0).clips == [
        (0.0, pytest.approx(4 / 3)), (pytest.approx(4 / 3), pytest.approx(8 / 3)), (pytest.approx(8 / 3), 4.0),
    ]  # fmt: skip
    assert split(path, longest=4.0, shortest=4.0).clips == [(0.0, 4.0)]
    assert split(path, longest=3.0, shortest=2.5).clips == [(0.0, 3.0)]  # halves would be too short
    assert split(path).clips == []


def test_eighty_one_frames_are_long_enough(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.mp4", pan(81))
    (clip,) = split(path).clips
    assert Span.of(path, *clip).frames == 81


def test_an_upright_video_of_a_phone_is_upright(tmp_path: Path) -> None:
    shots = split(save_video(tmp_path / "a.mp4", pan(8), rotation=90))
    assert (shots.width, shots.height) == (96, 160)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("webm", "libvpx")])
def test_what_breaks_off_is_no_shorter_video(tmp_path: Path, kind: str, codec: str) -> None:
    options = {"b": "2M", "deadline": "realtime", "cpu-used": "8"} if codec == "libvpx" else {}
    whole = save_video(tmp_path / f"whole.{kind}", pan(96), codec=codec, options=options)
    assert split(whole).seconds == pytest.approx(6, abs=0.1)
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{kind}"
    cut.write_bytes(data[: len(data) * 6 // 10])
    with pytest.raises(InputError, match=rf"cut\.{kind}: (breaks off at|is damaged after) \d\.\d s.*get it again"):
        split(cut)


def test_a_video_whose_end_is_missing_with_its_headers(tmp_path: Path) -> None:
    path = save_video(tmp_path / "a.mp4", pan(40), front=False)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(InputError, match=r"a\.mp4: is no video that can be read"):
        split(path)


def test_noise_nothing_and_sound_are_no_videos(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    for data in (b"", np.random.default_rng(0).bytes(5000)):
        path.write_bytes(data)
        with pytest.raises(InputError, match=r"a\.mp4: is no video that can be read"):
            split(path)
    with wave.open(str(path), "wb") as sound:
        sound.setparams((1, 2, 8000, 0, "NONE", ""))
        sound.writeframes(b"\0" * 8000)
    with pytest.raises(InputError, match=r"a\.mp4: holds no video"):
        split(path)


def test_a_video_without_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=16)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        container.start_encoding()
    with pytest.raises(InputError, match=r"a\.avi: (holds no|is no video)"):
        split(path)


def test_what_hangs_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []

    def hang(function, *arguments, seconds):
        limits.append(seconds)
        if function is not scan:
            return function(*arguments)
        raise TimeoutError("took longer")

    monkeypatch.setattr(isolated, "call", hang)
    path = save_video(tmp_path / "a.mp4", pan(48))  # 3 seconds
    advice = r"a\.mp4: reading it took longer; `--set shots\.patience=(\d+) --retry` gives it twice the time$"
    with pytest.raises(TimeoutError, match=advice) as raised:
        split(path, patience=10)
    assert limits == [60, pytest.approx(60 + 10 * 3 / 60)]
    found = re.search(advice, str(raised.value))
    assert found
    with pytest.raises(TimeoutError):
        split(path, patience=float(found[1]))  # does so
    assert limits[3] == pytest.approx(2 * limits[1], rel=1e-3)


def test_what_does_not_open_is_told_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(function, *arguments, seconds):
        raise TimeoutError(f"took longer than {seconds:g} s, and was stopped")

    monkeypatch.setattr(isolated, "call", hang)
    told = r"a\.mp4: opening it took longer than 60 s, and was stopped; see whether its disk answers, and run .*--retry"
    with pytest.raises(TimeoutError, match=told):
        split(tmp_path / "a.mp4")


def test_where_headers_say_no_length_patience_does_not_help(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(function, *arguments, seconds):
        if function is not scan:
            return 0.0
        raise TimeoutError("took longer")

    monkeypatch.setattr(isolated, "call", hang)
    told = r"a\.mp4: reading it took longer; get it again .*, with headers that say how long it is, .* --retry$"
    with pytest.raises(TimeoutError, match=told):
        split(tmp_path / "a.mp4")


def test_patience_is_no_part_of_what_is_found() -> None:
    assert ShotSplit(patience=1).identity() == ShotSplit().identity() != ShotSplit(margin=1).identity()


def test_the_process_that_reads_starts_without_torch() -> None:
    code = "import sys; import lumosx.curation.scan; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_in_its_own_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    shots = split(save_video(tmp_path / "a.mp4", np.concatenate([pan(20), pan(20, seed=1)])), shortest=0.1)
    assert len(shots.clips) == 2
    with pytest.raises(InputError, match="is no video"):
        (tmp_path / "a.mp4").write_bytes(b"no")
        split(tmp_path / "a.mp4")
