"""`lumosx explain`: what a scene binds to what, and what that does in the network. Needs no weights.

The terminal shows what the HTML page and the figure show; all three render the same `Explanation`.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class _Rules(StrEnum):
    paper = "paper"
    release = "release"


def command(
    scene: Annotated[Path, typer.Argument(help="A scene file.")],
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Pixels (default: the scene's, or 832x480).")] = None,
    frames: Annotated[int | None, typer.Option(help="Frames (default: the scene's, or 81).")] = None,
    rules: Annotated[_Rules | None, typer.Option(help="The rule set (default: the scene's, or paper).")] = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Refuse paths outside the scene's folder.")] = False,
    html: Annotated[Path | None, typer.Option(help="Also write a page with all of it.")] = None,
    png: Annotated[Path | None, typer.Option(help="Also write a figure of the two masks.")] = None,
) -> None:
    """Show which words mean whom, where each picture stands, and the attention masks.

    Positions are those of a model with Wan2.1's factors: a token is 16 x 16 pixels and 4 frames.

    Example: lumosx explain configs/scenes/two_friends/scene.yaml --png masks.png
    """
    from lumosx.cli.overrides import load_scenes
    from lumosx.scene.source import Override

    options = (("generation", "size", size), ("generation", "frames", frames), ("binding", "rules", rules))
    overrides = [Override((s, key), value, f"--{key} {value}") for s, key, value in options if value is not None]
    loaded, messages = load_scenes([scene], overrides, sandbox=sandbox, require_consent=False)
    if not loaded:
        typer.echo("\n".join(map(str, messages)), err=True)
        raise typer.Exit(2)

    from rich.console import Console

    from lumosx.cli.explain_terminal import print_explanation  # imports torch: only for a sound scene
    from lumosx.cli.explanation import explain

    explanation = explain(loaded[0])
    print_explanation(explanation, Console(highlight=False))
    if html is not None:
        from lumosx.cli.explain_html import page

        _write(html, page(explanation).encode())
    if png is not None:
        from lumosx.cli.explain_figure import figure_png

        _write(png, figure_png(explanation))


def _write(path: Path, content: bytes) -> None:
    from lumosx.files import atomic

    with atomic(path) as temporary:
        temporary.write_bytes(content)
    typer.echo(f"wrote {path}")
