"""What `lumosx explain` shows of a scene, before it is rendered as text, page or figure.

The text of the layout is made of the prompt's words instead of a tokenizer's tokens, so no weights are needed: a word
carries the levels that each of its tokens gets.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

from lumosx.relations import TokenLayout, bound_layout
from lumosx.relations.tables import CsamRow, LayoutTables, layout_tables
from lumosx.scene import Binding, Entity, Scene
from lumosx.scene.palette import SHARED_COLOUR, colour_of

DEFAULT_SIZE, DEFAULT_FRAMES = "832x480", 81
TOKEN_PIXELS, TOKEN_FRAMES = 16, 4  # Wan2.1: the VAE's 8 x 8 pixels and 4 frames, times a patch of 2 x 2 and 1


@dataclass(frozen=True)
class Run:
    """A stretch of the prompt that names the same `entities` throughout (none: plain text)."""

    text: str
    entities: tuple[Entity, ...]


@dataclass(frozen=True)
class Word:
    """A white-space word of the prompt, cut where a mention begins or ends; `run` is the number of its run."""

    text: str
    entities: tuple[Entity, ...]
    run: int


@dataclass(frozen=True)
class Explanation:
    """A scene, its layout at one size, and the tables of that layout. `columns` are the words of `tables.columns`."""

    scene: Scene
    size: str
    frames: int
    layout: TokenLayout
    tables: LayoutTables
    runs: tuple[Run, ...]
    columns: tuple[Word, ...]

    @property
    def references(self) -> list[Entity]:
        """The entities that have a picture, in token order."""
        return [entity for entity in self.scene.entities if entity.image is not None]

    @property
    def subject_ids(self) -> list[str]:
        """By subject number."""
        return [subject.id for subject in self.scene.subjects]

    @property
    def summary(self) -> str:
        """Size, tokens and rules on one line."""
        grid = " x ".join(map(str, self.layout.video))
        rules = self.layout.rules
        return f"{self.size}, {self.frames} frames = {grid} tokens and {len(self.layout)} in all, rules: {rules}"

    @property
    def r2pe_title(self) -> str:
        """Heading of the segments and their positions."""
        return f"Segments and their R2PE positions, equation (1){'' if self.layout.r2pe else ': R2PE is off'}"

    @property
    def csam_title(self) -> str:
        """Heading of the ranges."""
        return f"CSAM, equation (2){'' if self.layout.csam else ': off, every token sees every token'}"

    @property
    def mcam_title(self) -> str:
        """Heading of the levels."""
        ratio = self.layout.mcam_ratio
        state = "" if ratio is None else ": off" if ratio == 0 else f", r = {ratio:g}"
        return f"MCAM levels, equation (3){state}"

    def sight_text(self, row: CsamRow) -> str:
        """Which segments the queries of `row` see, in words."""
        seen = [segment for segment, sees in zip(self.tables.segments, row.sees, strict=True) if sees]
        subjects = {segment.subject for segment in seen}
        if len(seen) == 1:
            return "itself"
        if len(subjects) == 1 and (subject := subjects.pop()) is not None:
            return f"all {len(seen)} members of {self.subject_ids[subject]}"
        return "everything" if all(row.sees) else ", ".join(segment.name for segment in seen)

    def mentions(self, entity: Entity) -> list[str]:
        """What the prompt calls `entity`, in order."""
        return [self.scene.prompt[start:stop] for start, stop in entity.spans]


def explain(scene: Scene) -> Explanation:
    """Lays the scene out at its own size, or Wan2.1's usual one where it states none."""
    size, frames = scene.generation.size or DEFAULT_SIZE, scene.generation.frames or DEFAULT_FRAMES
    runs = prompt_runs(scene)
    words = run_words(runs)
    layout = word_layout(scene, words, video_tokens(size, frames))
    tables = layout_tables(layout, [entity.id for entity in scene.entities if entity.image is not None])
    return Explanation(scene, size, frames, layout, tables, runs, tuple(words[column] for column in tables.columns))


def video_tokens(size: str, frames: int) -> tuple[int, int, int]:
    """(T, H, W): the tokens of a clip under Wan2.1's factors."""
    width, height = (int(pixels) for pixels in size.split("x"))
    return (frames - 1) // TOKEN_FRAMES + 1, height // TOKEN_PIXELS, width // TOKEN_PIXELS


def prompt_runs(scene: Scene) -> tuple[Run, ...]:
    """The prompt, cut wherever a mention begins or ends."""
    edges = {edge for entity in scene.entities for span in entity.spans for edge in span}
    cuts = sorted(edges | {0, len(scene.prompt)})
    runs = []
    for start, stop in pairwise(cuts):
        naming = (e for e in scene.entities if any(a <= start and stop <= b for a, b in e.spans))
        runs.append(Run(scene.prompt[start:stop], tuple(naming)))
    return tuple(runs)


def run_words(runs: tuple[Run, ...]) -> list[Word]:
    """The words of all runs in order."""
    return [Word(text, run.entities, index) for index, run in enumerate(runs) for text in re.findall(r"\S+", run.text)]


def word_layout(scene: Scene, words: list[Word], video: tuple[int, int, int]) -> TokenLayout:
    """The token layout of `scene`, its text being `words`."""
    options = scene.binding
    return bound_layout(
        word_binding(scene, words),
        video,
        len(words),
        r2pe=options.r2pe is not False,
        csam=options.csam is not False,
        mcam_ratio=0.0 if options.mcam is False else options.mcam_ratio,
        rules=options.rules or "paper",
    )


def word_binding(scene: Scene, words: list[Word]) -> Binding:
    """The binding that a tokenizer with one token a word would give."""

    def naming(entities: Iterable[Entity]) -> list[int]:
        ids = {entity.id for entity in entities}
        return [column for column, word in enumerate(words) if any(entity.id in ids for entity in word.entities)]

    pictured = tuple(entity for entity in scene.entities if entity.image is not None)
    text_only = [entity for entity in scene.entities if entity.image is None]
    own = [[entity for entity in text_only if entity.subject == number] for number in range(len(scene.subjects))]
    return Binding(
        prompt=scene.prompt,
        references=pictured,
        words=[naming([entity]) for entity in pictured],
        subject_words=[naming(entities) for entities in own] if text_only else None,
        token_ids=list(range(len(words))),
    )


def owners_colour(entities: tuple[Entity, ...]) -> str:
    """The colour of words that name `entities`: their owner's, or the one for shared words."""
    colours = {(e.subject, e.id if e.subject is None else ""): colour_of(e.kind, e.subject) for e in entities}
    return next(iter(colours.values())) if len(colours) == 1 else SHARED_COLOUR


def level_text(level: float) -> str:
    """+1, 0, -0.5: a level of equation (3) as short as it can be said."""
    return f"{level:+.2g}" if level else "0"


def extent_text(extent: tuple[int, int]) -> str:
    """First and last position, once if they are the same."""
    first, last = extent
    return str(first) if first == last else f"{first}-{last}"


def range_text(span: tuple[int, int]) -> str:
    """The tokens [start, stop) as first and last."""
    return f"{span[0]}-{span[1] - 1}"
