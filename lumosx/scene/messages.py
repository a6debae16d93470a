"""Messages about a scene: every problem has a stable code, a place (file, line, entity) and a remedy.

All checks write into one Report, so that a user sees every problem of a file at once instead of one a run.
"""

import difflib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from lumosx.errors import InputError

Severity = Literal["error", "warning", "note"]
Path = tuple[str | int, ...]  # where in a scene: ("subjects", 0, "word")

# The usual severity of each code (scene format, section 5.4); a check may raise or lower it where the
# format says so.
CODES: Mapping[str, Severity] = {
    **dict.fromkeys(["LX001", "LX002", "LX003", "LX004", "LX005", "LX101", "LX102", "LX103"], "error"),
    **dict.fromkeys(["LX110", "LX111", "LX112", "LX113", "LX120"], "error"),
    **dict.fromkeys(["LX114", "LX121", "LX123", "LX124"], "warning"),
    "LX122": "note",
    **dict.fromkeys(["LX130", "LX131", "LX140", "LX141", "LX142"], "warning"),
    "LX132": "note",
    **dict.fromkeys(["LX201", "LX202", "LX220", "LX230"], "error"),
    **dict.fromkeys(["LX210", "LX211", "LX212", "LX213", "LX214"], "warning"),
    "LX300": "note",
    **dict.fromkeys(["LX301", "LX302", "LX303", "LX304"], "warning"),
    "LX305": "error",
    "LX310": "error",  # exporter: the release's layout cannot say this
    "LX311": "warning",  # exporter: this part of the scene is left behind
}


@dataclass(frozen=True)
class Message:
    """One problem: `where` is "scene.yaml:12 subjects[0].word", `text` says what is wrong and how to mend
    it.
    """

    code: str
    severity: Severity
    where: str
    text: str

    def __str__(self) -> str:
        return f"{self.severity[0].upper()} {self.code} {self.where}: {self.text}"


class SceneError(InputError):
    """The scene cannot be used. `messages` holds everything the checks said, warnings and notes included."""

    def __init__(self, messages: Iterable[Message]) -> None:
        self.messages = list(messages)
        super().__init__("\n".join(str(message) for message in self.messages if message.severity == "error"))

    def __reduce__(self) -> tuple[type, tuple[list[Message]]]:
        return type(self), (self.messages,)


class Report:
    """Collects messages and knows on which line of the source each path stands, or which option stated it."""

    def __init__(self, source: str, lines: Mapping[Path, int | str] | None = None) -> None:
        self.source = source
        self.translate: Callable[[Path], Path] = tuple  # until something is taken out of the data
        self._lines = dict(lines or {})
        self._found: list[tuple[int, Path, Message]] = []

    def add(self, code: str, path: Path, text: str, severity: Severity | None = None) -> None:
        """Record a problem at `path`; its line is that of the nearest enclosing thing that has one."""
        path = self.translate(path)
        found = next((self._lines[path[:n]] for n in range(len(path), -1, -1) if path[:n] in self._lines), 0)
        place = f"{self.source} {found}" if isinstance(found, str) else f"{self.source}:{found}".removesuffix(":0")
        where = f"{place} {dotted(path)}".rstrip()
        line = 0 if isinstance(found, str) else found
        self._found.append((line, path, Message(code, severity or CODES[code], where, text)))

    def fresh(self) -> "Report":
        """An empty report about the same source."""
        report = Report(self.source, self._lines)
        report.translate = self.translate
        return report

    def faulty(self, path: Path) -> bool:
        """Whether an error was already recorded at `path`, inside it or around it."""
        path = self.translate(path)
        for _, other, message in self._found:
            depth = min(len(path), len(other))
            if depth and message.severity == "error" and path[:depth] == other[:depth]:
                return True
        return False

    @property
    def messages(self) -> list[Message]:
        """Every message once, in the order of lines."""
        ordered = sorted(self._found, key=lambda found: found[0])
        return list(dict.fromkeys(message for _, _, message in ordered))

    @property
    def has_errors(self) -> bool:
        """Whether any recorded message is an error."""
        return any(message.severity == "error" for _, _, message in self._found)


def dotted(path: Path) -> str:
    """("subjects", 0, "word") -> "subjects[0].word"."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")


def nearest(word: str, choices: Iterable[str], count: int = 3, cutoff: float = 0.5) -> list[str]:
    """The `count` choices most like `word`, best first, compared without regard to case."""
    by_key: dict[str, str] = {}
    for choice in choices:
        by_key.setdefault(choice.casefold(), choice)
    return [by_key[key] for key in difflib.get_close_matches(word.casefold(), by_key, count, cutoff)]
