"""The training loop: one run of one phase, on one process or many, resumed by repeating its command."""

import hashlib
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from lumosx.data.batch import Batch, EncodedBatch, StepData
from lumosx.data.loader import Share, open_source, training_steps, validation_batches
from lumosx.errors import InputError
from lumosx.files import clear_leftovers, discard
from lumosx.training.apply import prepare_model
from lumosx.training.checkpoint import Checkpoints
from lumosx.training.checks import check
from lumosx.training.config import Config
from lumosx.training.ema import Ema
from lumosx.training.engines import make_engine
from lumosx.training.engines.base import precision
from lumosx.training.export import export_run, make_pipeline
from lumosx.training.guard import Guard
from lumosx.training.lora import add_lora
from lumosx.training.meter import Meter
from lumosx.training.model import build_model, digest_of_start, make_reading, open_encoder
from lumosx.training.objective import Objective
from lumosx.training.optim import rate, set_rate
from lumosx.training.ranks import Ranks
from lumosx.training.rng import rng_state, set_rng_state
from lumosx.training.run import LISTS, append_line, check_same, claimed, rewind_lines, write_facts
from lumosx.training.samples import sample_clips
from lumosx.training.stopping import RunStopped, StopSignal
from lumosx.training.tracking import Tracker
from lumosx.training.validation import validation_loss


