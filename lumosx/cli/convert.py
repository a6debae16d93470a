"""`lumosx convert`: published weights of Wan or the LumosX release -> one part of a hub-layout checkpoint."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


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
    src: Annotated[Path, typer.Argument(help="A .safetensors, .pt or .pth file, or a folder of shards.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; it must not exist.")],
    part: Annotated[_Part, typer.Option(help="The model that SRC holds.")],
    source: Annotated[_Source, typer.Option(help="Whose weights; the release's use its rules.")] = _Source.wan,
    dtype: Annotated[_Dtype | None, typer.Option(help="Type of the written tensors; unless given, as in SRC.")] = None,
    num_heads: Annotated[
        int | None, typer.Option(min=1, help="Heads of a transformer whose heads are not 128 wide.")
    ] = None,
) -> None:
    """Convert weights with Wan's names to the hub layout. A tensor missing, unknown or misshapen is an error.

    Example: lumosx convert Wan2.1_VAE.pth checkpoints/lumosx-1.3b/vae --part vae
    """
    import torch

    from lumosx.models.convert import convert_checkpoint

    written = convert_checkpoint(
        src,
        out,
        part=part.value,
        source=source.value,
        dtype=getattr(torch, dtype.value) if dtype else None,
        num_heads=num_heads,
    )
    typer.echo(f"{out}: {written['tensors']} tensors, {written['parameters']:,} parameters")
