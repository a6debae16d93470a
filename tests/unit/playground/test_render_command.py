"""`lumosx playground render`: a data set that comes whole or not at all, the same for the same seeds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from lumosx.cli import playground
from lumosx.data import rendered
from lumosx.errors import InputError
from lumosx.playground import Truth, World


def run(*words: str) -> Result:
    return CliRunner().invoke(playground.app, ["render", *words])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def truths(folder: Path) -> list[Truth]:
    return [Truth.from_dict(json.loads(path.read_text())) for path in sorted(folder.glob("*/truth.json"))]


def test_every_clip_gets_a_folder_and_a_record(tmp_path: Path) -> None:
    result = run(str(tmp_path / "world"), "--clips", "2", "--seed", "5")
    assert result.exit_code == 0 and f"wrote {tmp_path / 'world'}: 2 clips of seeds 5 to 6" in result.output
    files = contents(tmp_path / "world")
    assert {name.split("/")[0] for name in files} == {"clips.jsonl", "show_000005", "show_000006"}
    for clip in ("show_000005", "show_000006"):
        own = {name.split("/", 1)[1] for name in files if name.startswith(clip)}
        assert {name for name in own if not name.startswith("refs/")} == {
            "caption.json", "clip.mp4", "frames.png", "scene.yaml", "truth.json",
        }  # fmt: skip
    assert [json.loads(line)["id"] for line in files["clips.jsonl"].splitlines()] == ["show_000005", "show_000006"]
    (first, _) = truths(tmp_path / "world")
    assert (first.size, first.frames, first.split) == (World.size, World.frames, "show")


def test_the_same_seeds_give_the_same_bytes_in_any_number_of_clips(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = ("--frames", "5", "--picture-size", "64")
    for name in ("a", "b"):
        assert run(str(tmp_path / name), "--clips", "3", "--seed", "20", *small).exit_code == 0
    monkeypatch.setattr(playground, "BATCH", 2)
    assert run(str(tmp_path / "c"), "--clips", "3", "--seed", "20", *small).exit_code == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b") == contents(tmp_path / "c")
    assert run(str(tmp_path / "one"), "--clips", "1", "--seed", "21", *small).exit_code == 0
    assert contents(tmp_path / "one" / "show_000021") == contents(tmp_path / "a" / "show_000021")


def test_wishes_are_granted(tmp_path: Path) -> None:
    folder = tmp_path / "world"
    wishes = ("--subjects", "2", "--placed", "--same-noun", "--size", "48x32", "--frames", "5", "--split", "validation")
    assert run(str(folder), "--clips", "3", *wishes).exit_code == 0
    for truth in truths(folder):
        first, second = truth.subjects
        assert truth.placed and first.word == second.word
        assert (truth.size, truth.frames, truth.split) == ((48, 32), 5, "validation")
    records = [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]
    assert [record["split"] for record in records] == ["validation"] * 3


def test_an_interrupted_render_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(rendered, "write_index", interrupted)  # when all clips are written
    assert run(str(tmp_path / "world"), "--clips", "1", "--size", "32x32", "--frames", "5").exit_code != 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    for place in (tmp_path, tmp_path / "mine.txt"):
        error = run(str(place), "--clips", "1").exception
        assert isinstance(error, InputError) and "is there already; name a new folder" in str(error)
    assert contents(tmp_path) == {"mine.txt": b"mine"}


@pytest.mark.parametrize(
    "wrong",
    [
        ("--size", "30x32"), ("--size", "32"), ("--size", "0x32"), ("--frames", "8"), ("--subjects", "5"),
        ("--clips", "0"), ("--split", "a/b"), ("--split", ".."), ("--device", "abacus"),
        ("--subjects", "1", "--same-noun"),
    ],
)  # fmt: skip
def test_wrong_options_are_refused_and_nothing_is_written(tmp_path: Path, wrong: tuple[str, ...]) -> None:
    result = run(str(tmp_path / "out"), *wrong)
    assert result.exit_code == 2 or isinstance(result.exception, InputError)
    assert list(tmp_path.iterdir()) == []
