"""`lumosx playground render`: clips of the procedural world as folders that anybody and any tool can open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.cli import measure

if TYPE_CHECKING:
    from lumosx.playground import Clips

app = typer.Typer(help="Clips of the procedural world, with references and truth.", no_args_is_help=True)
app.command("measure")(measure.command)

FPS = 8.0
SHOWN = 192  # least height of a frame in frames.png
SPACE = 4


@app.callback()
def _group() -> None:
    """Clips of the procedural world, with references and truth."""


@app.command()
def render(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A folder; each clip gets one of its own in it.")],
    clips: Annotated[int, typer.Option(min=1, help="How many clips.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip; the others follow.")] = 0,
    split: Annotated[str, typer.Option(help="Splits never share a clip.")] = "show",
    subjects: Annotated[int | None, typer.Option(min=1, max=4, help="Subjects a clip (default: drawn).")] = None,
    placed: Annotated[
        bool | None,
        typer.Option("--placed/--unplaced", help="Whether captions say who stands where (default: drawn)."),
    ] = None,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of the clips in pixels, multiples of 16.")] = "32x32",
    frames: Annotated[int, typer.Option(min=1, help="Frames a clip, 4n+1.")] = 9,
    picture_size: Annotated[int, typer.Option(min=16, help="Height of the reference pictures.")] = 128,
) -> None:
    """Write clips: scene.yaml (for `lumosx sample`), its pictures, MP4, all frames in one PNG, and the truth.

    Example: lumosx playground render out/world --clips 4 --subjects 2 --unplaced
    """
    from lumosx.files import atomic
    from lumosx.playground import World

    if frames % 4 != 1:
        raise typer.BadParameter(f"{frames} is not 4n+1, such as 9 or 17", param_hint="--frames")
    world = World(_size(size), frames)
    for number in range(seed, seed + clips):
        clip = world.render([number], split=split, subjects=subjects, placed=placed)
        scene = clip.scene(0, picture_size)
        with atomic(out / scene["id"]) as folder:
            _write(clip, scene, folder)
        typer.echo(str(out / scene["id"]))


def _size(text: str) -> tuple[int, int]:
    width, times, height = text.partition("x")
    if not (times and width.isdigit() and height.isdigit()) or int(width) % 16 or int(height) % 16:
        raise typer.BadParameter(f"{text!r} is not WIDTHxHEIGHT in multiples of 16, such as 32x32", param_hint="--size")
    return int(width), int(height)


def _write(clip: "Clips", scene: dict[str, Any], folder: Path) -> None:
    """One clip as a folder that did not exist before."""
    from PIL import Image
    from ruamel.yaml import YAML

    from lumosx.files import write_json
    from lumosx.pipelines.video import write_clip

    folder.mkdir(parents=True)
    yaml = YAML()
    yaml.width = 100
    with (folder / "scene.yaml").open("w", encoding="utf-8") as file:
        yaml.dump(_save_pictures(scene, folder), file)
    write_json(clip.truth[0].to_dict(), folder / "truth.json")
    pixels = clip.frames(0)
    write_clip(pixels, folder / "clip.mp4", FPS)
    times = -(-SHOWN // pixels.shape[1])
    shown = pixels.repeat(times, axis=1).repeat(times, axis=2)
    strip = Image.new("RGB", (len(shown) * (shown.shape[2] + SPACE) - SPACE, shown.shape[1]), "white")
    for number, frame in enumerate(shown):
        strip.paste(Image.fromarray(frame), (number * (shown.shape[2] + SPACE), 0))
    strip.save(folder / "frames.png")


def _save_pictures(scene: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Save a scene's pictures under refs/ and return the scene with their paths in their places."""
    (folder / "refs").mkdir()

    def saved(picture: Any, *names: str) -> str:
        path = f"refs/{'_'.join(names).replace(' ', '_')}.png"
        picture.save(folder / path)
        return path

    def attribute(subject: str, item: dict[str, Any]) -> dict[str, Any]:
        return item | {"image": saved(item["image"], subject, item["word"])}

    written = dict(scene)
    if "background" in scene:
        background = scene["background"]
        written["background"] = background | {"image": saved(background["image"], "background", background["word"])}
    if "objects" in scene:
        written["objects"] = [
            item | {"image": saved(item["image"], "object", item["word"])} for item in scene["objects"]
        ]
    written["subjects"] = [
        subject
        | {
            "face": saved(subject["face"], subject["id"], "face"),
            "attributes": [attribute(subject["id"], item) for item in subject["attributes"]],
        }
        for subject in scene["subjects"]
    ]
    return written
