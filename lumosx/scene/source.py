"""Reads a scene file (YAML 1.2 or JSON) into plain data and remembers the line of every value.

Only the node graph of ruamel.yaml is used and turned into str, int, float, bool, None, list and dict here:
no tag can construct anything, duplicate keys are found, and aliases that blow up (a "billion laughs" file)
are refused.
"""

import json
import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML, MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.constructor import SafeConstructor
from ruamel.yaml.error import MarkedYAMLError, YAMLError, YAMLStreamError

from lumosx.scene.messages import Path

MAX_BYTES = 1 << 20  # no scene needs more; bounds the work a hostile file can cause
MAX_VALUES = 20_000  # after aliases are expanded
MAX_DEPTH = 50

_PREFIX = "tag:yaml.org,2002:"
_TYPED = {_PREFIX + kind for kind in ("int", "float", "bool", "null")}
_TEXT = {_PREFIX + kind for kind in ("str", "timestamp", "value")}  # a date such as `id: 2024-01-02` stays text


class SourceError(Exception):
    """The text is no usable YAML or JSON. `line` counts from 1."""

    def __init__(self, text: str, line: int | None = None) -> None:
        super().__init__(text)
        self.line = line


@dataclass
class Source:
    """A parsed file: plain `data`, `lines` (from 1) by path, and keys that are `repeated`, on which line
    again.

    Where an option laid a value over the file's, `lines` holds that option instead.
    """

    data: Any = None
    lines: dict[Path, int | str] = field(default_factory=dict)
    repeated: dict[Path, int] = field(default_factory=dict)

    def override(self, stated: "Override") -> None:
        """Sets one value; a step into a list is its index, and sections that are missing are made.

        Raises:
            SourceError: there is no such place.
        """
        inner, path = self.data, ()
        for step in stated.key[:-1]:
            index = _index(inner, step, stated)
            inner = inner.setdefault(index, {}) if isinstance(inner, dict) else inner[index]
            path = (*path, index)
        last = _index(inner, stated.key[-1], stated)
        inner[last] = stated.value
        path = (*path, last)
        self.lines = {place: line for place, line in self.lines.items() if place[: len(path)] != path}
        self.lines[path] = stated.origin


@dataclass(frozen=True)
class Override:
    """A value laid over what a file states: its `key` in steps, and the `origin` that messages name."""

    key: tuple[str, ...]
    value: Any
    origin: str


def _index(data: Any, step: str, stated: Override) -> str | int:
    """`step` as an index of `data`, which is a mapping or a list."""
    if isinstance(data, dict):
        return step
    if isinstance(data, list) and step.isdecimal() and int(step) < len(data):
        return int(step)
    raise SourceError(f"{stated.origin}: the scene has no {step!r} there; lists count from 0")


def read_source(path: FilePath) -> Source:
    """Read and parse a scene file.

    Raises:
        SourceError: no such file, not text, not YAML or JSON.
    """
    try:
        if not path.is_file():
            raise SourceError("no such file; give the path of a scene (.yaml, .yml or .json)")
        if path.stat().st_size > MAX_BYTES:
            raise SourceError(f"larger than {MAX_BYTES} bytes: this is no scene file")
        return parse(path.read_text(encoding="utf-8-sig"), is_json=path.suffix.lower() == ".json")
    except UnicodeDecodeError as error:
        raise SourceError(f"not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise SourceError(f"cannot be read: {error.strerror or error}") from error


def parse(text: str, *, is_json: bool = False) -> Source:
    """Parse YAML, or JSON, which YAML's reader locates and Python's own reader decodes.

    Raises:
        SourceError: the text is not well-formed, uses tags, or is too large or too deep.
    """
    if not is_json:
        return _located(text)
    try:
        data = json.loads(text)
    except RecursionError as error:
        raise SourceError("nested too deeply for a scene") from error
    except ValueError as error:
        raise SourceError(f"not JSON: {error}", getattr(error, "lineno", None)) from error
    source = _located(text.replace("\t", " "))  # JSON may be indented by tabs, YAML may not
    source.data = data  # YAML reads JSON's escaped surrogate pairs wrongly
    return source


def _located(text: str) -> Source:
    try:
        root = YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = None if error.problem_mark is None else error.problem_mark.line + 1
        raise SourceError(f"not YAML: {error.problem or error.context}; mend the syntax there", line) from error
    except RecursionError as error:
        raise SourceError("nested too deeply for a scene") from error
    except (YAMLError, YAMLStreamError, ValueError) as error:
        raise SourceError(f"not YAML: {error}") from error
    if root is None:
        raise SourceError("the file is empty; a scene starts with `lumosx: 1` and has a `prompt:`")
    return _Walk().source(root)


class _Walk:
    """One pass over the nodes of a document."""

    def __init__(self) -> None:
        self._constructor = SafeConstructor(loader=YAML(typ="safe", pure=True))
        self._source = Source()
        self._count = 0

    def source(self, root: Any) -> Source:
        self._source.data = self._value(root, ())
        return self._source

    def _value(self, node: Any, path: Path) -> Any:
        line = node.start_mark.line + 1
        self._count += 1
        if self._count > MAX_VALUES or len(path) > MAX_DEPTH:
            raise SourceError("too many values or too deeply nested (aliases count each time they are used)", line)
        self._source.lines.setdefault(path, line)
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._expect_tag(node, {_PREFIX + "seq"})
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _mapping(self, node: MappingNode, path: Path) -> dict[Any, Any]:
        self._expect_tag(node, {_PREFIX + "map"})
        mapping: dict[Any, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode) or str(key_node.tag) == _PREFIX + "merge":
                raise SourceError("a key must be plain text (no `<<`, no `?`)", key_node.start_mark.line + 1)
            key = key_node.value
            inside = (*path, key)
            if key in mapping:
                self._source.repeated[inside] = key_node.start_mark.line + 1
                continue
            self._source.lines[inside] = key_node.start_mark.line + 1
            mapping[key] = self._value(value_node, inside)
        return mapping

    def _scalar(self, node: ScalarNode) -> Hashable:
        self._expect_tag(node, _TYPED | _TEXT)
        if str(node.tag) in _TEXT:
            return str(node.value)
        try:
            value = self._constructor.construct_object(node)
        except (ValueError, YAMLError, OverflowError) as error:
            raise SourceError(f"{node.value[:40]!r} is no usable number: {error}", node.start_mark.line + 1) from error
        if isinstance(value, float) and not math.isfinite(value):
            raise SourceError(f"{node.value[:40]!r} is not a finite number", node.start_mark.line + 1)
        return value

    @staticmethod
    def _expect_tag(node: Any, allowed: set[str]) -> None:
        if str(node.tag) not in allowed:
            raise SourceError(
                f"the tag {str(node.tag)!r} is not allowed; write the plain value", node.start_mark.line + 1
            )
