"""The loop learns, resumes to the same bits, averages its weights, and leaves a checkpoint that the pipeline opens."""

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from lumosx.data.keyed import keyed_chance, keyed_generator
from lumosx.data.playground import PlaygroundBatches
from lumosx.errors import InputError
from lumosx.pipelines import LumosXPipeline
from lumosx.playground import World
from lumosx.scene import Scene
from lumosx.training import checkpoint
from lumosx.training.config import Config
from lumosx.training.trainer import Trainer


def test_a_stopped_run_goes_on_to_the_same_bits(config: Config) -> None:
    through = Trainer(replace(config, run=replace(config.run, name="through")))
    through.fit()

    class Stopped(Exception):
        pass

    interrupted = Trainer(replace(config, run=replace(config.run, name="stopped")))
    save = interrupted._save

    def save_and_stop() -> None:
        save()
        raise Stopped

    interrupted._save = save_and_stop
    with pytest.raises(Stopped):
        interrupted.fit()
    resumed = Trainer(replace(config, run=replace(config.run, name="stopped")))
    resumed.fit()
    assert resumed.step == through.step == 4
    for name, tensor in through.model.state_dict().items():
        assert torch.equal(tensor, resumed.model.state_dict()[name]), name
        assert torch.equal(through.ema[name], resumed.ema[name]), name


def test_the_same_command_leaves_a_finished_run_alone(config: Config) -> None:
    Trainer(config).fit()
    before = (config.folder / "latest.pt").read_bytes()
    again = Trainer(config)
    again.fit()
    assert (config.folder / "latest.pt").read_bytes() == before


def test_the_loss_falls(config: Config) -> None:
    longer = replace(config, train=replace(config.train, steps=24, checkpoint_every=100))
    Trainer(longer).fit()
    losses = [json.loads(line)["loss"] for line in (longer.folder / "log.jsonl").read_text().splitlines()]
    assert len(losses) == 24
    assert sum(losses[-5:]) < 0.85 * sum(losses[:5])


def test_the_export_samples_with_its_own_defaults(config: Config) -> None:
    trainer = Trainer(config)
    folder = trainer.fit()
    pipe = LumosXPipeline.from_pretrained(folder)
    weights = pipe.transformer.state_dict()
    assert all(torch.equal(weights[name], tensor) for name, tensor in trainer.ema.items())
    scene = Scene.from_dict(World().render([5], split="test", subjects=2).scene(0))
    result = pipe(scene, seed=0, steps=2, progress=False)
    assert result.frames.shape == (9, 32, 32, 3)
    assert not list(config.folder.glob(".*"))  # nothing half-written stays


def test_the_average_by_hand(config: Config) -> None:
    trainer = Trainer(config)
    name = "proj_out.bias"
    start = trainer.ema[name].clone()
    trainer.step = 10**6
    with torch.no_grad():
        trainer.model.state_dict()[name].add_(1.0)
    trainer._average()
    torch.testing.assert_close(trainer.ema[name], start + (1 - config.train.ema))


def test_a_missing_text_encoder_says_what_to_do(config: Config) -> None:
    with pytest.raises(InputError, match="experiment=tiny_text"):
        Trainer(replace(config, model=replace(config.model, text_encoder="nowhere")))


def test_an_unreadable_checkpoint_is_not_taken_for_none(config: Config) -> None:
    config.folder.mkdir(parents=True)
    (config.folder / "latest.pt").write_bytes(b"half a file")
    with pytest.raises(InputError, match=r"latest\.pt"):
        Trainer(config).fit()


def test_a_failed_save_leaves_the_last_one(config: Config) -> None:
    path = config.folder / "latest.pt"
    checkpoint.save({"step": 1}, path)

    class Unpicklable:
        def __reduce__(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
            raise RuntimeError("no")

    with pytest.raises(RuntimeError):
        checkpoint.save({"step": Unpicklable()}, path)
    assert checkpoint.load(path) == {"step": 1}
    assert [p.name for p in config.folder.iterdir()] == ["latest.pt"]


def _batches(config: Config, **changes: Any) -> PlaygroundBatches:
    options = {"text_dropout": 0.0, "reference_dropout": 0.0, "subjects": [0, 1], "placed": 0.5, **changes}
    trainer = Trainer(config)
    return PlaygroundBatches(
        World(), trainer.tokenizer, grid=(3, 4, 4), clips=4, steps=2, text_length=96, seed=0, **options
    )


def test_a_batch_is_the_same_whenever_it_is_asked_for(config: Config) -> None:
    first, second = _batches(config), _batches(config)
    second[1]
    a, b = first[0], second[0]
    assert torch.equal(a.video, b.video) and a.layouts == b.layouts and torch.equal(a.token_ids, b.token_ids)
    assert not torch.equal(a.video, first[1].video)


def test_words_of_a_batch_name_their_references(config: Config) -> None:
    """Decoding the marked tokens of each reference gives its word back."""
    batches = _batches(config)
    batch = batches[0]
    scenes = World().draw([batches.truth(sample) for sample in batch.sample_ids]).scenes
    for row, (layout, scene) in enumerate(zip(batch.layouts, scenes, strict=True)):
        assert len(layout.references) == len(batch.references[row])
        entities = [entity for entity in Scene.from_dict(scene).entities if entity.image is not None]
        for words, entity in zip(layout.words, entities, strict=True):
            assert entity.words[0] in batches.tokenizer.decode(batch.token_ids[row][words])


def test_dropout_takes_words_and_references(config: Config) -> None:
    without_text = _batches(config, text_dropout=1.0)[0]
    assert int(without_text.token_mask.sum()) == 4  # </s> alone, four times
    assert not any(bool(layout.words.any()) for layout in without_text.layouts)
    assert all(len(pictures) for pictures in without_text.references)
    alone = _batches(config, reference_dropout=1.0)[0]
    assert all(not layout.references for layout in alone.layouts) and not any(map(len, alone.references))


def test_the_mix_of_clips_is_the_one_asked_for(config: Config) -> None:
    drawn = [_batches(config, subjects=[0.5, 0.0, 0.5], placed=0.8).truth(sample) for sample in range(200)]
    counts = [sum(len(truth.subjects) == people for truth in drawn) for people in (1, 2, 3)]
    assert 70 < counts[0] < 130 and counts[1] == 0 and counts[0] + counts[2] == 200
    assert 140 < sum(truth.placed for truth in drawn) < 180


def test_keys_are_independent() -> None:
    draws = {
        float(torch.rand((), generator=keyed_generator(seed, sample, purpose)))
        for seed in range(3)
        for sample in range(3)
        for purpose in ("noise", "drop text")
    }
    assert len(draws) == 18
    assert not keyed_chance(0, 0, "x", 0.0) and keyed_chance(0, 0, "x", 1.0)
    assert 60 < sum(keyed_chance(0, sample, "x", 0.3) for sample in range(300)) < 120
