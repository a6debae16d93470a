"""A case as its source states it, and what is made of it: the one way from scene data to `Case`.

The scene is checked as for sampling, pictures included, but for its words: whether the prompt says them decides what
can be sampled, not what can be scored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lumosx.data.entries import Problems
from lumosx.evaluation.cases import Case, CaseReference
from lumosx.scene.checks import check_entities, check_scene
from lumosx.scene.entities import Declared, Entity, declared_entities
from lumosx.scene.image_checks import check_images
from lumosx.scene.images import locate
from lumosx.scene.messages import Path as Place
from lumosx.scene.messages import Report
from lumosx.scene.source import Source, SourceError, read_source
from lumosx.scene.spec import SceneSpec
from lumosx.scene.text import clean_text, parse_tags
from lumosx.scene.validation import validate


@dataclass(frozen=True)
class Stated:
    """Scene data that states its id, with relative paths seen from `folder`.

    `where` (a file or folder) and `lines` (of places in the scene, and of keys that are `repeated`) are for messages.
    """

    where: str
    data: Any
    folder: Path
    truth: Path | None = None
    lines: Mapping[Place, int | str] = field(default_factory=dict)
    repeated: Mapping[Place, int] = field(default_factory=dict)

    @classmethod
    def load(
        cls, path: Path, *, case_id: str | None = None, name: str | None = None, truth: Path | None = None
    ) -> "Stated":
        """A scene file as a case: its id is `case_id`, else the scene's, else `name`, else the file's name.

        Raises:
            SourceError: it cannot be read.
        """
        source = read_source(path)
        data = with_id(source.data, case_id, name or path.stem)
        return cls(str(path), data, path.parent, truth, source.lines, source.repeated)

    def case(self, problems: Problems, *, faces_only: bool) -> Case | None:
        """The case, or None with what is wrong in `problems`.

        Args:
            faces_only: take the faces alone for references. The whole scene has to be sound all the same.
        """
        report = Report(self.where, self.lines)
        report_repeated(self.repeated, report)
        if self.truth is not None and not self.truth.is_file():
            report.add("LX201", (), f"no ground truth at {self.truth}; mend the path, or leave `truth` out")
        spec = validate(self.data, report)
        prompt, references = _read(spec, self.folder, report) if spec is not None else ("", ())
        add_errors(report, problems)
        if report.has_errors:
            return None
        scene: dict[str, Any] = self.data
        if faces_only:
            scene = faces_alone(scene)
            faces = [reference for reference in references if reference.kind == "face" and reference.image]
            references = tuple(replace(face, subject=number) for number, face in enumerate(faces))
        truth = None if self.truth is None else self.truth.absolute()
        return Case(scene["id"], prompt, references, scene, self.folder.absolute(), truth)


def with_id(data: Any, case_id: str | None, default: str | None = None) -> Any:
    """Scene data with `case_id`, else its own id, else a default; what is no mapping stays as it is."""
    if not isinstance(data, dict):
        return data
    found = case_id or data.get("id") or default
    return data if found is None else {**data, "id": found}


def add_errors(report: Report, problems: Problems) -> None:
    """Records what a report says is wrong; what is only worth knowing `lumosx check` tells."""
    for message in report.messages:
        if message.severity == "error":
            problems.add(message.where, f"{message.code} {message.text}")


def report_repeated(repeated: Mapping[Place, int], report: Report) -> None:
    """A key that is written twice in one mapping: YAML's and JSON's readers would keep one in silence."""
    for place, line in repeated.items():
        report.add("LX001", place, f"`{place[-1]}` is written again on line {line}; keep one")


def located(path: Path, error: SourceError) -> str:
    """The error with its file and line."""
    return f"{path}: {error}" if error.line is None else f"{path}:{error.line}: {error}"


def inside(source: Source, place: Place) -> dict[Place, int | str]:
    """The lines of what is stated at `place`, as seen from there."""
    return {path[len(place) :]: line for path, line in source.lines.items() if path[: len(place)] == place}


def faces_alone(scene: dict[str, Any]) -> dict[str, Any]:
    """A sound scene with nothing but the subjects that have a picture of their face; the prompt says the same."""
    subjects = [
        {key: value for key, value in subject.items() if key != "attributes"}
        for subject in scene.get("subjects", [])
        if subject.get("face") is not None
    ]
    names = {name for subject in subjects for name in (subject["id"], f"{subject['id']}.face")}
    rest = {key: value for key, value in scene.items() if key not in ("subjects", "objects", "background")}
    return rest | {"prompt": _with_tags_of(names, scene["prompt"]), "subjects": subjects}


def _with_tags_of(names: set[str], prompt: str) -> str:
    """The prompt with no tags but those of `names`: a tag may not name what is no longer there."""

    def kept(part: re.Match[str]) -> str:
        word, _, name = part.group()[1:-1].partition(":")
        return word if part.group(1) is not None and name.strip() not in names else part.group()

    return re.sub(r"\{\{|\}\}|\{([^{}]*)\}", kept, prompt)


def _read(spec: SceneSpec, folder: Path, report: Report) -> tuple[str, tuple[CaseReference, ...]]:
    """The prompt without tags and the references, in token order; what is wrong with them goes into `report`."""
    prompt, tags, faulty = parse_tags(clean_text(spec.prompt))
    for problem in faulty:
        report.add("LX004", ("prompt",), f"{problem}; write {{{{ and }}}} for literal braces")
    declared = declared_entities(spec)
    check_scene(spec, prompt, report, require_consent=False)
    check_entities(declared, tags, report)
    root = (folder / (spec.root or ".")).resolve()
    entities = [_entity(entity, root) for entity in declared]
    check_images(entities, declared, report)
    return prompt, tuple(CaseReference(e.id, e.kind, e.subject, "".join(e.words[:1]), e.image) for e in entities)


def _entity(written: Declared, root: Path) -> Entity:
    image = None if written.picture is None else locate(written.picture, root, written.fit)
    return Entity(written.id, written.kind, written.subject, written.words, (), written.strength, image)
