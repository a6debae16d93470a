"""`lumosx curate report`, `review`, `pack` and `erase`: what is done with a data set that was curated."""

import webbrowser
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.curation.curate import Curated, Packed
    from lumosx.curation.setup import Past

DataSet = Annotated[Path, typer.Argument(metavar="DATASET", help="Made by `lumosx curate run`.")]


def report(
    data_set: DataSet,
    html: Annotated[Path | None, typer.Option(metavar="FILE", help="Default: DATASET/curation/report.html.")] = None,
    clips: Annotated[int, typer.Option(min=0, metavar="N", help="Contact sheets at most.")] = 60,
    seed: Annotated[int, typer.Option(metavar="N", help="Of their choice.")] = 0,
) -> None:
    """Write one page: the funnel with its thresholds, histograms, errors, and clips with why they stay or left.

    Example: lumosx curate report dataset
    """
    from lumosx.curation.report import ReportInput
    from lumosx.curation.report_page import report_html
    from lumosx.curation.review import FILE, read_reviews
    from lumosx.curation.setup import load_past
    from lumosx.curation.sources import WORK
    from lumosx.files import atomic

    past = load_past(data_set)
    curated, packed = _packed(data_set, past)
    page = ReportInput(
        name=data_set.resolve().name,
        root=data_set,
        stages=curated.stages,
        sources=curated.sources,
        clips=curated.clips,
        records=packed.made,
        reviews=read_reviews(data_set / FILE),
        unreadable=curated.found.unreadable,
        copies=curated.found.copies,
        unpackable=packed.without,
        card={
            "models": past.cards,
            "videos": str(past.folder),
            "profile": past.setup.profile,
            "settings": list(past.setup.settings),
            "seed": past.setup.seed,
        },
    )
    place = html or data_set / WORK / "report.html"
    with atomic(place) as temporary:
        temporary.write_text(report_html(page, clips, seed), encoding="utf-8")
    typer.echo(f"wrote {place}")


def review(
    data_set: DataSet,
    reviewer: Annotated[str, typer.Option(metavar="NAME", help="Who judges; two can be compared.")] = "me",
    sample: Annotated[int | None, typer.Option(min=1, metavar="N", help="That many clips, drawn at random.")] = None,
    port: Annotated[int, typer.Option(min=0, metavar="N", help="0: a free one.")] = 0,
    browser: Annotated[bool, typer.Option(help="Open the page.")] = True,
) -> None:
    """Serve a page on this machine to accept and reject clips and to move attributes to other people, by keyboard.

    What is judged counts from the next `lumosx curate run` on.

    Example: lumosx curate review dataset --reviewer ada
    """
    from lumosx.curation.review import FILE, audit, read_reviews
    from lumosx.curation.review_server import Desk, ReviewServer
    from lumosx.curation.setup import load_past

    curated, packed = _packed(data_set, load_past(data_set))
    standings = {standing.record.id: standing for standing in curated.clips}
    clips = [(standings[name], record) for name, record in packed.made.items()]
    if not clips:
        raise InputError(f"{data_set}: no clip came through, so there is nothing to review")
    desk = Desk(data_set, clips, reviewer, sample)
    with ReviewServer(desk, port) as server:
        typer.echo(f"{len(desk.clips)} to review: {server.url}\nCtrl+C ends it; every decision is kept at once.")
        if browser:
            webbrowser.open(server.url)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            typer.echo("\n" + "\n".join(audit(read_reviews(data_set / FILE), packed.made).lines()))


def pack(
    data_set: DataSet,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="A new one.")],
    per_shard: Annotated[int, typer.Option(min=1, metavar="N", help="Clips a shard.")] = 1000,
) -> None:
    """Write a data set as WebDataset shards with an index, which training reads as well as the data set itself.

    Example: lumosx curate pack dataset shards
    """
    from lumosx.curation.shards import pack_shards

    paths = pack_shards(data_set, folder, per_shard)
    typer.echo(f"wrote {folder}: {len(paths)} shards and their index; train with data.path={folder}")


def erase(
    data_set: DataSet,
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO...", help="Names, ends of paths, or ids.")],
) -> None:
    """Take videos out of a data set with every trace: measurements, clips, pictures. Later runs leave them out.

    The video files themselves stay where they are; they need not be there any more.

    Example: lumosx curate erase dataset holiday.mp4
    """
    from lumosx.curation.curate import claimed, duplicates_of
    from lumosx.curation.erase import erase as erase_sources
    from lumosx.curation.erase import measured
    from lumosx.curation.ledger import Ledger
    from lumosx.curation.setup import load_past
    from lumosx.curation.sources import KNOWN, WORK, ids_of, names_of

    folder = load_past(data_set).folder
    names = names_of(folder, data_set / WORK / KNOWN)
    known = set().union(measured(Ledger(data_set / WORK / "ledger")), *names.values())
    found = {video: {video} if video in known else ids_of(video, names, folder) for video in videos}
    unknown = [video for video, ids in found.items() if not ids]
    if unknown:
        ends = {Path(name).name: name for name in names}
        near = {ends[match] for video in unknown for match in get_close_matches(Path(video).name, ends)}
        there = ", ".join(sorted(near) or list(names)[:5])
        raise InputError(f"{data_set}: no video {', '.join(unknown)}; there is {there}")
    ids = set().union(*found.values())
    with claimed(data_set):
        copies = duplicates_of(data_set, ids)
        blobs = erase_sources(data_set / WORK, data_set, ids)
    typer.echo(f"erased {', '.join(videos)} and {blobs} files from {data_set}")
    if copies:
        typer.echo(f"the same is seen in {', '.join(copies)}, which stays unless it is erased as well")
    typer.echo("shards, reports and checkpoints that were made elsewhere are as they were, and so are the videos")


def _packed(data_set: Path, past: "Past") -> "tuple[Curated, Packed]":
    """Where a data set stands after its last run, and the records that follow. No model is asked."""
    from lumosx.curation.curate import pack, resurvey

    if not past.folder.is_dir():
        raise InputError(f"{past.folder}: the videos were there and are gone; run NEW_FOLDER --out {data_set} once")
    curated = resurvey(data_set, past.folder, past.stages())
    return curated, pack(curated, data_set, past.setup)
