"""Which video shows which case: by exact names, or as the release's benchmark looks for them."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal, NamedTuple

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.scene.release import file_system_order, natural_key

SUFFIXES = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif")


@dataclass(frozen=True)
class Video:
    """A video of a case. `seed` is None where the file's name does not say it."""

    case: str
    seed: int | None
    path: Path


class Found(NamedTuple):
    """Videos by case, an empty list where there is none, each case's by seed; and the videos of no case."""

    by_case: dict[str, list[Video]]
    strays: list[Path]


def find_videos(
    folder: Path,
    cases: Iterable[Case],
    protocol: Literal["v1", "release"] = "v1",
    *,
    listing: Callable[[Path], list[str]] = file_system_order,
) -> Found:
    """The videos of cases in a folder, not in folders inside it.

    v1: `<id>.<suffix>`, or `<id>_s<seed>.<suffix>` as `lumosx sample` writes; nothing else belongs to a case.

    release: for each case the first name that fits `<id>*.mp4` in the order in which the operating system lists the
    folder. So `a_10` may get the video of `a_101`, on one machine and not on another, and one of several seeds is
    taken by chance (release_facts: BF:180, BG:155-160, BD:172-175, BQ:127).

    Args:
        listing: gives the names in a folder in the operating system's order.

    Raises:
        InputError: no such folder; under v1, a name that fits two cases, or two files for one case and seed.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the one that holds the videos")
    names = [name for name in listing(folder) if Path(name).suffix.lower() in SUFFIXES and name[0] != "."]
    find = _first_hits if protocol == "release" else _exact
    by_case: dict[str, list[Video]] = {case.id: [] for case in cases}
    for video in find(folder, names, list(by_case)):
        by_case[video.case].append(video)
    taken = {video.path for videos in by_case.values() for video in videos}
    strays = [folder / name for name in sorted(names, key=natural_key) if folder / name not in taken]
    return Found(by_case, strays)


def _first_hits(folder: Path, names: list[str], cases: list[str]) -> Iterator[Video]:
    for case in cases:
        hit = next((name for name in names if fnmatchcase(name, f"{case}*.mp4")), None)
        if hit is not None:
            yield Video(case, None, folder / hit)


def _exact(folder: Path, names: list[str], cases: list[str]) -> list[Video]:
    known = set(cases)
    files = defaultdict[tuple[str, int | None], list[str]](list)
    problems = []
    for name in sorted(names, key=natural_key):
        meanings = [meaning for meaning in _meanings(Path(name).stem) if meaning[0] in known]
        if len(meanings) > 1:
            cases_meant = " or ".join(repr(case) for case, _ in meanings)
            problems.append(f"{name}: a video of the case {cases_meant}? Rename one of them")
        for meaning in meanings:
            files[meaning].append(name)
    for (case, seed), found in files.items():
        if len(found) > 1:
            which = repr(case) if seed is None else f"{case!r} with seed {seed}"
            problems.append(f"{', '.join(found)}: {len(found)} videos of the case {which}; keep one")
    if problems:
        raise InputError("\n".join([f"{folder}: it is not clear which video shows which case", *problems]))
    ordered = sorted(files.items(), key=lambda item: -1 if item[0][1] is None else item[0][1])
    return [Video(case, seed, folder / name) for (case, seed), [name] in ordered]


def _meanings(stem: str) -> list[tuple[str, int | None]]:
    """The case and seed that a file's name may state."""
    seeded = re.fullmatch(r"(.+)_s([0-9]+)", stem)
    return [(stem, None), *([(seeded[1], int(seeded[2]))] if seeded else [])]
