"""Scenes of a command line: loads and checks all of them, with options laid over what their files state."""

from collections.abc import Sequence
from pathlib import Path

import typer

from lumosx.errors import InputError
from lumosx.scene import Message, Scene, examine
from lumosx.scene.source import Override, SourceError, parse


def load_scenes(
    paths: Sequence[Path], overrides: Sequence[Override], *, sandbox: bool, require_consent: bool
) -> tuple[list[Scene], list[Message]]:
    """The scenes without errors, and all messages about all of them."""
    scenes: list[Scene] = []
    messages: list[Message] = []
    for path in paths:
        scene, found = examine(path, overrides=overrides, sandbox=sandbox, require_consent=require_consent)
        scenes += [] if scene is None else [scene]
        messages += found
    return scenes, messages


def load_scene(path: Path, settings: Sequence[str] | None) -> Scene:
    """One scene with what `--set` says; tells its warnings and errors, and ends with 2 where it has errors."""
    overrides = [parse_override(text) for text in settings or []]
    loaded, messages = load_scenes([path], overrides, sandbox=False, require_consent=False)
    for message in messages:
        if message.severity != "note":
            typer.echo(str(message), err=True)
    if not loaded:
        raise typer.Exit(2)
    return loaded[0]


def parse_override(text: str) -> Override:
    """What `--set` says: "generation.steps=20", a dotted key of the scene format and a YAML value.

    Raises:
        InputError: not of that form.
    """
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {text}: write KEY=VALUE with a key of the scene format: generation.steps=20")
    try:
        return Override(tuple(key.split(".")), parse(value).data if value.strip() else "", f"--set {text}")
    except SourceError as error:
        raise InputError(f"--set {text}: the value is not YAML ({error})") from error
