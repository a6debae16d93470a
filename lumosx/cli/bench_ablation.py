"""`lumosx bench ablation`: trains and measures every row of the paper's Table 4 on the playground."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.evaluation.ablation import Form, Row
    from lumosx.evaluation.binding import Outcome
    from lumosx.training.config import Config

START = 1000  # seed of the training that makes the first weights, so that the rows see other clips


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

    Every row and seed is a run of `lumosx train`. The report holds all that is finished under --root: once the first
    weights are made, several commands (with other --seed or --row, one a core or a machine) add up.

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
            _train_and_read(size, place, number, each, device)
    readings = {
        (each.name, number): found
        for number in size.seeds
        for each in ROWS
        if (found := _finished(size, place, number, each))
    }
    write_report(readings, size, f"lumosx bench ablation --form {form}", place, out)
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
    from yaml import YAMLError

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
    except (OmegaConfBaseException, YAMLError, InputError) as error:
        raise InputError(f"{path}: {error}") from error


def _overrides(form: "Form", root: Path, seed: int, row: str) -> list[list[str]]:
    """Of the training of what a row starts from, and of the row's."""
    from lumosx.evaluation.ablation import BASE

    return [
        [f"experiment=ablation/{name}", *form.all, *own, f"run.root={root}"]
        for name, own in (
            (BASE, [*form.base, f"run.name={BASE}", f"run.seed={START}"]),
            (row, [*form.rows, f"run.name={_run(row, seed)}", f"run.seed={seed}", f"model.init_from={BASE}"]),
        )
    ]


def _run(row: str, seed: int) -> str:
    return f"seed-{seed}/{row}"


def _train_and_read(form: "Form", root: Path, seed: int, row: "Row", device: str) -> None:
    """Goes on where it was: a run that is made is not made again, nor is a clip read twice.

    Raises:
        InputError: what lies under `root` was made with another form, or read of other weights.
    """
    from lumosx.cli.measure import measure, open_checkpoint
    from lumosx.cli.train import train_runs
    from lumosx.paths import configs_dir
    from lumosx.training.config import load_config

    for overrides in _overrides(form, root, seed, row.name):
        config = load_config(overrides, configs_dir())
        if not _is_made(config):
            train_runs([config])
    pipe, settings = open_checkpoint(str(root / _run(row.name, seed) / "export"), device)
    conditions = [_condition(name, people, settings) for name, people in _conditions(form, row)]
    measure(pipe, settings, conditions, range(form.clips), out=root / f"{_run(row.name, seed)}.json")


def _is_made(config: "Config") -> bool:
    """Whether a run is there and finished. The trainer judges one that is not: it goes on, or says what differs."""
    from dataclasses import asdict

    from lumosx.training.run import FREE, check_same, saved_config

    if not (config.folder / "export").is_dir():
        return False
    saved = saved_config(config.folder)
    if saved.train.steps != config.train.steps:
        return False
    check_same(asdict(saved), config, str(config.folder), FREE)
    return True


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


def _finished(form: "Form", root: Path, seed: int, row: "Row") -> "list[Outcome]":
    """What the form wants to know of a row; [] as long as not all of it was read."""
    from lumosx.evaluation.outcomes import load

    path = root / f"{_run(row.name, seed)}.readings.jsonl"
    wanted = {(name, people, clip) for name, people in _conditions(form, row) for clip in range(form.clips)}
    outcomes = load(path) if path.is_file() else []
    found = {(each.condition.name, each.condition.subjects, each.clip): each for each in outcomes}
    return [found[key] for key in sorted(wanted)] if wanted <= found.keys() else []
