"""`lumosx sample`: scenes in, clips out. Scenes are checked before torch is imported, settings before any sampling."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.errors import InputError
from lumosx.scene import Scene, SceneError, check_outputs

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from lumosx.pipelines import LumosXPipeline, Result

DEFAULT_MODEL = "checkpoints/lumosx-tiny"


@dataclass(frozen=True)
class Options:
    """How to sample, as the command line says it."""

    out: Path | None
    seeds: tuple[int, ...]
    backend: str
    force: bool
    sheet: bool


def command(
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENE...", help="Scene files (.yaml, .json).")],
    model: Annotated[str, typer.Option(metavar="PATH", help="Folder, name or hub repository.")] = DEFAULT_MODEL,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of output.dir.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, metavar="N", help="May be repeated.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, float32, bfloat16.")] = "auto",
    backend: Annotated[str, typer.Option(metavar="NAME", help="auto, sdpa, flash, flex, magi.")] = "auto",
    force: Annotated[bool, typer.Option("--force", help="Sample finished clips again.")] = False,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no contact sheets.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Refuse paths that lead outside.")] = False,
    require_consent: Annotated[bool, typer.Option("--require-consent", help="Refuse subjects without it.")] = False,
) -> None:
    """Sample clips of scenes. Finished clips are skipped; killed at any moment, it leaves no half file.

    Example: lumosx sample scene.yaml --seed 0 --seed 1 --set generation.steps=20 --out out
    """
    from lumosx.cli.overrides import load_scenes, parse_override

    overrides = [parse_override(text) for text in settings or []]
    loaded, messages = load_scenes(scenes, overrides, sandbox=sandbox, require_consent=require_consent)
    options = Options(out, tuple(seed or ()), backend, force, not no_sheet)
    messages += check_outputs(loaded, options.out, options.seeds)
    for message in messages:
        if message.severity != "note":
            typer.echo(str(message), err=True)
    if any(message.severity == "error" for message in messages):
        raise typer.Exit(2)
    _sample(loaded, model, device, dtype, options)


def _target(scene: Scene, seed: int | str, options: Options) -> Path:
    """The clip's file."""
    name = scene.output.name.replace("{id}", scene.id).replace("{seed}", str(seed))
    return (options.out or Path(scene.output.dir)) / f"{name}.{scene.output.format}"


def _sample(scenes: Sequence[Scene], model: str, device: str, dtype: str, options: Options) -> None:
    from lumosx.attention import choose_backend
    from lumosx.paths import resolve_checkpoint
    from lumosx.pipelines import LumosXPipeline

    folder = resolve_checkpoint(model, LumosXPipeline.download)
    place, kind = choose_device(device, dtype)
    todo = _unfinished(scenes, folder, kind, options)
    if not todo:
        return
    pipeline = open_pipeline(folder, place, kind)
    _expect_possible(pipeline, todo)
    typer.echo("attention: {} ({})".format(*choose_backend(place, kind, options.backend)))
    written: list[Path] = []
    for scene, seeds in todo:
        for result in pipeline.stream(scene, seeds=seeds, backend=options.backend):
            files = _save(result, _target(scene, result.seed, options), options.sheet)
            typer.echo(f"finished {', '.join(map(str, files))}")
            written += files
    typer.echo("wrote")
    for path in written:
        typer.echo(f"  {path}")


def _unfinished(
    scenes: Sequence[Scene], folder: Path, dtype: "torch.dtype", options: Options
) -> list[tuple[Scene, list[int]]]:
    """Scenes with the seeds that are still to do; says which are done."""
    from lumosx.pipelines import LumosXPipeline, resolve_settings
    from lumosx.pipelines.provenance import embed, fingerprint, hash_files

    generation = LumosXPipeline.load_config(folder).get("generation")
    model = {"files": hash_files(folder), "dtype": str(dtype).removeprefix("torch.")}
    todo = []
    for scene in scenes:
        chosen, seeds = resolve_settings(scene, generation, {"seeds": options.seeds or None})
        if not scene.output.sidecar:
            typer.echo(f"{scene.source}: output.sidecar is false, so its clips are sampled anew each time")
        left = []
        for seed in seeds:
            target = _target(scene, seed, options)
            if not options.force and is_finished(target, fingerprint(embed(scene), chosen.to_dict(), seed, model)):
                typer.echo(f"{target}: finished, skipped (--force samples it again)")
                for path in _finished_files(scene, target, options.sheet):
                    typer.echo(f"  {path}")
            else:
                left.append(seed)
        if left:
            todo.append((scene, left))
    return todo


