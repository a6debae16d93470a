"""The prompts that curation asks models with: files with a version in their names, and places to fill in.

A prompt that is in use is never edited; a better one gets the next version. Its text is part of the fingerprint of what
was answered to it.
"""

import hashlib
from pathlib import Path
from string import Template

from lumosx.errors import InputError

FOLDER = Path(__file__).parent


def read(name: str) -> str:
    """A prompt's text: `name` is a file of this folder, or a path of one's own.

    Raises:
        InputError: there is no such file.
    """
    own = FOLDER / name
    path = own if own.is_file() else Path(name).expanduser()
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        known = ", ".join(sorted(file.name for file in FOLDER.glob("*.md")))
        raise InputError(f"prompt {name}: cannot be read ({error}); there is {known}, or give a path") from error


def stamp(name: str) -> str:
    """A prompt's name and the sha256 of its text, for a fingerprint."""
    return f"{Path(name).name} {hashlib.sha256(read(name).encode()).hexdigest()}"


def fill(name: str, **places: str) -> str:
    """A prompt's text with its places ($caption or ${caption}) filled in; $$ stands for a dollar.

    Raises:
        InputError: the prompt has a place that is not given.
    """
    try:
        return Template(read(name)).substitute(places)
    except (KeyError, ValueError) as error:
        raise InputError(f"prompt {name}: {error} is no place to fill in; there is ${', $'.join(places)}") from error
