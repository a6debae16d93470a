"""`lumosx plan`: what a clip will take in time and memory, before anything is loaded. Needs no weights and no GPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lumosx.cli.sample import DEFAULT_MODEL, GuidanceName
from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.models.gpus import Gpu

OffloadChoice = Literal["auto", "none", "model", "group"]


def command(
    scene: Annotated[Path, typer.Argument(help="A scene file.")],
    model: Annotated[str, typer.Option(metavar="PATH", help="Folder, name, repository, or wan-1.3b.")] = DEFAULT_MODEL,
    gpu: Annotated[str, typer.Option(metavar="NAME", help="H100, H200, H20, A100, 4090 or cpu.")] = "H100",
    references: Annotated[int | None, typer.Option(min=0, metavar="N", help="N typical ones, not the scene's.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels (default: the scene's).")] = None,
    frames: Annotated[int | None, typer.Option(metavar="N", help="Frames (default: the scene's).")] = None,
    steps: Annotated[int | None, typer.Option(metavar="N", help="Steps (default: the scene's).")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="May be repeated.")] = None,
    offload: Annotated[
        OffloadChoice, typer.Option(metavar="NAME", help="auto (what fits), none, model, group.")
    ] = "auto",
    guidance: Annotated[GuidanceName, typer.Option(metavar="NAME", help="Its passes: auto, together, apart.")] = "auto",
    world: Annotated[int, typer.Option(min=1, metavar="N", help="GPUs that share a clip.")] = 1,
) -> None:
    """Plan a clip: tokens, FLOPs, memory, time, and the settings that suit a GPU. Loads no weights.

    Example: lumosx plan configs/scenes/two_friends/scene.yaml --model wan-1.3b --gpu 4090
    """
    from lumosx.cli.overrides import load_scene

    loaded = load_scene(scene, settings)

    from lumosx.cli.plan_report import report  # imports torch: only for a sound scene
    from lumosx.pipelines.advice import advise
    from lumosx.pipelines.plan import BUILT_IN, make_plan, read_model

    card = _card(gpu)
    call: dict[str, Any] = {"size": size, "frames": frames, "steps": steps}
    plan = make_plan(loaded, read_model(model), call, references)
    advice = advise(plan, card, None if offload == "auto" else offload, guidance, world)
    changes = [f"generation.{key}={value}" for key, value in call.items() if value is not None]
    options = [] if model == DEFAULT_MODEL else ["--model", "PATH" if model == BUILT_IN else model]
    for change in [*(settings or []), *changes]:
        options += ["--set", change]
    typer.echo(report(plan, card, advice, world, ["lumosx", "sample", str(scene), *options]), nl=False)


def _card(name: str) -> "Gpu":
    from lumosx.models.gpus import find_gpu, this_cpu

    if name.lower() == "cpu":
        return this_cpu()
    try:
        return find_gpu(name)
    except InputError as error:
        raise InputError(f"{error}, cpu") from error
