"""Fills a cache: every variant of every clip, encoded once, by as many processes as there are."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lumosx.data.batch import Batch, Broken, Bucket
from lumosx.data.cache import (
    FORMAT,
    cache_settings,
    digest_of,
    read_entry,
    read_manifest,
    shown_facts,
    write_entry,
    write_manifest,
)
from lumosx.data.encoder import Encoder
from lumosx.data.examples import Described, Example, read_pixels
from lumosx.data.loader import pixel_batch
from lumosx.data.sampler import Pick
from lumosx.data.source import Records
from lumosx.data.store import Store
from lumosx.errors import InputError


@dataclass(frozen=True)
class Filled:
    """What one rank did."""

    entries: int  # that are there now, of this rank's clips
    made: int  # of them, just now
    broken: list[Broken]


def fill_cache(
    folder: Path, source: Records, encoder: Encoder, *, dtype: torch.dtype, rank: int = 0, ranks: int = 1
) -> Filled:
    """Makes what is missing or damaged of the variants of every `ranks`-th clip from number `rank` on.

    Args:
        folder: of the cache.
        source: records with `data.variants`.
        dtype: of the stored tensors.
        rank, ranks: processes need not know of each other.
    """
    settings = cache_settings(source.reading, encoder)
    work = _Work(folder, source, settings, dtype, list(_share(source, rank, ranks)))
    entries, made, broken = {}, 0, []
    # workers hash, decode and verify while this process encodes
    loader = DataLoader(work, batch_size=None, num_workers=source.reading.data.workers)
    for item in tqdm(loader, desc=f"caching, rank {rank} of {ranks}", unit="clip", disable=rank > 0):
        if isinstance(item, Broken):
            broken.append(item)
            continue
        if item.batch is not None:
            write_entry(folder, item.key, _encoded(item.batch, encoder), dtype)
            made += 1
        entries[item.sample] = {"shows": item.shows, "key": item.key}
    empty_text = _empty_text(folder, work, encoder)
    write_manifest(folder, {"settings": settings, "empty_text": empty_text, "entries": entries}, rank, ranks)
    return Filled(len(entries), made, broken)


def verify_cache(folder: Path, rank: int = 0, ranks: int = 1) -> Filled:
    """Reads every `ranks`-th file that any manifest in the folder names, from number `rank` on.

    Raises:
        InputError: there is no manifest.
    """
    keys: dict[str, str] = {}
    for path in sorted(folder.glob("manifests/*/*.json")):
        manifest = read_manifest(path)
        keys[manifest["empty_text"]] = "the empty text"
        keys |= {entry["key"]: sample for sample, entry in manifest["entries"].items()}
    if not keys:
        raise InputError(f"{folder} holds no finished cache; run `lumosx cache` without --verify")
    own, broken = sorted(keys)[rank::ranks], []
    for key in tqdm(own, desc="verifying", unit="file", disable=rank > 0):
        try:
            read_entry(folder, key)
        except InputError as error:
            broken.append(Broken(keys[key], str(error)))
    return Filled(len(own) - len(broken), 0, broken)


@dataclass(frozen=True)
class _Item:
    """A variant of a clip: what it shows, the file that is to hold it, and its pixels if that has to be made."""

    sample: str
    shows: str
    key: str
    batch: Batch | None


@dataclass(frozen=True)
class _Work(Dataset[_Item | Broken]):
    folder: Path
    source: Records
    settings: Mapping[str, Any]
    dtype: torch.dtype
    picks: Sequence[tuple[Pick, Bucket]]

    def __len__(self) -> int:
        return len(self.picks)

    def __getitem__(self, place: int) -> _Item | Broken:
        pick, bucket = self.picks[place]
        try:
            described = self.source.describe(pick, bucket)
            shows = shown_facts(described, self.settings)
            key = self.key(shows, _media_digests(described, self.source.store))
            return _Item(pick.sample, digest_of(shows), key, None if self.has(key) else self._pixels(described))
        except (InputError, OSError) as error:
            return Broken(pick.sample, str(error))

    def key(self, shows: Any, media: Mapping[str, str]) -> str:
        """The name of the file whose tensors depend on these, on the settings that change tensors, and the type."""
        names = ("data.augment", "model.text_length", "model.text_encoder", "model.codec", "type of the text encoder")
        facts = {name: self.settings.get(name) for name in names}
        return digest_of({"format": FORMAT, "shows": shows, "media": media, "stored": str(self.dtype), **facts})

    def has(self, key: str) -> bool:
        """Whether the file is there and whole."""
        try:
            read_entry(self.folder, key)
        except InputError:
            return False
        return True

    def _pixels(self, described: Described) -> Batch:
        reading = self.source.reading
        video, references = read_pixels(described, self.source.store.open, reading.data.augment)
        text = torch.tensor(described.token_ids)
        return pixel_batch([Example(described.sample, video, references, text, described.layout)], reading)


def _share(source: Records, rank: int, ranks: int) -> Iterator[tuple[Pick, Bucket]]:
    """A rank's picks: all variants of every `ranks`-th clip."""
    clips: dict[int, int] = {}
    for pick, bucket in source.variants():
        if clips.setdefault(pick.index, len(clips)) % ranks == rank:
            yield pick, bucket


def _encoded(batch: Batch, encoder: Encoder) -> dict[str, Tensor]:
    """The tensors of one clip, its text without the padding."""
    encoded = encoder(batch)
    words = int(batch.token_mask.sum())
    return {"video": encoded.latents[0], "references": encoded.references[0], "text": encoded.text[0, :words]}


def _empty_text(folder: Path, work: _Work, encoder: Encoder) -> str:
    """Makes sure that the embeddings of "" are there; the name of their file."""
    length = work.source.reading.text_length
    tokens = work.source.reading.tokenizer(
        "", padding="max_length", max_length=length, return_attention_mask=True, return_tensors="pt"
    )
    words = int(tokens.attention_mask.sum())
    key = work.key({"tokens": tokens.input_ids[0, :words].tolist()}, {})
    if not work.has(key):
        text = encoder.text(tokens.input_ids, tokens.attention_mask)
        write_entry(folder, key, {"text": text[0, :words]}, work.dtype)
    return key


def _media_digests(described: Described, store: Store) -> dict[str, str]:
    names = {described.video, *(shown.picture.image for shown in described.pictures)}
    return {name: hashlib.sha256(store.open(name).getbuffer()).hexdigest() for name in sorted(names)}