def _finished_files(scene: Scene, clip: Path, sheet: bool) -> list[Path]:
    """Clip, sheet and sidecar of a finished clip; a sheet that is wanted and missing is drawn from the clip."""
    from lumosx.pipelines.contact_sheet import contact_sheet
    from lumosx.pipelines.replay import read_sidecar
    from lumosx.pipelines.video import read_clip

    picture, sidecar = clip.with_suffix(".png"), clip.with_suffix(".json")
    if sheet and not picture.exists():
        record = read_sidecar(sidecar)
        frames = read_clip(clip, record["clip"]["height"], record["clip"]["width"])
        _save_sheet(contact_sheet(frames, scene, record), picture)
    return [clip, *([picture] if picture.exists() else []), sidecar]


def _expect_possible(pipeline: "LumosXPipeline", todo: Sequence[tuple[Scene, list[int]]]) -> None:
    """Raises InputError with everything that this checkpoint cannot do, so that it does not show after hours."""
    problems = []
    for scene, seeds in todo:
        try:
            pipeline.prepare(scene, seeds=seeds)
        except SceneError as error:  # its words cannot be bound to this checkpoint's tokens
            problems.append(str(error))
        except InputError as error:
            problems.append(f"{scene.source}: {error}")
    if problems:
        raise InputError("\n".join(problems))


def is_finished(clip: Path, fingerprint: str) -> bool:
    """Whether the clip stands there whole, with a sidecar that says it was made of exactly this."""
    from lumosx.files import sha256_of
    from lumosx.pipelines.replay import read_sidecar

    try:
        record: dict[str, Any] = read_sidecar(clip.with_suffix(".json"))
    except InputError:
        return False
    return record["fingerprint"] == fingerprint and clip.exists() and sha256_of(clip) == record["clip"]["sha256"]


def _save(result: "Result", clip: Path, sheet: bool) -> list[Path]:
    """Writes sheet, clip and sidecar, the sidecar last; returns them, the clip first."""
    sheets = [clip.with_suffix(".png")] if sheet else []
    for path in sheets:
        _save_sheet(result.contact_sheet(), path)
    result.save(clip)
    sidecars = [clip.with_suffix(".json")] if result.scene.output.sidecar else []
    return [clip, *sheets, *sidecars]


def _save_sheet(picture: "Image", path: Path) -> None:
    from lumosx.files import atomic

    with atomic(path) as temporary:
        picture.save(temporary, format="PNG")


def choose_device(device: str, dtype: str) -> "tuple[torch.device, torch.dtype]":
    """The device, and the type it computes in: bfloat16 on a GPU, float32 on a CPU, unless stated.

    Raises:
        InputError: no such device or type here.
    """
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if dtype not in ("auto", "float32", "bfloat16"):
        raise InputError(f"--dtype {dtype}: choose auto, float32 or bfloat16")
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {device} cannot be used here: {error}") from error
    if dtype == "auto":
        dtype = "float32" if place.type == "cpu" else "bfloat16"
    return place, getattr(torch, dtype)


def open_pipeline(folder: Path, device: "torch.device", dtype: "torch.dtype") -> "LumosXPipeline":
    """The checkpoint on a device."""
    import diffusers
    import transformers

    from lumosx.pipelines import LumosXPipeline

    diffusers.utils.logging.disable_progress_bar()  # two bars of other libraries before ours
    transformers.utils.logging.disable_progress_bar()
    return LumosXPipeline.from_pretrained(folder, dtype=dtype).to(device)
