"""Checks of clips that several processes sample together, each against one process."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from torch import Tensor
from worker import check, main

sys.path.insert(0, str(Path(__file__).parent.parent))
from tiny_models import tiny_pipeline, tiny_scene

from lumosx import LumosXPipeline
from lumosx.errors import InputError
from lumosx.models.block import LumosXBlock
from lumosx.pipelines.parallel import Split
from lumosx.processes import joined
from lumosx.training.ranks import Ranks

# 96 tokens of the video and 48 of a reference, in two of MCAM's cells; 1, 2, 3 or 6 ranks may share them
SIZE, HEADS, TOKENS, STEPS = "192x64", 6, 96, 3
GUIDANCE = {"none": {"cfg": 1.0}, "text": {"cfg": 3.0}, "images": {"cfg": 3.0, "cfg_image": 1.5}}
REFERENCES = {"none": [True], "text": [True, True], "images": [True, True, False]}  # whether a branch has any


def pipeline(reference_timestep: str = "zero", **config: object) -> LumosXPipeline:
    return tiny_pipeline(num_attention_heads=HEADS, reference_timestep=reference_timestep, **config)


@dataclass
class Sampled:
    """What a process made, and what it did for it."""

    latents: list[Tensor] = field(default_factory=list)  # after each step
    frames: list[np.ndarray] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)  # tokens of the video in each call of the first block
    caches: int = 0
    records: list[dict] = field(default_factory=list)


@contextmanager
def watched(pipe: LumosXPipeline, sampled: Sampled) -> Iterator[None]:
    """Notes what the transformer is asked for."""
    block, encode = LumosXBlock.forward, type(pipe.transformer).encode_references

    def forward(self: LumosXBlock, hidden_states: Tensor | None, *inputs: object) -> object:
        if hidden_states is not None and self is pipe.transformer.blocks[0]:
            sampled.blocks.append(hidden_states.shape[1])
        return block(self, hidden_states, *inputs)

    def encode_references(*inputs: object) -> object:
        sampled.caches += 1
        return encode(*inputs)

    with (
        patch.object(LumosXBlock, "forward", forward),
        patch.object(type(pipe.transformer), "encode_references", encode_references),
    ):
        yield


def sample(pipe: LumosXPipeline, ranks: int, seeds: tuple[int, ...] = (3,), **settings: object) -> Sampled:
    sampled = Sampled()

    def note(pipe: LumosXPipeline, step: int, timestep: int, given: dict[str, Tensor]) -> None:
        sampled.latents.append(given["latents"].clone())

    call = {"size": SIZE, "steps": STEPS, "seeds": seeds, "progress": False, **settings}
    with watched(pipe, sampled):
        for result in pipe.stream(tiny_scene(), callback_on_step_end=note, ranks=ranks, **call):
            sampled.frames.append(result.frames)
            sampled.records.append(result.record)
    return sampled


def expect_equal(ranks: Ranks, ours: Sampled, alone: Sampled, bound: float) -> None:
    """Latents of every step within `bound` of one process's, frames but for rounding; both the same on all ranks."""
    assert len(ours.latents) == len(alone.latents) > 0
    for mine, expected in zip(ours.latents, alone.latents, strict=True):
        worst = float((mine - expected).abs().max())
        assert worst <= bound, worst
    for mine, expected in zip(ours.frames, alone.frames, strict=True):
        assert np.abs(mine.astype(int) - expected).max() <= (1 if bound else 0)
    made = [x.numpy().tobytes() for x in ours.latents] + [x.tobytes() for x in ours.frames]
    assert all(theirs == made for theirs in ranks.gather(made))


@check
def as_one_process(ranks: Ranks, folder: Path, guided: str, timestep: str, branches: str, tokens: str) -> None:
    """Equal, and a rank computes no more than its share: branches that are split exactly, tokens within 1e-5."""
    split, settings = Split(int(branches), int(tokens)), {"guidance": "apart", **GUIDANCE[guided]}
    alone = sample(pipeline(timestep), 1, **settings)
    pipe = pipeline(timestep)
    ours = sample(pipe, ranks.size, **settings)
    expect_equal(ranks, ours, alone, bound=1e-5 if split.tokens > 1 else 0)
    assert pipe.transformer.sequence_group is None

    has_references = REFERENCES[guided]
    own = has_references if split.branches == 1 else [has_references[ranks.rank // split.tokens]]
    assert alone.blocks == [TOKENS] * STEPS * len(has_references)
    assert ours.blocks == [TOKENS // split.tokens] * STEPS * len(own)
    assert (alone.caches, ours.caches) == ((sum(has_references), sum(own)) if timestep == "zero" else (0, 0))
    assert ours.records[0]["runtime"]["ranks"] == {"branches": split.branches, "tokens": split.tokens}


@check
def several_clips(ranks: Ranks, folder: Path) -> None:
    """One after another, and in one batch with all branches that a rank has; with another split after each other."""
    pipe = pipeline()
    for settings in (GUIDANCE["text"], {"guidance": "together", "batch": 2, **GUIDANCE["images"]}, GUIDANCE["none"]):
        call = {"seeds": (0, 1, 2), "guidance": "apart", **settings}
        expect_equal(ranks, sample(pipe, ranks.size, **call), sample(pipe, 1, **call), bound=1e-5)


@check
def impossible(ranks: Ranks, folder: Path) -> None:
    """Refused by all of them before anything is computed."""
    pipe = pipeline()
    with pytest.raises(InputError, match=r"4 processes cannot share a clip of 6 heads.*start 3 or 2"):
        sample(pipe, ranks.size, **GUIDANCE["none"])
    with pytest.raises(InputError, match=r"4 processes cannot share a clip of 3 passes a step, 6 heads.*start 3 or 2"):
        sample(pipe, ranks.size, **GUIDANCE["images"])


def fail_on_one() -> None:
    """Started by torchrun: an error on one process in the midst of a clip."""

    def callback(pipe: LumosXPipeline, step: int, *_: object) -> None:
        if step == 1 and run.rank == 1:
            raise RuntimeError("the second process is out of memory")

    with joined() as run:
        for _ in pipeline().stream(
            tiny_scene(), ranks=run.size, size=SIZE, progress=False, callback_on_step_end=callback
        ):
            print("a clip", flush=True)


if __name__ == "__main__":
    main() if sys.argv[1:] else fail_on_one()
