"""The loop learns, resumes to the same bits, averages its weights, and leaves a checkpoint that the pipeline opens."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch

from lumosx.data.batch import StepData
from lumosx.errors import InputError
from lumosx.pipelines import LumosXPipeline
from lumosx.playground import World
from lumosx.scene import Scene
from lumosx.training.config import Config
from lumosx.training.guard import TrainingFailure
from lumosx.training.ranks import Ranks
from lumosx.training.run import check_same
from lumosx.training.stopping import RunStopped
from lumosx.training.trainer import Trainer

ALONE = Ranks(0, 1, torch.device("cpu"))


def fit(config: Config) -> Trainer:
    trainer = Trainer(config, ALONE)
    trainer.fit()
    return trainer


def named(config: Config, name: str) -> Config:
    return replace(config, run=replace(config.run, name=name))


def with_train(config: Config, **changes: Any) -> Config:
    return replace(config, train=replace(config.train, **changes))


def lines(config: Config, name: str = "log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (config.folder / name).read_text().splitlines()]


def assert_same_state(a: Trainer, b: Trainer) -> None:
    assert (a.step, a.order, a.position, a.samples_seen) == (b.step, b.order, b.position, b.samples_seen)
    for name, tensor in a.engine.model.state_dict().items():
        assert torch.equal(tensor, b.engine.model.state_dict()[name]), name
    for name, tensor in a.ema.averages.items():
        assert torch.equal(tensor, b.ema.averages[name]), name
    for one, other in zip(a.engine.optimizers, b.engine.optimizers, strict=True):
        for state, same in zip(one.state.values(), other.state.values(), strict=True):
            assert state.keys() == same.keys()
            assert all(torch.equal(torch.as_tensor(state[key]), torch.as_tensor(same[key])) for key in state)


def test_a_run_that_is_asked_to_stop_goes_on_to_the_same_bits(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    through = fit(named(config, "through"))
    stopped = named(config, "stopped")
    trainer = Trainer(stopped, ALONE)
    step = trainer._train_step

    def step_and_signal(data: StepData) -> None:
        if trainer.step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        step(data)

    monkeypatch.setattr(trainer, "_train_step", step_and_signal)
    with pytest.raises(RunStopped, match="stopped at step 3"):
        trainer.fit()
    assert (stopped.folder / "resumable").exists() and not (stopped.folder / "export").exists()
    resumed = fit(stopped)
    assert not (stopped.folder / "resumable").exists()
    assert_same_state(through, resumed)
    assert [line["loss"] for line in lines(through.config)] == [line["loss"] for line in lines(stopped)]


def test_the_same_command_leaves_a_finished_run_alone(config: Config) -> None:
    fit(config)
    before = {path: path.stat().st_mtime_ns for path in (config.folder / "export").rglob("*")}
    log = lines(config)
    assert fit(config).step == 4
    assert {path: path.stat().st_mtime_ns for path in (config.folder / "export").rglob("*")} == before
    assert lines(config) == log


def test_a_lost_export_is_made_again(config: Config) -> None:
    first = fit(config)
    weights = (config.folder / "export/transformer/diffusion_pytorch_model.safetensors").read_bytes()
    (config.folder / "export").rename(config.folder / "elsewhere")
    assert_same_state(first, fit(config))
    assert (config.folder / "export/transformer/diffusion_pytorch_model.safetensors").read_bytes() == weights


def test_a_run_is_not_made_shorter_than_it_is(config: Config) -> None:
    fit(config)
    with pytest.raises(InputError, match=r"has made 4 steps already, more than train\.steps=3"):
        fit(with_train(config, steps=3))


def test_two_commands_do_not_train_one_run(config: Config) -> None:
    config.folder.mkdir(parents=True)
    holds = "import fcntl, sys; f = open(sys.argv[1], 'w'); fcntl.lockf(f, fcntl.LOCK_EX); print(flush=True); input()"
    command = [sys.executable, "-c", holds, str(config.folder / "lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(InputError, match="another process trains this run"):
            fit(config)
        other.kill()
    assert fit(config).step == 4  # nobody is locked out by one that was killed


def test_files_of_others_stay(config: Config) -> None:
    config.folder.mkdir(parents=True)
    (config.folder / ".note").write_text("mine")
    (config.folder / ".export.0123abcd.part").mkdir()  # as a kill leaves it
    fit(config)
    assert (config.folder / ".note").read_text() == "mine"
    assert [path.name for path in config.folder.glob(".*")] == [".note"]


def test_data_that_cannot_be_read_stops_the_run_in_a_sentence(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise InputError("clips/beach: nothing of it can be read")
        yield

    monkeypatch.setattr("lumosx.training.trainer.training_steps", fail)
    with pytest.raises(InputError, match="nothing of it can be read"):
        fit(config)


def test_the_loss_falls(config: Config) -> None:
    """On fixed clips, noises and levels: from batch to batch the drawn sigmas hide what 24 steps change."""
    longer = with_train(config, steps=24, checkpoint_every=100)
    optim = replace(config.optim, lr=0.01, muon_lr=0.1, warmup=4)
    longer = replace(longer, optim=optim, validation=replace(config.validation, every=8, clips=4))
    fit(longer)
    found = [line["validation/loss"] for line in lines(longer) if "validation/loss" in line]
    assert len(found) == 3 and found[2] < 0.8 * found[0]
    assert sum("loss" in line for line in lines(longer)) == 24


def test_another_configuration_is_no_resume_unless_told(config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    fit(config)
    before = {path: path.read_bytes() for path in config.folder.iterdir() if path.is_file()}
    other = replace(
        with_train(config, steps=5),
        optim=replace(config.optim, lr=0.25),
        data=replace(config.data, text_dropout=0.75),
    )
    with pytest.raises(InputError) as caught:
        fit(other)
    assert "optim.lr: 0.0015 -> 0.25" in str(caught.value)
    assert "data.text_dropout: 0.1 -> 0.75" in str(caught.value)
    assert str(caught.value).count("->") == 3  # these two and the heading
    assert {path: path.read_bytes() for path in config.folder.iterdir() if path.is_file()} == before
    told = replace(other, run=replace(other.run, accept_changes=True))
    assert fit(told).step == 5
    assert "optim.lr: 0.0015 -> 0.25" in capsys.readouterr().out


def test_length_and_pace_of_a_run_may_change(config: Config) -> None:
    fit(config)
    longer = fit(with_train(config, steps=5, checkpoint_every=1, log_every=2, threads=1, micro_batch=1))
    assert longer.step == 5 and (config.folder / "export").is_dir()


def test_a_moved_folder_of_runs_goes_on(config: Config) -> None:
    root = config.run.root
    saved = asdict(replace(config, model=replace(config.model, init_from=f"{root}/tiny-0/export")))
    moved = replace(config, run=replace(config.run, root="elsewhere"))
    check_same(saved, replace(moved, model=replace(config.model, init_from="elsewhere/tiny-0/export")), "it")
    with pytest.raises(InputError, match=r"model\.init_from: tiny-0/export -> tiny-9/export"):
        check_same(saved, replace(moved, model=replace(config.model, init_from="elsewhere/tiny-9/export")), "it")


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
        Trainer(replace(config, model=wrong), ALONE)


def test_an_update_that_would_do_harm_is_left_out(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(config, ALONE)
    objective, weights = trainer.objective, []

    def broken_once(forward: Any, batch: Any) -> Any:
        weights.append({name: tensor.clone() for name, tensor in trainer.engine.trained().items()})
        return objective(forward, batch) * (float("nan") if trainer.step == 1 else 1.0)

    monkeypatch.setattr(trainer, "objective", broken_once)
    trainer.fit()
    assert all(torch.equal(weights[1][name], weights[2][name]) for name in weights[1])
    assert any(not torch.equal(weights[2][name], weights[3][name]) for name in weights[1])
    (entry,) = lines(config, "skipped.jsonl")
    assert entry["step"] == 2 and "nan" in entry["reason"] and len(entry["samples"]) == 2


def test_a_loss_that_stays_no_number_stops_the_run(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(replace(config, guard=replace(config.guard, patience=2)), ALONE)
    objective = trainer.objective
    monkeypatch.setattr(
        trainer, "objective", lambda forward, batch: objective(forward, batch) * (float("nan") if trainer.step else 1.0)
    )
    with pytest.raises(TrainingFailure, match="nan"):
        trainer.fit()
    trainer.checkpoints.finish()
    latest = trainer.checkpoints.latest()
    assert latest is None or trainer.checkpoints.facts(latest)["step"] == 2


def test_a_run_tells_its_machine(config: Config) -> None:
    fit(config)
    facts = json.loads((config.folder / "machine.json").read_text())
    assert facts["threads"] == torch.get_num_threads() and facts["torch"] == torch.__version__
    assert facts["processor"] and facts["device"]


def test_the_log_tells_what_a_person_watches(config: Config) -> None:
    fit(config)
    last = lines(config)[-1]
    for key in ("loss", "gradient_norm", "seconds_per_step", "tokens_per_second", "memory_gib", "data_wait", "lr"):
        assert last[key] >= 0, key
    assert last["samples_seen"] == 8


def test_the_export_samples_with_its_own_defaults(config: Config) -> None:
    trainer = Trainer(config, ALONE)
    folder = trainer.fit()
    pipe = LumosXPipeline.from_pretrained(folder)
    weights = pipe.transformer.state_dict()
    assert weights.keys() == trainer.ema.averages.keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in trainer.ema.averages.items())
    scene = World().render([5], split="test", subjects=2).scene(0)
    del scene["generation"]  # which would be taken instead
    result = pipe(Scene.from_dict(scene), seed=0, steps=2, progress=False)
    assert result.frames.shape == (5, 32, 32, 3)
    assert not list(config.folder.glob(".*"))  # nothing half-written stays


def test_a_second_phase_starts_from_the_averages_of_the_first(config: Config) -> None:
    first = fit(named(config, "one"))
    second = Trainer(replace(named(config, "two"), model=replace(config.model, init_from="one")), ALONE)
    for name, tensor in second.engine.model.state_dict().items():
        assert torch.equal(tensor, first.ema.averages[name]), name
    with pytest.raises(InputError, match="no run of that name"):
        Trainer(replace(config, model=replace(config.model, init_from="three")), ALONE)


def test_a_run_whose_start_was_made_anew_is_no_resume(config: Config) -> None:
    fit(named(config, "one"))
    second = replace(named(with_train(config, steps=2), "two"), model=replace(config.model, init_from="one"))
    fit(second)
    fit(named(with_train(config, steps=5), "one"))  # its export is another one now
    with pytest.raises(InputError, match=r"started from other weights than model\.init_from=one holds now"):
        fit(with_train(second, steps=3))


def test_micro_batches_are_one_batch(config: Config) -> None:
    whole, pieces = fit(named(config, "whole")), fit(named(with_train(config, micro_batch=1), "pieces"))
    for name, tensor in whole.engine.model.state_dict().items():
        torch.testing.assert_close(tensor, pieces.engine.model.state_dict()[name], atol=2e-4, rtol=1e-3)
    assert whole.order == pieces.order


def test_without_csam_copies_of_a_clip_have_references_of_their_own(config: Config) -> None:
    trainer = fit(replace(config, model=replace(config.model, csam=False)))
    assert trainer.step == 4 and not trainer.objective.shared


def test_a_missing_text_encoder_is_told(config: Config) -> None:
    with pytest.raises(InputError, match=r"model\.text_encoder: .*nowhere"):
        Trainer(replace(config, model=replace(config.model, text_encoder="nowhere")), ALONE)


def test_sampled_clips_and_validation_come_at_their_intervals(config: Config) -> None:
    fit(replace(config, validation=replace(config.validation, every=2, clips=2, sigmas=[0.3, 0.9], samples=1)))
    found = [line for line in lines(config) if "validation/loss" in line]
    assert [line["step"] for line in found] == [2, 4]
    assert {"validation/loss@0.3", "validation/loss@0.9"} <= found[0].keys()
    assert list((config.folder / "samples" / "step-00000004").glob("*.mp4"))
