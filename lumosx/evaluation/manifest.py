"""Our own list of cases: scenes, and the videos they were taken from.

YAML or JSON, paths seen from the file's folder:

    lumosx_bench: 1
    cases:
      - scene: scenes/two_men.yaml    # a scene file; its pictures are seen from its own folder
        id: two_men                   # optional; else the scene's id, or else its file's name
        truth: videos/two_men.mp4     # optional; the ground truth
      - scene: {lumosx: 1, id: walk, prompt: ..., subjects: [...]}    # or the scene itself

JSON lines (.jsonl) hold one case a line, without the head, for lists that are too long to be one document.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, PlainValidator, ValidationError

from lumosx.data.entries import Problems
from lumosx.evaluation.stated import Stated, add_errors, inside, located, report_repeated, with_id
from lumosx.fields import legal_keys
from lumosx.scene.messages import Path as Place
from lumosx.scene.messages import Report, nearest
from lumosx.scene.source import Source, SourceError, parse
from lumosx.scene.spec import Id, Model, coded

HEAD = "lumosx_bench"
M = TypeVar("M", bound=Model)


def _scene(value: Any) -> str | dict[str, Any]:
    if value and isinstance(value, str | dict):
        return value
    raise coded("LX003", "`scene` is the path of a scene file, or a scene itself")


class _Listed(Model):
    scene: Annotated[str | dict[str, Any], PlainValidator(_scene)]
    id: Id | None = None
    truth: Annotated[str, Field(min_length=1)] | None = None


class _Manifest(Model):
    lumosx_bench: Literal[1]
    cases: Annotated[list[Any], Field(min_length=1)]


def read_manifest(path: Path, source: Source, problems: Problems) -> Iterator[Stated]:
    """The cases of a YAML or JSON file that states `lumosx_bench`."""
    report = Report(str(path), source.lines)
    report_repeated(source.repeated, report)
    manifest = _validated(_Manifest, source.data, (), report)
    for number, data in enumerate([] if manifest is None else manifest.cases):
        yield from _listed(path, source, ("cases", number), data, report)
    add_errors(report, problems)


def read_lines(path: Path, problems: Problems) -> Iterator[Stated]:
    """The cases of a JSON lines file.

    Raises:
        SourceError: it cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot be read as UTF-8 text: {error}") from error
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield from _read_line(path, number, line, problems)


def _read_line(path: Path, number: int, line: str, problems: Problems) -> Iterator[Stated]:
    report = Report(str(path), {(): number})
    try:
        source = parse(line, is_json=True)
    except SourceError as error:
        report.add("LX001", (), str(error))
    else:
        report_repeated(dict.fromkeys(source.repeated, number), report)
        everywhere: dict[Place, int | str] = dict.fromkeys(source.lines, number)
        yield from _listed(path, Source(source.data, everywhere), (), source.data, report)
    add_errors(report, problems)


def _listed(path: Path, source: Source, place: Place, data: Any, report: Report) -> Iterator[Stated]:
    """The case that `data`, at `place` of the file, states; what is wrong goes into `report`."""
    listed = _validated(_Listed, data, place, report)
    if listed is None:
        return
    folder, scene = path.parent, listed.scene
    truth = None if listed.truth is None else folder / listed.truth
    if isinstance(scene, str):
        try:
            stated = Stated.load(folder / scene, case_id=listed.id, truth=truth)
        except SourceError as error:
            report.add("LX001", (*place, "scene"), located(folder / scene, error))
            return
    else:
        stated = Stated(str(path), with_id(scene, listed.id), folder, truth, inside(source, (*place, "scene")))
        if "id" not in stated.data:
            report.add("LX103", (*place, "scene"), "neither the case nor its scene states an `id`; give it one")
            return
    yield stated


def _validated(model: type[M], data: Any, place: Place, report: Report) -> M | None:
    try:
        return model.model_validate(data)
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            report.add(*_described(model, place, problem))
        return None


def _described(model: type[Model], place: Place, problem: Any) -> tuple[str, Place, str]:
    """Code, place and text of a problem that pydantic found."""
    loc, kind = problem["loc"], problem["type"]
    if kind == "extra_forbidden":
        known = legal_keys(model, loc[:-1])
        best = nearest(str(loc[-1]), known, count=1)
        hint = f"did you mean `{best[0]}`?" if best else f"known here: {', '.join(known)}"
        return "LX002", (*place, *loc), f"unknown key `{loc[-1]}`: {hint}"
    if kind == "missing":
        return "LX003", (*place, *loc), f"`{loc[-1]}` is missing; add it"
    given = "" if kind.startswith("LX") else f", not {repr(problem['input'])[:60]}"
    return "LX003", (*place, *loc), f"{problem['msg']}{given}"
