"""Writes a scene as a folder in the layout of the authors' release, and refuses what that layout cannot say.

Whether an `occurrence` survives is not guessed: the words are resolved as the importer would, and must mean the
same.
"""

import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.scene.entities import Entity
from lumosx.scene.messages import Message, Report, SceneError
from lumosx.scene.messages import Path as Place
from lumosx.scene.release import FACE_PREFIX, GENERATION, IGNORED, IMAGE_SUFFIXES, natural_key, resolve_plain
from lumosx.scene.scene import Scene
from lumosx.scene.text import escape_braces


@dataclass(frozen=True)
class _File:
    """A picture and its place in the tree."""

    place: str
    entity: Entity


def export_release(scene: Scene, folder: Path) -> list[Message]:
    """Write `scene` as the sample folder `folder`/<name>, named after the scene's file (or its id).

    Returns:
        Warnings: what is left behind.

    Raises:
        SceneError: the layout cannot say something that the scene says (LX310).
        InputError: the sample folder exists already.
    """
    name = scene.id if scene.source.startswith("<") else Path(scene.source).stem
    sample = folder / name
    report = scene.blank_report()
    files = _Tree(scene, report).files()
    if report.has_errors:
        raise SceneError(report.messages)
    if sample.exists():
        raise InputError(f"{sample} exists; move it away, or choose another folder")
    with atomic(sample) as beside:
        for file in files:
            _write_picture(file.entity, beside / file.place)
        (beside / "caption.txt").write_text(f"{scene.id};{scene.prompt}", encoding="utf-8")
    return report.messages


def _write_picture(entity: Entity, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert entity.image is not None
    if entity.image.path is None:
        entity.image.open().save(path)
    else:
        shutil.copyfile(entity.image.path, path)


class _Tree:
    """The files of a scene in the release's layout, and what stands in the way."""

    def __init__(self, scene: Scene, report: Report) -> None:
        self.scene, self.report = scene, report

    def files(self) -> list[_File]:
        """Every file of the sample but caption.txt; problems go into the report."""
        files: list[_File] = []
        for entity, written in zip(self.scene.entities, self.scene.declared, strict=True):
            self._expect_sayable(entity, written.path)
            if entity.image is not None and entity.words:
                files.append(_File(self._place(entity), entity))
        if not files:
            self._refuse((), "a scene without pictures")
        self._expect_distinct(files)
        if not self.report.has_errors:
            self._expect_same_spans()
            self._warn_of_order(files)
        self._warn_of_rest()
        if "{" in self.scene.prompt or "}" in self.scene.prompt:
            self._refuse(("prompt",), "the release reads braces in a prompt as JSON; leave them out")
        return files

    def _place(self, entity: Entity) -> str:
        word = entity.words[0]
        suffix = ".png" if entity.image is None or entity.image.path is None else entity.image.path.suffix
        if entity.subject is None:
            return f"{'background' if entity.kind == 'background' else 'objects'}/{word}{suffix}"
        prefix = FACE_PREFIX if entity.kind == "face" else ""
        return f"subjects/{self._folder(entity.subject)}/{prefix}{word}{suffix}"

    def _folder(self, subject: int) -> str:
        """`s3` goes back to folder 3 if all ids are like that and in order; else subjects are counted."""
        numbers = [re.fullmatch(r"s([1-9][0-9]*)", one.id) for one in self.scene.subjects]
        if all(numbers):
            found = [int(match.group(1)) for match in numbers if match]
            if found == sorted(set(found)):
                return str(found[subject])
        return str(subject + 1)

    def _refuse(self, place: Place, text: str) -> None:
        self.report.add("LX310", place, f"the release's layout cannot say this: {text}")

    def _expect_sayable(self, entity: Entity, place: Place) -> None:
        if len(entity.words) > 1:
            self._refuse((*place, "word"), "several words for one picture; keep one")
        for word in entity.words[:1]:
            if re.search(r"[/\\.\x00-\x1f]", word):
                self._refuse((*place, "word"), f"{word!r} becomes a file name; no slash, no dot")
            if entity.kind == "attribute" and ("face" in word or IGNORED in word):
                self._refuse((*place, "word"), f"{word!r} would be read as something else than an attribute")
        if entity.strength != 1:
            self._refuse((*place, "strength"), "a strength other than 1")
        image = entity.image
        if image is None:
            self._refuse(place, f"{entity.id} has words but no picture")
            return
        if image.crop is not None or image.fit != "pad" or image.pad.lower() != "#ffffff":
            self._refuse((*place, "image"), "crop, fit: crop, or another pad; cut the picture first")
        if image.path is not None and image.path.suffix.lower() not in IMAGE_SUFFIXES:
            self._refuse((*place, "image"), f"a picture of type {image.path.suffix!r}; convert it to .png")

    def _expect_distinct(self, files: list[_File]) -> None:
        taken: set[str] = set()
        for file, written in zip(files, [d for d in self.scene.declared if d.picture and d.words], strict=True):
            stem = str(Path(file.place).with_suffix("")).casefold()
            if stem in taken:
                self._refuse((*written.path, "word"), f"{file.entity.words[0]!r} twice in one folder")
            taken.add(stem)

    def _expect_same_spans(self) -> None:
        """Without occurrences and tags, would the words still mean the same?"""
        _, spans = resolve_plain(self._plain(), Report("tree"), self.scene.binding.rules or "paper")
        for entity, written in zip(self.scene.entities, self.scene.declared, strict=True):
            if spans[entity.id] != entity.spans:
                text = f"which {entity.words[0]!r} is {entity.id}'s; use words that differ"
                self._refuse((*written.path, "occurrence"), text)

    def _plain(self) -> dict[str, Any]:
        """The scene as the importer would read it."""
        data = self.scene.to_dict()
        data["prompt"] = escape_braces(self.scene.prompt)
        data["binding"] = {}
        parts = [*data.get("subjects", []), *data.get("objects", []), data.get("background") or {}]
        for part in [*parts, *(a for s in data.get("subjects", []) for a in s.get("attributes", []))]:
            part.pop("occurrence", None)
        return data

    def _warn_of_order(self, files: list[_File]) -> None:
        """Files are read back sorted by name; the order is that of the tokens."""
        folders: dict[Path, list[str]] = {}
        for file in files:
            if file.entity.kind != "face":
                folders.setdefault(Path(file.place).parent, []).append(Path(file.place).name)
        for folder, names in folders.items():
            if names != sorted(names, key=natural_key):
                self.report.add("LX311", (), f"the order inside {folder.as_posix()} becomes that of the names")

    def _warn_of_rest(self) -> None:
        scene = self.scene
        left = ["negative_prompt"] if scene.negative_prompt else []
        stated = scene.generation.model_dump(exclude_none=True)
        left += [f"generation.{key}" for key, value in stated.items() if GENERATION.get(key) != value]
        left += [f"binding.{key}" for key in scene.binding.model_dump(exclude_none=True)]
        left += [key for key in ("output", "meta") if key in scene.to_dict()]
        left += [f"consent of {subject.id}" for subject in scene.subjects if subject.consent]
        left += [f"id {s.id!r}" for n, s in enumerate(scene.subjects) if s.id != f"s{self._folder(n)}"]
        left += [f"id {thing.id!r}" for thing in scene.objects if thing.id]
        if left:
            self.report.add("LX311", (), f"left behind, as the layout has no place for it: {', '.join(left)}")
