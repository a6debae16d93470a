"""Reads the folder layout of the authors' release, where file names are words, into scenes.

Nothing depends on the order of a directory listing unless asked, and whatever the layout leaves open (a word
shared by two subjects, a file that is ignored) is said instead of decided in silence.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ruamel.yaml import YAML

from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.scene.entities import Declared, declared_entities
from lumosx.scene.messages import Message, Report
from lumosx.scene.resolution import resolve
from lumosx.scene.source import read_source
from lumosx.scene.spec import ID_PATTERN, Rules
from lumosx.scene.text import Span, clean_text, escape_braces, parse_tags
from lumosx.scene.validation import validate

Order = Literal["numeric", "listdir"]
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
FACE_PREFIX = "face_"
IGNORED = "fullfullbody"  # pictures of whole people that the release skips

# The release's configuration file.
GENERATION = {
    "size": "832x480",
    "frames": 81,
    "fps": 16,
    "steps": 50,
    "solver": "dpm++",
    "shift": 8.0,
    "cfg": 6.0,
    "seed": 1024,
}


@dataclass(frozen=True)
class Imported:
    """One sample: `data` is its scene (None: nothing usable), `messages` what there is to know about it."""

    name: str
    data: dict[str, Any] | None
    messages: list[Message]


def import_release(
    root: Path, *, faces_only: bool = False, order: Order = "numeric", out: Path | None = None
) -> list[Imported]:
    """Read every sample folder under `root`; pictures stay where they are.

    Args:
        root: the folder that holds the samples, each with a caption.txt.
        faces_only: take the faces alone, as the release's identity script does.
        order: "numeric" sorts names with their numbers; "listdir" keeps the file system's order.
        out: where the scene files will lie, if not in `root`; picture paths are made to fit.

    Raises:
        InputError: `root` has no sample folders.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder that holds the samples of the release")
    names = sorted((p.name for p in root.iterdir() if p.is_dir() and p.name[0] != "."), key=natural_key)
    if not names or (root / "caption.txt").exists():
        raise InputError(f"{root}: holds no sample folders; give the folder above caption.txt's folder")
    base = None if out is None or out.resolve() == root.resolve() else os.path.relpath(root, out)
    return [_Sample(root, name, faces_only, order).read(base) for name in names]


def file_system_order(folder: Path) -> list[str]:
    """The names in a folder as the operating system lists them."""
    return os.listdir(folder)


def natural_key(name: str) -> tuple[list[tuple[int, str]], str]:
    """Sorts "2" before "10"."""
    parts = re.split(r"([0-9]+)", name.casefold())
    return [(int(part), "") if part.isdecimal() and part.isascii() else (-1, part) for part in parts], name


def dump_yaml(data: dict[str, Any], path: Path) -> None:
    """Write a scene file.

    Raises:
        InputError: `path` exists with other content (somebody may have edited it).
    """
    yaml = YAML()
    yaml.width = 100
    if path.exists() and read_source(path).data != data:
        raise InputError(f"{path} exists and differs; move it away, or choose another --out")
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        yaml.dump(data, file)


def resolve_plain(
    data: dict[str, Any], report: Report, rules: Rules = "paper"
) -> tuple[tuple[Declared, ...], dict[str, tuple[Span, ...]]]:
    """The entities of plain scene data and their spans, pictures unseen."""
    spec = validate(data, report)
    if spec is None:
        return (), {}
    prompt, tags, _ = parse_tags(clean_text(spec.prompt))
    declared = declared_entities(spec)
    return declared, resolve(prompt, declared, tags, rules, "pair", report)


def state_pairs(data: dict[str, Any], report: Report) -> None:
    """Resolve the words of `data`, and write `occurrence` where a shared word was paired in order."""
    declared, spans = resolve_plain(data, report)
    words = {word.casefold() for entity in declared for word in entity.words}
    for word in words:
        sharing = [entity for entity in declared if word in (w.casefold() for w in entity.words)]
        if len(sharing) < 2 or any(len(spans[entity.id]) != 1 for entity in sharing):
            continue
        for number, entity in enumerate(sharing, start=1):
            place: Any = data
            for step in report.translate(entity.path):
                place = place[step]
            place["occurrence"] = number


