"""Cleans a prompt as the text encoder's wrapper does, and takes inline tags `{man:ben}` out of it.

Both happen before any span is computed, so that spans count characters of exactly the text that is encoded.
"""

import html
import re
from dataclasses import dataclass

import ftfy

Span = tuple[int, int]  # characters [start, stop) of the clean prompt


@dataclass(frozen=True)
class Tag:
    """`{text:name}` in a prompt: the entity `name` is meant by the characters `span` (tags taken out)."""

    name: str
    span: Span


def clean_text(text: str) -> str:
    """Mend broken Unicode, undo HTML escapes twice, fold white space (Wan's prompt cleaning)."""
    text = html.unescape(html.unescape(ftfy.fix_text(text)))
    return re.sub(r"\s+", " ", text).strip()


def parse_tags(text: str) -> tuple[str, list[Tag], list[str]]:
    """Take the tags out of a clean prompt and turn `{{`, `}}` into literal braces.

    Returns:
        (the plain prompt, its tags in order, what is wrong with the braces). A faulty brace is left out.
    """
    plain: list[str] = []
    tags: list[Tag] = []
    problems: list[str] = []
    length = 0
    for part in re.finditer(r"\{\{|\}\}|\{[^{}]*\}|[{}]|[^{}]+", text):
        piece = part.group()
        if piece in ("{{", "}}"):
            piece = piece[0]
        elif piece in ("{", "}"):
            problems.append(f"unbalanced {piece!r} near {_excerpt(text, part.start())!r}")
            piece = ""
        elif piece.startswith("{"):
            word, colon, name = (side.strip() for side in piece[1:-1].partition(":"))
            if word and colon and name:
                tags.append(Tag(name, (length, length + len(word))))
            else:
                problems.append(f"{piece!r} is no tag, which reads {{word:id}}")
            piece = word
        plain.append(piece)
        length += len(piece)
    return "".join(plain), tags, problems


def escape_braces(text: str) -> str:
    """Write literal text as a prompt: braces doubled."""
    return text.replace("{", "{{").replace("}", "}}")


def _excerpt(text: str, at: int) -> str:
    return text[max(0, at - 15) : at + 15]
