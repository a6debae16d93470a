"""`lumosx convert`: other forms of weights -> the hub layout.

Published weights of Wan or the LumosX release become one part of a checkpoint; a run, also one that is still going,
becomes a whole one.
"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from lumosx.errors import InputError


class _Part(StrEnum):
    transformer = "transformer"
    vae = "vae"
    text_encoder = "text_encoder"


class _Source(StrEnum):
    wan = "wan"
    lumosx_release = "lumosx-release"


class _Dtype(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


def command(
    src: Annotated[Path, typer.Argument(help="A .safetensors, .pt or .pth file, a folder of shards, or a run.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist.")],
    part: Annotated[_Part | None, typer.Option(help="The model that SRC holds; not for a run.")] = None,
    source: Annotated[
        _Source | None, typer.Option(help="Whose weights (wan unless given); the release's use its rules.")
    ] = None,
    dtype: Annotated[_Dtype | None, typer.Option(help="Type of the written tensors; unless given, as in SRC.")] = None,
    num_heads: Annotated[
        int | None, typer.Option(min=1, help="Heads of a transformer whose heads are not 128 wide.")
    ] = None,
) -> None:
    """Convert weights with Wan's names, or the last checkpoint of a run, to the hub layout.

    A tensor missing, unknown or misshapen is an error. Of a run, the averaged weights are written, as in its export;
    the adapter of a LoRA run goes to OUT-lora.

    Example: lumosx convert Wan2.1_VAE.pth checkpoints/lumosx-1.3b/vae --part vae
    """
    if (src / "config.yaml").is_file():
        given = {"--part": part, "--source": source, "--dtype": dtype, "--num-heads": num_heads}
        _convert_run(src, out, [name for name, value in given.items() if value is not None])
        return
    if part is None:
        raise InputError(f"{src} is not a run (it has no config.yaml): say with --part which model it holds")
    import torch

    from lumosx.models.convert import convert_checkpoint

    written = convert_checkpoint(
        src,
        out,
        part=part.value,
        source=(source or _Source.wan).value,
        dtype=getattr(torch, dtype.value) if dtype else None,
        num_heads=num_heads,
    )
    typer.echo(f"{out}: {written['tensors']} tensors, {written['parameters']:,} parameters")


def _convert_run(run: Path, out: Path, options: list[str]) -> None:
    if options:
        raise InputError(f"{run} is a run, whose config.yaml says all: leave out {', '.join(options)}")
    from lumosx.training.export import export_last_checkpoint

    checkpoint = export_last_checkpoint(run, out)
    typer.echo(f"{out}: the averaged weights of {checkpoint}")
