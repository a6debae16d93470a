"""`lumosx cache`: encodes a data set once, for runs that would encode the same clips again and again."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lumosx.errors import InputError

if TYPE_CHECKING:
    from lumosx.data.encoder import Encoder
    from lumosx.data.fill_cache import Filled
    from lumosx.data.source import Records
    from lumosx.training.config import Config


def command(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="As for `lumosx train`, with data.path, data.cache and data.variants.")
    ] = None,
    dtype: Annotated[str, typer.Option(metavar="NAME", help="What is stored: float32, bfloat16.")] = "float32",
    rank: Annotated[int, typer.Option(envvar="RANK", metavar="N", help="Of this process, from 0.")] = 0,
    ranks: Annotated[int, typer.Option(envvar="WORLD_SIZE", metavar="N", help="Processes that share the work.")] = 1,
    verify: Annotated[bool, typer.Option("--verify", help="Read all that is there; make nothing.")] = False,
) -> None:
    """Encode a data set once: latents of clips and pictures, embeddings of captions. A second call makes what is
    missing. Under torchrun, or as jobs with --rank and --ranks, every process takes its share.

    Example: lumosx cache experiment=phase1_480p data.path=my_data data.cache=my_cache data.variants=2
    """
    from lumosx.paths import configs_dir
    from lumosx.training.config import load_runs

    if not 0 <= rank < ranks:
        raise InputError(f"--rank {rank} --ranks {ranks}: ranks count from 0 up to one less than their number")
    broken = False
    for config in load_runs(overrides or [], configs_dir()):
        folder = _folder(config)
        filled = _verify(folder, rank, ranks) if verify else _fill(config, folder, dtype, rank, ranks)
        _tell(filled, f"{folder}, rank {rank} of {ranks}")
        broken = broken or bool(filled.broken)
    if broken:
        raise typer.Exit(1)


def _folder(config: "Config") -> Path:
    data = config.data
    if data.cache is None:
        raise InputError("data.cache is not set: say where, such as data.cache=my_cache")
    if data.path is None:
        raise InputError(
            "data.path is not set: the playground's clips never come again, so there is nothing to keep. "
            "Name a data set, such as data.path=my_data"
        )
    if data.variants is None:
        raise InputError("data.variants is not set: say how many draws of each clip to keep, such as data.variants=2")
    return Path(data.cache)


def _verify(folder: Path, rank: int, ranks: int) -> "Filled":
    from lumosx.data.fill_cache import verify_cache

    return verify_cache(folder, rank, ranks)


def _fill(config: "Config", folder: Path, dtype: str, rank: int, ranks: int) -> "Filled":
    import os

    import diffusers
    import torch
    import transformers

    from lumosx.data.fill_cache import fill_cache
    from lumosx.training.model import open_encoder

    if dtype not in ("float32", "bfloat16"):
        raise InputError(f"--dtype {dtype}: choose float32 or bfloat16")
    diffusers.utils.logging.disable_progress_bar()  # bars of other libraries before ours
    transformers.utils.logging.disable_progress_bar()
    if config.train.threads:  # as in training, where their number can change the last bits
        torch.set_num_threads(config.train.threads)
    gpu = int(os.environ.get("LOCAL_RANK", "0"))
    device = torch.device("cuda", gpu) if torch.cuda.is_available() else torch.device("cpu")
    encoder = open_encoder(config, device)
    source = _source(config, encoder)
    for note in source.notes if rank == 0 else ():
        typer.echo(f"note: {note}")
    return fill_cache(folder, source, encoder, dtype=getattr(torch, dtype), rank=rank, ranks=ranks)


def _source(config: "Config", encoder: "Encoder") -> "Records":
    from lumosx.data.source import Records
    from lumosx.data.store import open_store
    from lumosx.training.architecture import transformer_config
    from lumosx.training.model import make_reading

    reading = make_reading(config, encoder, transformer_config(config))
    assert config.data.path is not None  # _folder
    return Records(reading, open_store(config.data.path))


def _tell(filled: "Filled", what: str) -> None:
    """The result, and every sample that could not be read."""
    typer.echo(f"{what}: {filled.entries} entries are whole, {filled.made} of them new")
    if filled.broken:
        typer.echo(f"{len(filled.broken)} cannot be read:", err=True)
        for item in filled.broken:
            typer.echo(f"  {item.sample}: {item.reason}", err=True)
