"""What can be cached between steps: the references' keys and values, and nothing else.

diffusers' own caches hook attention modules, or blocks that pass on one stream. A LumosX block attends by itself and
passes on two, so those hooks would never run, or break the pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusers.models.cache_utils import CacheMixin
from torch import Tensor

from lumosx.relations import TokenLayout


@dataclass(frozen=True)
class ReferenceCache:
    """Keys and values of the references in every layer, for the layouts they were computed with."""

    layouts: tuple[TokenLayout, ...]
    keys_values: tuple[tuple[Tensor, Tensor], ...]  # a layer: two [M, P, heads, head_dim]


class ReferencesOnlyCacheMixin(CacheMixin):
    """diffusers' `CacheMixin` without its caches; pipelines of diffusers can still open a `cache_context`."""

    def enable_cache(self, config: Any) -> None:
        """Refuses every cache of diffusers.

        Raises:
            ValueError: always; most of them would be taken and silently do nothing.
        """
        raise ValueError(
            f"{type(config).__name__} does not work here: it hooks attention modules or blocks of one stream, and "
            "LumosX's blocks have neither. A model with reference_timestep='zero' caches its references"
        )


def check_cacheable(layouts: Sequence[TokenLayout], reference_timestep: str) -> None:
    """Raises ValueError where the references change with the timestep or with the video."""
    if reference_timestep != "zero":
        raise ValueError(
            "references cannot be cached: with reference_timestep='shared' they change at every step. "
            "A cache needs a model trained with reference_timestep='zero'"
        )
    if not all(layout.csam for layout in layouts):
        raise ValueError("references cannot be cached with csam=False: they see the video, which changes")
