"""The loop learns, resumes to the same bits, averages its weights, and leaves a checkpoint that the pipeline opens."""

import json
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

import pytest
import torch

from lumosx.data.keyed import keyed_chance, keyed_generator
from lumosx.data.playground import PlaygroundBatches
from lumosx.errors import InputError
from lumosx.pipelines import LumosXPipeline
from lumosx.playground import World
from lumosx.references import letterbox, to_tensor
from lumosx.scene import Scene
from lumosx.training import checkpoint
from lumosx.training.config import Config
from lumosx.training.run import check_same
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
    """On fixed clips and noises: from batch to batch the drawn sigmas hide what 24 steps change."""
    trainer = Trainer(
        replace(
            config,
            train=replace(config.train, steps=24, checkpoint_every=100),
            optim=replace(config.optim, warmup=4),
        )
    )
    batches = list(islice(trainer._batches(), 8))

    def loss() -> float:
        with torch.no_grad():
            return sum(float(trainer._loss(batch)) for batch in batches)

    before = loss()
    trainer.fit()
    assert len((config.folder / "log.jsonl").read_text().splitlines()) == 24
    assert loss() < 0.85 * before


def test_another_configuration_is_no_resume(config: Config) -> None:
    Trainer(config).fit()
    before = {path: path.read_bytes() for path in config.folder.iterdir() if path.is_file()}
    other = replace(
        config,
        optim=replace(config.optim, lr=0.25),
        model=replace(config.model, transformer=config.model.transformer | {"mcam_ratio": 0.75}),
    )
    with pytest.raises(InputError) as caught:
        Trainer(other).fit()
    assert "optim.lr: 0.0015 -> 0.25" in str(caught.value)
    assert "model.transformer.mcam_ratio: 0.5 -> 0.75" in str(caught.value)
    assert str(caught.value).count("->") == 3  # these two and the heading
    assert {path: path.read_bytes() for path in config.folder.iterdir() if path.is_file()} == before


def test_length_and_pace_of_a_run_may_change(config: Config) -> None:
    Trainer(config).fit()
    train = replace(config.train, steps=5, checkpoint_every=1, log_every=2, threads=1)
    longer = Trainer(replace(config, train=train))
    longer.fit()
    assert longer.step == 5


def test_a_moved_folder_of_runs_goes_on(config: Config) -> None:
    root = config.run.root
    saved = asdict(replace(config, model=replace(config.model, init_from=f"{root}/tiny-0/export")))
    moved = replace(config, run=replace(config.run, root="elsewhere"))
    check_same(saved, replace(moved, model=replace(config.model, init_from="elsewhere/tiny-0/export")), "it")
    with pytest.raises(InputError, match=r"model\.init_from: tiny-0/export -> tiny-9/export"):
        check_same(saved, replace(moved, model=replace(config.model, init_from="elsewhere/tiny-9/export")), "it")


def test_a_checkpoint_without_configuration_goes_on_with_a_note(
    config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = Trainer(config)
    trainer.fit()
    path = config.folder / "latest.pt"
    state = checkpoint.load(path)
    assert state is not None and state.pop("config")["run"]["name"] == config.run.name
    checkpoint.save(state, path)
    resumed = Trainer(config)
    resumed.fit()
    assert resumed.step == trainer.step
    assert "does not say which configuration" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "options", "message"),
    [
        ("generation", {"stepz": 4}, "model.generation.*stepz"),
        ("generation", {"solver": "eulr"}, "model.generation.*eulr"),
        ("generation", {"fps": "many"}, "model.generation"),
        ("transformer", {"num_layer": 4}, "model.transformer.*num_layer"),
        ("transformer", {"prediction": "smaple"}, "model.transformer.*smaple"),
    ],
)
def test_mistakes_in_what_the_end_needs_show_at_the_start(
    config: Config, part: str, options: dict[str, Any], message: str
) -> None:
    wrong = replace(config.model, **{part: getattr(config.model, part) | options})
    with pytest.raises(InputError, match=message):
        Trainer(replace(config, model=wrong))


def test_a_loss_that_is_no_number_stops_the_run(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config)
    loss = trainer._loss
    monkeypatch.setattr(trainer, "_loss", lambda batch: loss(batch) * (float("nan") if trainer.step == 3 else 1.0))
    with pytest.raises(FloatingPointError, match="step 4 is nan"):
        trainer.fit()
    state = checkpoint.load(config.folder / "latest.pt")
    assert state is not None and state["step"] == 2
    assert all(bool(tensor.isfinite().all()) for tensor in trainer.model.state_dict().values())


def test_a_run_tells_its_machine(config: Config) -> None:
    Trainer(config).fit()
    facts = json.loads((config.folder / "machine.json").read_text())
    assert facts["threads"] == torch.get_num_threads() and facts["torch"] == torch.__version__
    assert facts["processor"] and facts["device"]


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


def test_references_are_prepared_as_the_pipeline_prepares_them(config: Config) -> None:
    """The pipeline's letterbox gives a rendered reference back, but for its rounding to bytes."""
    batches = _batches(config)
    batch = batches[0]
    rendered = World().draw([batches.truth(sample) for sample in batch.sample_ids])
    for fed, drawn, scene in zip(batch.references, rendered.references, rendered.scenes, strict=True):
        images = [entity.image for entity in Scene.from_dict(scene).entities if entity.image is not None]
        prepared = torch.stack([to_tensor(letterbox(image.open(), 32, 32)) for image in images])
        assert torch.equal(fed, prepared)
        assert float((fed - drawn).abs().max()) <= 1 / 127.5


def test_a_wide_clip_pads_its_references(config: Config) -> None:
    world = World((64, 32))
    batches = PlaygroundBatches(
        world, Trainer(config).tokenizer, grid=(3, 4, 8), clips=2, steps=1, text_length=96, seed=0,
        subjects=[0, 1], placed=0.5, text_dropout=0.0, reference_dropout=0.0,
    )  # fmt: skip
    batch = batches[0]
    for layout, pictures in zip(batch.layouts, batch.references, strict=True):
        assert pictures.shape == (len(layout.references), 3, 32, 64)
        faces = [row for row, reference in enumerate(layout.references) if reference.role == "member"]
        assert bool((pictures[faces][..., :16] == 1).all()) and bool((pictures[faces][..., 48:] == 1).all())


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
