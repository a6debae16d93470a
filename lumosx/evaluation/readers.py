"""Reads the cases of a benchmark from whatever layout holds them.

- a folder in the layout of the authors' release (samples with a caption.txt; the ground truth is a sample's video.mp4).
  Scene files that `lumosx import release` wrote beside the samples are not read: give them as a folder of their own;
- a folder of scene files: the .yaml and .yml files directly in it that state `lumosx:`;
- a folder with one folder a clip, as training reads (a scene.yaml; the ground truth is the clip.mp4 beside it);
- one scene file;
- our manifest (`lumosx.evaluation.manifest`), which alone can name ids and ground truths of scene files;
- OpenS2V's JSON (`lumosx.evaluation.opens2v`).

Cases keep the order of their file; samples and scene files are in the order of their names, "2" before "10".
"""

from collections.abc import Iterator
from pathlib import Path

from lumosx.data.entries import Problems
from lumosx.data.scene_folders import SCENE, VIDEO
from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.manifest import HEAD, read_lines, read_manifest
from lumosx.evaluation.opens2v import is_opens2v, scene_of
from lumosx.evaluation.stated import Stated, add_errors, located, report_repeated
from lumosx.scene.messages import Report, nearest
from lumosx.scene.release import import_release, natural_key
from lumosx.scene.source import MAX_BYTES, Source, SourceError, read_source

YAML = (".yaml", ".yml")
CAPTION = "caption.txt"
TRUTH = "video.mp4"
LAYOUTS = (
    "give a folder in the release's layout (samples with a caption.txt), a folder of scene files (or of folders with a "
    "scene.yaml), a scene file, a manifest (`lumosx_bench: 1`, or .jsonl), or OpenS2V's JSON"
)


def read_cases(path: Path, *, faces_only: bool = False) -> list[Case]:
    """All cases of a benchmark, each with the id that names its video.

    Relative paths in `Case.scene` are as the source states them, seen from `Case.folder`: the folder of the samples, or
    that of the file that holds the scene. The folder itself, ground truths and pictures are absolute.

    Args:
        path: a folder or a file in one of this module's layouts.
        faces_only: take the faces alone for references, as the identity task does.

    Raises:
        InputError: no such layout, or something is wrong with cases: all of it, pictures included, at once.
    """
    problems = Problems()
    cases: list[Case] = []
    first: dict[str, str] = {}
    try:
        for stated in _read(path, faces_only, problems):
            case = stated.case(problems, faces_only=faces_only)
            if case is None:
                continue
            cases.append(case)
            where = f"{stated.where}:{stated.lines[()]}" if () in stated.lines else stated.where
            if case.id in first:
                problems.add(where, f"the case {case.id!r} is also in {first[case.id]}; give each its own id")
            first.setdefault(case.id, where)
    except SourceError as error:
        raise InputError(located(path, error)) from error
    problems.expect_none(path)
    if not cases:
        raise InputError(f"{path}: holds no case; {LAYOUTS}")
    return cases


def _read(path: Path, faces_only: bool, problems: Problems) -> Iterator[Stated]:
    if path.is_dir():
        if (path / CAPTION).exists() or any(path.glob(f"*/{CAPTION}")):
            return _samples(path, faces_only, problems)
        return _scene_files(path, problems)
    if not path.is_file():
        raise InputError(f"{path}: no such file or folder; {LAYOUTS}")
    if path.suffix.lower() == ".jsonl":
        return read_lines(path, problems)
    if path.suffix.lower() not in (*YAML, ".json"):
        raise InputError(f"{path}: no layout of cases; {LAYOUTS}")
    return _document(path, problems)


def _samples(root: Path, faces_only: bool, problems: Problems) -> Iterator[Stated]:
    """The samples of the release's layout. What is merely worth knowing of one, `lumosx import release` tells."""
    for sample in import_release(root, faces_only=faces_only):
        if sample.data is None:
            for message in sample.messages:
                if message.severity == "error":
                    problems.add(message.where, f"{message.code} {message.text}")
            continue
        truth = root / sample.name / TRUTH
        yield Stated(str(root / sample.name), sample.data, root, truth if truth.is_file() else None)


def _scene_files(folder: Path, problems: Problems) -> Iterator[Stated]:
    files = [path for path in folder.iterdir() if path.suffix.lower() in YAML and path.is_file()]
    clips = [path for path in folder.glob(f"*/{SCENE}") if not path.parent.name.startswith(".")]
    for path in sorted([*files, *clips], key=lambda path: natural_key(str(path))):
        name, truth = None, None
        if path.parent != folder:
            name, video = path.parent.name, path.parent / VIDEO
            truth = video if video.is_file() else None
        try:
            stated = Stated.load(path, name=name, truth=truth)
        except SourceError as error:
            problems.add(path, str(error))
            continue
        if isinstance(stated.data, dict) and "lumosx" in stated.data:
            yield stated


def _document(path: Path, problems: Problems) -> Iterator[Stated]:
    """The cases of a single YAML or JSON file."""
    if path.stat().st_size > MAX_BYTES:
        raise InputError(f"{path}: larger than {MAX_BYTES >> 20} MiB; write one case a line, as JSON lines (.jsonl)")
    source = read_source(path)
    keys = list(source.data) if isinstance(source.data, dict) else []
    if HEAD in keys:
        return read_manifest(path, source, problems)
    if is_opens2v(source.data):
        return _opens2v(path, source, problems)
    if "lumosx" in keys:
        return iter([Stated.load(path)])
    meant = nearest(HEAD, keys, count=1, cutoff=0.8)
    hint = f"unknown key `{meant[0]}`: did you mean `{HEAD}`?" if meant else f"no layout of cases; {LAYOUTS}"
    raise InputError(f"{path}: {hint}")


def _opens2v(path: Path, source: Source, problems: Problems) -> Iterator[Stated]:
    report = Report(str(path), source.lines)
    report_repeated(source.repeated, report)
    add_errors(report, problems)
    for case_id, entry in source.data.items():
        line = source.lines[(case_id,)]
        try:
            scene = scene_of(case_id, entry)
        except InputError as error:
            problems.add(f"{path}:{line}", str(error))
        else:
            yield Stated(str(path), scene, path.parent, lines={(): line})
