"""`lumosx replay`: makes a clip again from its sidecar, and says whether it is the same."""

from pathlib import Path
from typing import Annotated

import typer

from lumosx.errors import InputError


def command(
    sidecar: Annotated[Path, typer.Argument(help="The .json beside a clip.")],
    model: Annotated[str | None, typer.Option(help="Where the checkpoint lies now (default: where it lay).")] = None,
    root: Annotated[Path | None, typer.Option(help="Where the pictures lie now (default: where they lay).")] = None,
    out: Annotated[Path | None, typer.Option(help="Save the new clip and its sidecar in this folder.")] = None,
) -> None:
    """Make a clip again and compare every pixel. Exit code 0: identical. 1: not, and why.

    Example: lumosx replay out/two_friends_s7.json
    """
    from lumosx.pipelines import replay

    if out is not None and out.resolve() == sidecar.resolve().parent:
        raise InputError(f"--out {out}: the new clip would replace the one it is compared with; give another folder")
    comparison = replay(sidecar, model=model, root=root)
    typer.echo(f"{sidecar}: {comparison}")
    if out is not None and comparison.result is not None:
        from lumosx.pipelines.replay import read_sidecar

        clip = comparison.result.save(out / Path(read_sidecar(sidecar)["clip"]["file"]).name)
        typer.echo(f"wrote {clip}, {clip.with_suffix('.json')}")
    if not comparison.identical:
        raise typer.Exit(1)
