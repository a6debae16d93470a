"""Step caches: at steps that change little, most blocks of the transformer are not computed. An approximation.

The work is diffusers'. This file names two of its caches, gives them parameters, and keeps them to one clip each:

first-block: every step computes the first block. Where that adds to its input almost what it added at the last whole
    step, the other blocks are taken to add what they added then (ParaAttention's First Block Cache).
taylorseer: blocks are computed at every few steps, and what the head gave then is continued along a straight line in
    between (TaylorSeer, arXiv 2503.06923).

Their own strengths were chosen on `lumosx-tiny` with `scripts/step_caches.py`: of those tried the largest that kept
every clip, of four scenes, three seeds, 10 and 50 steps, above 40 dB of PSNR to the exact one. They were not measured
on the 1.3B. first-block decides for all that is passed together, so with it a clip depends on how seeds and branches of
guidance are batched; with taylorseer it does not.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from diffusers.hooks import FirstBlockCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks.group_offloading import _is_group_offload_enabled

from lumosx.errors import InputError
from lumosx.models import LumosXTransformer3DModel

STRENGTHS = {"first-block": 0.05, "taylorseer": 2.0}
NAMES = ("none", *STRENGTHS)
EXACT_FIRST = 3  # steps that taylorseer computes whole at the start, where the picture takes shape


@dataclass(frozen=True)
class StepCache:
    """One of the step caches and how much it skips.

    Args:
        name: "first-block" or "taylorseer".
        strength: of first-block the relative change below which blocks are skipped, 0 or more; of taylorseer the steps
            from one that is computed to the next, 1 or more. 0 and 1 skip nothing.

    Raises:
        InputError: another name, or a strength that it cannot have.
    """

    name: str
    strength: float

    def __post_init__(self) -> None:
        if self.name not in STRENGTHS:
            raise InputError(
                f"step cache {self.name!r}: choose {', '.join(NAMES)}, with a strength behind a colon where its own is "
                f"not wanted, such as first-block:{STRENGTHS['first-block']}"
            )
        if self.name == "first-block" and not 0 <= self.strength < math.inf:
            raise InputError(f"step cache {self}: the strength of first-block is a number, 0 or more")
        if self.name == "taylorseer" and not (self.strength >= 1 and float(self.strength).is_integer()):
            raise InputError(f"step cache {self}: the strength of taylorseer is a whole number of steps, 1 or more")

    @classmethod
    def parse(cls, text: str | None) -> "StepCache | None":
        """The cache of a name, or of a name and a strength such as "first-block:0.05"; None for "none" and None.

        Raises:
            InputError: there is no such cache.
        """
        if text is None or text == "none":
            return None
        name, colon, written = text.partition(":")
        try:
            strength = float(written) if colon else STRENGTHS.get(name, 0.0)
        except ValueError:
            raise InputError(f"step cache {text!r}: {written!r} behind the colon is no number") from None
        return cls(name, strength)

    def __str__(self) -> str:
        """As `parse` reads it."""
        short = f"{self.strength:g}"
        return f"{self.name}:{short if float(short) == self.strength else repr(self.strength)}"

    def config(self, steps: int) -> FirstBlockCacheConfig | TaylorSeerCacheConfig:
        """What `enable_cache` of the transformer takes, for a clip of so many steps."""
        if self.name == "first-block":
            return FirstBlockCacheConfig(threshold=self.strength)
        return TaylorSeerCacheConfig(
            cache_interval=int(self.strength),
            disable_cache_before_step=EXACT_FIRST,
            disable_cache_after_step=steps - 1,  # the last step has nothing after it to mend an error
            max_order=1,
            taylor_factors_dtype=torch.float32,  # 64 numbers a token: little memory
            use_lite_mode=True,
        )

    def record(self, steps: int) -> dict[str, Any]:
        """What a clip's record says of it: its name, which makes it again, and diffusers' parameters."""
        given = {key: value for key, value in asdict(self.config(steps)).items() if value is not None}
        plain = {key: str(value) if isinstance(value, torch.dtype) else value for key, value in given.items()}
        return {"name": str(self), "parameters": plain}


@contextmanager
def step_cache(transformer: LumosXTransformer3DModel, cache: StepCache | None, steps: int) -> Iterator[None]:
    """Skips blocks inside, for the steps of one clip or of clips that are sampled in one batch.

    Inside, every pass of the transformer belongs in `transformer.cache_context(name)`, one name a branch of guidance.
    Text and references are encoded before.

    Args:
        cache: None computes every block, but for what a cache skips that the caller has enabled on the transformer
            himself after encoding: that one stays, and forgets the clip before.
        steps: of the clip.

    Raises:
        InputError: a cache is enabled already, or groups are offloaded.
    """
    if cache is None:
        transformer._reset_stateful_cache()
        yield
        return
    if transformer.is_cache_enabled:
        raise InputError(
            f"step cache {cache}: the transformer has another one enabled; call its disable_cache() before, or leave "
            "the step cache out"
        )
    if _is_group_offload_enabled(transformer):
        # After the first step diffusers takes away a hook with which it learnt the order of the blocks, and with it the
        # cache's around it: the clip would be exact and slow.
        raise InputError(f"step cache {cache} does not go with offload group; choose offload model, or leave one out")
    transformer.enable_cache(cache.config(steps))
    try:
        yield
    finally:  # also when sampling is cancelled; the hooks go, and with them what they keep of this clip
        transformer.disable_cache()
