"""`lumosx bench ablation`: trains and measures every row of the paper's Table 4 on the playground."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.evaluation.ablation import Form, Row
    from lumosx.evaluation.binding import Outcome

STARTS = 1000  # seeds of the trainings that make the first weights, so that the rows see other clips


def command(
    form: Annotated[str, typer.Option(help="full (a GPU), small (one core, a night) or short (10 minutes).")] = "full",
    seed: Annotated[list[int] | None, typer.Option(help="Of the form's seeds; repeatable (default: all).")] = None,
    row: Annotated[list[str] | None, typer.Option(help="none, r2pe, ...; repeatable (default: all).")] = None,
    device: Annotated[str, typer.Option(help="What samples: auto, cpu, cuda.")] = "auto",
    root: Annotated[Path, typer.Option(help="Folder of the runs; the same command goes on where it was.")] = Path(
        "runs/ablation"
    ),
    out: Annotated[Path, typer.Option(help="Folder of table, plot, configurations and results.json.")] = Path(
        "ablation"
    ),
) -> None:
    """Train none, + R2PE, + CSAM, + MCAM from the same weights on the same noisy clips, and measure who wears what.

    Every row and seed is a run of `lumosx train`. The report holds all that is finished under --root, so that several
    commands (with other --seed or --row, one a core or a machine) add up.

    Example: lumosx bench ablation --form short --out /tmp/ablation
    """
    from lumosx.evaluation.ablation import ROWS, missing
    from lumosx.evaluation.ablation_report import write_report

    size = load_form(form)
    names = [each.name for each in ROWS]
    if unknown := sorted(set(row or []) - set(names)):
        raise InputError(f"--row {', '.join(unknown)}: choose from {', '.join(names)}")
    if strange := sorted(set(seed or []) - set(size.seeds)):
        raise InputError(f"--seed {', '.join(map(str, strange))}: the {form} form has {size.seeds}")
    place = root / Path(form).stem
    for number in seed or size.seeds:
        for each in (each for each in ROWS if row is None or each.name in row):
            _train_and_read(size, place / f"seed-{number}", number, each, device)
    readings = {
        (each.name, number): found
        for number in size.seeds
        for each in ROWS
        if (found := _finished(size, place / f"seed-{number}", each))
    }
    write_report(readings, size, form, place, out)
    for name, number in missing(readings, size.seeds):
        typer.echo(f"not in the report yet: {name}, seed {number}")
    typer.echo(f"wrote {out / 'README.md'}, {out / 'results.json'}, {out / 'ablation.png'}")


def load_form(name: str) -> "Form":
    """configs/ablation/NAME.yaml, or a file of one's own.

    Raises:
        InputError: there is none, or it is no form.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from lumosx.evaluation.ablation import Form
    from lumosx.paths import configs_dir

    folder = configs_dir() / "ablation"
    path = folder / f"{name}.yaml" if not name.endswith(".yaml") else Path(name)
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("*.yaml")))
        raise InputError(f"--form {name}: choose {known}, or give a YAML file")
    try:
        merged = OmegaConf.merge(OmegaConf.structured(Form), OmegaConf.load(path))
        return OmegaConf.to_object(merged)  # pyright: ignore[reportReturnType]
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {error}") from error


def _overrides(form: "Form", root: Path, seed: int, name: str) -> list[str]:
    """Of the training of a row, or of what its first weights come from."""
    from lumosx.evaluation.ablation import BASE

    own, number = (form.base, STARTS + seed) if name == BASE else (form.rows, seed)
    return [f"experiment=ablation/{name}", *form.all, *own, f"run.root={root}", f"run.seed={number}"]


def _train_and_read(form: "Form", root: Path, seed: int, row: "Row", device: str) -> None:
    from lumosx.cli.measure import measure, open_checkpoint
    from lumosx.cli.train import train_runs
    from lumosx.evaluation.ablation import BASE
    from lumosx.paths import configs_dir
    from lumosx.training.config import load_config

    if _finished(form, root, row):
        return
    runs = [load_config(_overrides(form, root, seed, name), configs_dir()) for name in (BASE, row.name)]
    train_runs([config for config in runs if not (config.folder / "export").is_dir()])
    pipe, settings = open_checkpoint(str(runs[1].folder / "export"), device)
    conditions = [_condition(name, people, settings) for name, people in _conditions(form, row)]
    measure(pipe, settings, conditions, range(form.clips), out=root / f"{row.name}.json")


def _conditions(form: "Form", row: "Row") -> list[tuple[str, int]]:
    """Captions and numbers of people that a row is read with."""
    from lumosx.evaluation.ablation import CAPTIONS

    return [
        (f"{captions}, scattered" if row.scattered else captions, people)
        for captions in CAPTIONS
        for people in form.subjects
    ]


def _condition(name: str, people: int, settings: Any):
    from lumosx.evaluation.binding import Condition

    return Condition(name, people, settings.steps, settings.solver, settings.cfg)


def _finished(form: "Form", root: Path, row: "Row") -> "list[Outcome]":
    """What the form wants to know of a row; [] as long as not all of it was read."""
    from lumosx.evaluation.outcomes import load

    path = root / f"{row.name}.readings.jsonl"
    wanted = {(name, people, clip) for name, people in _conditions(form, row) for clip in range(form.clips)}
    outcomes = load(path) if path.is_file() else []
    found = {(each.condition.name, each.condition.subjects, each.clip): each for each in outcomes}
    return [found[key] for key in sorted(wanted)] if wanted <= found.keys() else []
