"""`lumosx import release`: samples in the folder layout of the authors' release become scene files."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lumosx.scene import dump_yaml, import_release

app = typer.Typer(help="Make scenes from other layouts.", no_args_is_help=True)


class _Order(StrEnum):
    numeric = "numeric"
    listdir = "listdir"


@app.callback()
def _group() -> None:
    """Make scenes from other layouts."""


@app.command()
def release(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder that holds the sample folders.")],
    faces_only: Annotated[
        bool, typer.Option("--faces-only", help="Take faces alone, as the release's identity script.")
    ] = False,
    order: Annotated[
        _Order, typer.Option(help="Of tokens: names sorted, or as the file system lists them (the release).")
    ] = _Order.numeric,
    out: Annotated[Path | None, typer.Option(help="Where to write the scenes; default: DIR.")] = None,
) -> None:
    """Write one <sample>.yaml for each sample; pictures stay in place. Exit code 2 if one needs mending.

    Example: lumosx import release test_data/subject_consistency_test_data --out scenes
    """
    samples = import_release(folder, faces_only=faces_only, order=order.value, out=out)
    messages = [message for sample in samples for message in sample.messages]
    for message in messages:
        typer.echo(str(message), err=True)
    for sample in samples:
        if sample.data is not None:
            path = (out or folder) / f"{sample.name}.yaml"
            dump_yaml(sample.data, path)
            typer.echo(str(path))
    if any(message.severity == "error" for message in messages):
        raise typer.Exit(2)
