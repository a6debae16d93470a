"""From a source of clips to the steps of a run: one item is one rank's share of one step, as micro-batches.

The loader is PyTorch's own, not torchdata's `StatefulDataLoader`: the plan that each item is made of carries the
sampler's position, so position and data travel together, and going on needs neither a replay nor as many workers as
before.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice, takewhile
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lumosx.data.batch import Batch, Broken, Bucket, EncodedBatch, StepData
from lumosx.data.cache import CacheReader, cache_settings
from lumosx.data.encoder import Encoder
from lumosx.data.examples import Example, Reading
from lumosx.data.playground import Playground, Undrawn, UndrawnBatch
from lumosx.data.sampler import Pick, PickSource, StepPlan
from lumosx.data.source import Records, Source
from lumosx.data.store import open_store
from lumosx.errors import InputError

TRIES = 8  # replacements of one broken clip


@dataclass(frozen=True)
class Share:
    """Which part of every batch is this process's, and in what pieces it is computed.

    Args:
        batch: clips a step, over all ranks.
        micro_batch: clips a piece; None: the whole share at once.
        rank, size: among those that hold different data (`Ranks.data_rank`, `data_size`).

    Raises:
        InputError: ranks and pieces do not divide the batch.
    """

    batch: int = 1
    micro_batch: int | None = None
    rank: int = 0
    size: int = 1

    def __post_init__(self) -> None:
        whole = self.size * (self.micro_batch or 1)
        if self.batch % whole:
            pieces = f" in pieces of {self.micro_batch} (train.micro_batch)" if self.micro_batch else ""
            nearest = max(whole, round(self.batch / whole) * whole)
            raise InputError(
                f"train.batch={self.batch} cannot be shared by {self.size} ranks{pieces}; nearest: {nearest}"
            )

    @property
    def clips(self) -> int:
        """Clips of each batch that are this rank's."""
        return self.batch // self.size

    def pieces(self, items: Sequence[Any]) -> list[Sequence[Any]]:
        """Items in micro-batches; the last may be smaller."""
        length = self.micro_batch or self.clips
        return [items[start : start + length] for start in range(0, len(items), length)]


@dataclass(frozen=True)
class ValidationBatch:
    """Clips of the fixed set."""

    batch: Batch
    weights: Tensor  # float32 [B]: 1, or 0 for a repeat that only keeps ranks equally busy


def open_source(reading: Reading, encoder: Encoder | None = None) -> Source:
    """What `data.path` names, or the playground.

    Args:
        reading: how clips are read.
        encoder: of the run. `data.cache` must hold its latents, and the playground's videos are drawn on its device
            unless that is the CPU, whose workers draw ahead. Not needed without a cache.

    Raises:
        InputError: settings that do not go together, or all that is wrong with the data set or the cache.
    """
    data = reading.data
    if data.cache is not None and data.variants is None:
        raise InputError("data.cache needs data.variants: how many draws of each clip it holds")
    if data.path is None:
        return Playground(reading, device=None if encoder is None or encoder.device.type == "cpu" else encoder.device)
    if data.cache is None:
        return Records(reading, open_store(data.path))
    assert encoder is not None
    return Records(reading, open_store(data.path), CacheReader(data.cache, cache_settings(reading, encoder)))


def training_steps(
    source: Source, share: Share, *, steps: int, position: dict[str, Any] | None = None
) -> Iterator[StepData]:
    """This rank's share of every step, from `position` (of the last step taken; None: the first) to step `steps`.

    Raises:
        InputError: the position is of other data; or, when its step comes, a clip and all that replaced it are broken.
    """
    picks, workers = source.picks(share.batch), source.reading.data.workers
    plans = takewhile(lambda plan: plan.step < steps, picks.plans(position))
    # Plans are drawn here and sent to the workers, so that a resumed run starts where it stopped at no cost. Each
    # worker is one item ahead, not PyTorch's two: an item is a rank's whole step, at 480p and 81 frames eight clips of
    # 97 MB, and two of them for each of eight workers would fill /dev/shm.
    loader = DataLoader(
        _Steps(source, picks, share),
        batch_size=None,
        sampler=plans,
        num_workers=workers,
        prefetch_factor=1 if workers else None,
        generator=torch.Generator(),  # the loader draws a seed; not from the run's own generator
        worker_init_fn=_leave_group,
    )
    for step in loader:
        if isinstance(step, InputError):
            raise step
        batches: Any = [batch if isinstance(batch, EncodedBatch) else _drawn(batch, source) for batch in step.batches]
        yield replace(step, batches=batches)


