"""LumosXPipeline: a scene in, clips out. Each stage is a method of its own, for notebooks and tests.

scene -> prepare (words, layout) -> make_branches (encode_text, encode_references) -> denoise -> decode
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DiffusionPipeline, SchedulerMixin
from diffusers.hooks.group_offloading import _is_group_offload_enabled
from diffusers.loaders import WanLoraLoaderMixin
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from lumosx.attention import choose_backend
from lumosx.completeness import expect_complete
from lumosx.errors import InputError
from lumosx.flow import make_solver
from lumosx.models import LumosXTransformer3DModel
from lumosx.models.codec import Codec, decode_latents, encode_latents
from lumosx.models.grid import Grid
from lumosx.paths import resolve_checkpoint
from lumosx.pipelines.branches import Branch, Guidance, branch_layouts, go_together, guided, together, with_caches
from lumosx.pipelines.limits import expect_positions
from lumosx.pipelines.loading import importable_classes, portable_classes
from lumosx.pipelines.parallel import (
    EVERYTHING,
    Share,
    Split,
    expect_processes,
    expect_same_steps,
    sharing,
    split_ranks,
)
from lumosx.pipelines.provenance import describe
from lumosx.pipelines.result import Result
from lumosx.pipelines.settings import Settings, resolve_settings
from lumosx.pipelines.step_cache import StepCache, step_cache
from lumosx.relations import TokenLayout, bound_layout, bound_pictures
from lumosx.relations.bound import chosen_relations
from lumosx.scene import Binding, Scene
from lumosx.scene.spec import BindingOptions

StepCallback = Callable[["LumosXPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]


@dataclass(frozen=True)
class Job:
    """What a scene asks of this checkpoint: everything that is known before the first network runs."""

    scene: Scene
    settings: Settings
    seeds: tuple[int, ...]
    binding: Binding
    layout: TokenLayout
    split: Split


class LumosXPipeline(DiffusionPipeline, WanLoraLoaderMixin):
    """Samples clips of a scene. LoRAs of Wan and of LumosX load with diffusers' `load_lora_weights`.

    Args:
        tokenizer, text_encoder, transformer: as in Wan2.1.
        vae: `AutoencoderKLWan`, or a codec with its interface.
        scheduler: for stock pipelines that open the same folder; here every clip gets a solver of its own.
        text_length: tokens of the prompt, padding included.
        generation: the checkpoint's own settings, keys as in a scene, and `negative_prompt`; None: Wan's.
    """

    model_cpu_offload_seq = "text_encoder->vae->transformer"
    _lora_loadable_modules = ["transformer"]  # noqa: RUF012  # Wan2.2 has two
    # Any: diffusers types the attributes of a configuration as a plain dict
    config: Any
    tokenizer: Any
    text_encoder: Any
    transformer: Any
    vae: Any

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: UMT5EncoderModel,
        transformer: LumosXTransformer3DModel,
        vae: Codec,
        scheduler: SchedulerMixin,
        text_length: int = 512,
        generation: dict | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer,
            text_encoder=text_encoder,
            transformer=transformer,
            vae=vae,
            scheduler=scheduler,
        )
        self.register_to_config(text_length=text_length, generation=generation)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **kwargs: Any) -> "LumosXPipeline":  # pyright: ignore[reportIncompatibleMethodOverride]
        """A checkpoint in the hub layout, whole or not at all, from safetensors only.

        Args:
            name_or_path: a folder, a name under `checkpoints/`, or a repository of the Hugging Face hub.
            kwargs: of diffusers' `from_pretrained`, such as `dtype`, which leaves the VAE in float32.

        Raises:
            InputError: no such checkpoint, or a model without all its tensors.
        """
        if not kwargs.setdefault("use_safetensors", True):
            raise InputError("weights are loaded from safetensors only; `lumosx convert` makes them")
        for key in ("dtype", "torch_dtype"):
            if isinstance(kwargs.get(key), torch.dtype):  # Wan's VAE loses detail in half precision
                kwargs[key] = {"default": kwargs[key], "vae": torch.float32}
        folder = resolve_checkpoint(name_or_path, cls.download)
        pipeline = super().from_pretrained(str(folder), **kwargs)
        loaded = {name: model for name, model in pipeline.components.items() if name not in kwargs}
        expect_complete(folder, loaded)
        return pipeline

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """`model_index.json` with our transformer in the place of Wan's."""
        index: Any = super().load_config(*args, **kwargs)
        return importable_classes(index)

    def to_json_string(self) -> str:
        """`model_index.json` as it is saved: a velocity model's opens in stock `WanPipeline` too."""
        index = portable_classes(json.loads(super().to_json_string()), self.transformer.config.prediction)
        return json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def grid(self) -> Grid:
        """How this checkpoint cuts a clip into latents and tokens."""
        return Grid.of(self.vae.config, tuple(self.transformer.config.patch_size))

    def __call__(self, scene: Scene, **call: Any) -> Result | list[Result]:
        """Sample a scene: a result, or a list if this call or the scene states `seeds`. See `stream`."""
        results = list(self.stream(scene, **call))
        several = call.get("seed") is None and bool(call.get("seeds") or scene.generation.seeds)
        return results if several else results[0]

    @torch.no_grad()
    def stream(
        self,
        scene: Scene,
        *,
        backend: str | None = None,
        guidance: Guidance = "auto",
        batch: int = 1,
        step_cache: str | None = None,
        ranks: int = 1,
        progress: bool = True,
        callback_on_step_end: StepCallback | None = None,
        **call: Any,
    ) -> Iterator[Result]:
        """Sample clips of a scene, each as soon as it is done.

        Seeds share text, references and the reference cache. Unless `batch` says otherwise they run one after another,
        so that a clip does not depend, to the last bit, on which others were asked for.

        Args:
            scene: what to show. Its settings hold where the call is silent, then the checkpoint's, Wan's.
            backend: of `lumosx.attention`; None keeps the transformer's own.
            guidance: the branches of guidance in one batch ("together") or one after another ("apart"); "auto": in one
                batch where the device's memory allows.
            batch: seeds that go through the network together; then they share references also where these are
                computed at every step. Without CSAM references belong to one video, and it is 1.
            step_cache: of `lumosx.pipelines.step_cache`, such as "first-block": an approximation, which skips blocks.
            ranks: processes that share every clip: all of torch.distributed's default group. They make the same call,
                with callbacks that do the same, and get the same clips.
            progress: show a bar with the time left.
            callback_on_step_end: called with (pipeline, step, timestep, {"latents"}) after each step; it may
                return other latents, and cancels by raising. Latents are [batch, C, T, h, w].
            call: `seed` or `seeds`, and fields of `Settings`: size, frames, fps, steps, solver, shift, cfg,
                cfg_image, negative_prompt.

        Raises:
            InputError: a setting that this checkpoint cannot serve.
            SceneError: words of the scene cannot be bound to this checkpoint's tokens.
        """
        if batch < 1:
            raise InputError(f"batch is the number of seeds that are sampled together, 1 or more, not {batch!r}")
        if self.transformer.is_cache_enabled:
            raise InputError(
                "the transformer has a cache of diffusers enabled, under which text cannot be encoded: call its "
                "disable_cache() and say step_cache=..., or use prepare, make_branches and denoise one by one"
            )
        cache = StepCache.parse(step_cache)
        expect_processes(ranks)
        job = self.prepare(scene, ranks, **call)
        expect_same_steps(job.split, cache)
        batch = 1 if job.layout.sees_video else batch
        own = self.transformer.attention_backend
        kernel = choose_backend(self._execution_device, self.transformer.dtype, backend or own)
        try:
            with self._computing(job, backend or own) as share:
                branches = self.make_branches(job, guidance, batch, share)
            record = describe(self, job, kernel, branches, batch, cache)
            total = job.settings.steps * len(job.seeds)
            bar = self.progress_bar(total=total) if progress else tqdm(disable=True)  # pyright: ignore[reportCallIssue]
            with bar:
                bar.set_description(scene.id)
                for start in range(0, len(job.seeds), batch):
                    seeds = job.seeds[start : start + batch]
                    done = partial(bar.update, len(seeds))
                    with self._computing(job, backend or own) as share:
                        latents = self.denoise(branches, job.settings, seeds, callback_on_step_end, done, cache, share)
                    for seed, of_seed in zip(seeds, latents.split(1), strict=True):
                        yield Result(self.decode(of_seed), scene, {**record, "seed": seed})
        finally:  # also when cancelled, or when the caller wants no more clips
            self.maybe_free_model_hooks()

    @contextmanager
    def _computing(self, job: Job, backend: str) -> Iterator[Share]:
        """The transformer as this call wants it; between two clips of a stream it is the caller's."""
        before = self.transformer.attention_backend
        self.transformer.attention_backend = backend
        try:
            with sharing(self.transformer, job.split, self._execution_device) as share:
                yield share
        finally:
            self.transformer.attention_backend = before

    def prepare(self, scene: Scene, ranks: int = 1, **call: Any) -> Job:
        """Settles the settings, binds the words, lays out the tokens and splits the work. Needs the tokenizer only.

        Args, Raises: as in `stream`.
        """
        settings, seeds = resolve_settings(scene, self.config.generation, call)
        self.grid.check(settings)
        make_solver(settings.solver, settings.steps, settings.shift)  # refuses what it cannot do
        rules = scene.binding.rules or self.transformer.config.rules
        binding = scene.bind(self.tokenizer, self.config.text_length, rules=rules)
        layout = self.build_layout(binding, self.grid.tokens(settings), scene.binding)
        expect_positions(layout, self.transformer.config)
        heads, passes = self.transformer.config.num_attention_heads, len(branch_layouts(layout, settings))
        split = split_ranks(ranks, passes, heads, layout.video_tokens, layout.reference_tokens)
        return Job(scene, settings, seeds, binding, layout, split)

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [S, text_length, D] in the transformer's type, zero behind each last token.

        As in Wan, the text encoder does not see the padding and the transformer does.
        """
        device = self._execution_device
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.config.text_length, truncation=True,
            return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        # diffusers' own offloading moves it, and a quantised one cannot be moved
        encoder = self.text_encoder
        offloaded = hasattr(encoder, "_hf_hook") or _is_group_offload_enabled(encoder)
        settled = offloaded or getattr(encoder, "is_quantized", False)
        if not settled:
            self.text_encoder.to(device)
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        embeddings = self.text_encoder(ids, mask).last_hidden_state
        if not settled and device.type != "cpu":
            self.text_encoder.to("cpu")  # 11 GB that the denoising can use better
        self.maybe_free_model_hooks()  # for the same reason; without pictures no other model sends it away
        embeddings = embeddings.to(device, self.transformer.dtype)
        return embeddings * mask.unsqueeze(-1).to(embeddings.dtype)

    @torch.no_grad()
    def encode_references(self, binding: Binding, width: int, height: int) -> Tensor:
        """Normalised latents [C, R, h, w] of the references, each encoded as a clip of one frame."""
        spatial = self.vae.config.scale_factor_spatial
        latents = [torch.zeros(self.vae.config.z_dim, 0, height // spatial, width // spatial)]
        for picture in bound_pictures(binding, width, height):
            latents.append(encode_latents(self.vae, picture[None, :, None].to(self._execution_device))[0].cpu())
        return torch.cat(latents, dim=1).to(self._execution_device)

    def build_layout(
        self, binding: Binding, tokens: tuple[int, int, int], options: BindingOptions | None = None
    ) -> TokenLayout:
        """The token layout of a bound scene.

        Args:
            tokens: (T, H, W) of the video.
            options: the scene's switches; what they leave open is the checkpoint's own.
        """
        options, own = options or BindingOptions(), self.transformer.config
        return bound_layout(
            binding,
            tokens,
            self.config.text_length,
            **chosen_relations(options, own),
            rules=options.rules or own.rules,
        )

    @torch.no_grad()
    def make_branches(
        self, job: Job, guidance: Guidance = "auto", batch: int = 1, share: Share = EVERYTHING
    ) -> list[Branch]:
        """The passes that a step needs, as `branch_layouts` lists them, with whatever holds for the whole clip.

        Args:
            guidance, batch: as in `stream`.
            share: which of them are this process's.

        Raises:
            InputError: no such way of guidance.
        """
        settings, layouts = job.settings, branch_layouts(job.layout, job.settings)
        text = self.encode_text([job.binding.prompt, settings.negative_prompt][: len(layouts)]).split(1)
        references = self.encode_references(job.binding, settings.width, settings.height).to(self.transformer.dtype)
        nothing = references[:, :0]
        branches = [
            Branch(text[min(number, 1)], (layout,), (references if layout.references else nothing,))
            for number, layout in enumerate(layouts)
        ]
        branches = share.own(branches)
        if go_together(branches, guidance, batch, self.transformer):
            branches = [together(branches)]
        return [with_caches(branch, self.transformer) for branch in branches]

    @torch.no_grad()
    def denoise(
        self,
        branches: Sequence[Branch],
        settings: Settings,
        seeds: Sequence[int],
        callback: StepCallback | None = None,
        advance: Callable[[], Any] | None = None,
        cache: StepCache | None = None,
        share: Share = EVERYTHING,
    ) -> Tensor:
        """Latents [n, C, T, h, w] of n clips, float32.

        The noise of a seed is drawn on the CPU in float32, so that it is the same on every device.
        """
        shape = (1, self.transformer.config.in_channels, *self.grid.latents(settings))
        noise = [torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed)) for seed in seeds]
        latents = torch.cat(noise).to(self._execution_device)
        solver = make_solver(settings.solver, settings.steps, settings.shift)
        solver.set_begin_index(0)  # otherwise its first step looks for the timestep
        on_device = solver.timesteps.to(self._execution_device)  # once, not at every step
        with step_cache(self.transformer, cache, settings.steps):
            for step, timestep in enumerate(solver.timesteps):
                velocities = []
                for index, branch in enumerate(branches):
                    with self.transformer.cache_context(f"branch {index}"):
                        velocities += self.predict(branch, latents, on_device[step])
                latents = solver.step(guided(share.gathered(velocities), settings), timestep, latents).prev_sample
                if callback is not None:
                    changed = callback(self, step, int(timestep), {"latents": latents})
                    if changed and "latents" in changed:
                        latents = changed["latents"]
                if advance is not None:
                    advance()
        return latents

    def predict(self, branch: Branch, latents: Tensor, timestep: Tensor) -> list[Tensor]:
        """Velocities [n, C, T, h, w] of n clips, float32, for each layout of a branch.

        Args:
            latents: [n, C, T, h, w].
            timestep: of all clips, without dimensions, on the device of the latents.
        """
        layouts = len(branch.layouts)
        velocity = self.transformer(
            hidden_states=latents.to(self.transformer.dtype).repeat(layouts, 1, 1, 1, 1),
            timestep=timestep.expand(layouts),
            **branch.inputs(),
        ).sample
        return list(velocity.float().split(len(latents)))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Frames uint8 [F, H, W, 3] of one clip's latents [1, C, T, h, w]."""
        self.maybe_free_model_hooks()  # the transformer need not be there
        decoded = decode_latents(self.vae, latents)[0]
        pixels = ((decoded.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return pixels.permute(1, 2, 3, 0).contiguous().cpu().numpy()
