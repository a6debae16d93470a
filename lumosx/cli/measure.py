"""`lumosx playground measure`: how often a checkpoint puts every attribute on its owner, on unseen clips."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from lumosx.evaluation.binding import Score


def command(
    model: Annotated[str, typer.Option(help="A checkpoint of the playground's world.")] = "checkpoints/lumosx-tiny",
    clips: Annotated[int, typer.Option(min=1, help="Unseen clips a condition.")] = 200,
    subjects: Annotated[int, typer.Option(min=1, max=4, help="Subjects a clip.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip.")] = 0,
    split: Annotated[str, typer.Option(help="Splits never share a clip; the model saw 'train'.")] = "test",
    steps: Annotated[int | None, typer.Option(min=1, help="Solver steps (default: the checkpoint's).")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale (default: the checkpoint's).")] = None,
    condition: Annotated[list[str] | None, typer.Option(help="Only these conditions (repeatable).")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the scores as JSON too.")] = None,
) -> None:
    """Measure binding: placed and unplaced captions, with MCAM and without.

    Example: lumosx playground measure --clips 200 --out binding.json
    """
    from rich.console import Console
    from rich.progress import track

    from lumosx.errors import InputError
    from lumosx.evaluation.binding import CONDITIONS, measure_binding
    from lumosx.files import write_json
    from lumosx.pipelines import LumosXPipeline
    from lumosx.pipelines.settings import Settings
    from lumosx.playground import World

    names = [item.name for item in CONDITIONS]
    if unknown := sorted(set(condition or []) - set(names)):
        raise InputError(f"no condition {', '.join(unknown)}: choose from {', '.join(names)}")
    pipe = LumosXPipeline.from_pretrained(model)
    defaults: dict[str, Any] = pipe.config.generation or {}
    if not {"size", "frames"} <= defaults.keys():
        raise InputError(f"{model} states no size of its clips: it is no checkpoint of the playground's world")
    made = Settings(**defaults)
    world = World((made.width, made.height), made.frames)
    console = Console(stderr=True)

    def generate(scene: Any, number: int) -> Any:
        result = pipe(scene, seed=number, steps=steps, cfg=cfg, progress=False)
        return result.frames  # pyright: ignore[reportAttributeAccessIssue]

    scores = []
    for item in CONDITIONS:
        if condition and item.name not in condition:
            continue
        chosen = replace(item, subjects=subjects)
        progress = measure_binding(generate, chosen, world=world, clips=clips, first_seed=seed, split=split)
        for _, done in track(progress, item.name, total=clips + 1, console=console):
            scores += [] if done is None else [done]
    _print(scores)
    if out is not None:
        settings = {"clips": clips, "subjects": subjects, "seed": seed, "split": split, "steps": steps, "cfg": cfg}
        write_json({"settings": settings, "scores": [item.to_dict() for item in scores]}, out)


def _print(scores: "list[Score]") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(
        "condition", "clips", "binding (95 %)", "same noun", "distinct", "dropped", "all right", "placed right"
    )
    for item in scores:
        parts = [item.binding_same_noun, item.binding_distinct_nouns]
        table.add_row(
            item.condition,
            str(item.clips),
            f"{item.binding.mean:.3f} ({item.binding.low:.3f}-{item.binding.high:.3f})",
            *("-" if part is None else f"{part.mean:.3f}" for part in parts),
            f"{item.dropped:.3f}",
            f"{item.all_right:.3f}",
            "-" if item.placed_right is None else f"{item.placed_right:.3f}",
        )
    Console().print(table)
