"""The program `lumosx` as a whole: help pages, exit codes, and no torch before it is needed."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lumosx import __version__
from lumosx.cli import main as cli
from lumosx.errors import InputError
from lumosx.paths import configs_dir
from lumosx.scene import Scene, SceneError

HEAVY = ("torch", "diffusers", "transformers")


def leaves(command: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The words of every command that does something: ("check",), ("import", "release") ..."""
    if not hasattr(command, "commands"):
        yield words
        return
    for name, child in command.commands.items():
        yield from leaves(child, (*words, name))


COMMANDS = list(leaves(typer.main.get_command(cli.app)))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_shows_every_word_of_the_help_texts(words: tuple[str, ...]) -> None:
    """Rich takes [words in brackets] for markup and drops them."""
    output = CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "250"}).output
    command = typer.main.get_command(cli.app)
    for word in words:
        command = getattr(command, "commands")[word]  # noqa: B009  # the type is of click, which typer vendors
    for parameter in command.params:
        help_text = getattr(parameter, "help", None) or ""
        assert help_text.rstrip(".") in output


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_fits_one_screen_and_shows_an_example(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(cli.app, [*words, "--help"], env={"COLUMNS": "110"})
    assert result.exit_code == 0, result.output
    assert len(result.output.rstrip().splitlines()) <= 40, result.output
    assert "Example" in result.output
    assert f"lumosx {' '.join(words)}" in result.output.split("Example", 1)[1]


def test_every_command_of_the_design_is_there() -> None:
    names = {words[0] for words in COMMANDS}
    expected = {"check", "explain", "sample", "replay", "import", "export", "train", "convert", "playground"}
    assert expected <= names


def test_version() -> None:
    assert CliRunner().invoke(cli.app, ["--version"]).output.strip() == f"lumosx {__version__}"


def run_main(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """The exit code of the program when a command raises `error`."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def command() -> None:
        raise error

    monkeypatch.setattr(cli, "app", app)
    monkeypatch.setattr(sys, "argv", ["lumosx"])
    monkeypatch.delenv("LUMOSX_DEBUG", raising=False)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_wrong_input_is_exit_2_with_the_message_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_main(monkeypatch, InputError("steps: 0 is too few; use 1 or more")) == 2
    assert capsys.readouterr().err == "steps: 0 is too few; use 1 or more\n"


def test_a_wrong_scene_is_exit_2_with_every_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SceneError) as caught:
        Scene.from_dict({"prompt": "A man.", "subjects": "two", "generation": {"steps": 0}})
    assert run_main(monkeypatch, caught.value) == 2
    printed = capsys.readouterr().err
    assert len(caught.value.messages) >= 2
    for message in caught.value.messages:
        assert str(message) in printed


def test_a_failure_is_exit_1_on_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_main(monkeypatch, RuntimeError("out of\nmemory")) == 1
    expected = "lumosx: failed: RuntimeError: out of memory (LUMOSX_DEBUG=1 shows where)\n"
    assert capsys.readouterr().err == expected


def test_an_interrupt_is_exit_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_main(monkeypatch, KeyboardInterrupt()) == 130


def lumosx(*arguments: str) -> subprocess.CompletedProcess[str]:
    """The program in a process of its own; the last line of stderr names the heavy modules it imported."""
    code = (
        "import atexit, sys\n"
        f"heavy = lambda: [name for name in {HEAVY} if name in sys.modules]\n"
        "atexit.register(lambda: print('heavy:', heavy(), file=sys.stderr))\n"
        "from lumosx.cli.main import main; main()"
    )
    env = os.environ | {"LUMOSX_DEBUG": "0"}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, env=env, check=False
    )


def test_help_is_light() -> None:
    result = lumosx("--help")
    assert result.returncode == 0
    assert result.stderr.splitlines()[-1] == "heavy: []"


def test_check_is_light() -> None:
    result = lumosx("check", str(configs_dir() / "scenes" / "two_friends" / "scene.yaml"))
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stderr.splitlines()[-1] == "heavy: []"


def test_a_missing_scene_is_exit_2() -> None:
    result = lumosx("check", "no/such/scene.yaml")
    assert result.returncode == 2
    assert "no/such/scene.yaml" in result.stdout + result.stderr
    assert "Traceback" not in result.stderr


def test_an_unknown_option_is_exit_2() -> None:
    assert lumosx("check", "--no-such-option").returncode == 2
