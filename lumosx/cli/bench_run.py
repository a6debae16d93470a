"""`lumosx bench run`: scores the videos of any model, or makes them with a checkpoint first."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from lumosx.evaluation.cases import Case
    from lumosx.evaluation.models import Models
    from lumosx.evaluation.results import Results
    from lumosx.evaluation.runner import Item, Suite
    from lumosx.evaluation.summary import MetricSummary
    from lumosx.playground.estimate import Estimate

ProtocolName = Literal["v1", "release"]
TaskName = Literal["identity", "subject"]
EngineName = Literal["local", "ray"]
T = TypeVar("T")

# By role of `Models`: what is measured by it and not without it.
GIVES = {
    "subjects": "all of people and attributes",
    "phrases": "attributes, objects, BindAcc",
    "likenesses": "CLIP-I, DINO-I",
    "words": "CLIP-T",
    "videos": "ViCLIP-T, ViCLIP-V",
    "flow": "dynamic_degree",
    "interpolator": "motion_smoothness",
    "reader": "unasked_text",
}
ASKED: dict[tuple[ProtocolName, TaskName], tuple[str, ...]] = {
    ("v1", "identity"): ("videos",),
    ("v1", "subject"): ("phrases", "likenesses", "words", "videos", "flow", "interpolator", "reader"),
    ("release", "identity"): (),
    ("release", "subject"): ("subjects", "phrases", "likenesses", "words", "videos", "flow"),
}


@dataclass(frozen=True)
class Chosen:
    """What scores, as the command line says it; opened where it is needed."""

    protocol: ProtocolName
    task: TaskName
    profile: str
    models: tuple[str, ...]
    allow: tuple[str, ...]
    looks: int
    device: str

    def open(self) -> "Suite":
        """Loads the models."""
        from lumosx.cli.sample import choose_device
        from lumosx.evaluation.models import load_models, load_profile
        from lumosx.evaluation.runner import Suite

        device = str(choose_device(self.device, "float32")[0])
        models = load_models(load_profile(self.profile, self.models), self.allow, device)
        return Suite.of(self.protocol, self.task, models, self.looks)


def command(
    cases: Annotated[Path, typer.Argument(metavar="CASES", help="Scenes, release folder, manifest, OpenS2V JSON.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Of the results; repeated, a run goes on.")],
    videos: Annotated[Path | None, typer.Option(metavar="DIR", help="With <id>.mp4 or <id>_s<seed>.mp4.")] = None,
    checkpoint: Annotated[str | None, typer.Option(metavar="NAME", help="Make the videos with it first.")] = None,
    seeds: Annotated[str, typer.Option(metavar="N,N", help="Of the videos to be made.")] = "0",
    counterfactual: Annotated[
        bool, typer.Option("--counterfactual", help="Also with attributes' owners exchanged: BindFlip.")
    ] = False,
    protocol: Annotated[ProtocolName, typer.Option(metavar="NAME", help="v1, or release: theirs bug for bug.")] = "v1",
    task: Annotated[TaskName, typer.Option(metavar="NAME", help="subject, or identity: faces alone.")] = "subject",
    profile: Annotated[str, typer.Option(metavar="NAME", help="Models: offline, permissive, paper.")] = "offline",
    model: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="ROLE=NAME[:WEIGHTS]. Repeatable.")] = None,
    allow: Annotated[list[str] | None, typer.Option(metavar="NAME", help="A restricted model. Repeatable.")] = None,
    looks: Annotated[int, typer.Option(min=0, metavar="N", help="Frames of a clip for v1; 0: all.")] = 16,
    engine: Annotated[EngineName, typer.Option(metavar="NAME", help="local, or ray: on several machines.")] = "local",
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda.")] = "auto",
) -> None:
    """Score videos of several people: identity, attributes, who wears what, motion. Killed, it goes on when repeated.

    Example: lumosx bench run configs/scenes/two_friends --checkpoint checkpoints/lumosx-tiny --out out/bench
    """
    if (videos is None) == (checkpoint is None):
        raise InputError("give either --videos DIR, to score what is there, or --checkpoint NAME, to make videos first")
    numbers = _seeds(seeds)
    _expect_folder(out)

    from lumosx.evaluation.counterfactual import FLIP, exchanged, expect_binding, with_flips
    from lumosx.evaluation.readers import read_cases
    from lumosx.evaluation.results import ROWS, write_results
    from lumosx.evaluation.runner import claim, describe_case, digest, score_items

    read = read_cases(cases, faces_only=task == "identity")
    if counterfactual:
        if (protocol, task) != ("v1", "subject"):
            raise InputError("--counterfactual is of the subject task by protocol v1, which measures binding")
        read += exchanged(read)
    chosen = Chosen(protocol, task, profile, tuple(model or ()), tuple(allow or ()), looks, device)
    strays: list[Path] = []
    if videos is not None:
        making, strays = _found(videos, read, protocol)
    else:
        assert checkpoint is not None
        making = _generated(read, numbers, checkpoint, device, out)
    suite = chosen.open()  # before hours of sampling, to see that it can be
    if counterfactual:
        expect_binding(suite.metrics)
    if missing := unfilled(protocol, task, suite.models):
        typer.echo(f"not measured, no model for: {', '.join(missing)}")
    claim(out, protocol, task, profile)  # last of what may refuse: another run may still take the folder
    items = list(making)
    (out / ROWS).unlink(missing_ok=True)  # of an earlier run; this one is not finished yet
    spread = chosen.open if engine == "ray" else None
    results = list(_tracked(score_items(items, suite, out, spread), "scoring", len(items)))
    digests = {case.id: digest(describe_case(case)) for case in read}
    source, identity = str(cases.resolve()), suite.identity
    if counterfactual:
        results, identity = with_flips(results), {**identity, "metrics": {**suite.metrics, FLIP: True}}
    run = write_results(results, out, identity, profile=profile, source=source, digests=digests, strays=strays)
    _show(run, out)
    if not run.card["rows"]["ok"]:
        typer.echo(f"no clip could be scored; {out / ROWS} says why", err=True)
        raise typer.Exit(1)


def unfilled(protocol: ProtocolName, task: TaskName, models: "Models") -> list[str]:
    """The roles that a protocol's task asks for and that no model has, each with what is not measured for it."""
    return [f"{role} ({GIVES[role]})" for role in ASKED[protocol, task] if not getattr(models, role)]


