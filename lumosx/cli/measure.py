"""`lumosx playground measure`: how often a checkpoint puts every attribute on its owner, on unseen clips."""

from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from rich.table import Table

    from lumosx.evaluation.binding import Condition, Generate, Key, Outcome, Score
    from lumosx.pipelines import LumosXPipeline
    from lumosx.pipelines.settings import Settings
    from lumosx.playground.estimate import Estimate
    from lumosx.scene import Scene

PARTS = ("transformer", "text_encoder", "tokenizer", "vae")
VARIED = ("steps", "solver", "cfg", "fps")  # of the settings: what differs between rows, and what changes no pixel


def command(
    model: Annotated[str, typer.Option(help="A checkpoint of the playground's world.")] = "checkpoints/lumosx-tiny",
    clips: Annotated[int, typer.Option(min=1, help="Unseen clips a row; every other has two of one noun.")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="Times each clip is sampled, with different noise.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first clip.")] = 0,
    condition: Annotated[
        list[str] | None,
        typer.Option(help="placed, unplaced; each also with ', MCAM off', ', CSAM off', ', scattered'. Repeatable."),
    ] = None,
    subjects: Annotated[list[int] | None, typer.Option(min=1, max=4, help="Repeatable (default: 2).")] = None,
    steps: Annotated[list[int] | None, typer.Option(min=1, help="Repeatable (default: the checkpoint's).")] = None,
    solver: Annotated[list[str] | None, typer.Option(help="Repeatable (default: the checkpoint's).")] = None,
    cfg: Annotated[float | None, typer.Option(help="Guidance scale (default: the checkpoint's).")] = None,
    device: Annotated[str, typer.Option(help="What samples: auto, cpu, cuda. Clips are read on the CPU.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Scores as JSON; each reading goes to a .jsonl beside it.")] = None,
) -> None:
    """Measure binding, one row for each combination of condition, subjects, steps and solver.

    With --out, a killed measurement goes on when its command is repeated, and several commands add up to one report.

    Example: lumosx playground measure --clips 400 --samples 3 --subjects 2 --subjects 3 --out binding.json
    """
    from rich.console import Console

    from lumosx.evaluation.binding import VARIANTS, Condition, scores

    names = condition or [name for name, variant in VARIANTS.items() if not variant.scattered]
    if unknown := sorted(set(names) - set(VARIANTS)):
        raise InputError(f"no condition {', '.join(unknown)}: choose from {'; '.join(VARIANTS)}")
    pipe, settings = open_checkpoint(model, device)
    scale = settings.cfg if cfg is None else cfg
    rows = product(subjects or [2], steps or [settings.steps], solver or [settings.solver], names)
    conditions = [Condition(name, people, count, method, scale) for people, count, method, name in rows]
    outcomes = measure(pipe, settings, conditions, range(seed, seed + clips), samples, out)
    for table in _tables(scores(outcomes.values())):
        Console().print(table)


def measure(
    pipe: "LumosXPipeline",
    settings: "Settings",
    conditions: "Sequence[Condition]",
    clips: range,
    samples: int = 1,
    out: Path | None = None,
) -> "dict[Key, Outcome]":
    """Reads a checkpoint's clips under each condition, with a bar of progress; goes on with what `out` has.

    Raises:
        InputError: `out` is of another checkpoint or measure.
    """
    from rich.console import Console
    from rich.progress import track

    from lumosx.evaluation.binding import measure_binding
    from lumosx.playground import World

    world = World((settings.width, settings.height), settings.frames)
    report = _Report(out, pipe, settings)
    for row in conditions:
        left = sum((row, clip, sample) not in report.outcomes for clip in clips for sample in range(samples))
        measured = measure_binding(
            _sampler(pipe, row), row, world=world, clips=clips, samples=samples, done=report.outcomes
        )
        for outcome in track(measured, _label(row), total=left, console=Console(stderr=True)):
            report.add(outcome)
        report.write()
    return report.outcomes


