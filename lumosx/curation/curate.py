"""A run of curation: the videos of a folder, through all stages, into a data set.

The data set is a folder: `clips.parquet` and the media in `blobs/`, which training reads, and in `curation/` what the
next run, the report and the review need: the ledger of all measurements, the settings, and reviews.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lumosx.curation.blobs import Blobs
from lumosx.curation.erase import erased
from lumosx.curation.ledger import Ledger
from lumosx.curation.models import REGISTRY
from lumosx.curation.pack import WordsDiffer, record_of
from lumosx.curation.pipeline import GROUPS, SOURCES, make_stages, parse_settings
from lumosx.curation.review import FILE as REVIEWS
from lumosx.curation.review import read_reviews, reviewed
from lumosx.curation.run import Kind, Stages, Standing, Worker, advance, local, spread, survey
from lumosx.curation.sources import Clip, Found, find_sources
from lumosx.curation.stage import Failed, Look
from lumosx.curation.stages.shots import ShotSplit
from lumosx.errors import InputError
from lumosx.files import clear_leftovers, lock, write_json
from lumosx.records import ClipRecord
from lumosx.scene import SceneError

WORK = "curation"  # folder of a data set with what is not for training
BUDGET = 0.05  # share of the records that may fail in a pass
EngineName = Literal["local", "ray"]
Progress = Callable[[str, int, int], None]  # name of the pass, jobs done, all jobs


@dataclass(frozen=True)
class Setup:
    """What a run depends on besides the videos: as the command line says it, and as the next command finds it again.

    models, settings: in the place of the profile's. allow: restricted models by name. validation: share of the videos
    whose clips training is validated on.
    """

    profile: str = "offline"
    models: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    device: str = "cpu"
    seed: int = 0
    validation: float = 0.0

    def stages(self) -> dict[Kind, Any]:
        """Makes them. Raises InputError with all that is wrong."""
        profile = REGISTRY.load_profile(self.profile, self.models)
        settings = {stage: dict(stated) for stage, stated in profile.settings.items()}
        for stage, stated in parse_settings(list(self.settings)).items():
            settings.setdefault(stage, {}).update(stated)
        return make_stages(REGISTRY.make(profile, self.allow, self.device), settings)


@dataclass(frozen=True)
class Curated:
    """Where a run stands: what lies in the folder, and how far each video and each clip got."""

    found: Found
    stages: Stages
    sources: list[Standing]
    clips: list[Standing]


def curate(
    folder: Path,
    out: Path,
    setup: Setup,
    engine: EngineName = "local",
    workers: int | None = None,
    address: str | None = None,
    budget: float = BUDGET,
    retry: bool = False,
    progress: Progress = lambda name, done, of: None,
) -> Curated:
    """Measures all that is missing. Killed at any time, it goes on where it was when it is called again.

    Args:
        folder: with videos, in folders of any depth.
        out: the data set.
        setup: profile, models, settings.
        engine: "local": one clip after the other in this process. "ray": over the processes of Ray.
        workers, address: of Ray (`map_with_ray`).
        budget: share of the records that may fail in a pass over them.
        retry: measure again what failed; otherwise only what failed for a reason that may pass.
        progress: told about each pass.

    Raises:
        InputError: something is wrong with folder, settings or models, or another process works on the data set.
        TooManyFailures: more than the budget allows.
    """
    if engine == "local" and (workers or address):
        raise InputError("workers and address are for the engine ray; local is this process alone")
    stages = setup.stages()
    with claimed(out):
        found = find_sources(folder, out / WORK / "sources.json", erased(out / WORK))
        write_json({"folder": str(folder.resolve()), **asdict(setup)}, out / WORK / "setup.json")
        ledger = Ledger(out / WORK / "ledger")
        ledger.tidy()
        Blobs(out).tidy()
        for each in (out, out / WORK):
            clear_leftovers(each)
        measure = local(Worker(stages, out, setup.seed))
        if engine == "ray":
            measure = spread(partial(_worker, setup, out.resolve()), workers, address)
        again: Callable[[Failed], bool] = (lambda failed: True) if retry else (lambda failed: failed.transient)
        go = partial(advance, stages=stages, ledger=ledger, measure=measure, budget=budget, again=again)
        sources = go(found.sources, [], SOURCES, on_done=partial(progress, "shots"))
        clips, standings, before = clips_of(sources), list[Standing](), list[Kind]()
        for name, group in GROUPS.items():
            kinds = [kind for kind in group if kind in stages]
            standings = go(clips, before, kinds, on_done=partial(progress, name))
            before += kinds
        return Curated(found, stages, sources, standings)


def resurvey(out: Path, folder: Path | None = None, setup: Setup | None = None) -> Curated:
    """Where a data set stands by its ledger; measures nothing.

    Args:
        out: the data set.
        folder, setup: other ones than those of the last run.

    Raises:
        InputError: no run has been there, and not both are given.
    """
    if folder is None or setup is None:
        last_folder, last = load_setup(out)
        folder, setup = folder or last_folder, setup or last
    stages = setup.stages()
    found = find_sources(folder, out / WORK / "sources.json", erased(out / WORK))
    ledger = Ledger(out / WORK / "ledger")
    sources = survey(found.sources, SOURCES, stages, ledger)
    kinds = [kind for kind in stages if kind not in SOURCES]
    return Curated(found, stages, sources, survey(clips_of(sources), kinds, stages, ledger))


@dataclass(frozen=True)
class Packed:
    """The records of a data set: as curation made them, as reviews leave them, and why clips that came through have
    none."""

    made: dict[str, ClipRecord]
    kept: dict[str, ClipRecord]
    without: dict[str, str]


def pack(curated: Curated, out: Path, setup: Setup) -> Packed:
    """The records of all clips that came through. All clips of a video are trained on, or none is.

    Raises:
        InputError: a line of the reviews cannot be read.
    """
    made, without = {}, {}
    for standing in curated.clips:
        if standing.alive:
            try:
                look = Look(standing.record, standing.values, Blobs(out), setup.seed)
                made[standing.record.id] = record_of(look, curated.stages, setup.validation)
            except (WordsDiffer, SceneError) as error:
                without[standing.record.id] = " ".join(str(error).split())
    return Packed(made, reviewed(made, read_reviews(out / REVIEWS)), without)


def cards(stages: Stages) -> dict[str, dict[str, Any]]:
    """What the models say of themselves, by role."""
    found: dict[str, dict[str, Any]] = {}
    for stage in stages.values():
        for each in fields(stage):
            if each.metadata.get("use") == "model":
                found[each.metadata["role"]] = getattr(stage, each.name).card.to_dict()
    return found


def load_setup(out: Path) -> tuple[Path, Setup]:
    """The folder and the setup of the last run.

    Raises:
        InputError: there was none.
    """
    path = out / WORK / "setup.json"
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        folder = Path(data.pop("folder"))
        setup = Setup(**data)
        setup = replace(
            setup, models=tuple(setup.models), settings=tuple(setup.settings), allow=tuple(setup.allow)
        )  # JSON knows no tuples
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out}: no run of curation has been there ({path.name}: {error})") from error
    return folder, setup


def clips_of(sources: Sequence[Standing]) -> list[Clip]:
    """The clips that videos are cut into."""
    return [
        Clip(standing.record, start, end)  # pyright: ignore[reportArgumentType]
        for standing in sources
        if standing.alive
        for start, end in standing.values[ShotSplit].clips  # pyright: ignore[reportAttributeAccessIssue]
    ]


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keeps a data set to this process. Raises InputError if another one works on it."""
    held = lock(out / WORK / "lock")
    if held is None:
        raise InputError(f"{out}: another process works on this data set; wait for it, or stop it")
    with held:
        yield


def _worker(setup: Setup, out: Path) -> Worker:
    """Made anew in every process."""
    return Worker(setup.stages(), out, setup.seed)