def _expect_folder(out: Path) -> None:
    for path in (out, *out.parents):
        if path.exists() and not path.is_dir():
            raise InputError(f"--out {out}: {path} is a file; choose a folder")


def _seeds(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isascii() and part.isdecimal() for part in parts) or len(set(parts)) < len(parts):
        raise InputError(f"--seeds {text}: write whole numbers with commas, each once, such as 0,1,2")
    return [int(part) for part in parts]


def _found(folder: Path, cases: "list[Case]", protocol: ProtocolName) -> "tuple[list[Item], list[Path]]":
    """The clips of the cases in a folder, and the videos there that belong to none."""
    from lumosx.evaluation.runner import items_of
    from lumosx.evaluation.videos import find_videos

    found = find_videos(folder, cases, protocol)
    by_case = {name: {video.seed: video.path for video in videos} for name, videos in found.by_case.items()}
    items = items_of(cases, by_case)
    if all(item.video is None for item in items):
        names = ", ".join(path.name for path in found.strays[:3]) or "no video"
        raise InputError(
            f"{folder}: no video of any case; it holds {names}, and a video of the first case would be "
            f"{cases[0].id}.mp4 or {cases[0].id}_s0.mp4"
        )
    return items, found.strays


def _generated(cases: "list[Case]", seeds: list[int], checkpoint: str, device: str, out: Path) -> "Iterator[Item]":
    """The clips as they are made; a checkpoint that there is not is refused at once."""
    from lumosx.cli.bench_generate import generate

    items = generate(cases, seeds, checkpoint, device, out / "videos")
    return _tracked(items, "sampling", len(cases) * len(seeds))


def _tracked(steps: Iterable[T], label: str, total: int) -> Iterator[T]:
    from rich.console import Console
    from rich.progress import track

    yield from track(steps, label, total=total, console=Console(stderr=True))


def _show(run: "Results", out: Path) -> None:
    from rich.console import Console

    from lumosx.evaluation.summary import summarise

    overall, *groups = summarise(run).items()
    Console().print(_table(run.name, overall[1]))
    if len(groups) > 1:
        Console().print(_table_of_groups(dict(groups)))
    card = run.card
    typer.echo("strict: over all clips; one without a value counts as the worst, and of binding as missing alone")
    if card["missing"]:
        typer.echo(f"no video: {_some(card['missing'])}")
    if card["errors"]:
        clips = list(dict.fromkeys(error["clip"] for error in card["errors"]))
        first = card["errors"][0]
        typer.echo(f"errors: {_some(clips)}; the first: {first['measure']}: {first['type']}: {first['message']}")
    if card["videos of no case"]:
        typer.echo(f"videos of no case, not scored: {_some(card['videos of no case'])}")
    restricted = sorted({each["name"] for each in card["models"].values() if not each["commercial"]})
    if restricted:
        typer.echo(f"not for commercial use: {', '.join(restricted)}")
    typer.echo(f"wrote {out}: results.parquet, card.json")
    typer.echo(f"`lumosx bench report {out} --html report.html` shows them")


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f", ... ({len(names)})" if len(names) > 5 else "")


def _table(title: str, metrics: "list[MetricSummary]") -> "Table":
    table = _blank(title, "strict", "measured", "95 %", "clips", "missing", "errors")
    for row in metrics:
        counts = (str(count or "-") for count in (row.clips, row.missing, row.errors))
        table.add_row(_name(row), _mean(row.strict), _mean(row.measured), _interval(row.measured), *counts)
    return table


def _table_of_groups(groups: "dict[str, list[MetricSummary]]") -> "Table":
    table = _blank("strict means", *groups)
    for rows in zip(*groups.values(), strict=True):
        table.add_row(_name(rows[0]), *(_mean(row.strict) for row in rows))
    return table


def _blank(title: str, *columns: str) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column("metric", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _name(row: "MetricSummary") -> str:
    from rich.markup import escape

    return escape(row.metric) + ("" if row.more_is_better else " <")


def _mean(estimate: "Estimate | None") -> str:
    return "-" if estimate is None else f"{estimate.mean:.3f}"


def _interval(estimate: "Estimate | None") -> str:
    if estimate is None:
        return "-"
    return f"{estimate.low:.3f} {estimate.high:.3f}" if isfinite(estimate.low) else "?"
