"""LumosXTransformer3DModel: Wan2.1's DiT with relational attention.

Every parameter is Wan's, under diffusers' names, so Wan and LumosX checkpoints are the same files. The video and the
references are two streams through the same blocks: references never look at the video (CSAM), hence they need no
padding in a batch, may have a timestep of their own, and can then be computed once per clip and cached.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
import torch.nn.functional as F
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.loaders import PeftAdapterMixin
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.modeling_utils import ModelMixin
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanTimeTextImageEmbedding
from diffusers.utils import apply_lora_scale
from diffusers.utils.accelerate_utils import apply_forward_hook
from torch import Tensor, nn

from lumosx.attention import choose_backend
from lumosx.completeness import expect_none_missing
from lumosx.errors import InputError
from lumosx.models.block import CHECKPOINTING, LumosXBlock, Stream
from lumosx.models.caching import ReferenceCache, ReferencesOnlyCacheMixin, check_cacheable
from lumosx.models.precision import without_autocast
from lumosx.models.sequence import Group, all_tokens, check_degree, own_tokens, size_of
from lumosx.paths import names_repository
from lumosx.relations import LayoutBatch, TokenLayout, batch_layouts
from lumosx.relations.batch import Part

MIN_SIGMA = 1e-3  # below it a predicted sample says nothing about the velocity


class LumosXTransformer3DModel(ModelMixin, ConfigMixin, PeftAdapterMixin, ReferencesOnlyCacheMixin):
    """Wan2.1's text-to-video DiT with R2PE, CSAM and MCAM over a `TokenLayout`.

    The configuration has the keys of diffusers' `WanTransformer3DModel`, and beside them:

    Args:
        mcam_ratio: r of equation (4), for layouts that state none.
        reference_timestep: "shared": references carry the video's timestep (the authors' release). "zero": they are
            clean at timestep 0, so that they can be cached; a model must be trained with it.
        rules: "paper" or "release": the rule set that the weights were trained with.
        prediction: "velocity" (equation 8), or "sample": the network's output is read as the clean latents and turned
            into a velocity here, so that objective and solvers stay as they are.
        rope_ntk_scaling: NTK-aware scaling of an axis that needs more positions than Wan was trained with.
    """

    _supports_gradient_checkpointing = True
    _skip_layerwise_casting_patterns = ["patch_embedding", "condition_embedder", "norm"]  # noqa: RUF012
    _no_split_modules = ["LumosXBlock"]  # noqa: RUF012
    _keep_in_fp32_modules = ["time_embedder", "scale_shift_table", "norm1", "norm2", "norm3"]  # noqa: RUF012
    _repeated_blocks = ["LumosXBlock"]  # noqa: RUF012
    config: Any  # diffusers types it as a plain dict

    @register_to_config
    def __init__(
        self,
        patch_size: tuple[int, int, int] = (1, 2, 2),
        num_attention_heads: int = 12,
        attention_head_dim: int = 128,
        in_channels: int = 16,
        out_channels: int = 16,
        text_dim: int = 4096,
        freq_dim: int = 256,
        ffn_dim: int = 8960,
        num_layers: int = 30,
        cross_attn_norm: bool = True,
        qk_norm: str | None = "rms_norm_across_heads",
        eps: float = 1e-6,
        image_dim: int | None = None,
        added_kv_proj_dim: int | None = None,
        rope_max_seq_len: int = 1024,
        pos_embed_seq_len: int | None = None,
        mcam_ratio: float = 0.5,
        reference_timestep: Literal["shared", "zero"] = "shared",
        rules: Literal["paper", "release"] = "paper",
        prediction: Literal["velocity", "sample"] = "velocity",
        rope_ntk_scaling: bool = False,
        r2pe: bool = True,
        csam: bool = True,
    ) -> None:
        super().__init__()
        _check_text_only(image_dim=image_dim, added_kv_proj_dim=added_kv_proj_dim, pos_embed_seq_len=pos_embed_seq_len)
        _check_choices(reference_timestep, rules, prediction)
        dim = num_attention_heads * attention_head_dim
        patch = patch_size[0] * patch_size[1] * patch_size[2]
        self.patch_embedding = nn.Conv3d(in_channels, dim, kernel_size=patch_size, stride=patch_size)
        self.condition_embedder = WanTimeTextImageEmbedding(dim, freq_dim, dim * 6, text_dim)
        self.blocks = nn.ModuleList(
            LumosXBlock(dim, ffn_dim, num_attention_heads, qk_norm or "", cross_attn_norm, eps)
            for _ in range(num_layers)
        )
        self.norm_out = FP32LayerNorm(dim, eps, elementwise_affine=False)
        self.proj_out = nn.Linear(dim, out_channels * patch)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, dim) / dim**0.5)
        self.gradient_checkpointing = False
        self.attention_backend = "auto"
        self.sequence_group: Group = None

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, **kwargs: Any) -> Self:
        """Like diffusers' own, but whole or not at all, and from safetensors alone: nothing is unpickled.

        Raises:
            InputError: no such folder, or tensors are missing.
        """
        place = pretrained_model_name_or_path
        if not Path(place).exists() and not names_repository(place):
            raise InputError(
                f"{place}: no such folder; give the folder of a transformer, or a checkpoint's and subfolder="
            )
        wants_info = kwargs.pop("output_loading_info", False)
        loading = {"use_safetensors": True, "output_loading_info": True}
        loaded: Any = super().from_pretrained(place, **(kwargs | loading))
        model, info = loaded
        expect_none_missing(Path(place, kwargs.get("subfolder") or ""), cls.__name__, info["missing_keys"])
        return loaded if wants_info else model

    def compile_repeated_blocks(self, **options: Any) -> None:
        """Compiles the blocks, one graph for all layouts; `options` are those of `torch.compile`.

        By default PyTorch takes sizes that agree by chance in the first batch (four references, ranges of four numbers)
        to agree for ever, and compiles again when they do not; and in a block that is sharded it takes the number of
        heads for a size that may change. Both are switched off, for the whole process.
        """
        torch.fx.experimental._config.use_duck_shape = False  # pyright: ignore[reportAttributeAccessIssue]
        torch._dynamo.config.specialize_int = True  # pyright: ignore[reportAttributeAccessIssue]
        super().compile_repeated_blocks(**({"fullgraph": True, "dynamic": True} | options))

    def set_attention_backend(self, backend: str) -> None:
        """Chooses the relational attention's backend, one of `lumosx.attention.BACKENDS`."""
        self.attention_backend, _ = choose_backend(self.device, self.dtype, backend)

    def set_activation_checkpointing(self, mode: str) -> None:
        """Chooses what the backward pass computes again: "none" of a block, "selective": all but its self-attention
        (without its projections), or "full": all of it.

        Raises:
            ValueError: another mode.
        """
        if mode not in CHECKPOINTING:
            raise ValueError(f"activation checkpointing is one of {', '.join(CHECKPOINTING)}, not {mode!r}")
        for block in self.blocks:
            block.checkpointing = mode  # pyright: ignore[reportArgumentType]

    def set_sequence_parallel(self, group: Group) -> None:
        """Lets the ranks of `group` share the tokens of every clip (Ulysses); None: each has all of its own.

        All of them call `forward` with the same inputs and get the whole output. After the backward pass of a loss of
        it, a parameter's gradient is the part that a rank's own tokens gave: the sum over the group is the true one.
        `forward` raises ValueError where heads, a video's tokens or a reference's do not divide by the group.
        """
        self.sequence_group = group
        for block in self.blocks:
            block.sequence_group = group  # pyright: ignore[reportArgumentType]

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        layouts: Sequence[TokenLayout] | None = None,
        references: Sequence[Tensor] | None = None,
        reference_cache: ReferenceCache | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """The velocity of the video, equation (8).

        Args:
            hidden_states: [B, C, T, h, w], noisy latents.
            timestep: [B], 1000 sigma.
            encoder_hidden_states: [S, text, text_dim], S = len(layouts).
            layouts: S layouts; each serves B / S consecutive videos. None: plain text-to-video.
            references: S tensors [C, R, h, w], clean latents, R the number of the layout's references.
            reference_cache: of `encode_references`, instead of `references`.

        Returns:
            `.sample`: [B, C, T, h, w].

        Raises:
            ValueError: shapes, layouts and references that do not fit each other.
        """
        del attention_kwargs  # its LoRA scale is applied by the decorator
        video, grid = self._patchify(hidden_states)
        layouts = self._layouts(layouts, grid, encoder_hidden_states)
        self._check_sequence(layouts[0])
        copies, remainder = divmod(len(video), len(layouts))
        if remainder:
            raise ValueError(f"{len(video)} videos cannot be shared out over {len(layouts)} layouts")
        if timestep.shape != (len(video),):
            raise ValueError(f"{len(video)} videos need timesteps [{len(video)}], not {list(timestep.shape)}")
        text = self.condition_embedder.text_embedder(encoder_hidden_states.to(video.dtype))
        time, modulation = self._time(timestep)

        part = "joint" if reference_cache is None else "video"
        batch = self._batch(layouts, copies, part, video.device)
        stream, cached = None, None
        if reference_cache is not None:
            self._check_cache(reference_cache, layouts, references)
            cached = reference_cache.keys_values
        # also for a batch without any: sharded ranks must all go through the same modules
        elif references is not None or any(layout.references for layout in layouts):
            tokens = self._reference_tokens(references, layouts, hidden_states)
            reference_modulation = self._reference_modulation(modulation, timestep, copies, batch)
            stream = self._stream(tokens, reference_modulation, batch.reference_rotary)

        video, _ = self._run(self._stream(video, modulation, batch.video_rotary), stream, text, batch, cached)
        patches = all_tokens(self._head(video, time), self.sequence_group)  # pyright: ignore[reportArgumentType]
        out = self._unpatchify(patches, grid, hidden_states.shape)
        if self.config.prediction == "sample":
            sigma = (timestep.float() / 1000).clamp(min=MIN_SIGMA).view(-1, 1, 1, 1, 1)
            out = ((hidden_states - out) / sigma).to(out.dtype)
        return Transformer2DModelOutput(sample=out) if return_dict else (out,)

    @apply_forward_hook  # offloading brings the model to its device, as for `forward`
    @apply_lora_scale("attention_kwargs")
    def encode_references(
        self,
        references: Sequence[Tensor],
        encoder_hidden_states: Tensor,
        layouts: Sequence[TokenLayout],
        attention_kwargs: dict[str, Any] | None = None,
    ) -> ReferenceCache:
        """Keys and values of the references in all layers, which hold for every step and seed of a clip.

        Args:
            references, encoder_hidden_states, layouts, attention_kwargs: as for `forward`.

        Raises:
            ValueError: `reference_timestep` is "shared" or a layout is without CSAM: then references change with the
                timestep or with the video, and a cache would be wrong.
        """
        del attention_kwargs
        layouts = tuple(layouts)
        check_cacheable(layouts, self.config.reference_timestep)
        self._check_sequence(layouts[0])
        tokens = self._reference_tokens(references, layouts, None)
        batch = self._batch(layouts, 1, "references", tokens.device)
        text = self.condition_embedder.text_embedder(encoder_hidden_states.to(tokens.dtype))
        _, modulation = self._time(torch.zeros(len(tokens), device=tokens.device))
        stream = self._stream(tokens, modulation, batch.reference_rotary)
        _, keys_values = self._run(None, stream, text, batch, None)
        return ReferenceCache(layouts, keys_values)

    def _run(
        self,
        video: Stream | None,
        references: Stream | None,
        text: Tensor,
        batch: LayoutBatch,
        cached: tuple[tuple[Tensor, Tensor], ...] | None,
    ) -> tuple[Tensor | None, tuple[tuple[Tensor, Tensor], ...]]:
        """All blocks: the video's last tokens, or without a video the references' keys and values of every layer."""
        backend, _ = choose_backend(text.device, text.dtype, self.attention_backend)
        keys_values = []
        for index, block in enumerate(self.blocks):
            layer_cache = None if cached is None else cached[index]
            inputs = (video, references, text, batch, layer_cache, backend)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                outputs = self._gradient_checkpointing_func(block, *inputs)  # pyright: ignore[reportOptionalCall]
            else:
                outputs = block(*inputs)
            video_tokens, reference_tokens, layer_keys_values = outputs
            video = None if video is None else video._replace(tokens=video_tokens)
            references = None if references is None else references._replace(tokens=reference_tokens)
            if video is None:
                keys_values.append(layer_keys_values)
        return None if video is None else video.tokens, tuple(keys_values)

    def _batch(self, layouts: tuple[TokenLayout, ...], copies: int, part: Part, device: torch.device) -> LayoutBatch:
        config = self.config
        return batch_layouts(
            layouts,
            copies,
            part,
            config.attention_head_dim,
            config.mcam_ratio,
            config.rope_max_seq_len,
            config.rope_ntk_scaling,
            device,
        )

    def _layouts(
        self, layouts: Sequence[TokenLayout] | None, grid: tuple[int, int, int], text: Tensor
    ) -> tuple[TokenLayout, ...]:
        if layouts is None:
            layouts = [TokenLayout(grid, [], torch.zeros(0, text.shape[1]))] * len(text)
        if len(layouts) != len(text):
            raise ValueError(f"{len(layouts)} layouts but text embeddings of {len(text)} samples")
        for layout in layouts:
            if layout.video != grid:
                raise ValueError(f"the layout is of a video of {layout.video} tokens but the latents have {grid}")
            if layout.references and layout.text_length != text.shape[1]:
                raise ValueError(
                    f"the layout's words are over {layout.text_length} text tokens but the text has {text.shape[1]}"
                )
        return tuple(layouts)

    def _patchify(self, latents: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
        """Tokens [n, T * H * W, dim] and (T, H, W). Odd sizes are padded right and below, as in the release."""
        patch = self.config.patch_size
        padding = [-size % p for size, p in zip(latents.shape[2:], patch, strict=True)]
        latents = F.pad(latents, (0, padding[2], 0, padding[1], 0, padding[0]))
        tokens = self.patch_embedding(latents.to(self.patch_embedding.weight.dtype))
        return tokens.flatten(2).transpose(1, 2).contiguous(), tuple(tokens.shape[2:])

    def _reference_tokens(
        self, references: Sequence[Tensor] | None, layouts: Sequence[TokenLayout], video: Tensor | None
    ) -> Tensor:
        """[M, H * W, dim] of the references of the whole batch."""
        counts = [len(layout.references) for layout in layouts]
        given = None if references is None else [r.shape[1] for r in references]
        if given != counts:
            raise ValueError(f"the layouts have {counts} references, but these are given: {given}")
        latents = torch.cat([r.transpose(0, 1) for r in references or []])  # [M, C, h, w]
        if video is not None and latents.shape[2:] != video.shape[3:]:
            raise ValueError(f"references of {tuple(latents.shape[2:])} beside a video of {tuple(video.shape[3:])}")
        tokens, grid = self._patchify(latents.unsqueeze(2))
        if grid[1:] != layouts[0].video[1:]:
            raise ValueError(f"references of {grid[1:]} tokens in a layout of {layouts[0].video[1:]}")
        return tokens

    def _stream(self, tokens: Tensor, modulation: Tensor, rotary: tuple[Tensor, Tensor]) -> Stream:
        """This rank's slice of the tokens; all of them without sequence parallelism."""
        tokens, cos, sin = (own_tokens(x, self.sequence_group) for x in (tokens, *rotary))
        return Stream(tokens, modulation, (cos, sin))

    def _time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding [n, dim] and modulation [n, 6, dim], in the weights' own type whatever autocast says."""
        embedder = self.condition_embedder
        weight_dtype = next(iter(embedder.time_embedder.parameters())).dtype
        with without_autocast(timestep.device):
            frequencies = embedder.timesteps_proj(timestep)
            time = embedder.time_embedder(frequencies.to(weight_dtype)).to(self.patch_embedding.weight.dtype)
            return time, embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))

    def _reference_modulation(self, modulation: Tensor, timestep: Tensor, copies: int, batch: LayoutBatch) -> Tensor:
        if self.config.reference_timestep == "zero":
            modulation = self._time(torch.zeros_like(timestep[:1]))[1]
            return modulation.expand(len(batch.scene_of_reference), -1, -1)
        if copies > 1 and not bool((timestep.view(-1, copies) == timestep.view(-1, copies)[:, :1]).all()):
            raise ValueError("videos that share references with reference_timestep='shared' need one timestep a scene")
        return modulation[::copies].index_select(0, batch.scene_of_reference)

    def _head(self, video: Tensor, time: Tensor) -> Tensor:
        shift, scale = (self.scale_shift_table + time.unsqueeze(1)).chunk(2, dim=1)
        return self.proj_out((self.norm_out(video.float()) * (1 + scale) + shift).type_as(video))

    def _unpatchify(self, tokens: Tensor, grid: tuple[int, int, int], shape: torch.Size) -> Tensor:
        patches = tokens.unflatten(2, (*self.config.patch_size, -1)).unflatten(1, grid)
        latents = patches.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)
        return latents[:, :, : shape[2], : shape[3], : shape[4]]

    def _check_sequence(self, layout: TokenLayout) -> None:
        heads, ranks = self.config.num_attention_heads, size_of(self.sequence_group)
        check_degree(ranks, heads, layout.video_tokens, layout.reference_tokens)

    def _check_cache(
        self, cache: ReferenceCache, layouts: Sequence[TokenLayout], references: Sequence[Tensor] | None
    ) -> None:
        check_cacheable(layouts, self.config.reference_timestep)
        if references is not None:
            raise ValueError("references come either as such or in reference_cache, not both")
        if cache.layouts != layouts:
            raise ValueError("the reference cache was made for other layouts (another branch, size or scene)")
        if cache.keys_values[0][0].shape[1] * size_of(self.sequence_group) != layouts[0].reference_tokens:
            raise ValueError("the reference cache was made under another sequence parallelism; make it again")


def _check_text_only(**image_keys: int | None) -> None:
    given = [key for key, value in image_keys.items() if value is not None]
    if given:
        raise ValueError(f"this is a text-to-video model: {', '.join(given)} of image-to-video models must be None")


def _check_choices(reference_timestep: str, rules: str, prediction: str) -> None:
    choices = {
        "reference_timestep": (reference_timestep, ("shared", "zero")),
        "rules": (rules, ("paper", "release")),
        "prediction": (prediction, ("velocity", "sample")),
    }
    for key, (value, legal) in choices.items():
        if value not in legal:
            raise ValueError(f"{key} is one of {legal}, not {value!r}")
