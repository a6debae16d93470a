"""`lumosx train`: composes a configuration and trains."""

from typing import Annotated

import typer


def command(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="Hydra overrides, such as experiment=tiny_1 train.steps=100 run.name=mine."),
    ] = None,
) -> None:
    """Train a model. The same command resumes a run that was stopped.

    Example: lumosx train experiment=tiny_text && lumosx train experiment=tiny_1
    """
    from lumosx.paths import configs_dir
    from lumosx.training.config import load_config

    config = load_config(overrides or [], configs_dir())
    if config.text is not None:
        from lumosx.training.text_encoder import train_text_encoder

        folder = train_text_encoder(config)
    else:
        from lumosx.training.trainer import Trainer

        folder = Trainer(config).fit()
    typer.echo(f"wrote {folder}")
