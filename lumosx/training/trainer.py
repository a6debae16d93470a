"""The training loop: flow matching on the video, with clean references beside it (equations 6 to 8)."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, UMT5EncoderModel

from lumosx.data.keyed import keyed_generator
from lumosx.data.playground import Batch, PlaygroundBatches
from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.flow import flow_matching_loss, make_solver, noise_latents, sample_sigmas, velocity_target
from lumosx.flow.objective import SigmaDistribution
from lumosx.models import LumosXTransformer3DModel, SpaceToDepthCodec
from lumosx.paths import checkpoint_path
from lumosx.pipelines import LumosXPipeline
from lumosx.pipelines.settings import Settings
from lumosx.playground import World
from lumosx.training import checkpoint
from lumosx.training.config import Config
from lumosx.training.optim import make_optimizers, rate, set_rate
from lumosx.training.run import check_same, write_facts

Module = TypeVar("Module", bound=nn.Module)


class Trainer:
    """One run: its model, data and state. `fit` trains to the end, from the last checkpoint if there is one."""

    def __init__(self, config: Config) -> None:
        self.config = config
        if config.train.threads:
            torch.set_num_threads(config.train.threads)
        self.folder = config.folder
        self.solver = _solver(config.model.generation)  # used at the end only, but a mistake in it shows now
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if config.model.text_encoder is None:
            raise InputError("model.text_encoder is not set: name a folder with tokenizer/ and text_encoder/")
        text_encoder = Path(config.model.text_encoder)
        if not (text_encoder / "text_encoder").is_dir():
            raise InputError(f"no text encoder in {text_encoder}: train it first (lumosx train experiment=tiny_text)")
        self.tokenizer = AutoTokenizer.from_pretrained(text_encoder / "tokenizer")
        encoder = UMT5EncoderModel.from_pretrained(text_encoder / "text_encoder")
        self.text_encoder = to_device(encoder, self.device).eval()
        torch.manual_seed(config.run.seed)
        self.model = to_device(_transformer(config.model.transformer), self.device)
        if config.model.init_from is None:
            init_weights(self.model)
        else:
            self.model.load_state_dict(_transformer_weights(config.model.init_from))
        self.ema = {name: tensor.detach().clone() for name, tensor in self.model.state_dict().items()}
        self.optimizers = make_optimizers(self.model, config.optim)
        self.codec = to_device(SpaceToDepthCodec(), self.device)
        self.step = 0

    def fit(self) -> Path:
        """Trains, logs, checkpoints, and leaves the EMA weights as a pipeline under RUN/export. Returns that folder."""
        self._resume()
        write_facts(self.config, self.device)
        train, started, losses = self.config.train, time.monotonic(), []
        for batch in self._batches():
            losses.append(self._update(batch))
            self.step += 1
            if self.step % train.log_every == 0 or self.step == train.steps:
                self._log(losses, started)
                started, losses = time.monotonic(), []
            if self.step % train.checkpoint_every == 0 or self.step == train.steps:
                self._save()
        return self.export()

    def _batches(self) -> Iterator[Batch]:
        data = self.config.data
        grid = self._grid()
        batches = PlaygroundBatches(
            World((data.width, data.height), data.frames),
            self.tokenizer,
            grid=grid,
            subjects=data.subjects,
            placed=data.placed,
            clips=data.clips,
            steps=self.config.train.steps,
            text_length=self.config.model.text_length,
            text_dropout=data.text_dropout,
            reference_dropout=data.reference_dropout,
            seed=self.config.run.seed,
        )
        steps = range(self.step, self.config.train.steps)
        return iter(DataLoader(batches, batch_size=None, sampler=steps, num_workers=data.workers))

    def _grid(self) -> tuple[int, int, int]:
        """(T, H, W) of the clips in tokens."""
        data, codec, patch = self.config.data, self.codec.config, self.model.config.patch_size
        frames = (data.frames - 1) // codec.scale_factor_temporal + 1
        space = codec.scale_factor_spatial
        return frames // patch[0], data.height // space // patch[1], data.width // space // patch[2]

    def _update(self, batch: Batch) -> float:
        loss = self._loss(batch)
        if not loss.isfinite():
            raise FloatingPointError(
                f"the loss of step {self.step + 1} is {float(loss.detach())}; the last checkpoint in {self.folder} "
                "stays as it was. Lower optim.lr or optim.muon_lr"
            )
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.config.optim.clip)
        set_rate(self.optimizers, rate(self.step, self.config.train.steps, self.config.optim))
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._average()
        return float(loss.detach())

    def _loss(self, batch: Batch) -> Tensor:
        """Equation (8) over `noises` noisy copies of every clip."""
        with torch.no_grad():
            x0 = self._encode(batch.video)
            references = [
                self._encode(pictures.unsqueeze(2)).squeeze(2).transpose(0, 1) for pictures in batch.references
            ]
            mask = batch.token_mask.to(self.device)
            text = self.text_encoder(batch.token_ids.to(self.device), mask).last_hidden_state * mask.unsqueeze(-1)
        sigma, eps = self._noise(batch, x0)
        x0 = x0.repeat_interleave(self.config.data.noises, dim=0)
        velocity = self.model(
            noise_latents(x0, eps, sigma), sigma * 1000, text, layouts=batch.layouts, references=references
        ).sample
        weight = sigma**2 / sigma.clamp(min=0.2) if self.config.objective.sample_weighting else None
        return flow_matching_loss(velocity, velocity_target(x0, eps), weight)

    def _encode(self, video: Tensor) -> Tensor:
        if not len(video):
            space = self.codec.config.scale_factor_spatial
            return video.new_zeros(0, self.codec.config.z_dim, 1, video.shape[3] // space, video.shape[4] // space)
        return self.codec.encode(video.to(self.device)).latent_dist.mode()

    def _noise(self, batch: Batch, x0: Tensor) -> tuple[Tensor, Tensor]:
        objective, noises = self.config.objective, self.config.data.noises
        sigmas, noise = [], []
        for sample in batch.sample_ids:
            generator = keyed_generator(self.config.run.seed, sample, "noise")
            sigmas.append(
                sample_sigmas(
                    noises,
                    cast(SigmaDistribution, objective.distribution),  # checked there; OmegaConf knows no Literal
                    objective.mean,
                    objective.std,
                    objective.shift,
                    generator,
                )
            )
            noise.append(torch.randn(noises, *x0.shape[1:], generator=generator))
        return torch.cat(sigmas).to(self.device), torch.cat(noise).to(self.device)

    @torch.no_grad()
    def _average(self) -> None:
        """The exponential moving average of the weights; it starts short, so that early averages are not the start."""
        decay = min(self.config.train.ema, (1 + self.step) / (10 + self.step))
        for name, tensor in self.model.state_dict().items():
            self.ema[name].lerp_(tensor, 1 - decay)

    def _log(self, losses: list[float], started: float) -> None:
        record = {
            "step": self.step,
            "samples_seen": self.step * self.config.data.clips,
            "loss": sum(losses) / len(losses),
            "seconds_per_step": (time.monotonic() - started) / len(losses),
        }
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(record) + "\n")
        speed = f"{record['seconds_per_step']:.2f} s/step"
        print(f"step {self.step}/{self.config.train.steps}  loss {record['loss']:.4f}  {speed}", flush=True)

    def _save(self) -> None:
        state = {
            "config": asdict(self.config),
            "step": self.step,
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        checkpoint.save(state, self.folder / "latest.pt")

    def _resume(self) -> None:
        path = self.folder / "latest.pt"
        state = checkpoint.load(path)
        if state is None:
            return
        if "config" in state:
            check_same(state["config"], self.config, str(path))
        else:
            print(f"note: {path} does not say which configuration it was made with; going on with this one")
        self.step = state["step"]
        self.model.load_state_dict(state["model"])
        self.ema = {name: tensor.to(self.device) for name, tensor in state["ema"].items()}
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)

    def pipeline(self) -> LumosXPipeline:
        """A pipeline over the averaged weights."""
        model = _transformer(self.config.model.transformer)
        model.load_state_dict(self.ema)
        return LumosXPipeline(
            tokenizer=self.tokenizer,
            text_encoder=self.text_encoder,
            transformer=to_device(model, self.device).eval(),
            vae=self.codec,
            scheduler=self.solver,
            text_length=self.config.model.text_length,
            generation=self.config.model.generation,
        )

    def export(self) -> Path:
        """Writes the averaged weights in the hub layout to RUN/export, whole or not at all."""
        export = self.folder / "export"
        with atomic(export) as beside:
            self.pipeline().save_pretrained(beside)
        return export


def to_device(module: Module, device: torch.device) -> Module:
    """`module.to(device)`; diffusers and transformers wrap that method so that its type is lost."""
    return module.to(device)


def _transformer(options: dict[str, Any]) -> LumosXTransformer3DModel:
    try:
        return LumosXTransformer3DModel(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"model.transformer: {error}") from error


def _solver(generation: dict[str, Any]) -> Any:
    try:
        settings = Settings(**generation)
        return make_solver(settings.solver, settings.steps, settings.shift)
    except (TypeError, InputError) as error:
        known = ", ".join(field.name for field in fields(Settings))
        raise InputError(f"model.generation: {error}. Its keys are {known}") from error


def _transformer_weights(checkpoint_name: str) -> dict[str, Tensor]:
    folder = checkpoint_path(checkpoint_name) / "transformer"
    return LumosXTransformer3DModel.from_pretrained(folder).state_dict()


def init_weights(model: LumosXTransformer3DModel) -> None:
    """Wan's initialisation: Xavier matrices, a small time embedding, a head that starts at zero.

    The text embedding starts at full size: Wan's small one left the words unused for thousands of steps.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    nn.init.xavier_uniform_(model.patch_embedding.weight.flatten(1))
    time_embedder = model.condition_embedder.time_embedder
    for linear in (time_embedder.linear_1, time_embedder.linear_2):
        nn.init.normal_(linear.weight, std=0.02)
    nn.init.zeros_(model.proj_out.weight)
