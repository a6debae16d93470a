"""Turns pydantic's errors into messages and goes on with whatever is sound.

A faulty value is reported, taken out, and the rest validated again, so that the later checks (words,
pictures) still run and one run shows every problem of a file.
"""

from typing import Any

from pydantic import ValidationError

from lumosx.fields import legal_keys
from lumosx.scene.messages import Path, Report, nearest
from lumosx.scene.spec import SceneSpec

_REMEDIES = {
    "string_type": "write text (in quotes if it looks like a number)",
    "missing": "add it",
    "int_type": "write a whole number",
    "float_type": "write a number",
    "bool_type": "write true or false",
}


class Pruned:
    """A copy of the data without its faulty parts; it knows where each remaining list item stood."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = _copy(data)
        self._kept: dict[Path, list[int]] = {}

    def original(self, path: Path) -> Path:
        """Where `path` of the pruned data stood in the data as written."""
        result: Path = ()
        for step in path:
            if isinstance(step, int) and result in self._kept and step < len(self._kept[result]):
                step = self._kept[result][step]
            result = (*result, step)
        return result

    def drop(self, path: Path) -> bool:
        """Take out the value at `path`, or what encloses it if it does not exist. Returns whether it did."""
        parents: list[Any] = []
        inside: Any = self.data
        for step in path:
            try:
                parents, inside = [*parents, inside], inside[step]
            except (KeyError, IndexError, TypeError):
                break
        if not parents:
            return False
        parent: Any = parents[-1]
        step: Any = path[len(parents) - 1]
        if isinstance(parent, list):
            place = self.original(path[: len(parents) - 1])
            self._kept.setdefault(place, list(range(len(parent)))).pop(step)
        del parent[step]
        return True


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if isinstance(value, list | tuple) else value


def validate(data: Any, report: Report) -> SceneSpec | None:
    """Validate a scene. Everything wrong goes into `report`; what is sound comes back (None: nothing usable).

    A missing or unusable prompt comes back as "".
    """
    if not isinstance(data, dict):
        report.add("LX001", (), f"a scene is a mapping with `lumosx: 1` and `prompt:`, not {type(data).__name__}")
        return None
    if "lumosx" not in data:
        report.add("LX001", (), "`lumosx:` is missing; the file starts with `lumosx: 1`")
    pruned = Pruned(data)
    report.translate = pruned.original
    while True:
        pruned.data.setdefault("lumosx", 1)
        pruned.data.setdefault("prompt", "")
        try:
            return SceneSpec.model_validate(pruned.data)
        except ValidationError as error:
            problems = error.errors(include_url=False)
            for problem in problems:
                _report_problem(problem, report)
            paths = sorted({problem["loc"] for problem in problems}, key=_late_first, reverse=True)
            if not any([pruned.drop(path) for path in paths]):
                return None


def _late_first(path: Path) -> list[tuple[bool, Any]]:
    """Later list items before earlier ones, so that taking one out does not move those still to come."""
    return [(isinstance(step, int), step) for step in path]


def _report_problem(problem: Any, report: Report) -> None:
    path, kind = problem["loc"], problem["type"]
    if kind == "extra_forbidden":
        report.add("LX002", path, _unknown_key(path))
    elif kind.startswith("LX"):
        report.add(kind, path, problem["msg"])
    elif kind == "missing":
        if report.faulty(path):  # it was there and has been taken out
            return
        report.add("LX003", path, f"`{path[-1]}` is missing; {_REMEDIES[kind]}")
    else:
        remedy = _REMEDIES.get(kind)
        given = f"{problem['msg']}, not {_shown(problem['input'])}"
        report.add("LX003", path, f"{given}; {remedy}" if remedy else given)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _unknown_key(path: Path) -> str:
    known = legal_keys(SceneSpec, path[:-1])
    best = nearest(str(path[-1]), known, count=1, cutoff=0.6)
    hint = f"did you mean `{best[0]}`?" if best else f"known here: {', '.join(known)}"
    return f"unknown key `{path[-1]}`: {hint}"
