"""LumosXPipeline: a scene in, clips out. Each stage is a method of its own, for notebooks and tests.

    scene -> bind -> encode_text, encode_references, build_layout -> branches -> denoise -> decode
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, DiffusionPipeline, SchedulerMixin
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase, UMT5EncoderModel

from lumosx.attention import choose_backend
from lumosx.errors import InputError
from lumosx.flow import classifier_free, image_guided, make_solver
from lumosx.models import LumosXTransformer3DModel, ReferenceCache, SpaceToDepthCodec
from lumosx.pipelines.loading import expect_complete, importable_classes, portable_classes, resolve_folder
from lumosx.pipelines.provenance import describe
from lumosx.pipelines.result import Result
from lumosx.pipelines.settings import Grid, Settings, resolve_settings
from lumosx.references import letterbox, to_tensor
from lumosx.relations import TokenLayout, bound_layout
from lumosx.scene import Binding, Scene
from lumosx.scene.spec import BindingOptions

StepCallback = Callable[["LumosXPipeline", int, int, dict[str, Tensor]], dict[str, Tensor] | None]


@dataclass(frozen=True)
class Branch:
    """One pass of the transformer in every step: the prompt's, or a negative one's."""

    text: Tensor  # [1, text, D]
    layout: TokenLayout
    references: Tensor  # [C, R, h, w]
    cache: ReferenceCache | None = None


class LumosXPipeline(DiffusionPipeline):
    """Samples clips of a scene.

    Args:
        tokenizer, text_encoder, transformer: as in Wan2.1.
        vae: `AutoencoderKLWan`, or a codec with its interface.
        scheduler: for stock pipelines that open the same folder; here every clip gets a solver of its own.
        text_length: tokens of the prompt, padding included.
        generation: the checkpoint's own settings, keys as in a scene, and `negative_prompt`; None: Wan's.
    """

    model_cpu_offload_seq = "text_encoder->vae->transformer"
    tokenizer: PreTrainedTokenizerBase
    text_encoder: UMT5EncoderModel
    transformer: LumosXTransformer3DModel
    vae: AutoencoderKLWan | SpaceToDepthCodec

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder: UMT5EncoderModel,
        transformer: LumosXTransformer3DModel,
        vae: AutoencoderKLWan | SpaceToDepthCodec,
        scheduler: SchedulerMixin,
        text_length: int = 512,
        generation: dict | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            tokenizer=tokenizer, text_encoder=text_encoder, transformer=transformer, vae=vae, scheduler=scheduler
        )
        self.register_to_config(text_length=text_length, generation=generation)

    @classmethod
    def from_pretrained(cls, name_or_path: str | Path, **kwargs: Any) -> "LumosXPipeline":  # pyright: ignore[reportIncompatibleMethodOverride]
        """A checkpoint in the hub layout, whole or not at all, from safetensors only.

        Args:
            name_or_path: a folder, a name under `checkpoints/`, or a repository of the Hugging Face hub.
            kwargs: of diffusers' `from_pretrained`, such as `torch_dtype`; one type leaves the VAE in float32.

        Raises:
            InputError: no such checkpoint, or a model without all its tensors.
        """
        if not kwargs.setdefault("use_safetensors", True):
            raise InputError("weights are loaded from safetensors only; `lumosx convert` makes them")
        for key in ("dtype", "torch_dtype"):
            if isinstance(kwargs.get(key), torch.dtype):  # Wan's VAE loses detail in half precision
                kwargs[key] = {"default": kwargs[key], "vae": torch.float32}
        folder = resolve_folder(name_or_path, cls.download)
        pipeline = super().from_pretrained(str(folder), **kwargs)
        loaded = {name: model for name, model in pipeline.components.items() if name not in kwargs}
        expect_complete(folder, loaded)
        return pipeline

    @classmethod
    def load_config(cls, *args: Any, **kwargs: Any) -> Any:
        """`model_index.json` with our transformer in the place of Wan's."""
        return importable_classes(super().load_config(*args, **kwargs))

    def to_json_string(self) -> str:
        """`model_index.json` as it is saved: a velocity model's opens in stock `WanPipeline` too."""
        index = portable_classes(json.loads(super().to_json_string()), self.transformer.config.prediction)
        return json.dumps(index, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @property
    def grid(self) -> Grid:
        """How this checkpoint cuts a clip into latents and tokens."""
        codec = self.vae.config
        patch = tuple(self.transformer.config.patch_size)
        return Grid(codec.scale_factor_spatial, codec.scale_factor_temporal, patch)

    @torch.no_grad()
    def __call__(
        self,
        scene: Scene,
        *,
        seed: int | None = None,
        seeds: Sequence[int] | None = None,
        backend: str | None = None,
        progress: bool = True,
        callback_on_step_end: StepCallback | None = None,
        **settings: Any,
    ) -> Result | list[Result]:
        """Sample clips of a scene.

        Args:
            scene: what to show. Its settings hold where this call states none; then the checkpoint's, then Wan's.
            seed: of one clip.
            seeds: of several; they share text, references and the reference cache, and are otherwise independent.
            backend: of `lumosx.attention`; None keeps the transformer's own.
            progress: show a bar with the time left.
            callback_on_step_end: called with (pipeline, step, timestep, {"latents"}) after each step; it may return
                other latents, and cancels by raising.
            settings: fields of `Settings`: size, frames, fps, steps, solver, shift, cfg, cfg_image, negative_prompt.

        Returns:
            A result, or a list if this call or the scene states `seeds`.

        Raises:
            InputError: a setting that this checkpoint cannot serve.
            SceneError: words of the scene cannot be bound to this checkpoint's tokens.
        """
        call = {**settings, "seed": seed, "seeds": seeds}
        chosen, all_seeds = resolve_settings(scene, self.config.generation, call)
        self.grid.check(chosen)
        wanted = backend or self.transformer.attention_backend
        kernel = choose_backend(self._execution_device, self.transformer.dtype, wanted)
        self.transformer.attention_backend = wanted
        rules = scene.binding.rules or self.transformer.config.rules
        binding = scene.bind(self.tokenizer, self.config.text_length, rules=rules)
        layout = self.build_layout(binding, self.grid.tokens(chosen), scene.binding)
        branches = self.make_branches(binding, layout, chosen)
        record = describe(self, scene, binding, layout, chosen, kernel, branches[0].cache is not None)
        results = []
        total = chosen.steps * len(all_seeds)
        with self.progress_bar(total=total) if progress else tqdm(disable=True) as bar:
            for number in all_seeds:
                latents = self.denoise(branches, chosen, number, callback_on_step_end, bar.update)
                results.append(Result(self.decode(latents), scene, {**record, "seed": number}))
        self.maybe_free_model_hooks()
        several = seed is None and (seeds is not None or scene.generation.seeds is not None)
        return results if several else results[0]

    @torch.no_grad()
    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Text embeddings [S, text_length, D] in the transformer's type, zero behind each prompt's last token.

        As in Wan, the text encoder does not see the padding and the transformer does.
        """
        device = self._execution_device
        tokens = self.tokenizer(
            list(prompts), padding="max_length", max_length=self.config.text_length, truncation=True,
            return_attention_mask=True, return_tensors="pt",
        )  # fmt: skip
        # diffusers' own offloading moves it, and a quantised one cannot be moved
        settled = hasattr(self.text_encoder, "_hf_hook") or getattr(self.text_encoder, "is_quantized", False)
        if not settled:
            self.text_encoder.to(device)
        ids, mask = tokens["input_ids"].to(device), tokens["attention_mask"].to(device)
        embeddings = self.text_encoder(ids, mask).last_hidden_state
        if not settled and device.type != "cpu":
            self.text_encoder.to("cpu")  # 11 GB that the denoising can use better
        embeddings = embeddings.to(device, self.transformer.dtype)
        return embeddings * mask.unsqueeze(-1).to(embeddings.dtype)

    @torch.no_grad()
    def encode_references(self, binding: Binding, width: int, height: int) -> Tensor:
        """Normalised latents [C, R, h, w] of the references, each encoded as a clip of one frame, without sampling."""
        spatial = self.vae.config.scale_factor_spatial
        latents = [torch.zeros(self.vae.config.z_dim, 0, height // spatial, width // spatial)]
        for entity in binding.references:
            assert entity.image is not None  # what makes it a reference
            picture = letterbox(
                entity.image.open(), width, height, fit=entity.image.fit, pad=entity.image.pad
            )  # fmt: skip
            clip = to_tensor(picture)[None, :, None].to(self._execution_device, self.vae.dtype)
            mean, std = self._latent_statistics(clip.device)
            encoded = self.vae.encode(clip).latent_dist.mode().float()  # pyright: ignore[reportAttributeAccessIssue]
            latents.append(((encoded - mean) / std)[0].cpu())
        return torch.cat(latents, dim=1).to(self._execution_device)

    def build_layout(
        self, binding: Binding, tokens: tuple[int, int, int], options: BindingOptions | None = None
    ) -> TokenLayout:
        """The token layout of a bound scene.

        Args:
            tokens: (T, H, W) of the video.
            options: the scene's switches; what they leave open is the checkpoint's own.
        """
        options = options or BindingOptions()
        return bound_layout(
            binding,
            tokens,
            self.config.text_length,
            r2pe=options.r2pe is not False,
            csam=options.csam is not False,
            mcam_ratio=0.0 if options.mcam is False else options.mcam_ratio,
            rules=options.rules or self.transformer.config.rules,
        )

    @torch.no_grad()
    def make_branches(self, binding: Binding, layout: TokenLayout, settings: Settings) -> list[Branch]:
        """The passes that a step needs: the prompt; with guidance, the negative prompt; with separate image guidance,
        also the negative prompt without references."""
        by_images = settings.cfg_image not in (None, 1) and bool(layout.references)
        guided = settings.cfg != 1 or by_images
        text = self.encode_text([binding.prompt, settings.negative_prompt][: 1 + guided]).split(1)
        references = self.encode_references(binding, settings.width, settings.height)
        branches = [Branch(text[0], layout, references)]
        if guided:
            branches.append(Branch(text[1], layout.without_words(), references))
        if by_images:
            nothing = TokenLayout(layout.video, [], layout.words[:0], rules=layout.rules)
            branches.append(Branch(text[1], nothing, references[:, :0]))
        return [self._with_cache(branch) for branch in branches]

    @torch.no_grad()
    def denoise(
        self,
        branches: Sequence[Branch],
        settings: Settings,
        seed: int,
        callback: StepCallback | None = None,
        advance: Callable[[], Any] | None = None,
    ) -> Tensor:
        """Latents [1, C, T, h, w] of one clip, float32.

        The noise of a seed is drawn on the CPU in float32, so that it is the same on every device.
        """
        shape = (1, self.transformer.config.in_channels, *self.grid.latents(settings))
        generator = torch.Generator("cpu").manual_seed(seed)
        latents = torch.randn(shape, generator=generator).to(self._execution_device)
        solver = make_solver(settings.solver, settings.steps, settings.shift)
        for step, timestep in enumerate(solver.timesteps):
            velocities = [self.predict(branch, latents, timestep) for branch in branches]
            latents = solver.step(_guided(velocities, settings), timestep, latents).prev_sample
            if callback is not None:
                changed = callback(self, step, int(timestep), {"latents": latents})
                latents = (changed or {}).get("latents", latents)
            if advance is not None:
                advance()
        return latents

    def predict(self, branch: Branch, latents: Tensor, timestep: Tensor) -> Tensor:
        """Velocity [1, C, T, h, w] of one branch, float32."""
        known: dict[str, Any] = {"reference_cache": branch.cache}
        if branch.cache is None:
            known = {"references": [branch.references.to(self.transformer.dtype)]}
        velocity = self.transformer(
            hidden_states=latents.to(self.transformer.dtype),
            timestep=timestep.to(latents.device).expand(len(latents)),
            encoder_hidden_states=branch.text,
            layouts=[branch.layout],
            **known,
        ).sample
        return velocity.float()

    @torch.no_grad()
    def decode(self, latents: Tensor) -> np.ndarray:
        """Frames uint8 [F, H, W, 3] of one clip's latents [1, C, T, h, w]."""
        mean, std = self._latent_statistics(latents.device)
        decoded = self.vae.decode((latents * std + mean).to(self.vae.dtype)).sample  # pyright: ignore[reportAttributeAccessIssue]
        pixels = ((decoded[0].float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
        return pixels.permute(1, 2, 3, 0).contiguous().cpu().numpy()

    def _with_cache(self, branch: Branch) -> Branch:
        """References that do not change from step to step are computed once."""
        cacheable = self.transformer.config.reference_timestep == "zero" and branch.layout.csam
        if not (cacheable and branch.layout.references):
            return branch
        references = [branch.references.to(self.transformer.dtype)]
        cache = self.transformer.encode_references(references, branch.text, [branch.layout])
        return Branch(branch.text, branch.layout, branch.references, cache)

    def _latent_statistics(self, device: torch.device) -> tuple[Tensor, Tensor]:
        codec: Mapping[str, Any] = self.vae.config
        mean, std = (torch.tensor(codec[key], device=device) for key in ("latents_mean", "latents_std"))
        return mean.view(1, -1, 1, 1, 1), std.view(1, -1, 1, 1, 1)


def _guided(velocities: list[Tensor], settings: Settings) -> Tensor:
    if len(velocities) == 1:
        return velocities[0]
    if len(velocities) == 2:
        return classifier_free(velocities[0], velocities[1], settings.cfg)
    full, references, nothing = velocities
    assert settings.cfg_image is not None
    return image_guided(full, references, nothing, settings.cfg, settings.cfg_image)
