"""`lumosx plan`: the page for every card, without weights, network or GPU, and what it refuses."""

import shlex
import socket
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import typer

from lumosx.cli import main as cli
from lumosx.models.gpus import GPUS
from lumosx.paths import configs_dir

SCENE = configs_dir() / "scenes" / "two_friends" / "scene.yaml"
SMALL = ("--model", "wan-1.3b", "--size", "256x256", "--frames", 5, "--references", 4)

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """The program without a network: exit code, standard output and standard error."""

    def refuse(*args: Any) -> None:
        raise AssertionError("a plan must not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)

    def program(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lumosx", "plan", *map(str, arguments)])
        monkeypatch.setenv("LUMOSX_DEBUG", "0")
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        assert code is None or isinstance(code, int)
        return code or 0, *capsys.readouterr()

    return program


def row(page: str, name: str) -> list[str]:
    """The columns of the first line that starts with `name`."""
    line = next(line for line in page.splitlines() if line.startswith(f"{name} "))
    return line.removeprefix(name).split()


def options_of_sample(page: str) -> dict[str, Any]:
    """The printed command, as the program itself understands it."""
    words = shlex.split(page[page.index("It fits") :].split("):\n")[1].replace("\\\n", ""))
    start = words.index("sample")
    assert words[:start] in (["lumosx"], ["torchrun", "--nproc-per-node", "8", "-m", "lumosx.cli.main"])
    root: Any = typer.main.get_command(cli.app)
    return root.commands["sample"].make_context("sample", words[start + 1 :]).params


def test_the_shipped_scene_on_the_shipped_model(run: Run) -> None:
    code, page, err = run(SCENE)
    assert code == 0, err
    assert page.startswith("64x64, 17 frames, 10 steps of euler, no guidance\ncheckpoints/lumosx-tiny on 1 x H100")
    assert row(page, "video") == ["80", "38.5%"]
    assert row(page, "mia.top hat") == ["16", "7.7%"]
    assert row(page, "all that the blocks see") == ["208"] and row(page, "text") == ["80"]
    assert row(page, "references' keys and values")[-1] == "M"  # once a clip: this model caches them
    assert "It fits" in page
    assert options_of_sample(page)["scenes"] == [SCENE]


@pytest.mark.parametrize("gpu", [*GPUS, "cpu", "h20"])
def test_every_card_has_a_page(run: Run, gpu: str) -> None:
    code, page, err = run(SCENE, *(() if gpu == "cpu" else SMALL), "--gpu", gpu)
    assert code == 0, err
    assert max(map(len, page.splitlines())) <= 100
    for part in ("Tokens", "FLOPs", "Memory of the", "Expected time", "Assumed", "It fits"):
        assert f"\n{part}" in page
    assert "measured" in page
    assert ("smallest GPU" in page) == (gpu != "cpu")


def test_the_paper_s_count_stands_beside_the_true_one(run: Run) -> None:
    code, page, _ = run(SCENE, "--model", "wan-1.3b", "--references", 4, "--gpu", "H200")
    assert code == 0
    assert row(page, "the same as the paper counts them")[:2] == ["195.40", "T"]
    assert row(page, "the network, attention included")[:2] == ["681.32", "T"]
    assert row(page, "person 1: attribute 2") == ["1,560", "4.0%"]
    assert [row(page, f"{offload}  ")[0] for offload in ("none", "model", "group")] == ["no", "no", "no"]
    given = options_of_sample(page)
    assert given["model"] == "PATH" and given["offload"] == "none" and given["guidance"] == "auto"


def test_what_is_asked_for_is_in_the_command(run: Run) -> None:
    change = "generation.cfg=4.0"
    code, page, err = run(SCENE, *SMALL, "--offload", "group", "--guidance", "apart", "--steps", 7, "--set", change)
    assert code == 0, err
    assert "256x256, 5 frames, 7 steps" in page and "guidance 4, 2 passes a step" in page
    given = options_of_sample(page)
    assert given["offload"] == "group" and given["guidance"] == "apart"
    wanted = [change, "generation.size=256x256", "generation.frames=5", "generation.steps=7"]
    assert given["settings"] == wanted


def test_what_does_not_fit_is_told(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(GPUS, "4090", replace(GPUS["4090"], memory=2**31))
    code, page, _ = run(SCENE, *SMALL, "--gpu", 4090)
    assert code == 0
    assert "It DOES NOT FIT: the way that needs least takes" in page and "(at stage text)" in page
    assert "lumosx sample" not in page.splitlines()[-1]


def test_several_gpus_share_a_clip(run: Run) -> None:
    code, page, _ = run(SCENE, *SMALL, "--world", 9)
    assert code == 0
    words = " ".join(page.split())
    assert "on 9 x H100" in words
    assert "2 branches of guidance, each on 4 GPUs that share its tokens (Ulysses); 1 would stand idle" in words
    assert "torchrun --nproc-per-node 8 -m lumosx.cli.main sample" in words
    assert options_of_sample(page)["guidance"] == "auto"


def test_an_unknown_gpu_is_exit_2(run: Run) -> None:
    code, _, err = run(SCENE, "--gpu", "B300")
    assert code == 2
    assert err.splitlines()[-1] == "GPU 'B300' is not known: choose one of A100, H20, H100, H200, 4090, cpu"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--model", "no-such"), "checkpoint no-such"),
        (("--size", "65x64"), "nearest: 64 or 80"),
        (("--frames", 16), "nearest: 13 or 17"),
        (("--set", "generation.stepz=3"), "stepz"),
    ],
)
def test_what_cannot_be_is_exit_2(run: Run, options: tuple[object, ...], message: str) -> None:
    code, page, err = run(SCENE, *options)
    assert code == 2 and not page
    assert message in err


def test_a_broken_scene_is_exit_2_before_torch(run: Run, tmp_path: Path) -> None:
    scene = tmp_path / "scene.yaml"
    scene.write_text("lumosx: 1\nprompt: A man.\nsubjects: two\n")
    code, page, err = run(scene)
    assert code == 2 and not page
    assert "scene.yaml" in err


def test_the_readme_shows_what_the_command_prints(run: Run) -> None:
    _, page, _ = run(SCENE, "--model", "wan-1.3b", "--references", 4)
    table = page[page.index("GiB      tiling") : page.index("\n\nExpected time")]
    assert len(table.splitlines()) == 7
    assert table in (configs_dir().parent / "README.md").read_text()
