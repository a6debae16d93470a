"""`lumosx curate run` and `plan`: measures what is missing, or says what that would be."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lumosx.curation.curate import Curated, Packed
    from lumosx.curation.plan import Due
    from lumosx.curation.run import Stages
    from lumosx.curation.setup import Setup

EngineName = Literal["local", "ray"]
OFFLINE = (
    "The profile offline reads words that you wrote. --profile permissive asks models for them, and --demo shows a run "
    "of drawn videos."
)
FOLDER = typer.Argument(metavar="FOLDER", help="With videos, in folders of any depth.")
OUT = typer.Option(metavar="DATASET", help="The data set; repeated, a run goes on.")
PROFILE = typer.Option(metavar="NAME", help="Models: offline, permissive, paper, or a YAML file; else as before.")
ModelNames = Annotated[list[str] | None, typer.Option(metavar="TEXT", help="ROLE=NAME[:WEIGHTS]. Repeatable.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="TEXT", help="STAGE.SETTING=VALUE, as flow.most=3.0. Repeatable.")
]
Allowed = Annotated[list[str] | None, typer.Option(metavar="NAME", help="A restricted model. Repeatable.")]
FEW = 5  # errors that are told; the report has more
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda.")]


def run(
    folder: Annotated[Path | None, FOLDER] = None,
    out: Annotated[Path | None, OUT] = None,
    demo: Annotated[bool, typer.Option("--demo", help="Of drawn videos, and how well that went.")] = False,
    profile: Annotated[str | None, PROFILE] = None,
    model: ModelNames = None,
    settings: Settings = None,
    allow: Allowed = None,
    seed: Annotated[int, typer.Option(metavar="N", help="Of the choice of pictures and of --validation.")] = 0,
    validation: Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="Of videos, for validation.")] = 0.0,
    engine: Annotated[EngineName, typer.Option(metavar="NAME", help="local, or ray: many processes.")] = "local",
    workers: Annotated[int | None, typer.Option(min=1, metavar="N", help="Processes of ray.")] = None,
    address: Annotated[str | None, typer.Option(metavar="URL", help="Of a cluster of ray's.")] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Measure again what failed before.")] = False,
    failures: Annotated[float, typer.Option(min=0, max=1, metavar="SHARE", help="That stop the run.")] = 0.05,
    device: Device = "auto",
) -> None:
    """Cut, filter, caption and cut out: clips with faces, attributes of known owners, objects and backgrounds.

    Killed at any time, it goes on where it was when it is repeated. A threshold that changes measures nothing again.

    --demo needs no videos and no downloads: it draws footage with faults planted, curates it, and says what was found.

    Example: lumosx curate run videos --out dataset --profile permissive --model tagger=server:http://localhost:8000/v1
    """
    from lumosx.cli import curate_demo
    from lumosx.curation.curate import claimed, curate, pack
    from lumosx.curation.run import TooManyFailures
    from lumosx.data.store import write_parquet

    if demo:
        if folder:
            raise InputError("--demo draws its own videos; leave FOLDER out")
        out, profile = out or curate_demo.OUT, profile or curate_demo.PROFILE
    if out is None or not (folder or demo):
        raise InputError("say where the videos are and where the data set goes: FOLDER --out DATASET; or try --demo")
    setup = _setup(out, profile, model, settings, allow, device, seed, validation)
    stages = _ready(folder, out, setup)  # before anything is written
    with claimed(out):
        folder = folder or curate_demo.make_footage(out)
        try:
            with _Bars() as bars:
                told = bars, stages, bars.say
                curated = curate(folder, out, setup, engine, workers, address, failures, retry, *told)
        except TooManyFailures as error:
            typer.echo(f"{error}\nWhat was measured is kept; `lumosx curate report {out}` shows it.", err=True)
            raise typer.Exit(1) from error
        packed = pack(curated, out, setup)
        write_parquet(packed.kept.values(), out)
    _show(curated, packed, folder, out)
    if demo:
        curate_demo.show_scores(curated, folder)


def plan(
    folder: Annotated[Path, FOLDER],
    out: Annotated[Path, OUT],
    profile: Annotated[str | None, PROFILE] = None,
    model: ModelNames = None,
    settings: Settings = None,
    allow: Allowed = None,
    device: Device = "auto",
) -> None:
    """Say what a run would measure, why, and about how long that takes. Nothing is measured.

    Example: lumosx curate plan videos --out dataset --set flow.most=3.0
    """
    from lumosx.curation.curate import resurvey
    from lumosx.curation.ledger import Ledger
    from lumosx.curation.plan import plan as planned
    from lumosx.curation.sources import WORK

    setup = _setup(out, profile, model, settings, allow, device)
    curated, ledger = resurvey(out, folder, _ready(folder, out, setup)), Ledger(out / WORK / "ledger")
    kinds = list(curated.stages)
    rows = planned(curated.sources, kinds[:1], curated.stages, ledger)
    rows += planned(curated.clips, kinds[1:], curated.stages, ledger)
    _show_plan(rows, len(curated.found.sources))


def _setup(
    out: Path,
    profile: str | None,
    models: list[str] | None,
    settings: list[str] | None,
    allow: list[str] | None,
    device: str,
    seed: int = 0,
    validation: float = 0.0,
) -> "Setup":
    """As stated; who states neither profile nor models means those of the data set's last run."""
    from lumosx.cli.sample import choose_device
    from lumosx.curation.setup import Setup, load_past

    where = str(choose_device(device, "float32")[0])
    if profile is None and not models:
        try:
            last = load_past(out).setup
            profile, models, allow = last.profile, list(last.models), [*last.allow, *(allow or ())]
        except InputError:  # the first run
            pass
    named = profile or "offline", tuple(models or ()), tuple(settings or ()), tuple(dict.fromkeys(allow or ()))
    return Setup(*named, where, seed, validation)


