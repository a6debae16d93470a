"""Scene: what the user asks for, checked. Everything downstream (layout, sampling, sidecar) reads it from
here.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from lumosx.scene.binding import Binding, Tokens, build, token_clashes
from lumosx.scene.checks import check_cancellation, check_entities, check_owners, check_scene, check_seeds
from lumosx.scene.entities import Declared, Entity, declared_entities
from lumosx.scene.image_checks import check_images
from lumosx.scene.images import ImageSpec, escapes, locate
from lumosx.scene.messages import Message, Report, SceneError
from lumosx.scene.resolution import resolve
from lumosx.scene.source import Override, Source, SourceError, read_source
from lumosx.scene.spec import (
    Background,
    BindingOptions,
    Generation,
    Output,
    Rules,
    SceneObject,
    SceneSpec,
    Subject,
)
from lumosx.scene.text import clean_text, parse_tags
from lumosx.scene.validation import validate


class Scene:
    """A checked scene. Made by `Scene.load` or `Scene.from_dict`; not changed afterwards.

    Attributes:
        id: names the output. prompt: the text to encode, cleaned and without tags. negative_prompt: None if
        not stated. entities: in token order (background, objects, then each subject's face and attributes),
        words resolved. generation, binding, output, meta: as written; None inside generation and binding
        means "not stated". source: the file, or a name for it. root: the folder that relative picture paths
        start from.
    """

    def __init__(
        self,
        spec: SceneSpec,
        data: Mapping[str, Any],
        source: str,
        root: Path,
        report: Report,
        *,
        confine: Path | None = None,
        require_consent: bool = False,
    ) -> None:
        self.source, self.root = source, root
        self._spec, self._data, self._report, self._confine = spec, data, report, confine
        self.id = spec.id or _default_id(source, report)
        self.prompt, self._tags, problems = parse_tags(clean_text(spec.prompt))
        for problem in problems:
            report.add("LX004", ("prompt",), f"{problem}; write {{{{ and }}}} for literal braces")
        self.negative_prompt = None if spec.negative_prompt is None else clean_text(spec.negative_prompt)
        self.declared = declared_entities(spec)
        check_scene(spec, self.prompt, report, require_consent)
        check_entities(self.declared, self._tags, report)
        self.entities = self._resolved(self._own_rules, report)
        self._check_words(report)
        check_images(self.entities, self.declared, report)

    @classmethod
    def load(cls, path: str | Path, *, sandbox: bool = False, require_consent: bool = False) -> "Scene":
        """Read and check a scene file (.yaml, .yml or .json) and its pictures.

        Args:
            path: the file.
            sandbox: refuse pictures and roots outside the file's folder, and output folders outside the
                working directory (server use).
            require_consent: refuse subjects without `consent`.

        Raises:
            SceneError: something is wrong; carries every message.
        """
        scene, messages = examine(path, sandbox=sandbox, require_consent=require_consent)
        if scene is None:
            raise SceneError(messages)
        return scene

    @classmethod
    def from_dict(
        cls,
        data: Mapping[str, Any],
        *,
        root: str | Path | None = None,
        source: str = "<scene>",
        sandbox: bool = False,
        require_consent: bool = False,
    ) -> "Scene":
        """A scene from plain data, checked like a file. Wherever an image path may stand, a PIL image may
        stand too.

        Args:
            data: the fields of the format.
            root: the folder that relative paths start from; default: the current one.
            source: how messages call it.
            sandbox, require_consent: as in `load`.

        Raises:
            SceneError: something is wrong; carries every message.
        """
        report = Report(source)
        scene = _build(cls, Source(data), source, Path(root or "."), report, sandbox, require_consent)
        if scene is None or report.has_errors:
            raise SceneError(report.messages)
        return scene

    def check(self) -> list[Message]:
        """Every message about this scene, in the order of the file."""
        return self._report.messages

    def bind(self, tokenizer: Any, length: int = 512, *, rules: Rules | None = None) -> Binding:
        """Map the words of all entities to tokens.

        Args:
            tokenizer: a fast tokenizer of transformers (one that gives offsets).
            length: the most tokens the text encoder takes, special ones included.
            rules: for a scene that states none, the checkpoint's rules.

        Raises:
            SceneError: LX113, a mention lies beyond `length`; LX112, one token carries two bindings; or the
            words do
                not resolve under `rules`.
        """
        chosen = self._spec.binding.rules or rules or "paper"
        report = self.blank_report()
        entities = self.entities if chosen == self._own_rules else self._resolved(chosen, report)
        tokens = Tokens(tokenizer, self.prompt, length)
        for entity, written in zip(entities, self.declared, strict=True):
            for start, stop in entity.spans:
                if tokens.cuts((start, stop)):
                    text = f"{self.prompt[start:stop]!r} at character {start} lies beyond the {length} tokens"
                    report.add("LX113", (*written.path, "word"), f"{text} that are encoded; shorten the prompt")
        if chosen == "paper":
            paths = {written.id: written.path for written in self.declared}
            for first, second in token_clashes(tokens, entities):
                text = f"the words of {first.id} and {second.id} meet in one token; put a space between them"
                report.add("LX112", (*paths[second.id], "word"), text)
        if report.has_errors:
            raise SceneError(report.messages)
        return build(tokens, entities, len(self._spec.subjects))

    def to_dict(self) -> dict[str, Any]:
        """The scene as written, as plain data; an in-memory picture is named by the hash of its pixels."""
        return {str(key): _plain(value) for key, value in self._data.items()}

    def blank_report(self) -> Report:
        """A report for further messages about this scene, which knows its lines."""
        return self._report.fresh()

    @property
    def subjects(self) -> list[Subject]:
        """As written."""
        return self._spec.subjects

    @property
    def objects(self) -> list[SceneObject]:
        """As written."""
        return self._spec.objects

    @property
    def background(self) -> Background | None:
        """As written."""
        return self._spec.background

    @property
    def generation(self) -> Generation:
        """How to sample; None where the scene is silent."""
        return self._spec.generation

    @property
    def binding(self) -> BindingOptions:
        """Switches of the mechanisms; None where the scene is silent."""
        return self._spec.binding

    @property
    def output(self) -> Output:
        """Where and how the clip is written."""
        return self._spec.output

    @property
    def meta(self) -> dict[str, Any]:
        """Free data for the sidecar."""
        return self._spec.meta

    @property
    def _own_rules(self) -> Rules:
        return self._spec.binding.rules or "paper"

    def _resolved(self, rules: Rules, report: Report) -> tuple[Entity, ...]:
        ambiguity = self._spec.binding.ambiguity or "pair"
        found: dict[str, tuple[tuple[int, int], ...]] = {}
        if self.prompt:
            found = resolve(self.prompt, self.declared, self._tags, rules, ambiguity, report)
        return tuple(self._entity(written, found.get(written.id, ())) for written in self.declared)

    def _entity(self, written: Declared, spans: tuple[tuple[int, int], ...]) -> Entity:
        picture: ImageSpec | None = None
        if written.picture is not None:
            picture = locate(written.picture, self.root, written.fit, self._confine)
        return Entity(written.id, written.kind, written.subject, written.words, spans, written.strength, picture)

    def _check_words(self, report: Report) -> None:
        names = [subject.id for subject in self._spec.subjects]
        check_owners(self.prompt, self.entities, self.declared, names, report)
        if self._own_rules == "release" or self._spec.binding.ambiguity == "all":
            check_cancellation(self.entities, self.declared, self._own_rules, names, report)

    def __repr__(self) -> str:
        return f"Scene({self.id!r}, {len(self.entities)} entities, from {self.source})"


def examine(
    path: str | Path, *, overrides: Sequence[Override] = (), sandbox: bool = False, require_consent: bool = False
) -> tuple[Scene | None, list[Message]]:
    """Like `Scene.load`, but gives every message back and None for a scene with errors.

    Args:
        path, sandbox, require_consent: as for `Scene.load`.
        overrides: values laid over what the file states, before anything is checked.
    """
    path = Path(path)
    try:
        source = read_source(path)
        for stated in overrides:
            source.override(stated)
    except SourceError as error:
        report = Report(str(path), {} if error.line is None else {(): error.line})
        report.add("LX001", (), str(error))
        return None, report.messages
    report = Report(str(path), source.lines)
    scene = _build(Scene, source, str(path), path.parent, report, sandbox, require_consent)
    return (None if report.has_errors else scene), report.messages


def _build(
    kind: type[Scene],
    source: Source,
    name: str,
    folder: Path,
    report: Report,
    sandbox: bool,
    require_consent: bool,
) -> Scene | None:
    for path, line in source.repeated.items():
        code = "LX102" if path[-1] in ("face", "background") else "LX001"
        report.add(code, path, f"`{path[-1]}` is written again on line {line}; keep one")
    spec = validate(source.data, report)
    if spec is None:
        return None
    root = folder / (spec.root or ".")
    confine = None
    if sandbox:
        confine = root
        _confine_folders(spec, folder, root, report)
    return kind(spec, source.data, name, root, report, confine=confine, require_consent=require_consent)


def _confine_folders(spec: SceneSpec, folder: Path, root: Path, report: Report) -> None:
    if escapes(root, folder):
        report.add("LX220", ("root",), f"root {spec.root!r} leaves the scene's folder; keep it inside")
    if escapes(Path(spec.output.dir), Path.cwd()):  # clips are written relative to the working directory
        report.add("LX220", ("output", "dir"), f"output folder {spec.output.dir!r} leaves the working directory")


def _default_id(source: str, report: Report) -> str:
    stem = "scene" if source.startswith("<") else Path(source).stem
    try:
        SceneSpec.model_validate({"lumosx": 1, "prompt": "", "id": stem})
    except ValueError:
        text = f"the file's name {stem!r} is no legal id (1 to 80 of A-Z a-z 0-9 . _ -); state an `id:`"
        report.add("LX103", ("id",), text)
    return stem


def _plain(value: Any) -> Any:
    if isinstance(value, Image.Image):
        return f"sha256:{ImageSpec(None, value).sha256}"
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value


def check_outputs(scenes: Sequence[Scene], out: Path | None = None, seeds: Sequence[int] = ()) -> list[Message]:
    """LX103 where two clips would be one file.

    Args:
        scenes: that are sampled together.
        out: the folder to write to, instead of each scene's own.
        seeds: to sample instead of each scene's own, whose files were checked with the scene.
    """
    first: dict[str, Scene] = {}
    messages: list[Message] = []
    for scene in scenes:
        report = scene.blank_report()
        check_seeds(scene.output.name, seeds, report)
        folder = out or Path(scene.output.dir)
        target = folder / scene.output.name.replace("{id}", scene.id)
        other = first.setdefault(str(target.resolve()).casefold(), scene)  # some disks do not tell a from A
        if other is not scene:
            report.add("LX103", ("id",), f"the same output as {other.source} ({target}); give each scene its own id")
        messages += report.messages
    return messages