def validation_batches(source: Source, share: Share, clips: int) -> list[ValidationBatch]:
    """This rank's part of the fixed set, as pixels: as many batches, of the same sizes, as every other rank's.

    Raises:
        InputError: a clip of the set cannot be read.
    """
    fixed = source.fixed(clips)
    if fixed.note and share.rank == 0:
        print(f"note: {fixed.note}", flush=True)
    batches = []
    for bucket, picks in fixed.clips:
        each = -(-len(picks) // share.size)
        places = range(share.rank, each * share.size, share.size)
        for piece in share.pieces(places):
            examples = fixed.source.read([picks[place % len(picks)] for place in piece], bucket)
            whole = [example for example in examples if isinstance(example, Example)]
            if len(whole) < len(examples):
                reasons = "\n".join(f"  {item.sample}: {item.reason}" for item in examples if isinstance(item, Broken))
                raise InputError(f"clips of the validation set cannot be read:\n{reasons}")
            weights = torch.tensor([float(place < len(picks)) for place in piece])
            batches.append(ValidationBatch(_drawn(pixel_batch(whole, source.reading), fixed.source), weights))
    return batches


def _drawn(batch: Batch, source: Source) -> Batch:
    """The batch with the videos that the playground left to the process that trains."""
    return source.draw(batch) if isinstance(source, Playground) and isinstance(batch, UndrawnBatch) else batch


def pixel_batch(examples: Sequence[Example], reading: Reading) -> Batch:
    """Clips of one bucket as one batch, their tokens padded."""
    ids = [example.text for example in examples]
    padded = torch.full((len(ids), reading.text_length), reading.tokenizer.pad_token_id)
    mask = torch.zeros_like(padded)
    for row, text in enumerate(ids):
        padded[row, : len(text)] = text
        mask[row, : len(text)] = 1
    batch = Batch(
        [example.sample for example in examples],
        torch.stack([example.video for example in examples]),
        [example.references for example in examples],
        padded,
        mask,
        [example.layout for example in examples],
    )
    truths = [example.truth for example in examples if isinstance(example, Undrawn)]
    return UndrawnBatch(**vars(batch), truths=truths) if truths else batch


def encoded_batch(examples: Sequence[Example], reading: Reading) -> EncodedBatch:
    """Clips of one bucket, read from the cache, as one batch; their texts padded with zeros."""
    text = torch.zeros(len(examples), reading.text_length, examples[0].text.shape[-1])
    for row, example in zip(text, examples, strict=True):
        row[: len(example.text)] = example.text
    return EncodedBatch(
        [example.sample for example in examples],
        torch.stack([example.video for example in examples]),
        [example.references for example in examples],
        text,
        [example.layout for example in examples],
    )


class _Steps(Dataset[StepData | InputError]):
    """Plans of steps in, one rank's share of them out. An error is an item too: raised in a worker, it would come
    wrapped in that worker's own traceback."""

    def __init__(self, source: Source, picks: PickSource, share: Share) -> None:
        self.source, self.picks, self.share = source, picks, share
        self._batch = pixel_batch if source.reading.data.cache is None else encoded_batch

    def __getitem__(self, plan: StepPlan) -> StepData | InputError:
        start = self.share.rank * self.share.clips
        own = plan.picks[start : start + self.share.clips]
        try:
            read = [self._read(picks, plan.bucket) for picks in self.share.pieces(own)]
        except InputError as error:
            return error
        batches: Any = [self._batch(examples, self.source.reading) for examples, _ in read]
        order = [pick.sample for pick in plan.picks]
        return StepData(batches, order, plan.position, [item for _, broken in read for item in broken])

    def _read(self, picks: Sequence[Pick], bucket: Bucket) -> tuple[list[Example], list[Broken]]:
        """The clips of a micro-batch, and those that are broken, in whose places others stand."""
        candidates = [chain([pick], islice(self.picks.replacements(pick), TRIES)) for pick in picks]
        examples: dict[int, Example] = {}
        broken: list[Broken] = []
        while len(examples) < len(picks):
            places = [place for place in range(len(picks)) if place not in examples]
            tried = [pick for place in places for pick in islice(candidates[place], 1)]
            if len(tried) < len(places):
                reasons = "\n".join(f"  {item.sample}: {item.reason}" for item in broken)
                raise InputError(f"no clip of {bucket} can be read in the place of one that is broken:\n{reasons}")
            for place, item in zip(places, self.source.read(tried, bucket), strict=True):
                if isinstance(item, Broken):
                    broken.append(item)
                else:
                    examples[place] = item
        return [examples[place] for place in range(len(picks))], broken


def _leave_group(worker: int) -> None:
    """A signal to the run's process group (Ctrl-C, a scheduler's warning) is the trainer's to handle: it saves, and
    would not be able to if its workers had gone."""
    del worker
    os.setpgrp()