def _ready(folder: Path | None, out: Path, setup: "Setup") -> "Stages":
    """The stages, or all that is wrong, and another way for whom words beside the videos are news."""
    from lumosx.curation.setup import ready

    try:
        return ready(folder, out, setup)
    except InputError as error:
        asked = {text.partition("=")[0] for text in setup.models}
        if setup.profile != "offline" or {"captioner", "tagger"} <= asked:
            raise
        raise InputError(f"{error}\n{OFFLINE}") from error


class _Bars:
    """A bar for each pass."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=Console(stderr=True))
        self._tasks: dict[str, object] = {}

    def __enter__(self) -> "_Bars":
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line above the bars."""
        self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def __call__(self, name: str, done: int, of: int) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=of)
        self._progress.update(self._tasks[name], completed=done, total=of)  # pyright: ignore[reportArgumentType]


def _show(curated: "Curated", packed: "Packed", folder: Path, out: Path) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from lumosx.curation.curate import absent
    from lumosx.curation.report import funnel, problems

    kinds = list(curated.stages)
    table = Table(box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("stage")
    for column in ("came", "left", "failed", "stayed"):
        table.add_column(column, justify="right")
    table.add_column("why they left", overflow="fold")
    steps = [*funnel(curated.sources, kinds[:1]), *funnel(curated.clips, kinds[1:])]
    for step in steps:
        why = ", ".join(f"{reason.code} {reason.count}" for reason in step.reasons)
        table.add_row(step.stage, *map(str, (step.came, step.rejected, step.failed, step.stayed)), why)
    Console().print(table)
    for problem in problems([*curated.sources, *curated.clips], {}, most=FEW):
        where = "; ".join(problem.examples) + ("; ..." if problem.count > len(problem.examples) else "")
        typer.echo(f"failed at {problem.stage}: {problem.message.removeprefix('…: ')} ({where})")
    found = curated.found
    if found.copies:
        typer.echo(f"copies of other files, left out: {_some(found.copies)}")
    if others := sum(found.others.values()):
        suffixes = ", ".join(sorted(suffix or "without a suffix" for suffix in found.others)[:8])
        typer.echo(f"{_counted(others, 'other file')} left out ({suffixes})")
    if gone := absent(out, found):
        are = "videos of earlier runs are" if gone > 1 else "video of earlier runs is"
        typer.echo(f"{gone} {are} not in {folder}; the clips are left out")
    for name, why in [*found.unreadable.items(), *packed.without.items()]:
        typer.echo(f"left out: {name}: {why}")
    if packed.kept:
        typer.echo(f"wrote {out}: {_counted(len(packed.kept), 'clip')} in clips.parquet; train with data.path={out}")
    else:
        most = max(steps, key=lambda step: step.rejected + step.failed)
        where = f"; the stage {most.stage} took most: {most.rejected + most.failed} of {most.came}"
        typer.echo(f"wrote {out}: no clip came through{where if most.rejected + most.failed else ''}")
    typer.echo(f"`lumosx curate report {out}` shows every clip, and why it stays or left")


def _show_plan(rows: "Sequence[Due]", videos: int) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{videos} videos", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("stage")
    for column in ("stay", "left", "due", "may follow", "s each", "at most"):
        table.add_column(column, justify="right")
    table.add_column("why")
    for row in rows:
        why = f"{row.other} were measured with other settings or models" if row.other else ""
        seconds = "-" if row.seconds is None else f"{row.seconds:.2f}"
        most = "-" if row.at_most is None else f"{row.at_most / 60:.1f} min"
        table.add_row(row.stage, *map(str, (row.stays, row.left, row.due, row.later)), seconds, most, why)
    Console().print(table)
    typer.echo("at most: one process, if every clip came so far; -: nothing like it was measured here yet")


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _some(names: "dict[str, str]") -> str:
    shown = [f"{name} (of {original})" for name, original in list(names.items())[:5]]
    return ", ".join(shown) + (f", ... ({len(names)})" if len(names) > 5 else "")
