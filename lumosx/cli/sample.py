"""`lumosx sample`: scenes in, clips out. Scenes are checked before torch is imported, settings before any sampling."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lumosx.errors import InputError
from lumosx.scene import Scene, SceneError, check_outputs

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from lumosx.pipelines import LumosXPipeline, Result
    from lumosx.processes import Processes

DEFAULT_MODEL = "checkpoints/lumosx-tiny"
OffloadName = Literal["none", "model", "group"]
QuantizeName = Literal["none", "int8", "fp8"]
GuidanceName = Literal["auto", "together", "apart"]


@dataclass(frozen=True)
class Options:
    """How to sample, as the command line says it.

    Attributes:
        placing: arguments of `lumosx.pipelines.memory.set_up`.
        calling: arguments of `LumosXPipeline.stream`.
    """

    out: Path | None
    seeds: tuple[int, ...]
    force: bool
    sheet: bool
    placing: dict[str, Any]
    calling: dict[str, Any]


def command(
    scenes: Annotated[list[Path], typer.Argument(metavar="SCENE...", help="Scene files (.yaml, .json).")],
    model: Annotated[str, typer.Option(metavar="PATH", help="Folder, name or hub repository.")] = DEFAULT_MODEL,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Instead of output.dir.")] = None,
    seed: Annotated[list[int] | None, typer.Option(min=0, metavar="N", help="May be repeated.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")] = None,
    device: Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda.")] = "auto",
    dtype: Annotated[str, typer.Option(metavar="NAME", help="auto, float32, bfloat16.")] = "auto",
    backend: Annotated[str, typer.Option(metavar="NAME", help="auto, sdpa, flash, flex, magi.")] = "auto",
    batch: Annotated[int, typer.Option(min=1, metavar="N", help="Seeds sampled together.")] = 1,
    guidance: Annotated[GuidanceName, typer.Option(metavar="NAME", help="Its passes: auto, together, apart.")] = "auto",
    step_cache: Annotated[
        str, typer.Option(metavar="NAME", help="Approximate: none, first-block, taylorseer, or NAME:STRENGTH.")
    ] = "none",
    compile: Annotated[bool, typer.Option("--compile", help="Compile the transformer's blocks.")] = False,
    quantize: Annotated[QuantizeName, typer.Option(metavar="NAME", help="Approximate: none, int8, fp8.")] = "none",
    offload: Annotated[OffloadName, typer.Option(metavar="NAME", help="To host memory: none, model, group.")] = "none",
    tiling: Annotated[bool, typer.Option("--tiling", help="Approximate: the VAE works in tiles.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Sample finished clips again.")] = False,
    no_sheet: Annotated[bool, typer.Option("--no-sheet", help="Write no contact sheets.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Refuse paths that lead outside.")] = False,
    require_consent: Annotated[bool, typer.Option("--require-consent", help="Refuse subjects without it.")] = False,
) -> None:
    """Sample clips of scenes. Finished clips are skipped; killed at any moment, it leaves no half file.

    Example: lumosx sample scene.yaml --seed 0 --seed 1 --set generation.steps=20 --out out. A clip on 8 GPUs:
    torchrun --nproc-per-node 8 -m lumosx.cli.main sample scene.yaml
    """
    from lumosx.cli.overrides import load_scenes, parse_override

    overrides = [parse_override(text) for text in settings or []]
    loaded, messages = load_scenes(scenes, overrides, sandbox=sandbox, require_consent=require_consent)
    placing = {"offload": offload, "tiling": tiling, "quantize": _stated(quantize), "compile": compile}
    calling = {"backend": backend, "guidance": guidance, "batch": batch, "step_cache": _stated(step_cache)}
    options = Options(out, tuple(seed or ()), force, not no_sheet, placing, calling)
    messages += check_outputs(loaded, options.out, options.seeds)
    told = "\n".join(str(message) for message in messages if message.severity != "note")
    is_wrong = any(message.severity == "error" for message in messages)
    if is_wrong and os.environ.get("WORLD_SIZE", "1") == "1":
        raise InputError(told)
    from lumosx.processes import joined  # imports torch: only for sound scenes, or to tell other processes

    with joined() as ranks:
        with _as_one(ranks):
            if is_wrong:
                raise InputError(told)
        if told and ranks.is_main:
            typer.echo(told, err=True)
        _sample(loaded, model, device, dtype, options, ranks)


@contextmanager
def _as_one(ranks: "Processes") -> Iterator[None]:
    """Around what all processes do alike: wrong input that one meets stops all of them, and is told once."""
    try:
        with ranks.agreeing():
            yield
    except InputError as error:
        if ranks.size == 1:
            raise
        if ranks.is_main:
            typer.echo(str(error), err=True)
        ranks.barrier()  # when the first one ends, torchrun ends the others
        raise typer.Exit(2) from error


def _stated(name: str) -> str | None:
    return None if name == "none" else name


def _target(scene: Scene, seed: int | str, options: Options) -> Path:
    """The clip's file."""
    name = scene.output.name.replace("{id}", scene.id).replace("{seed}", str(seed))
    return (options.out or Path(scene.output.dir)) / f"{name}.{scene.output.format}"


