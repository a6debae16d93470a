"""Where clips come from: what the loader asks of a source, and the one that reads clip records."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from lumosx.data.batch import Broken, Bucket
from lumosx.data.buckets import Pools, make_pools, nearest_buckets
from lumosx.data.examples import Described, Example, Reading, describe, drop, read_pixels, scene_of
from lumosx.data.sampler import Pick, PickSource, StepSampler
from lumosx.data.store import Store
from lumosx.errors import InputError


@dataclass(frozen=True)
class FixedSet:
    """Clips for validation, the same for every seed and every run; nothing is dropped or varied.

    Args:
        source: reads them.
        clips: by bucket.
        note: what people should know of it.
    """

    source: "Source"
    clips: list[tuple[Bucket, list[Pick]]]
    note: str = ""


class Source(Protocol):
    """Clips to train on: records, or the playground."""

    reading: Reading

    @property
    def notes(self) -> list[str]:
        """What people should know of the data."""
        ...

    def picks(self, batch: int) -> PickSource:
        """The order of training, in steps of `batch` clips."""
        ...

    def read(self, picks: Sequence[Pick], bucket: Bucket) -> list[Example | Broken]:
        """The clips of one micro-batch, in order."""
        ...

    def fixed(self, clips: int) -> FixedSet:
        """At most `clips` clips for validation, read as pixels."""
        ...

    def fixed_scenes(self, clips: int) -> list[dict[str, Any]]:
        """The clips of `fixed` in the scene format, to be sampled."""
        ...


class Latents(Protocol):
    """What a cache holds of described samples."""

    empty_text: Tensor  # [n, D], the embeddings of ""

    def read(self, described: Described) -> tuple[Tensor, Tensor, Tensor]:
        """Latents of the video [C, T, h, w] and of the references [C, R, h, w], normalised; embeddings [n, D].

        Raises:
            InputError: not there, or damaged.
        """
        ...


class Records:
    """Clip records, read as pixels or from the cache that `data.cache` names.

    Args:
        reading: how.
        store: of `reading.data.path`.
        cache: what holds their latents; None: read pixels.
    """

    def __init__(self, reading: Reading, store: Store, cache: Latents | None = None) -> None:
        self.reading, self.store, self.cache = reading, store, cache
        self._buckets = [Bucket.parse(text) for text in reading.data.buckets]

    @cached_property
    def pools(self) -> Pools:
        """The records to train on.

        Raises:
            InputError: there is none.
        """
        data = self.reading.data
        return make_pools(self.store.records, self._buckets, fps=data.fps, subjects=data.subjects)

    @property
    def notes(self) -> list[str]:
        return [f"{count} clips are left out: {reason}" for reason, count in self.pools.left_out.items()]

    def picks(self, batch: int) -> StepSampler:
        ids = [record.id for record in self.store.records]
        return StepSampler(ids, self.pools, seed=self.reading.seed, batch=batch)

    def read(self, picks: Sequence[Pick], bucket: Bucket) -> list[Example | Broken]:
        examples: list[Example | Broken] = []
        for pick in picks:
            try:
                examples.append(self._read(pick, bucket))
            except InputError as error:
                examples.append(Broken(pick.sample, str(error)))
        return examples

    def fixed(self, clips: int) -> FixedSet:
        records, note = self.store.records, ""
        nearest = nearest_buckets(records, self._buckets, self.reading.data.fps).tolist()
        usable = [index for index, place in enumerate(nearest) if place >= 0]
        held_out = [index for index in usable if records[index].split == "validation"]
        # by a hash of their names, so that clips which are added later change the set as little as possible
        hashed = sorted(held_out or usable, key=lambda index: hashlib.sha256(records[index].id.encode()).digest())
        chosen = hashed[:clips]
        if not held_out:
            note = f"no clip has split: validation; the validation loss is that of {len(chosen)} clips of the training"
        groups = [
            (bucket, [Pick(f"{records[i].id}#fixed", i, 0) for i in chosen if nearest[i] == place])
            for place, bucket in enumerate(self._buckets)
        ]
        return FixedSet(Records(unvaried(self.reading), self.store), [group for group in groups if group[1]], note)

    def fixed_scenes(self, clips: int) -> list[dict[str, Any]]:
        how, records = unvaried(self.reading), self.store.records
        return [
            scene_of(records[pick.index], pick, bucket, how, self.store.open)
            for bucket, picks in self.fixed(clips).clips
            for pick in picks
        ]

    def variants(self) -> Iterator[tuple[Pick, Bucket]]:
        """All that training may ask a cache for: `data.variants` picks of every clip."""
        for pool, members in self.pools.members.items():
            for index in members.tolist():
                for visit in range(self.reading.data.variants or 0):
                    yield Pick(f"{self.store.records[index].id}#{visit}", index, visit), pool.bucket

    def describe(self, pick: Pick, bucket: Bucket) -> Described:
        """What a pick shows, see `examples.describe`."""
        return describe(self.store.records[pick.index], pick, bucket, self.reading)

    def _read(self, pick: Pick, bucket: Bucket) -> Example:
        described = self.describe(pick, bucket)
        kept = drop(described.layout, pick.sample, self.reading)
        if self.cache is not None:
            video, latents, text = self.cache.read(described)
            text = text if kept.text else self.cache.empty_text
            return Example(pick.sample, video, latents[:, kept.rows], text, kept.layout)
        video, pictures = read_pixels(described, self.store.open, self.reading.data.augment)
        ids = described.token_ids if kept.text else self.reading.tokenizer("").input_ids
        return Example(pick.sample, video, pictures[kept.rows], torch.tensor(ids), kept.layout)


def unvaried(reading: Reading) -> Reading:
    """The reading of a fixed set: nothing is dropped or varied, and no seed counts."""
    data = replace(
        reading.data, text_dropout=0.0, reference_dropout=0.0, entity_dropout=0.0, shuffle=False, augment=None,
        variants=None, cache=None,
    )  # fmt: skip
    return replace(reading, data=data, seed=0)