def open_checkpoint(model: str, device: str) -> "tuple[LumosXPipeline, Settings]":
    """The checkpoint and its own settings."""
    from lumosx.cli.sample import choose_device, open_pipeline
    from lumosx.pipelines.settings import Settings

    pipe = open_pipeline(Path(model), *choose_device(device, "float32"))
    stated: dict[str, Any] = pipe.config.generation or {}
    if not {"size", "frames"} <= stated.keys():
        raise InputError(f"{model} states no size of its clips: it is no checkpoint of the playground's world")
    return pipe, Settings(**{key: value for key, value in stated.items() if key not in ("seed", "seeds")})


def _sampler(pipe: "LumosXPipeline", row: "Condition") -> "Generate":
    def generate(scene: "Scene", seeds: list[int]) -> "Iterator[np.ndarray]":
        call = {"seeds": seeds, "steps": row.steps, "solver": row.solver, "cfg": row.cfg}
        for result in pipe.stream(scene, progress=False, **call):
            yield result.frames

    return generate


class _Report:
    """All outcomes; with an `out`, also the files of them and of their scores."""

    def __init__(self, out: Path | None, pipe: "LumosXPipeline", settings: "Settings") -> None:
        from lumosx.evaluation.binding import SPLIT
        from lumosx.evaluation.outcomes import resume
        from lumosx.files import sha256_of
        from lumosx.pipelines.provenance import device_name
        from lumosx.playground.measure import MEASURE

        hashes = {part: sha256_of(Path(pipe.name_or_path) / part) for part in PARTS}
        fixed = {key: value for key, value in settings.to_dict().items() if key not in VARIED}
        self._settings = {"model": hashes, "measure": MEASURE, "split": SPLIT, **fixed}
        self._out, self._device = out, device_name(pipe.device)
        self._readings = out and out.with_name(f"{out.stem}.readings.jsonl")
        self.outcomes = resume(self._readings, self._settings) if self._readings else {}

    def add(self, outcome: "Outcome") -> None:
        from lumosx.evaluation.outcomes import append

        self.outcomes[outcome.key] = outcome
        if self._readings:
            append(self._readings, outcome)

    def write(self) -> None:
        """Scores of all that is known so far, so that a killed measurement leaves a report too."""
        from lumosx.evaluation.binding import scores
        from lumosx.files import write_json
        from lumosx.pipelines.provenance import versions

        if self._out is None:
            return
        most = max(outcome.threads for outcome in self.outcomes.values())
        machine = {"processor": self._device, "threads": most}
        rows = [score.to_dict() for score in scores(self.outcomes.values())]
        write_json({"settings": self._settings, "machine": machine, "versions": versions(), "scores": rows}, self._out)


def _label(row: "Condition") -> str:
    return f"{row.name}; {row.subjects} people, {row.steps} {row.solver}"


def _tables(found: "list[Score]") -> "Iterator[Table]":
    """The report in two tables, because one would be too wide for a terminal."""
    from rich.box import SIMPLE
    from rich.table import Table

    from lumosx.evaluation.binding import FAULTS

    narrow: dict[str, Any] = {"box": SIMPLE, "padding": 0, "pad_edge": False}
    binding = Table(
        "condition", "clips", "binding", "same\nnoun", "distinct\nnouns", "all\nright", "placed\nright", **narrow
    )
    rest = Table("condition", *FAULTS, "identity", "attributes", "s/clip", **narrow)
    for item in found:
        label = _label(item.condition).replace("; ", "\n")
        clips = f"{item.clips} x {item.samples / item.clips:g}"
        nouns = item.binding_same_noun, item.binding_distinct_nouns
        binding.add_row(label, clips, *map(_text, (item.binding, *nouns, item.all_right, item.placed_right)))
        shares = *item.faults.values(), item.identity, item.attribute_likeness
        rest.add_row(label, *map(_text, shares), f"{item.seconds:.2f}")
    for table in (binding, rest):
        for column in table.columns[1:]:
            column.no_wrap = True  # in a narrow terminal the first one gives way
        yield table


def _text(share: "Estimate | None") -> str:
    if share is None:
        return "-"
    return f"{share.mean:.3f}\n" + (f"{share.low:.2f}-{share.high:.2f}" if share.bounded else "?")
