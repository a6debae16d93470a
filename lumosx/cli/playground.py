"""`lumosx playground render`: clips of the procedural world as a data set that anybody and any tool can open."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.cli import measure
from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.playground import Clips, World

app = typer.Typer(help="Clips of the procedural world, with references and truth.", no_args_is_help=True)
app.command("measure")(measure.command)

BATCH = 16  # clips that are rendered together


@app.callback()
def _group() -> None:
    """Clips of the procedural world, with references and truth."""


@app.command()
def render(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder; each clip gets one of its own in it.")],
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip; the others follow.")] = 0,
    split: Annotated[
        str, typer.Option(help="Splits never share a clip; training keeps 'validation' out.", metavar="NAME")
    ] = "show",
    subjects: Annotated[int | None, typer.Option(min=1, max=4, help="Subjects a clip (default: drawn).")] = None,
    placed: Annotated[
        bool | None,
        typer.Option("--placed/--unplaced", help="Whether captions say who stands where (default: drawn)."),
    ] = None,
    same_noun: Annotated[
        bool | None,
        typer.Option("--same-noun/--distinct-nouns", help="Whether two subjects share their noun (default: drawn)."),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Pixels of the clips, multiples of 16 (default: the world's)."),
    ] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Frames a clip, 4n+1 (default: the world's).")] = None,
    picture_size: Annotated[int, typer.Option(min=16, help="Height of the reference pictures.")] = 128,
    device: Annotated[
        str, typer.Option(metavar="NAME", help="What renders the videos: auto, cpu, cuda (which rounds differently).")
    ] = "cpu",
) -> None:
    """Write clips as a data set: clips.jsonl for `lumosx train data.path=OUT`, and for every clip a scene.yaml for
    `lumosx sample`, its pictures, an MP4, all frames in one PNG, the words of its caption and the truth. Without
    clips.jsonl, training reads the scenes, as you may have changed them.

    Example: lumosx playground render out/world --clips 4 --subjects 2 --unplaced
    """
    chosen = _size(size)
    _expect_sound(out, split, frames)

    from lumosx.cli.sample import choose_device
    from lumosx.playground import World

    world = World(chosen or World.size, frames or World.frames)
    wishes = {"split": split, "subjects": subjects, "placed": placed, "same_noun": same_noun}
    drawn = _rendered(world, range(seed, seed + clips), device=choose_device(device, "float32")[0], **wishes)
    _write(drawn, clips, out, picture_size)
    typer.echo(f"wrote {out}: {clips} clips of seeds {seed} to {seed + clips - 1}")


def _expect_sound(out: Path, split: str, frames: int | None) -> None:
    if frames is not None and frames % 4 != 1:
        raise typer.BadParameter(f"{frames} is not 4n+1, such as 9 or 17", param_hint="--frames")
    if not re.fullmatch(r"\w[\w.-]{,39}", split, re.ASCII):
        raise typer.BadParameter(f"{split!r} is no plain name, such as 'show'", param_hint="--split")
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise InputError(f"{out} is there already; name a new folder, or remove it first")


def _rendered(world: "World", seeds: Sequence[int], **options: Any) -> Iterator[tuple["Clips", int]]:
    """Each clip as a batch and its place in it."""
    for first in range(0, len(seeds), BATCH):
        batch = world.render(seeds[first : first + BATCH], **options)
        yield from ((batch, index) for index in range(len(batch)))


def _write(drawn: Iterator[tuple["Clips", int]], count: int, out: Path, picture_size: int) -> None:
    from rich.console import Console
    from rich.progress import track

    from lumosx.data.rendered import write_clip_folder, write_index
    from lumosx.files import atomic

    with atomic(out) as folder:
        for batch, index in track(drawn, "clips", total=count, console=Console(stderr=True)):
            write_clip_folder(batch, index, folder, picture_size)
        write_index(folder)


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text, re.ASCII)
    if match is None or int(match[1]) % 16 or int(match[2]) % 16:
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT in multiples of 16, such as 64x64", param_hint="--size")
    return int(match[1]), int(match[2])