class Trainer:
    """One run: its model, data and state. `fit` trains to the end, from the last checkpoint if there is one.

    Raises:
        InputError: settings that cannot work, all of them at once.
    """

    def __init__(self, config: Config, ranks: Ranks) -> None:
        check(config, ranks.size)
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.config, self.ranks, self.folder = config, ranks, config.folder
        self.encoder = open_encoder(config, ranks.device)
        model = build_model(config)
        if config.lora is not None:
            add_lora(model, config.lora)
        prepare_model(model, config, ranks)
        self.engine = make_engine(model, config, ranks)
        self.ema = Ema(self.engine, config.train.ema)
        model_config = self.engine.model.config
        shared = config.model.csam and model_config.reference_timestep == "zero"
        self.objective = Objective(config.objective, config.data.noises, shared, config.run.seed)
        self.source = open_source(make_reading(config, self.encoder, model_config), self.encoder)
        self.share = Share(config.train.batch, config.train.micro_batch, ranks.data_rank, ranks.data_size)
        self.guard = Guard(config.guard)
        self.meter = Meter(config, model_config, shared, ranks)
        self.tracker = Tracker(config, ranks)
        self.step, self.samples_seen, self.broken = 0, 0, 0
        self.saved = 0  # the step of the last checkpoint
        self.position: dict[str, Any] | None = None  # of the sampler
        self.order = ""  # a digest of all samples so far, in their order

    def fit(self) -> Path:
        """Trains, logs, checkpoints, and leaves the EMA weights as a pipeline under RUN/export. Returns that folder.

        Raises:
            RunStopped: the machine asked the run to stop; its state is saved.
            TrainingFailure: the loss is beyond repair; the last checkpoint stays.
        """
        with claimed(self.folder, self.ranks):
            self._start()
            with StopSignal() as stop:
                self._train(stop)
            if self.step < self.config.train.steps:
                self._stop()
            self.checkpoints.finish()
            self.tracker.close()
            return self.export()

    def _train(self, stop: StopSignal) -> None:
        train = self.config.train
        for data in self._steps(stop):
            self._train_step(data)
            self.checkpoints.poll()
            last = self.step == train.steps
            if self._due(train.log_every) or last:
                self._log()
            if self._due(train.checkpoint_every) or last:
                self._save()
            if self._due(self.config.validation.every):
                self._validate()

    def _start(self) -> None:
        """Takes up the last checkpoint and clears what a kill left half-written."""
        self.checkpoints = Checkpoints(self.folder, self.ranks, self.config.train.keep)
        latest = self.checkpoints.latest()
        if latest is not None:
            self._resume(latest)
        if self.ranks.is_main:
            for folder in (self.folder, self.folder / "samples"):
                clear_leftovers(folder)
            (self.folder / "resumable").unlink(missing_ok=True)
            if self.step < self.config.train.steps and (self.folder / "export").is_dir():
                discard(self.folder / "export")  # of the same run when it was to be shorter
            write_facts(self.config, self.ranks.device)
            for name in LISTS:
                rewind_lines(self.folder / name, self.step)
        self.tracker.rewind(self.step)
        steps = self.config.train.steps
        left = f"steps {self.step + 1} to {steps}" if self.step < steps else f"has made its {steps} steps already"
        self.tracker.note(f"{self.folder}: {left}, {self.engine.name} on {self.ranks.size} x {self.ranks.device.type}")
        for note in self.source.notes:
            self.tracker.note(f"note: {note}")
        self.meter.restart()

    def _steps(self, stop: StopSignal) -> Iterator[StepData]:
        """This rank's shares of the steps that are left, until any rank is asked to stop.

        Raises:
            InputError: on all ranks, if the data of any cannot be read.
        """
        steps = training_steps(self.source, self.share, steps=self.config.train.steps, position=self.position)
        while self.step < self.config.train.steps:
            started, data, problem = time.perf_counter(), None, ""
            try:
                data = next(steps)
            except InputError as error:
                problem = str(error)
            self.meter.waited(time.perf_counter() - started)
            failed, asked = self.ranks.sum(torch.tensor([data is None, stop.asked], dtype=torch.float64)).tolist()
            if failed:
                self.ranks.agree(problem)
            if asked:
                return
            assert data is not None  # else failed
            yield data

    def _train_step(self, data: StepData) -> None:
        """One update, unless the guard leaves it out."""
        config = self.config
        loss = self._backward(data)
        norm = float(self.engine.clip(config.optim.clip))
        total, broken = self.ranks.sum(torch.tensor([float(loss), len(data.broken)], dtype=torch.float64)).tolist()
        mean = total / self.ranks.size
        reason = self.guard.verdict(mean, norm)
        if reason is None:
            set_rate(self.engine.optimizers, rate(self.step, config.train.steps, config.optim))
            self.engine.step()
            self.ema.update(self.step)
        else:
            self.engine.skip()
            self.tracker.note(f"step {self.step + 1}: update left out, {reason}")
            if self.ranks.is_main:
                facts = {"step": self.step + 1, "reason": reason, "loss": mean, "norm": norm, "samples": data.order}
                append_line(self.folder / "skipped.jsonl", facts)
        self.step += 1
        self.samples_seen += len(data.order)
        self.position = data.position
        self.order = hashlib.sha256("\n".join([self.order, *data.order]).encode()).hexdigest()[:16]
        self._count_broken(data, round(broken / self.ranks.sequence))
        self.meter.stepped(mean, norm, data)

    def _backward(self, data: StepData) -> Tensor:
        """Gradients of the step's mean loss, micro-batch by micro-batch; returns this rank's mean loss."""
        total = torch.zeros((), device=self.ranks.device)
        for number, batch in enumerate(data.batches, 1):
            with self.engine.accumulating(last=number == len(data.batches)):
                loss = self.objective(self.engine.forward, self._encoded(batch)) / len(data.batches)
                # ranks that share a clip each hold a part of its gradient, and engines average over all ranks
                self.engine.backward(loss * self.ranks.sequence)
            total += loss.detach()
        return total

    def _encoded(self, batch: Batch | EncodedBatch) -> EncodedBatch:
        return batch.to(self.ranks.device) if isinstance(batch, EncodedBatch) else self.encoder(batch)

    def _count_broken(self, data: StepData, count: int) -> None:
        if self.ranks.rank % self.ranks.sequence == 0:  # the others read the same
            for broken in data.broken:
                append_line(self.folder / "broken.jsonl", {"step": self.step, **asdict(broken)})
        self.broken += count
        if count:
            self.tracker.note(
                f"step {self.step}: {count} samples could not be read, {self.broken} so far; others stood in for them. "
                f"{self.folder}/broken.jsonl says which and why"
            )
        if self.broken > self.config.data.broken:
            raise InputError(
                f"{self.broken} samples could not be read, more than data.broken={self.config.data.broken}; "
                f"{self.folder}/broken.jsonl lists them with reasons. Mend the data or raise data.broken"
            )

    def _due(self, every: int | None) -> bool:
        return every is not None and self.step % every == 0

    def _log(self) -> None:
        figures = self.meter.figures()
        figures |= {
            "lr": self.engine.optimizers[0].param_groups[0]["lr"],
            "samples_seen": self.samples_seen,
            "broken": self.broken,
        }
        self.tracker.log(self.step, figures)
        self.tracker.progress(self.step, figures)

    @cached_property
    def _fixed(self) -> tuple[list[EncodedBatch], list[Tensor]]:
        """This rank's part of the fixed clips, and what each counts."""
        fixed, problem = [], ""
        try:
            fixed = validation_batches(self.source, self.share, self.config.validation.clips)
        except InputError as error:
            problem = str(error)
        self.ranks.agree(problem)
        return [self.encoder(item.batch) for item in fixed], [item.weights for item in fixed]

    def _validate(self) -> None:
        """The averaged weights' loss on fixed clips, and clips that they sample."""
        settings, started = self.config.validation, time.perf_counter()
        with self.ema.swapped():
            figures = validation_loss(self.engine.forward, *self._fixed, settings.sigmas, self.ranks)
            if settings.samples:
                pipeline = make_pipeline(self.config, self.encoder, self.engine.model)
                scenes = self.source.fixed_scenes(settings.samples)
                with precision(self.config.train.precision, self.ranks.device):
                    sample_clips(pipeline, scenes, self.folder / "samples" / f"step-{self.step:08d}", self.ranks)
        self.tracker.log(self.step, {f"validation/{name}": value for name, value in figures.items()})
        self.meter.paused(time.perf_counter() - started)

    def _state(self) -> dict[str, Any]:
        return {
            "engine": self.engine.state_dict(),
            "ema": self.ema.state_dict(),
            "rng": {f"rank{self.ranks.rank}": rng_state(self.ranks.device)},
        }

    def _save(self) -> None:
        facts = {
            "step": self.step,
            "samples_seen": self.samples_seen,
            "position": self.position,
            "order": self.order,
            "broken": self.broken,
            "guard": self.guard.state_dict(),
            "engine": self.engine.name,
            "start": self._start_digest,
            "config": asdict(self.config),
        }
        self.checkpoints.save(self.step, facts, self._state())
        self.saved = self.step

    def _resume(self, folder: Path) -> None:
        facts, saved = self.checkpoints.facts(folder), self.checkpoints.keys(folder)
        self._expect_resumable(folder, facts)
        state = self._state()
        for rank, rng in state["rng"].items():  # without those of a rank or a device that the run did not have before
            state["rng"][rank] = {kind: value for kind, value in rng.items() if f"rng.{rank}.{kind}" in saved}
        self.checkpoints.load(folder, state)
        self.engine.load_state_dict(state["engine"])
        self.ema.load_state_dict(state["ema"])
        self.guard.load_state_dict(facts["guard"])
        self.step = self.saved = facts["step"]
        self.samples_seen, self.broken = facts["samples_seen"], facts["broken"]
        self.position, self.order = facts["position"], facts["order"]
        if self.config.run.accept_changes:
            facts["position"].pop("clips", None)  # the sampler's note of what it drew from
        set_rng_state(state["rng"][f"rank{self.ranks.rank}"], self.ranks.device)  # last: what is above may draw
        self.tracker.note(f"goes on with {folder}")

    def _expect_resumable(self, folder: Path, facts: dict[str, Any]) -> None:
        check_same(facts["config"], self.config, str(folder))
        if facts["step"] > self.config.train.steps:
            raise InputError(
                f"{folder} has made {facts['step']} steps already, more than train.steps={self.config.train.steps}; "
                "ask for at least as many, or take another run.name"
            )
        if facts["start"] != self._start_digest and not self.config.run.accept_changes:
            raise InputError(
                f"{folder} started from other weights than model.init_from={self.config.model.init_from} holds now; "
                "bring the former ones back, take another run.name, or run.accept_changes=true"
            )
        was, now = facts["engine"], self.engine.name
        if was != now and any(name.startswith("zero") for name in (was, now)):  # the others share one form
            raise InputError(f"{folder} was saved by parallel.engine={was}, which {now} cannot read; take {was}")

    @cached_property
    def _start_digest(self) -> str | None:
        """What the frozen weights of a LoRA run, which no checkpoint holds, must still be."""
        found = self.ranks.gather(digest_of_start(self.config) if self.ranks.is_main else None)
        return cast("str | None", found[0])

    def _stop(self) -> None:
        if self.saved < self.step:
            self._save()
        self.checkpoints.finish()
        if self.ranks.is_main:
            (self.folder / "resumable").touch()  # launchers that hide the exit code look here
        self.tracker.close()
        raise RunStopped(f"stopped at step {self.step}, as asked; the same command goes on")

    def export(self) -> Path:
        """Writes the averaged weights in the hub layout to RUN/export, whole or not at all."""
        weights = self.ema.whole()
        export = self.folder / "export"
        if self.ranks.is_main and not export.is_dir():
            export_run(self.config, self.encoder, weights, export, adapter=self.folder / "lora")
        self.ranks.barrier()
        return export
