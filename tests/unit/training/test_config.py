"""The configuration is typed and closed: every shipped experiment composes, and every mistake is named."""

from pathlib import Path

import pytest

from lumosx.errors import InputError
from lumosx.paths import configs_dir
from lumosx.training.config import CodecConfig, TextConfig, load_config, load_runs

EXPERIMENTS = sorted(path.stem for path in (configs_dir() / "experiment").glob("*.yaml"))


def test_there_are_experiments() -> None:
    assert {"tiny_text", "tiny_codec", "tiny_1", "tiny_2"} <= set(EXPERIMENTS)


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_shipped_experiment_composes(name: str) -> None:
    runs = load_runs([f"experiment={name}"], configs_dir())
    assert all(config.train.steps > 0 for config in runs)
    assert len({config.folder for config in runs}) == len(runs)
    assert all(config.folder == Path("runs") / config.run.name for config in runs)


def test_phases_are_runs_that_start_from_each_other() -> None:
    first, second = load_runs(["experiment=tiny", "run.name=mine", "train.steps=7", "run.root=there"], configs_dir())
    assert (first.folder, second.folder) == (Path("there/mine-1"), Path("there/mine-2"))
    assert (first.model.init_from, second.model.init_from) == (None, "mine-1")
    assert first.train.steps == second.train.steps == 7
    assert first.objective.shift != second.objective.shift  # each keeps what its own experiment says
    alone = load_runs(["experiment=tiny_2"], configs_dir())
    assert [config.run.name for config in alone] == ["tiny-2"] and alone[0].model.init_from == "tiny-1"


def test_mistakes_in_phases_are_named() -> None:
    with pytest.raises(InputError, match=r"did you mean train\.steps"):
        load_runs(["experiment=tiny", "train.stepz=7"], configs_dir())


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
        ("expriment=tiny", "did you mean experiment"),
        ("track.to=wandb", r"track\.to is a list: track\.to=\[wandb\]"),
        ("data.buckets=32x32x9", r"data\.buckets is a list: data\.buckets=\[32x32x9\]"),
        ("lora.rank=8", r"^lora\.rank=8: this experiment has no lora\. Take one that has \(lora_480p, lora_tiny\), or"),
        ("lora={rank: 8}", r"^lora=\{rank: 8\}: this experiment has no lora\."),
        ("+lora.rank=8", "this experiment has no lora"),
        ("data.augment.flip=0.5", r"this experiment has no data\.augment\. Take one that has \(.*phase1_480p"),
        ("data.augment={flip: 0.5}", r"this experiment has no data\.augment\."),
        ("text.width=8", r"this experiment has no text\. Take one that has \(tiny_text\)"),
        ("codec.channels=8", r"this experiment has no codec\. Take one that has \(tiny_codec\)"),
    ],
)
def test_mistakes_are_named(override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_config(["experiment=tiny_1", override], configs_dir())


def test_parts_that_the_experiment_has_can_be_changed_and_taken_away() -> None:
    config = load_config(["experiment=lora_tiny", "lora.rank=8"], configs_dir())
    assert config.lora is not None and (config.lora.rank, config.lora.alpha) == (8, 16)
    changed = load_config(["experiment=phase2_480p", "data.augment={flip: 0.25}"], configs_dir())
    assert changed.data.augment is not None and changed.data.augment.flip == 0.25
    assert load_config(["experiment=lora_tiny", "lora=null"], configs_dir()).lora is None


def test_a_missing_value_is_named() -> None:
    with pytest.raises(InputError, match=r"train\.steps|run\.name"):
        load_config([], configs_dir())


def test_the_text_encoder_has_values_of_its_own() -> None:
    config = load_config(["experiment=tiny_text"], configs_dir())
    assert config.text == TextConfig(64, 3, 80, 8192, 64, 2e-3, 0.01) and config.train.steps == 1200
    assert load_config(["experiment=tiny_1"], configs_dir()).text is None
    with pytest.raises(InputError, match=r"did you mean text\.width"):
        load_config(["experiment=tiny_text", "text.widht=3"], configs_dir())


def test_the_codec_has_values_of_its_own() -> None:
    config = load_config(["experiment=tiny_codec"], configs_dir())
    assert config.codec == CodecConfig(channels=64, spatial=8, temporal=4, clips=512)
    assert config.data.buckets == ["64x64x17"]
    assert load_config(["experiment=tiny_text"], configs_dir()).codec is None
