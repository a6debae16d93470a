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
from lumosx.models.block import CHECKPOINTING, KeysValues, LumosXBlock, Pass, Stream
from lumosx.models.caching import BlockCacheMixin, ReferenceCache, TextCache, check_cacheable
from lumosx.models.precision import compute_dtype, without_autocast
from lumosx.models.sequence import Group, all_tokens, check_degree, own_tokens, size_of
from lumosx.paths import names_repository
from lumosx.relations import LayoutBatch, TokenLayout, batch_layouts
from lumosx.relations.batch import Part

GRAPHS = 64  # of the block at most; past PyTorch's own limit of 8 it is an error
MIN_SIGMA = 1e-3  # below it a predicted sample says nothing about the velocity


class LumosXTransformer3DModel(ModelMixin, ConfigMixin, PeftAdapterMixin, BlockCacheMixin):
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
        self.references_to_the_end = False  # the last layer computes of them what nothing reads, for observers

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
        """Compiles the blocks, the same few graphs for all layouts; `options` are those of `torch.compile`.

        There is one for each kind of pass: with references or without, their last layer, filling a cache, with MCAM or
        without, with gradients or without, and where one number is 1. PyTorch's limit on them is raised.

        By default PyTorch takes sizes that agree by chance in the first batch (four references, ranges of four numbers)
        to agree for ever, and compiles again when they do not; and in a block that is sharded it takes the number of
        heads for a size that may change. Both are switched off, for the whole process.
        """
        torch.fx.experimental._config.use_duck_shape = False  # pyright: ignore[reportAttributeAccessIssue]
        torch._dynamo.config.specialize_int = True  # pyright: ignore[reportAttributeAccessIssue]
        torch._dynamo.config.recompile_limit = max(GRAPHS, torch._dynamo.config.recompile_limit)
        super().compile_repeated_blocks(**({"fullgraph": True, "dynamic": True} | options))

    def set_attention_backend(self, backend: str) -> None:
        """Chooses the relational attention's backend, one of `lumosx.attention.BACKENDS`."""
        choose_backend(self.device, self.dtype, backend)  # that it can run here
        self.attention_backend = backend

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
        encoder_hidden_states: Tensor | TextCache,
        layouts: Sequence[TokenLayout] | None = None,
        references: Sequence[Tensor] | None = None,
        reference_cache: ReferenceCache | None = None,
        return_dict: bool = True,
        attention_kwargs: dict[str, Any] | None = None,
    ) -> Transformer2DModelOutput | tuple[Tensor]:
        """The velocity of the video, equation (8).

        Args:
            hidden_states: [B, C, T, h, w], noisy latents.
            timestep: 1000 sigma, of every video [B] or of every layout [S], for all its videos.
            encoder_hidden_states: [S, text, text_dim], S = len(layouts), or what `encode_text` made of it.
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
        timestep = self._timesteps(timestep, len(layouts), copies)
        text = self._text(encoder_hidden_states, video.dtype)
        time, modulation = self._time(timestep)

        part = "joint" if reference_cache is None else "video"
        batch = self._batch(layouts, copies, part, video)
        tokens, streams = [video], [self._stream(modulation, batch.video_rotary)]
        cached = None
        if reference_cache is not None:
            self._check_cache(reference_cache, layouts, references)
            cached = reference_cache.keys_values
        # also for a batch without any: sharded ranks must all go through the same modules
        elif references is not None or any(layout.references for layout in layouts):
            tokens.append(self._reference_tokens(references, layouts, hidden_states))
            of_references = self._reference_modulation(modulation, copies, batch)
            streams.append(self._stream(of_references, batch.reference_rotary))

        del video
        video = self._run(tokens, tuple(streams), text, batch, cached)
        patches = all_tokens(self._head(video, time), self.sequence_group)
        out = self._unpatchify(patches, grid, hidden_states.shape)
        if self.config.prediction == "sample":
            sigma = (timestep.float() / 1000).clamp(min=MIN_SIGMA).view(-1, 1, 1, 1, 1)
            out = ((hidden_states - out) / sigma).to(out.dtype)
        return Transformer2DModelOutput(sample=out) if return_dict else (out,)

    @apply_forward_hook  # offloading brings the model to its device, as for `forward`
    @apply_lora_scale("attention_kwargs")
    def encode_text(self, encoder_hidden_states: Tensor, attention_kwargs: dict[str, Any] | None = None) -> TextCache:
        """Keys and values of the text in all layers, which hold for every step and seed of a clip.

        Args:
            encoder_hidden_states, attention_kwargs: as for `forward`.
        """
        del attention_kwargs
        self._check_filling()
        text = self._text(encoder_hidden_states, self.patch_embedding.weight.dtype)
        return TextCache(tuple(block(None, None, text, None, None, False) for block in self.blocks))

    @apply_forward_hook
    @apply_lora_scale("attention_kwargs")
    def encode_references(
        self,
        references: Sequence[Tensor],
        encoder_hidden_states: Tensor | TextCache,
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
        self._check_filling()
        self._check_sequence(layouts[0])
        tokens = self._reference_tokens(references, layouts, None)
        batch = self._batch(layouts, 1, "references", tokens)
        text = self._text(encoder_hidden_states, tokens.dtype)
        modulation = self._clean_modulation(batch)
        shared = Pass((self._stream(modulation, batch.reference_rotary),), batch, self._backend(tokens))
        tokens, keys_values = own_tokens(tokens, self.sequence_group), []
        for index, block in enumerate(self.blocks):
            inputs = (None, tokens, _of_layer(text, index), shared, None, index == len(self.blocks) - 1)
            tokens, key, value = block(*inputs)
            keys_values.append((key, value))
        return ReferenceCache(layouts, tuple(keys_values))

    def _run(
        self,
        tokens: list[Tensor],
        streams: tuple[Stream, ...],
        text: Tensor | tuple[KeysValues, ...],
        batch: LayoutBatch,
        cached: tuple[KeysValues, ...] | None,
    ) -> Tensor:
        """All blocks over the videos' tokens and, if there are any, the references': the videos' last tokens."""
        shared = Pass(streams, batch, self._backend(tokens[0]))
        video, *others = (own_tokens(x, self.sequence_group) for x in tokens)
        tokens.clear()  # what went in is not kept through all blocks
        # caches of diffusers add and subtract what both streams give: an empty one stands for none
        references = others[0] if others else video[:0]
        # the one behind which nothing reads the references
        reads_last = len(self.blocks) - 1 if others and not self.references_to_the_end else None
        for index, block in enumerate(self.blocks):
            layer_cache = None if cached is None else cached[index]
            last = index == reads_last
            inputs = (video, references, _of_layer(text, index), shared, layer_cache, last)
            if torch.is_grad_enabled() and self.gradient_checkpointing:
                outputs = self._gradient_checkpointing_func(block, *inputs)  # pyright: ignore[reportOptionalCall]
            else:
                outputs = block(*inputs)
            video, references = outputs
        return video

    def _backend(self, tokens: Tensor) -> str:
        dtype, gradients = compute_dtype(tokens), torch.is_grad_enabled()
        return choose_backend(tokens.device, dtype, self.attention_backend, gradients=gradients)[0]

    def _batch(self, layouts: tuple[TokenLayout, ...], copies: int, part: Part, tokens: Tensor) -> LayoutBatch:
        config = self.config
        return batch_layouts(
            layouts,
            copies,
            part,
            config.attention_head_dim,
            config.mcam_ratio,
            config.rope_max_seq_len,
            config.rope_ntk_scaling,
            tokens.device,
            compute_dtype(tokens),
        )

    def _text(self, text: Tensor | TextCache, dtype: torch.dtype) -> Tensor | tuple[KeysValues, ...]:
        """The text as blocks take it: embedded, or keys and values of every layer."""
        if isinstance(text, TextCache):
            return text.keys_values
        return self.condition_embedder.text_embedder(text.to(dtype))

    def _layouts(
        self, layouts: Sequence[TokenLayout] | None, grid: tuple[int, int, int], text: Tensor | TextCache
    ) -> tuple[TokenLayout, ...]:
        samples, length = text.shape[:2]
        if layouts is None:
            layouts = [TokenLayout(grid, [], torch.zeros(0, length))] * samples
        if len(layouts) != samples:
            raise ValueError(f"{len(layouts)} layouts but text embeddings of {samples} samples")
        for layout in layouts:
            if layout.video != grid:
                raise ValueError(f"the layout is of a video of {layout.video} tokens but the latents have {grid}")
            if layout.references and layout.text_length != length:
                raise ValueError(
                    f"the layout's words are over {layout.text_length} text tokens but the text has {length}"
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

    def _stream(self, modulation: Tensor, rotary: Tensor) -> Stream:
        """What rides along with this rank's slice of the tokens; with all of them without sequence parallelism."""
        return Stream(modulation, own_tokens(rotary, self.sequence_group))

    def _time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """Time embedding [n, dim] and modulation [n, 6, dim], in the weights' own type whatever autocast says."""
        embedder = self.condition_embedder
        weight_dtype = next(iter(embedder.time_embedder.parameters())).dtype
        with without_autocast(timestep.device):
            frequencies = embedder.timesteps_proj(timestep)
            time = embedder.time_embedder(frequencies.to(weight_dtype)).to(self.patch_embedding.weight.dtype)
            return time, embedder.time_proj(embedder.act_fn(time)).unflatten(1, (6, -1))

    def _timesteps(self, timestep: Tensor, layouts: int, copies: int) -> Tensor:
        """[B], from timesteps of every video or of every layout.

        Raises:
            ValueError: neither; or videos of a layout differ and its references should have the timestep of all. That
                looks at the numbers, for which a GPU is waited for: timesteps of layouts avoid it.
        """
        if copies > 1 and timestep.shape == (layouts,):
            return timestep.repeat_interleave(copies)
        if timestep.shape != (layouts * copies,):
            numbers = f"[{layouts * copies}]" + (f" or [{layouts}]" if copies > 1 else "")
            raise ValueError(f"{layouts * copies} videos need timesteps {numbers}, not {list(timestep.shape)}")
        of_layouts = timestep.view(layouts, copies)
        compared = copies > 1 and self.config.reference_timestep == "shared"
        if compared and not bool((of_layouts == of_layouts[:, :1]).all()):
            raise ValueError("videos that share references with reference_timestep='shared' need one timestep a scene")
        return timestep

    def _reference_modulation(self, modulation: Tensor, copies: int, batch: LayoutBatch) -> Tensor:
        """[M, 6, dim] from the videos' [B, 6, dim]."""
        if self.config.reference_timestep == "zero":
            return self._clean_modulation(batch)
        return modulation[::copies].index_select(0, batch.scene_of_reference)

    def _clean_modulation(self, batch: LayoutBatch) -> Tensor:
        """[M, 6, dim] of references that are clean: of timestep 0."""
        zero = torch.zeros(1, device=batch.scene_of_reference.device)
        return self._time(zero)[1].expand(len(batch.scene_of_reference), -1, -1)

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

    def _check_filling(self) -> None:
        if self.is_cache_enabled:
            raise ValueError("text and references are encoded before a cache of diffusers is enabled, not under it")

    def _check_cache(
        self, cache: ReferenceCache, layouts: Sequence[TokenLayout], references: Sequence[Tensor] | None
    ) -> None:
        check_cacheable(layouts, self.config.reference_timestep)
        if references is not None:
            raise ValueError("references come either as such or in reference_cache, not both")
        if cache.layouts != layouts:
            raise ValueError("the reference cache was made for other layouts (another branch, size or scene)")
        heads = self.config.num_attention_heads // size_of(self.sequence_group)
        if cache.keys_values[0][0].shape[1:3] != (layouts[0].reference_tokens, heads):
            raise ValueError("the reference cache was made under another sequence parallelism; make it again")


def _of_layer(text: Tensor | tuple[KeysValues, ...], layer: int) -> Tensor | KeysValues:
    return text if isinstance(text, Tensor) else text[layer]


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