def _sample(scenes: Sequence[Scene], model: str, device: str, dtype: str, options: Options, ranks: "Processes") -> None:
    from lumosx.attention import choose_backend
    from lumosx.paths import resolve_checkpoint
    from lumosx.pipelines import LumosXPipeline

    with _as_one(ranks):
        folder = resolve_checkpoint(model, LumosXPipeline.download)
        place, kind = choose_device(str(ranks.device) if device in ("auto", ranks.device.type) else device, dtype)
        _expect_together(place, kind, options)
        # the main one alone writes clips, and so knows which are there
        left = _unfinished(scenes, folder, kind, options) if ranks.is_main else []
    of_main: Any = ranks.gather(left)[0]
    todo = [(scene, seeds) for scene, seeds in zip(scenes, of_main, strict=True) if seeds]
    if not todo:
        return
    with _as_one(ranks):
        pipeline = open_pipeline(folder, place, kind, **options.placing)
        _expect_possible(pipeline, todo, ranks.size, options.calling["step_cache"])
    if ranks.is_main:
        typer.echo("attention: {} ({})".format(*choose_backend(place, kind, options.calling["backend"])))
    written: list[Path] = []
    calling = {**options.calling, "ranks": ranks.size, "progress": ranks.is_main}
    for scene, seeds in todo:
        for result in pipeline.stream(scene, seeds=seeds, **calling):
            if ranks.is_main:
                files = _save(result, _target(scene, result.seed, options), options.sheet)
                typer.echo(f"finished {', '.join(map(str, files))}")
                written += files
    if ranks.is_main:
        typer.echo("\n  ".join(["wrote", *map(str, written)]))


def _expect_together(device: "torch.device", dtype: "torch.dtype", options: Options) -> None:
    """Raises InputError for options that this machine cannot serve, or not together, before a weight is read."""
    from lumosx.pipelines.memory import expect_possible
    from lumosx.pipelines.step_cache import StepCache

    placing = options.placing
    expect_possible(device, dtype, offload=placing["offload"], quantize=placing["quantize"], compile=placing["compile"])
    if StepCache.parse(options.calling["step_cache"]) and placing["offload"] == "group":
        raise InputError("--step-cache does not go with --offload group; take --offload model, or leave one out")


def _unfinished(scenes: Sequence[Scene], folder: Path, dtype: "torch.dtype", options: Options) -> list[list[int]]:
    """Of every scene the seeds that are still to do; says which are done."""
    from lumosx.pipelines import LumosXPipeline, resolve_settings
    from lumosx.pipelines.provenance import approximations, embed, fingerprint, hash_files
    from lumosx.pipelines.step_cache import StepCache

    cache = StepCache.parse(options.calling["step_cache"])
    generation = LumosXPipeline.load_config(folder).get("generation")
    model = {
        "files": hash_files(folder),
        "dtype": str(dtype).removeprefix("torch."),
        "approximations": approximations(options.placing["quantize"], options.placing["tiling"], cache),
    }
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
        todo.append(left)
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


def _expect_possible(
    pipeline: "LumosXPipeline", todo: Sequence[tuple[Scene, list[int]]], ranks: int, step_cache: str | None
) -> None:
    """Raises InputError with everything that this checkpoint cannot do, so that it does not show after hours."""
    from lumosx.pipelines.parallel import expect_same_steps
    from lumosx.pipelines.step_cache import StepCache

    problems = []
    for scene, seeds in todo:
        try:
            expect_same_steps(pipeline.prepare(scene, ranks, seeds=seeds).split, StepCache.parse(step_cache))
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


def open_pipeline(folder: Path, device: "torch.device", dtype: "torch.dtype", **placing: Any) -> "LumosXPipeline":
    """The checkpoint on a device; `placing` are arguments of `lumosx.pipelines.memory.set_up`."""
    import diffusers
    import transformers

    from lumosx.pipelines import LumosXPipeline
    from lumosx.pipelines.memory import set_up

    diffusers.utils.logging.disable_progress_bar()  # two bars of other libraries before ours
    transformers.utils.logging.disable_progress_bar()
    return set_up(LumosXPipeline.from_pretrained(folder, dtype=dtype), device, **placing)
