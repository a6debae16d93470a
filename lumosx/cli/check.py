"""`lumosx check`: everything that is wrong or doubtful about scenes, before a weight is loaded."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lumosx.scene import Message, check_outputs, examine


def command(
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENE...", help="Scene files (.yaml, .json).")],
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Refuse paths that leave the scene's folder (servers).")
    ] = False,
    require_consent: Annotated[
        bool, typer.Option("--require-consent", help="Refuse subjects without `consent`.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the messages as JSON.")] = False,
) -> None:
    """Check scenes: format, words in the prompt, pictures. Exit code 2 if any has an error.

    Example: lumosx check configs/scenes/two_friends/scene.yaml
    """
    messages: list[Message] = []
    sound = []
    for path in scenes:
        scene, found = examine(path, sandbox=sandbox, require_consent=require_consent)
        messages += found
        if scene is not None:
            sound.append(scene)
    messages += check_outputs(sound)
    if as_json:
        typer.echo(json.dumps([asdict(message) for message in messages], indent=2, ensure_ascii=False))
    else:
        _print(messages, len(scenes))
    if any(message.severity == "error" for message in messages):
        raise typer.Exit(2)


def _print(messages: list[Message], count: int) -> None:
    for message in messages:
        typer.echo(str(message))
    severities = [message.severity for message in messages]
    tally = ", ".join(_count(severities.count(kind), kind) for kind in ("error", "warning", "note"))
    typer.echo(f"{_count(count, 'scene')}: {tally}")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
