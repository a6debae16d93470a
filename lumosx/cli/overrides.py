"""Scenes of a command line: loads and checks all of them, with `--set` laid over what their files state."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lumosx.errors import InputError
from lumosx.scene import Message, Scene, SceneError, examine
from lumosx.scene.source import SourceError, parse


def load_scenes(
    paths: Sequence[Path], overrides: Sequence[str], *, sandbox: bool, require_consent: bool
) -> tuple[list[Scene], list[Message]]:
    """The scenes without errors, and all messages about all of them.

    Args:
        overrides: "generation.steps=20": a dotted key of the scene format and a YAML value.

    Raises:
        InputError: an override that is not of that form.
    """
    stated = [_parsed(override) for override in overrides]
    scenes: list[Scene] = []
    messages: list[Message] = []
    for path in paths:
        scene, found = examine(path, sandbox=sandbox, require_consent=require_consent)
        if scene is not None and stated:
            data = scene.to_dict()
            for steps, value in stated:
                _put(data, steps, value)
            try:
                scene = Scene.from_dict(
                    data, root=path.parent, source=str(path), sandbox=sandbox, require_consent=require_consent
                )  # fmt: skip
                found = scene.check()
            except SceneError as error:
                scene, found = None, error.messages
        scenes += [] if scene is None else [scene]
        messages += found
    return scenes, messages


def _parsed(override: str) -> tuple[list[str], Any]:
    key, equals, value = override.partition("=")
    if not equals or not all(key.split(".")):
        raise InputError(f"--set {override}: write KEY=VALUE with a key of the scene format: generation.steps=20")
    try:
        return key.split("."), parse(value).data if value.strip() else ""
    except SourceError as error:
        raise InputError(f"--set {override}: the value is not YAML ({error})") from error


def _put(data: Any, steps: Sequence[str], value: Any) -> None:
    """Sets one value; a step into a list is its index, and sections that are missing are made."""
    *inner, last = steps
    for step in inner:
        data = data.setdefault(step, {}) if isinstance(data, dict) else _item(data, step, steps)
    if isinstance(data, dict):
        data[last] = value
    else:
        _item(data, last, steps)
        data[int(last)] = value


def _item(data: Any, step: str, steps: Sequence[str]) -> Any:
    if not isinstance(data, list) or not step.isdecimal() or int(step) >= len(data):
        raise InputError(f"--set {'.'.join(steps)}: the scene has no {step!r} there; lists count from 0")
    return data[int(step)]
