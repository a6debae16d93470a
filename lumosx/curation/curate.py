"""A run of curation: the videos of a folder, through all stages, into a data set.

The data set is a folder: `clips.parquet` and the media in `blobs/`, which training reads, and in `curation/` what the
next run, the report and the review need: the ledger of all measurements, the settings, and reviews.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from lumosx.curation.blobs import Blobs
from lumosx.curation.erase import erased
from lumosx.curation.ledger import Ledger
from lumosx.curation.pack import NoRecord, record_of
from lumosx.curation.pipeline import GROUPS, SOURCES
from lumosx.curation.review import FILE as REVIEWS
from lumosx.curation.review import read_reviews, reviewed
from lumosx.curation.run import Engine, Kind, Stages, Standing, Worker, advance, local, spread, survey
from lumosx.curation.setup import Past, Setup, cards, changes, load_past, on_gpu, ready, save
from lumosx.curation.sources import KNOWN, WORK, Clip, Found, find_sources
from lumosx.curation.stage import Failed, Look
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.duplicates import NearDuplicates
from lumosx.curation.stages.shots import ShotSplit
from lumosx.errors import InputError
from lumosx.files import clear_leftovers, lock
from lumosx.records import ClipRecord
from lumosx.scene import SceneError

BUDGET = 0.05  # share of the records that may fail in a pass
EngineName = Literal["local", "ray"]
Progress = Callable[[str, int, int], None]  # name of the pass, jobs done, all jobs


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
    stages: Stages | None = None,
    tell: Callable[[str], None] = lambda text: None,
) -> Curated:
    """Measures all that is missing. Killed at any time, it goes on where it was when it is called again.

    Args:
        folder: with videos, in folders of any depth.
        out: the data set, which nobody else may be writing to (`claimed`).
        setup: profile, models, settings.
        engine: "local": one clip after the other in this process. "ray": over the processes of Ray.
        workers, address: of Ray (`map_with_ray`).
        budget: share of the records that may fail in a pass over them.
        retry: measure again what failed; otherwise only what failed for a reason that may pass.
        progress: told about each pass.
        stages: those that `ready` gave; None: asks it.
        tell: told what is not as in the last run.

    Raises:
        InputError: something is wrong with folder, settings or models.
        TooManyFailures: more than the budget allows.
    """
    if engine == "local" and (workers or address):
        raise InputError("workers and address are for the engine ray; local is this process alone")
    stages = stages or ready(folder, out, setup)
    ledger = Ledger(out / WORK / "ledger")
    found = _found(folder, out, ledger)
    past = Past(folder.resolve(), setup, setup.stated(), cards(stages))
    try:
        changed = changes(load_past(out), past)
    except InputError:  # the first run, or one that was of another form
        changed = ""
    if changed:
        tell(changed)
    save(past, out)
    ledger.tidy()
    Blobs(out).tidy()
    for each in (out, out / WORK):
        clear_leftovers(each)

    def measure(kinds: Sequence[Kind]) -> Engine:
        if engine == "local":
            return local(Worker(stages, out))
        return spread(partial(_worker, past, kinds, out.resolve()), workers, address, on_gpu(setup, kinds))

    again: Callable[[Failed], bool] = (lambda failed: True) if retry else (lambda failed: failed.transient)

    def go(name: str, standings: Sequence[Standing], group: Sequence[Kind]) -> list[Standing]:
        kinds, told = [kind for kind in group if kind in stages], partial(progress, name)
        return advance(standings, kinds, stages, ledger, measure(kinds), budget, again, told)

    sources = go("shots", [Standing(source) for source in found.sources], SOURCES)
    clips = [Standing(clip) for clip in clips_of(sources)]
    for name, group in GROUPS.items():
        clips = go(name, clips, group)
    return Curated(found, stages, sources, clips)


def absent(out: Path, found: Found) -> int:
    """How many videos that clips were measured of are not in the folder of this run."""
    clips = Ledger(out / WORK / "ledger").records(BorderCrop.name)
    return len({clip.split("-")[0] for clip in clips} - {source.id for source in found.sources})


def resurvey(out: Path, folder: Path, stages: Stages) -> Curated:
    """Where a data set stands by its ledger; measures nothing.

    Args:
        out: the data set.
        folder: with videos.
        stages: of a setup, or those of the last run (`load_past`).

    Raises:
        InputError: there are no videos, or the ledger cannot be read.
    """
    ledger = Ledger(out / WORK / "ledger")
    found = _found(folder, out, ledger)
    sources = survey([Standing(source) for source in found.sources], SOURCES, stages, ledger)
    kinds = [kind for kind in stages if kind not in SOURCES]
    clips = [Standing(clip) for clip in clips_of(sources)]
    return Curated(found, stages, sources, survey(clips, kinds, stages, ledger))


def duplicates_of(out: Path, sources: Collection[str]) -> list[str]:
    """Names of other videos of which a clip is a near-duplicate of one of some videos', by their ids; by the last run's
    measurements, of what is still in its folder."""
    past = load_past(out)
    if not past.folder.is_dir():
        return []
    curated = resurvey(out, past.folder, past.stages())
    clips = {one.record.id: one.record for one in curated.clips if isinstance(one.record, Clip)}
    values = {one.record.id: one.values[NearDuplicates] for one in curated.clips if NearDuplicates in one.values}
    stage, own = curated.stages[NearDuplicates], {name for name in values if clips[name].source.id in sources}
    assert isinstance(stage, NearDuplicates)
    return sorted({clips[name].source.name for name in stage.copies(values, own)})


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
            except (NoRecord, SceneError) as error:
                without[standing.record.id] = " ".join(str(error).split())
    return Packed(made, reviewed(made, read_reviews(out / REVIEWS)), without)


def clips_of(sources: Sequence[Standing]) -> list[Clip]:
    """The clips that videos are cut into."""
    return [
        Clip(standing.record, start, end)  # pyright: ignore[reportArgumentType]
        for standing in sources
        if standing.alive
        for start, end in standing.values[ShotSplit].clips
    ]


@contextmanager
def claimed(out: Path) -> Iterator[None]:
    """Keeps a data set to this process. Raises InputError if another one works on it."""
    held = lock(out / WORK / "lock")
    if held is None:
        raise InputError(f"{out}: another process works on this data set; wait for it, or stop it")
    with held:
        yield


def _found(folder: Path, out: Path, ledger: Ledger) -> Found:
    """What lies in the folder. Videos that are gone are remembered by name as long as anything that was measured of
    them is there."""
    return find_sources(folder, out / WORK / KNOWN, erased(out / WORK), ledger.records(ShotSplit.name))


def _worker(past: Past, kinds: Sequence[Kind], out: Path) -> Worker:
    """Made anew in every process, for these stages alone."""
    return Worker(past.stages(kinds), out)
