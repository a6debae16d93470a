"""Maps the characters that name each entity to token indices of a tokenizer, by offsets.

Offsets come from the tokenizer itself, so that no word is looked up a second time in another spelling.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from lumosx.scene.entities import Entity
from lumosx.scene.resolution import overlap
from lumosx.scene.text import Span


@dataclass(frozen=True)
class Binding:
    """A prompt, its tokens, and which of them name what.

    `words[r]` are the token indices that name `references[r]`; `subject_words[g]` those of subject g's
    text-only members (None if the scene has none). `token_ids` is unpadded and ends with the tokenizer's
    own end token.
    """

    prompt: str
    references: tuple[Entity, ...]
    words: list[list[int]]
    subject_words: list[list[int]] | None
    token_ids: list[int]


class Tokens:
    """A prompt as `tokenizer` sees it, cut to `length` tokens, special ones included."""

    def __init__(self, tokenizer: Any, prompt: str, length: int) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise TypeError(f"{type(tokenizer).__name__} gives no character offsets; use a fast tokenizer")
        self.prompt = prompt
        whole = tokenizer(prompt, return_offsets_mapping=True)
        cut = tokenizer(prompt, return_offsets_mapping=True, truncation=True, max_length=length)
        self.ids: list[int] = list(cut["input_ids"])
        self._offsets: list[Span] = [tuple(pair) for pair in cut["offset_mapping"]]
        self._end = max((stop for _, stop in self._offsets), default=0)
        if len(whole["input_ids"]) > length:
            lost = prompt[self._end :].strip()
            text = f"the prompt has {len(whole['input_ids'])} tokens; cut to {length}, dropping {lost[:60]!r}"
            warnings.warn(text, stacklevel=3)

    def naming(self, spans: Sequence[Span]) -> list[int]:
        """The tokens that share a character other than white space with one of `spans`."""
        return [
            index
            for index, offsets in enumerate(self._offsets)
            if any(self._shares_letter(offsets, span) for span in spans)
        ]

    def cuts(self, span: Span) -> bool:
        """Whether some of `span` was cut off."""
        return span[1] > self._end

    def _shares_letter(self, offsets: Span, span: Span) -> bool:
        start, stop = max(offsets[0], span[0]), min(offsets[1], span[1])
        return start < stop and not self.prompt[start:stop].isspace()


def token_clashes(tokens: Tokens, entities: Sequence[Entity]) -> list[tuple[Entity, Entity]]:
    """Entities of different owners whose mentions stand apart in the prompt but meet in one token."""
    clashes: list[tuple[Entity, Entity]] = []
    named = [set(tokens.naming(entity.spans)) for entity in entities]
    for (first, names), (second, others) in combinations(zip(entities, named, strict=True), 2):
        strangers = first.subject is None or first.subject != second.subject
        apart = not any(overlap(a, b) for a in first.spans for b in second.spans)
        if names & others and strangers and apart:
            clashes.append((first, second))
    return clashes


def build(tokens: Tokens, entities: Sequence[Entity], subjects: int) -> Binding:
    """The binding of `entities`, which are in token order, among `subjects` subjects."""
    pictured = tuple(entity for entity in entities if entity.image is not None)
    text_only = [entity for entity in entities if entity.image is None]
    subject_words: list[list[int]] | None = None
    if text_only:
        spans = [[s for e in text_only if e.subject == number for s in e.spans] for number in range(subjects)]
        subject_words = [tokens.naming(own) for own in spans]
    words = [tokens.naming(entity.spans) for entity in pictured]
    return Binding(tokens.prompt, pictured, words, subject_words, tokens.ids)
