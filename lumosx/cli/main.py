"""The program `lumosx`: puts the commands together and turns errors into one message and an exit code.

Exit 0: done. 2: the input is wrong. 1: it failed while running. 130: interrupted. No torch is imported here.
"""

import logging
import os
import sys
from importlib import import_module
from typing import Annotated

import typer

from lumosx import __version__
from lumosx.errors import InputError
from lumosx.scene import SceneError

# Modules of lumosx.cli in the order of the help page. Each has a function `command` or a group `app`.
COMMANDS = (
    "check", "explain", "plan", "sample", "replay", "import_", "export", "train", "cache", "curate", "bench", "convert",
    "playground",
)  # fmt: skip

app = typer.Typer(
    name="lumosx",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"lumosx {__version__}")
        raise typer.Exit()


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Videos of several people from pictures of their faces, clothes and things, each attribute on its owner.

    Example: lumosx sample configs/scenes/two_friends/scene.yaml --out out

    LUMOSX_DEBUG=1 shows the traceback of an error.
    """


def _register(module_name: str) -> None:
    module = import_module(f"lumosx.cli.{module_name}")
    name = module_name.rstrip("_")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(module.command)


for _name in COMMANDS:
    _register(_name)


def _explain(error: Exception) -> tuple[str, int]:
    """What to tell the user, and the exit code."""
    if isinstance(error, SceneError):
        return "\n".join(str(message) for message in error.messages), 2
    if isinstance(error, InputError):
        return str(error), 2
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return f"lumosx: failed: {line} (LUMOSX_DEBUG=1 shows where)", 1


def main() -> None:
    """Entry point of the program; always ends in SystemExit."""
    # Small models on a busy machine spend their time in OpenMP's spinning: 1 s a step instead of 0.02 s was seen.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Where torchao is installed, five lines about kernels that it found no use for, before any of ours.
    for name in ("torchao", "torch.utils._pytree", "diffusers.quantizers.torchao.torchao_quantizer"):
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        app()
    except Exception as error:
        if os.environ.get("LUMOSX_DEBUG") == "1":
            raise
        message, code = _explain(error)
        print(message, file=sys.stderr)
        sys.exit(code)


if __name__ == "__main__":
    main()
