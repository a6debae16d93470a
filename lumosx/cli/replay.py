"""`lumosx replay`: makes a clip again from its sidecar, and says whether it is the same."""

from pathlib import Path
from typing import Annotated

import typer


def command(
    sidecar: Annotated[Path, typer.Argument(help="The .json beside a clip.")],
    model: Annotated[str | None, typer.Option(help="Where the checkpoint lies now (default: where it lay).")] = None,
) -> None:
    """Make a clip again and compare every pixel. Exit code 0: identical. 1: not, and why.

    Example: lumosx replay out/two_friends_s7.json
    """
    from lumosx.pipelines import replay

    comparison = replay(sidecar, model=model)
    typer.echo(f"{sidecar}: {comparison}")
    if not comparison.identical:
        raise typer.Exit(1)
