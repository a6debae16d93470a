"""What is computed once and used again: the text's and the references' keys and values, and diffusers' step caches.

The first two change nothing but the time. A step cache is an approximation: it takes what the blocks gave at an earlier
step for what they would give now.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers.hooks import FirstBlockCacheConfig, HookRegistry, MagCacheConfig, ModelHook, TaylorSeerCacheConfig
from diffusers.models.cache_utils import CacheMixin
from torch import Tensor, nn

from lumosx.models.sequence import Group, size_of
from lumosx.relations import TokenLayout

COMPILED_BLOCK = "lumosx_compiled_block"  # name of a hook


@dataclass(frozen=True)
class TextCache:
    """Keys and values of the text in every layer's cross-attention."""

    keys_values: tuple[tuple[Tensor, Tensor], ...]  # a layer: two [S, text, heads, head_dim]

    @property
    def shape(self) -> tuple[int, int]:
        """(S, text)."""
        samples, length = self.keys_values[0][0].shape[:2]
        return samples, length


@dataclass(frozen=True)
class ReferenceCache:
    """Keys and values of the references in every layer, for the layouts they were computed with."""

    layouts: tuple[TokenLayout, ...]
    keys_values: tuple[tuple[Tensor, Tensor], ...]  # a layer: two [M, P, heads, head_dim]


class BlockCacheMixin(CacheMixin):
    """diffusers' `CacheMixin` with those of its caches that hook whole blocks.

    A step has to run in a `cache_context`, one name a branch of guidance.
    """

    blocks: nn.ModuleList
    sequence_group: Group

    def enable_cache(self, config: Any) -> None:
        """Skips blocks at steps that change little: an approximation, until `disable_cache`.

        Args:
            config: `FirstBlockCacheConfig`, `MagCacheConfig`, or `TaylorSeerCacheConfig(use_lite_mode=True)`.

        Raises:
            ValueError: another cache; it would hook attention modules, which a LumosX block does not call. Or a cache
                that decides from a rank's own tokens, under sequence parallelism.
        """
        lite = isinstance(config, TaylorSeerCacheConfig) and config.use_lite_mode
        if not (lite or isinstance(config, FirstBlockCacheConfig | MagCacheConfig)):
            raise ValueError(
                f"{type(config).__name__} does not work here: it hooks attention modules, and LumosX's blocks attend "
                "by themselves. "
                "FirstBlockCacheConfig, MagCacheConfig and TaylorSeerCacheConfig(use_lite_mode=True) hook whole blocks"
            )
        if isinstance(config, FirstBlockCacheConfig) and size_of(self.sequence_group) > 1:
            raise ValueError(
                "FirstBlockCacheConfig does not go with sequence parallelism: each rank would decide for itself which "
                "blocks run, and wait for the others in vain. TaylorSeerCacheConfig(use_lite_mode=True) does"
            )
        for block in self.blocks:
            if block._compiled_call_impl is not None:
                HookRegistry.check_if_exists_or_initialize(block).register_hook(_CompiledBlock(), COMPILED_BLOCK)
        super().enable_cache(config)

    def disable_cache(self) -> None:
        """Every step computes all blocks again."""
        super().disable_cache()
        for block in self.blocks:
            HookRegistry.check_if_exists_or_initialize(block).remove_hook(COMPILED_BLOCK)


class _CompiledBlock(ModelHook):
    """Keeps the hooks around it out of a compiled block's graph: they decide from values, which a graph cannot."""

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        self.compiled, module._compiled_call_impl = module._compiled_call_impl, None
        return module

    def new_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        unhooked: Any = self.fn_ref.original_forward
        hooked, module.forward = module.forward, unhooked  # what is compiled calls `forward`
        try:
            return self.compiled(*args, **kwargs)  # pyright: ignore[reportOptionalCall]
        finally:
            module.forward = hooked

    def deinitalize_hook(self, module: nn.Module) -> nn.Module:
        module._compiled_call_impl = self.compiled
        return module


def are_cacheable(layouts: Sequence[TokenLayout], reference_timestep: str) -> bool:
    """Whether there are references, and none that change with the timestep or with the video."""
    same = reference_timestep == "zero" and all(layout.csam for layout in layouts)
    return same and any(layout.references for layout in layouts)


def check_cacheable(layouts: Sequence[TokenLayout], reference_timestep: str) -> None:
    """Raises ValueError where the references change with the timestep or with the video."""
    if reference_timestep != "zero":
        raise ValueError(
            "references cannot be cached: with reference_timestep='shared' they change at every step. "
            "A cache needs a model trained with reference_timestep='zero'"
        )
    if not all(layout.csam for layout in layouts):
        raise ValueError("references cannot be cached with csam=False: they see the video, which changes")
