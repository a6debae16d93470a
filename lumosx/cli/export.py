"""`lumosx export release`: a scene becomes a sample in the folder layout of the authors' release."""

from pathlib import Path
from typing import Annotated

import typer

from lumosx.scene import Scene, export_release

app = typer.Typer(help="Write scenes in other layouts.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Write scenes in other layouts."""


@app.command()
def release(
    scene: Annotated[Path, typer.Argument(metavar="SCENE", help="A scene file.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the sample's folder is made.")],
) -> None:
    """Write DIR/<scene>/ with caption.txt and pictures; refuse what that layout cannot say (exit code 2).

    Example: lumosx export release scenes/crosswalk.yaml out/test_data
    """
    for message in export_release(Scene.load(scene), folder):
        typer.echo(str(message), err=True)
