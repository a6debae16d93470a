"""A folder with one folder a clip: a scene, its pictures and a video. People make these, the playground writes them.

A scene's own pictures are the references. What concerns sampling alone (negative prompt, generation, binding options,
output, strengths) is not read. `meta: {split: validation}` keeps a clip out of training.
"""

import json
import posixpath
from collections.abc import Iterator
from functools import reduce
from operator import getitem
from pathlib import Path
from typing import Any

from lumosx.data.entries import Entry, Problems
from lumosx.scene.messages import Report
from lumosx.scene.source import Source, SourceError, read_source
from lumosx.scene.spec import Attribute, Background, Fit, ImageField, SceneObject, SceneSpec, Subject
from lumosx.scene.validation import validate

SCENE = "scene.yaml"
VIDEO = "clip.mp4"
WORDS = {"id", "word", "occurrence"}  # fields that scenes and records share
SUFFIXES = (".mp4", ".mov", ".webm")


def read_scene_folders(root: Path, problems: Problems) -> Iterator[Entry]:
    """The clips of `root`; folders that hold neither a scene nor a video are none."""
    for folder in sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")):
        videos = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not (folder / SCENE).is_file():
            if videos:
                problems.add(folder, f"holds {videos[0].name} but no {SCENE} that says what it shows; write one")
            continue
        preferred = [path for path in videos if path.name == VIDEO] or videos
        if len(preferred) == 1:
            yield from _clip(folder, preferred[0].name, problems)
        elif videos:
            names = ", ".join(path.name for path in videos)
            problems.add(folder, f"holds {len(videos)} videos ({names}); call the clip {VIDEO}")
        else:
            problems.add(folder, f"holds a {SCENE} but no video; put the clip there as {VIDEO}")


def _clip(folder: Path, video: str, problems: Problems) -> Iterator[Entry]:
    path = folder / SCENE
    try:
        source = read_source(path)
    except SourceError as error:
        problems.add(path if error.line is None else f"{path}:{error.line}", str(error))
        return
    report = Report(str(path), source.lines)
    for place, line in source.repeated.items():
        report.add("LX001", place, f"`{place[-1]}` is written again on line {line}; keep one")
    spec = validate(source.data, report)
    for message in report.messages:
        problems.add(message.where, f"{message.code} {message.text}")
    if spec is not None and not report.has_errors:
        base = posixpath.join(folder.name, spec.root or ".")
        yield Entry(str(path), _record(spec, folder.name, video, base), _lines(source, path, base))


def _record(spec: SceneSpec, folder: str, video: str, base: str) -> dict[str, Any]:
    """The record of a scene whose relative paths start at `base`, inside the data set."""

    def pictures(field: ImageField | None, fit: Fit | None = None) -> list[dict[str, Any]]:
        if field is None:
            return []
        return [field.model_dump() | {"image": _name(base, str(field.image)), "fit": fit or field.fit}]

    def part(stated: Attribute | SceneObject | Background) -> dict[str, Any]:
        fit = stated.fit if isinstance(stated, Background) else None
        return stated.model_dump(include=WORDS) | {"pictures": pictures(stated.image, fit)}

    def person(stated: Subject) -> dict[str, Any]:
        attributes = [part(attribute) for attribute in stated.attributes]
        return stated.model_dump(include=WORDS) | {"faces": pictures(stated.face), "attributes": attributes}

    meta = {key: value if isinstance(value, str) else json.dumps(value) for key, value in spec.meta.items()}
    consent = {f"consent.{subject.id}": subject.consent for subject in spec.subjects if subject.consent}
    return {
        "id": spec.id or folder,
        "video": f"{folder}/{video}",
        "caption": spec.prompt,
        "split": meta.pop("split", "train"),
        "background": None if spec.background is None else part(spec.background),
        "objects": [part(thing) for thing in spec.objects],
        "subjects": [person(subject) for subject in spec.subjects],
        "meta": consent | meta,
    }


def _name(base: str, path: str) -> str:
    """A picture's name in the data set."""
    return posixpath.normpath(posixpath.join(base, path))


def _lines(source: Source, path: Path, base: str) -> dict[str, str]:
    """Where each picture is stated, by its name."""
    lines = {}
    for place, line in source.lines.items():
        if place and place[-1] in ("image", "face"):
            stated = reduce(getitem, place, source.data)
            if isinstance(stated, str):
                lines.setdefault(_name(base, stated), f"{path}:{line}")
    return lines
