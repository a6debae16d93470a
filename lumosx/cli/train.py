"""`lumosx train`: composes a configuration and trains, or says what that would take."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lumosx.training.config import Config


def command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides, such as experiment=tiny train.steps=100 run.name=mine."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check the settings, print tokens, memory, FLOPs and time; train nothing.")
    ] = False,
    gpu: Annotated[str, typer.Option(help="For --dry-run: A100, H20, H100 or H200.")] = "H100",
    gpus: Annotated[int | None, typer.Option(min=1, help="For --dry-run: how many (default: this command's).")] = None,
) -> None:
    """Train a model. The same command resumes a run that was stopped.

    Example: lumosx train experiment=tiny. On 8 GPUs: torchrun --nproc-per-node 8 -m lumosx.cli.main train
    experiment=phase1_480p data.path=my_data
    """
    from lumosx.paths import configs_dir
    from lumosx.training.config import load_runs

    runs = load_runs(overrides or [], configs_dir())
    if dry_run:
        _report(runs, gpu, gpus)
    else:
        train_runs(runs)


def _report(runs: "list[Config]", gpu: str, gpus: int | None) -> None:
    import os
    from glob import glob

    from lumosx.training.dry_run import report

    for config in runs:
        typer.echo(report(config, gpu, gpus or int(os.environ.get("WORLD_SIZE", "1"))))
        path = config.data.path
        if path is not None and not glob(path):
            typer.echo(f"Before it can run: nothing is at data.path={path} yet.")


def train_runs(runs: "list[Config]") -> None:
    """Trains one run after the other; raises typer.Exit where the machine asks it to stop."""
    import diffusers
    import transformers

    from lumosx.training.ranks import joined
    from lumosx.training.stopping import EXIT_CODE, RunStopped

    diffusers.utils.logging.disable_progress_bar()  # bars of other libraries before ours
    transformers.utils.logging.disable_progress_bar()
    with joined(runs[0].parallel) as ranks:
        for config in runs:
            try:
                folder = _train_one(config, ranks)
            except RunStopped as stopped:
                typer.echo(str(stopped), err=True)
                raise typer.Exit(EXIT_CODE) from stopped
            if ranks.is_main:
                typer.echo(f"wrote {folder}")


def _train_one(config: "Config", ranks):
    if config.text is not None:
        from lumosx.training.text_encoder import train_text_encoder

        return train_text_encoder(config)
    if config.codec is not None:
        from lumosx.training.codec import train_codec

        return train_codec(config)
    from lumosx.training.trainer import Trainer

    return Trainer(config, ranks).fit()
