"""Endless training batches from the playground: clips nobody has seen before, with references and bound words."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from lumosx.data.keyed import keyed_chance, keyed_generator
from lumosx.playground import Truth, World
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.relations import TokenLayout, bound_layout, bound_pictures
from lumosx.scene import Scene


@dataclass(frozen=True)
class Batch:
    """B clips of different scenes, their references unpadded."""

    sample_ids: list[int]
    video: Tensor  # [B, 3, F, H, W] in [-1, 1]
    references: list[Tensor]  # B of [R, 3, H, W] in [-1, 1]
    token_ids: Tensor  # int64 [B, text]
    token_mask: Tensor  # int64 [B, text]
    layouts: list[TokenLayout]


class PlaygroundBatches(Dataset[Batch]):
    """Batch number i of a run: the same whoever asks, and whenever.

    Args:
        world: size and length of the clips.
        tokenizer: a fast tokenizer with offsets.
        grid: (T, H, W) of the clips in tokens.
        subjects: shares of clips with 1, 2 ... people.
        placed: the share of captions that say who stands where.
        clips: clips a batch.
        steps: batches there are.
        text_length: tokens a text is padded to.
        text_dropout, reference_dropout: the share of clips that lose their text, or all their references.
        seed: of the run.
    """

    tokenizer: Any  # transformers types its `pad_token_id` as texts and lists too

    def __init__(
        self,
        world: World,
        tokenizer: PreTrainedTokenizerBase,
        *,
        grid: tuple[int, int, int],
        subjects: Sequence[float],
        placed: float,
        clips: int,
        steps: int,
        text_length: int,
        text_dropout: float,
        reference_dropout: float,
        seed: int,
    ) -> None:
        self.world, self.tokenizer, self.grid = world, tokenizer, grid
        self.subjects, self.placed = list(subjects), placed
        self.clips, self.steps, self.text_length, self.seed = clips, steps, text_length, seed
        self.text_dropout, self.reference_dropout = text_dropout, reference_dropout

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> Batch:
        """The batch of training step `step`."""
        sample_ids = list(range(step * self.clips, (step + 1) * self.clips))
        rendered = self.world.draw([self.truth(sample) for sample in sample_ids])
        references, tokens, layouts = [], [], []
        for index, sample in enumerate(sample_ids):
            binding = Scene.from_dict(rendered.scenes[index]).bind(self.tokenizer, self.text_length)
            layout, ids = bound_layout(binding, self.grid, self.text_length), binding.token_ids
            pictures = bound_pictures(binding, *self.world.size)
            if keyed_chance(self.seed, sample, "drop text", self.text_dropout):
                layout, ids = layout.without_words(), self.tokenizer("").input_ids
            if keyed_chance(self.seed, sample, "drop references", self.reference_dropout):
                layout, pictures = without_references(layout), pictures[:0]
            references.append(pictures)
            tokens.append(torch.tensor(ids))
            layouts.append(layout)
        mask = torch.stack([torch.arange(self.text_length) < len(ids) for ids in tokens]).long()
        padded = torch.full(mask.shape, self.tokenizer.pad_token_id)
        for row, ids in zip(padded, tokens, strict=True):
            row[: len(ids)] = ids
        return Batch(sample_ids, rendered.video, references, padded, mask, layouts)

    def truth(self, sample: int) -> Truth:
        """The clip of sample `sample`. Numbers of a run start at 0; the seed moves runs to clips of their own."""
        shares = torch.tensor(self.subjects, dtype=torch.float64)
        people = 1 + int(torch.multinomial(shares, 1, generator=keyed_generator(self.seed, sample, "subjects")))
        placed = keyed_chance(self.seed, sample, "placed", self.placed)
        wishes = Wishes(subjects=people, placed=placed)
        return sample_truth(self.seed * 10**9 + sample, "train", self.world.size, self.world.frames, wishes)


def without_references(layout: TokenLayout) -> TokenLayout:
    """The layout with the video alone."""
    return TokenLayout(layout.video, [], torch.zeros(0, layout.text_length))
