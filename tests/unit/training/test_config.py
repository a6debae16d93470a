"""The configuration is typed and closed: every shipped experiment composes, and every mistake is named."""

from pathlib import Path

import pytest

from lumosx.errors import InputError
from lumosx.paths import configs_dir
from lumosx.training.config import TextConfig, load_config

EXPERIMENTS = sorted(path.stem for path in (configs_dir() / "experiment").glob("*.yaml"))


def test_there_are_experiments() -> None:
    assert {"tiny_text", "tiny_1", "tiny_2"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_shipped_experiment_composes(name: str) -> None:
    config = load_config([f"experiment={name}"], configs_dir())
    assert config.train.steps > 0
    assert config.folder == Path("runs") / config.run.name


def test_overrides_reach_typed_values() -> None:
    config = load_config(["experiment=tiny_1", "train.steps=7", "run.name=mine", "optim.muon_lr=null"], configs_dir())
    assert (config.train.steps, config.run.name, config.optim.muon_lr) == (7, "mine", None)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.stepz=7", "did you mean train.steps"),
        ("train.steps=many", "many"),
        ("experiment=huge", "huge"),
        ("optim.moun_lr=1", "did you mean optim.muon_lr"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(["experiment=tiny_1", override], configs_dir())


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InputError, match=r"train\.steps|run\.name"):
        load_config([], configs_dir())


def test_the_text_encoder_has_values_of_its_own() -> None:
    config = load_config(["experiment=tiny_text"], configs_dir())
    assert config.text == TextConfig(64, 3, 96, 8192, 64, 2e-3, 0.01) and config.train.steps == 1200
    assert load_config(["experiment=tiny_1"], configs_dir()).text is None
    with pytest.raises(InputError, match=r"did you mean text\.width"):
        load_config(["experiment=tiny_text", "text.widht=3"], configs_dir())
