"""The training loop: one run of one phase, on one process or many, resumed by repeating its command."""

import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lumosx.data.batch import Batch, EncodedBatch, StepData
from lumosx.data.loader import Share, open_source, training_steps, validation_batches
from lumosx.errors import InputError
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
from lumosx.training.model import build_model, make_reading, open_encoder
from lumosx.training.objective import Objective
from lumosx.training.optim import rate, set_rate
from lumosx.training.ranks import Ranks
from lumosx.training.rng import rng_state, set_rng_state
from lumosx.training.run import LISTS, append_line, check_same, rewind_lines, write_facts
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
        self.position: dict[str, Any] | None = None  # of the sampler
        self.order = ""  # a digest of all samples so far, in their order

    def fit(self) -> Path:
        """Trains, logs, checkpoints, and leaves the EMA weights as a pipeline under RUN/export. Returns that folder.

        Raises:
            RunStopped: the machine asked the run to stop; its state is saved.
            TrainingFailure: the loss is beyond repair; the last checkpoint stays.
        """
        self._start()
        train = self.config.train
        with StopSignal() as stop:
            for data in self._steps():
                asked = self._train_step(data, stop.asked)
                self.checkpoints.poll()
                last = self.step == train.steps
                if self._due(train.log_every) or last:
                    self._log()
                if self._due(self.config.validation.every):
                    self._validate()
                if self._due(train.checkpoint_every) or last or asked:
                    self._save()
                if asked and not last:
                    self._stop()
        self.checkpoints.finish()
        self.tracker.close()
        return self.export()

    def _start(self) -> None:
        """Takes up the last checkpoint and clears what a kill left half-written."""
        self.checkpoints = Checkpoints(self.folder, self.ranks, self.config.train.keep)
        latest = self.checkpoints.latest()
        if latest is not None:
            self._resume(latest)
        if self.ranks.is_main:
            for leftover in self.folder.glob(".*"):
                shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
            (self.folder / "resumable").unlink(missing_ok=True)
            if self.step < self.config.train.steps and (self.folder / "export").is_dir():
                shutil.rmtree(self.folder / "export")  # of the same run when it was to be shorter
            write_facts(self.config, self.ranks.device)
            for name in LISTS:
                rewind_lines(self.folder / name, self.step)
        self.tracker.rewind(self.step)
        for note in self.source.notes:
            self.tracker.note(f"note: {note}")
        self.meter.restart()

    def _steps(self) -> Iterator[StepData]:
        """This rank's shares of the steps that are left; the time spent waiting for them is measured."""
        steps = training_steps(self.source, self.share, steps=self.config.train.steps, position=self.position)
        while True:
            started = time.perf_counter()
            data = next(steps, None)
            if data is None:
                return
            self.meter.waited(time.perf_counter() - started)
            yield data

    def _train_step(self, data: StepData, asked: bool) -> bool:
        """One update. Returns whether any rank was asked to stop."""
        config = self.config
        loss = self._backward(data)
        norm = float(self.engine.clip(config.optim.clip))
        # one exchange a step for all that ranks must agree on
        agreed = self.ranks.sum(torch.tensor([float(loss), len(data.broken), asked], dtype=torch.float64)).tolist()
        mean = agreed[0] / self.ranks.size
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
        self._count_broken(data, round(agreed[1] / self.ranks.sequence))
        self.meter.stepped(mean, norm, data)
        return agreed[2] > 0

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
        fixed = validation_batches(self.source, self.share, self.config.validation.clips)
        return [self.encoder(item.batch) for item in fixed], [item.weights for item in fixed]

    def _validate(self) -> None:
        """The averaged weights' loss on fixed clips, and clips that they sample."""
        settings = self.config.validation
        with self.ema.swapped():
            figures = validation_loss(self.engine.forward, *self._fixed, settings.sigmas, self.ranks)
            if settings.samples:
                pipeline = make_pipeline(self.config, self.encoder, self.engine.model)
                scenes = self.source.fixed_scenes(settings.samples)
                with precision(self.config.train.precision, self.ranks.device):
                    sample_clips(pipeline, scenes, self.folder / "samples" / f"step-{self.step:08d}", self.ranks)
        self.tracker.log(self.step, {f"validation/{name}": value for name, value in figures.items()})
        self.meter.restart()  # what this took is not the training's time

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
            "ranks": self.ranks.size,
            "engine": self.engine.name,
            "config": asdict(self.config),
        }
        self.checkpoints.save(self.step, facts, self._state())

    def _resume(self, folder: Path) -> None:
        check_same(self.checkpoints.facts(folder)["config"], self.config, str(folder))
        state, facts, saved = self._state(), self.checkpoints.facts(folder), self.checkpoints.keys(folder)
        for rank, rng in state["rng"].items():  # without those of a rank or a device that the run did not have before
            state["rng"][rank] = {kind: value for kind, value in rng.items() if f"rng.{rank}.{kind}" in saved}
        self.checkpoints.load(folder, state)
        self.engine.load_state_dict(state["engine"])
        self.ema.load_state_dict(state["ema"])
        self.guard.load_state_dict(facts["guard"])
        self.step, self.samples_seen, self.broken = facts["step"], facts["samples_seen"], facts["broken"]
        self.position, self.order = facts["position"], facts["order"]
        if self.config.run.accept_changes:
            self.position.pop("clips", None)  # the sampler's note of what it drew from
        set_rng_state(state["rng"][f"rank{self.ranks.rank}"], self.ranks.device)  # last: what is above may draw
        self.tracker.note(f"goes on with {folder}")

    def _stop(self) -> None:
        self.checkpoints.finish()
        self.tracker.close()
        if self.ranks.is_main:
            (self.folder / "resumable").touch()  # launchers that hide the exit code look here
        raise RunStopped(f"stopped at step {self.step}, as asked; the same command goes on")

    def export(self) -> Path:
        """Writes the averaged weights in the hub layout to RUN/export, whole or not at all."""
        weights = self.ema.whole()
        export = self.folder / "export"
        if self.ranks.is_main and not export.is_dir():
            export_run(self.config, self.encoder, weights, export)
        self.ranks.barrier()
        return export
