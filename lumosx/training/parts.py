"""What the trainings of the parts in front of the transformer have in common: they are made once, then frozen."""

from dataclasses import asdict
from pathlib import Path

from omegaconf import OmegaConf

from lumosx.errors import InputError
from lumosx.training.config import Config
from lumosx.training.run import check_same, differences

FREE = ("*_every", "train.threads", "run.root")  # settings that do not change what is made


def expect_no_more(config: Config, read: Config, training: str) -> None:
    """Nothing, if `config` sets what `training` reads and no more.

    Args:
        read: those values of `config` that are read, everything else at its default.

    Raises:
        InputError: names every value that would have no effect.
    """
    unread = differences(asdict(read), asdict(config))
    if unread:
        raise InputError(f"{training} does not read {', '.join(unread)}; leave that out")


def already_trained(config: Config) -> Path:
    """RUN/export of an earlier run, if it is what `config` asks for.

    Raises:
        InputError: it was made with another configuration.
    """
    export, saved = config.folder / "export", config.folder / "config.yaml"
    if saved.is_file():
        check_same(OmegaConf.to_container(OmegaConf.load(saved)), config, str(export), FREE)
        print(f"already trained: {export}")
    else:
        print(f"already trained: {export}, which does not say with which configuration; move it away to train anew")
    return export
