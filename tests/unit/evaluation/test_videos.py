"""Which file shows which case: exact names, and the release's prefix match with what it confuses."""

import glob
import tempfile
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.videos import Video, find_videos

SHORT, LONG = "video_person2_10", "video_person2_101_1"


def cases(*ids: str) -> list[Case]:
    return [Case(name, "", (), {}, Path()) for name in ids]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_exact_names_tell_prefixes_apart(tmp_path: Path) -> None:
    write(tmp_path, f"{LONG}.mp4", f"{SHORT}_s7.mp4", f"{SHORT}.webm", f"{SHORT}_s10.mp4", f"{LONG}_s7.MP4")
    found = find_videos(tmp_path, cases(SHORT, LONG, "missing"))
    assert found.by_case == {
        SHORT: [
            Video(SHORT, None, tmp_path / f"{SHORT}.webm"),
            Video(SHORT, 7, tmp_path / f"{SHORT}_s7.mp4"),
            Video(SHORT, 10, tmp_path / f"{SHORT}_s10.mp4"),
        ],
        LONG: [Video(LONG, None, tmp_path / f"{LONG}.mp4"), Video(LONG, 7, tmp_path / f"{LONG}_s7.MP4")],
        "missing": [],
    }
    assert found.strays == []


def test_what_belongs_to_no_case_is_told(tmp_path: Path) -> None:
    write(tmp_path, "a.mp4", "a_final.mp4", "b_s1.gif", "a_s.mp4", "a_s1.json", "a_s1.png", ".a.mp4", "a_s-1.mp4")
    (tmp_path / "a_s4").mkdir()
    strays = find_videos(tmp_path, cases("a")).strays
    assert sorted(path.name for path in strays) == ["a_final.mp4", "a_s-1.mp4", "a_s.mp4", "b_s1.gif"]


def test_a_name_that_fits_two_cases_and_two_files_of_one_are_all_told(tmp_path: Path) -> None:
    write(tmp_path, "a_s1.mp4", "b.mp4", "b.webm", "b_s1.mp4", "b_s01.mp4")
    with pytest.raises(InputError) as error:
        find_videos(tmp_path, cases("a", "a_s1", "b"))
    text = str(error.value)
    assert "a_s1.mp4: a video of the case 'a_s1' or 'a'?" in text
    assert "b.mp4, b.webm: 2 videos of the case 'b'; keep one" in text
    assert "b_s01.mp4, b_s1.mp4: 2 videos of the case 'b' with seed 1; keep one" in text


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        find_videos(tmp_path / "none", cases("a"))


@pytest.mark.parametrize("protocol", ["v1", "release"])
def test_the_release_confuses_prefixes_and_v1_does_not(tmp_path: Path, protocol: str) -> None:
    names = [f"{LONG}.mp4", f"{SHORT}.mp4"]
    write(tmp_path, *names)
    unlucky = find_videos(tmp_path, cases(SHORT, LONG), protocol, listing=lambda _: names)  # type: ignore[arg-type]
    lucky = find_videos(tmp_path, cases(SHORT, LONG), protocol, listing=lambda _: sorted(names))  # type: ignore[arg-type]
    assert [video.path.name for video in lucky.by_case[SHORT]] == [f"{SHORT}.mp4"]
    assert lucky.strays == []
    confused = protocol == "release"
    assert [v.path.name for v in unlucky.by_case[SHORT]] == [f"{LONG}.mp4" if confused else f"{SHORT}.mp4"]
    assert [path.name for path in unlucky.strays] == ([f"{SHORT}.mp4"] if confused else [])
    assert [v.path.name for v in unlucky.by_case[LONG]] == [f"{LONG}.mp4"]


def test_the_release_takes_what_glob_gives_first(tmp_path: Path) -> None:
    write(tmp_path, *(f"{SHORT}{tail}" for tail in ("_s3.mp4", ".webm", "1.mp4", ".mp4", "_s1.MP4", ".mp4.json")))
    found = find_videos(tmp_path, cases(SHORT, "other"), "release")
    first = glob.glob(f"{tmp_path}/{SHORT}*.mp4")[0]
    assert found.by_case == {SHORT: [Video(SHORT, None, Path(first))], "other": []}
    assert len(found.strays) == 4


letters = st.text("ab_s01.-", min_size=1, max_size=4).filter(lambda text: text[0] != ".")
prefixed = st.tuples(letters, letters).map(lambda pair: (pair[0], pair[0] + pair[1]))


@settings(max_examples=50, deadline=None)
@given(prefixed, st.sets(st.none() | st.integers(0, 120), min_size=1, max_size=4))
def test_every_case_gets_its_own_files_back(ids: tuple[str, str], seeds: set[int | None]) -> None:
    short, long = ids
    tail = long[len(short) :]
    assume(not (tail.startswith("_s") and tail[2:].isdecimal()))  # a name that fits both, which is refused
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = {
            (case, seed): folder / (f"{case}.mp4" if seed is None else f"{case}_s{seed}.mp4")
            for case in ids
            for seed in seeds
        }
        write(folder, *(path.name for path in made.values()))
        found = find_videos(folder, cases(*ids))
    assert {(v.case, v.seed): v.path for videos in found.by_case.values() for v in videos} == made
    assert found.strays == []