class _Sample:
    """One sample folder."""

    def __init__(self, root: Path, name: str, faces_only: bool, order: Order) -> None:
        self.folder, self.name = root / name, name
        self.faces_only, self.order = faces_only, order
        self.report = Report(str(self.folder))
        self.moved: list[str] = []  # folders that the file system lists in another order

    def read(self, base: str | None) -> Imported:
        caption = self._caption()
        parts = self._parts()
        if caption is not None and not parts:
            self.report.add("LX305", (), "no usable picture; faces lie in subjects/<n>/face_<word>.png")
        if caption is None or not parts:
            return Imported(self.name, None, self.report.messages)
        scene_id, prompt = caption
        data: dict[str, Any] = {"lumosx": 1, "id": scene_id}
        if base is not None:
            data["root"] = Path(base).as_posix()
        data |= {"prompt": escape_braces(prompt), **parts, "generation": dict(GENERATION)}
        if self.moved:
            text = f"the file system lists {', '.join(self.moved)} in another order; sorted by number and name"
            self.report.add("LX300", (), f"{text} (`--order listdir` keeps the other)")
        state_pairs(data, self.report)
        return Imported(self.name, data, self.report.messages)

    def _caption(self) -> tuple[str, str] | None:
        """(id, prompt) of caption.txt."""
        path = self.folder / "caption.txt"
        try:
            text = path.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError):
            self.report.add("LX305", ("caption.txt",), "missing or unreadable; it holds `<id>;<prompt>`")
            return None
        head, semicolon, rest = text.partition(";")
        scene_id, prompt = head.strip(), rest.strip()
        if not semicolon or not re.match(ID_PATTERN, scene_id):
            scene_id, prompt = re.sub(r"[^A-Za-z0-9._-]", "_", self.name)[:80], text
            self.report.add("LX304", ("caption.txt",), f"has no `<id>;` at its start; the id is {scene_id!r}")
        if not prompt:
            self.report.add("LX305", ("caption.txt",), "has no prompt; it holds `<id>;<prompt>`")
            return None
        return scene_id, prompt

    def _parts(self) -> dict[str, Any]:
        parts: dict[str, Any] = {}
        if subjects := self._subjects():
            parts["subjects"] = subjects
        if self.faces_only:
            return parts
        if objects := self._pictures("objects"):
            parts["objects"] = [self._worded(path) for path in objects]
        if backgrounds := self._pictures("background"):
            parts["background"] = self._worded(backgrounds[0])
            for other in backgrounds[1:]:
                self._ignore(other, "a second background")
        return parts

    def _subjects(self) -> list[dict[str, Any]]:
        subjects: list[dict[str, Any]] = []
        for path in self._listed("subjects"):
            if path.is_dir():
                subject = self._subject(path)
                if len(subject) > 1:
                    subjects.append(subject)
            else:
                self._ignore(path, "not a subject's folder")
        return subjects

    def _subject(self, folder: Path) -> dict[str, Any]:
        subject: dict[str, Any] = {"id": re.sub(r"[^A-Za-z0-9._-]", "_", f"s{folder.name}")[:80]}
        faces: list[Path] = []
        attributes: list[Path] = []
        for path in self._pictures(f"subjects/{folder.name}"):
            if path.name.startswith(FACE_PREFIX):
                faces.append(path)
                continue
            attributes.append(path)
            if "face" in path.name:
                text = "taken as an attribute; a face is `face_<word>` (the release would take this as one)"
                self.report.add("LX302", (self._relative(path),), text)
        if faces:
            subject["word"] = self._word(faces[0]).removeprefix(FACE_PREFIX)
            shown = [self._stated(path) for path in faces]
            subject["face"] = shown[0] if len(shown) == 1 else shown  # two faces: LX102, for the user to solve
        if attributes and not self.faces_only:
            subject["attributes"] = [self._worded(path) for path in attributes]
        return subject

    def _listed(self, inside: str) -> list[Path]:
        """The entries of a folder of the sample in the chosen order, without hidden files (reported)."""
        folder = self.folder / inside
        if not folder.is_dir():
            return []
        names = file_system_order(folder)
        for name in names:
            if name.startswith("."):
                self._ignore(folder / name, "a hidden file")
        names = [name for name in names if not name.startswith(".")]
        if self.order == "listdir":
            return [folder / name for name in names]
        if names != sorted(names, key=natural_key):
            self.moved.append(inside)
        return [folder / name for name in sorted(names, key=natural_key)]

    def _pictures(self, inside: str) -> list[Path]:
        pictures: list[Path] = []
        for path in self._listed(inside):
            if IGNORED in path.name:
                self._ignore(path, "a whole-body picture, which the release skips")
            elif path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
                self._ignore(path, f"no picture ({', '.join(IMAGE_SUFFIXES)})")
            else:
                pictures.append(path)
        return pictures

    def _worded(self, path: Path) -> dict[str, Any]:
        return {"word": self._word(path), "image": self._stated(path)}

    def _word(self, path: Path) -> str:
        if "." in path.stem:
            text = f"the word is {path.stem!r}; the release would cut it at the first dot"
            self.report.add("LX303", (self._relative(path),), text)
        return path.stem

    def _ignore(self, path: Path, why: str) -> None:
        self.report.add("LX301", (self._relative(path),), f"ignored: {why}")

    def _stated(self, path: Path) -> str:
        return f"{self.name}/{self._relative(path)}"

    def _relative(self, path: Path) -> str:
        return path.relative_to(self.folder).as_posix()
