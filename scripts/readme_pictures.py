"""Draws the README's pictures: python scripts/readme_pictures.py [--model CHECKPOINT] [--out FOLDER]

two_friends.png and binding.png show the scene of scripts/demo, unseen_1.png and unseen_2.png twelve unseen scenes, the
first of a split that nothing else draws from, failures.png the first failures among the measured clips: nobody chooses.
"""

import argparse
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from lumosx import LumosXPipeline, Scene
from lumosx.cli.explain_figure import figure_png
from lumosx.cli.explanation import explain
from lumosx.data.keyed import keyed_generator
from lumosx.evaluation import binding
from lumosx.files import atomic
from lumosx.paths import configs_dir
from lumosx.pipelines.contact_sheet import (
    CARD,
    FADED,
    INK,
    PAPER,
    grouped,
    readable,
    rounded,
    shortened,
    stacked,
    typeface,
    wrapped,
)
from lumosx.playground import Clips, Reading, Truth, World, read_clip
from lumosx.references import letterbox
from lumosx.scene import Entity
from lumosx.scene.palette import colour_of

SPLIT, PAGES = "sheet", 2
CELLS = 6  # of a page
MEASURED = 48  # clips that are sampled again to look for failures
ASKED = binding.Condition("unplaced")
COLUMNS, SPACE, EDGE = 2, 48, 24  # cells beside each other; pixels, twice those it is shown with
FRAMES, FRAME, TILE, GAP = 3, 192, 88, 8
CELL_WIDTH = 1000
WIDTH = COLUMNS * (CELL_WIDTH + SPACE) - SPACE + 2 * EDGE
RIGHT, WRONG = "#1a7f37", "#cf222e"


@dataclass(frozen=True)
class Sampled:
    """A clip, what was asked for, what is true of it, and what was read."""

    scene: Scene
    truth: Truth
    frames: np.ndarray
    true_frames: np.ndarray
    reading: Reading

    @property
    def faults(self) -> list[tuple[Entity, str]]:
        """What is wrong with each picture that was given; an empty text where nothing is."""
        verdicts = iter(self.reading.verdicts)
        return [(entity, self._fault(entity, verdicts)) for entity in self.scene.entities]

    def _fault(self, entity: Entity, verdicts: Iterator[str]) -> str:
        if entity.kind == "attribute":
            return next(verdicts).replace("right", "")
        if entity.kind == "object":
            return "missing" if self.reading.object_ok is False else ""
        if entity.subject is None:
            return ""
        subject, slot = self.truth.subjects[entity.subject], self.reading.slots[entity.subject]
        if slot is None:
            return "not recognised"
        if self.truth.placed and slot != subject.slot:
            return "misplaced"
        return "stays" if subject.goal != subject.slot and self.reading.passed is False else ""


def main(model: str, out: Path) -> None:
    """Writes every picture."""
    scene = Scene.load(configs_dir() / "scenes" / "two_friends" / "scene.yaml")
    pipe = LumosXPipeline.from_pretrained(model)
    _save(pipe(scene, progress=False).contact_sheet(), out / "two_friends.png")  # pyright: ignore[reportAttributeAccessIssue]
    (out / "binding.png").write_bytes(figure_png(explain(scene)))
    cells = [cell(clip) for clip in unseen(pipe, World())]
    for number in range(PAGES):
        _save(page(cells[number * CELLS : (number + 1) * CELLS]), out / f"unseen_{number + 1}.png")
    failed = [clip for clip in measured(pipe, World()) if not clip.reading.all_ok]
    title = f"Captions that tell no places: {len(failed)} of the first {MEASURED} measured clips have faults"
    title += f"; these are the first {CELLS}" if len(failed) > CELLS else ""
    _save(page([cell(clip) for clip in failed[:CELLS]], title), out / "failures.png")


def unseen(pipe: LumosXPipeline, world: World) -> Iterator[Sampled]:
    """The first clips of the split that show two or three people."""
    drawn = (world.render([seed], split=SPLIT) for seed in count())
    chosen = (clips for clips in drawn if len(clips.truth[0].subjects) in (2, 3))
    return (sample(pipe, Scene.from_dict(clips.scene(0)), clips) for clips in islice(chosen, PAGES * CELLS))


def measured(pipe: LumosXPipeline, world: World) -> Iterator[Sampled]:
    """The first clips of the measurement, with its first noise."""
    for clip in range(MEASURED):
        scene, truth = binding.asked(world, ASKED, clip)
        yield sample(pipe, scene, world.draw([truth]))


def sample(pipe: LumosXPipeline, scene: Scene, clips: Clips) -> Sampled:
    """Samples the scene of a batch of one clip, with the first noise that the measurement gives such a clip."""
    truth = clips.truth[0]
    noise = keyed_generator(truth.seed, 0, "noise").initial_seed()
    frames: np.ndarray = pipe(scene, seed=noise, progress=False).frames  # pyright: ignore[reportAttributeAccessIssue]
    return Sampled(scene, truth, frames, clips.frames(0), read_clip(frames, truth))


def page(cells: Sequence[Image.Image], title: str = "") -> Image.Image:
    """Cells in rows, in colours of 6 bits a channel, so that the file stays small."""
    rows = [_row(cells[start : start + COLUMNS]) for start in range(0, len(cells), COLUMNS)]
    body = stacked([*([_line(title, INK)] if title else []), *rows], SPACE)
    picture = Image.new("RGB", (WIDTH, body.height + 2 * EDGE), PAPER)
    picture.paste(body, (EDGE, EDGE))
    return picture.point([value & 252 | value >> 6 for value in range(256)] * 3)


def _row(cells: Sequence[Image.Image]) -> Image.Image:
    image = Image.new("RGB", (WIDTH - 2 * EDGE, max(one.height for one in cells)), PAPER)
    for column, one in enumerate(cells):
        image.paste(one, (column * (CELL_WIDTH + SPACE), 0))
    return image


def _line(text: str, colour: str) -> Image.Image:
    image = Image.new("RGB", (WIDTH - 2 * EDGE, 30), PAPER)
    ImageDraw.Draw(image).text((0, 15), text, colour, typeface(24), anchor="lm")
    return image


def cell(clip: Sampled) -> Image.Image:
    """One scene: what is wrong; the references by owner; sampled and true frames; the caption."""
    left = stacked([_group(clip, colour, entities) for _, colour, entities in grouped(clip.scene)], GAP)
    right = stacked([_strip(clip.frames, "sampled"), _strip(clip.true_frames, "true")], GAP)
    parts = [_heading(clip), _beside(left, right), _caption(clip)]
    return stacked(parts, 2 * GAP)


def _heading(clip: Sampled) -> Image.Image:
    found = [f"{fault}: {entity.words[0]}" for entity, fault in clip.faults if fault]
    text, colour = (", ".join(found), WRONG) if found else ("everything right", RIGHT)
    image = Image.new("RGB", (CELL_WIDTH, 30), PAPER)
    draw, font = ImageDraw.Draw(image), typeface(24)
    name = f"{clip.truth.split} {clip.truth.seed}"
    draw.text((0, 15), name, FADED, font, anchor="lm")
    left = font.getlength(name) + 20
    draw.text((left, 15), shortened(text, font, CELL_WIDTH - left), colour, font, anchor="lm")
    return image


def _group(clip: Sampled, colour: str, entities: Iterable[Entity]) -> Image.Image:
    """References of one owner, in his colour, each with a tick or a cross where something was read of it."""
    faults = {entity.id: fault for entity, fault in clip.faults}
    tiles = [entity for entity in entities if entity.image is not None]
    image = Image.new("RGB", (len(tiles) * (TILE + GAP) + GAP, TILE + 2 * GAP + 22), PAPER)
    rounded(image, (0, 0, *image.size), colour, 12)
    rounded(image, (3, 3, image.width - 3, image.height - 3), CARD, 10)
    for number, entity in enumerate(tiles):
        assert entity.image is not None
        x, picture = GAP + number * (TILE + GAP), entity.image.open()
        image.paste(letterbox(picture, TILE, TILE, pad=entity.image.pad), (x, GAP))
        words = shortened(entity.words[0], typeface(18), TILE)
        ImageDraw.Draw(image).text((x + TILE / 2, TILE + GAP + 12), words, INK, typeface(18), anchor="mm")
        if entity.kind != "background":
            _mark(image, (x + TILE - 10, TILE), not faults[entity.id])
    return image


def _mark(image: Image.Image, centre: tuple[int, int], right: bool) -> None:
    x, y = centre
    draw, colour = ImageDraw.Draw(image), RIGHT if right else WRONG
    draw.ellipse((x - 12, y - 12, x + 12, y + 12), colour)
    lines = [[(-6, 0), (-2, 5), (6, -5)]] if right else [[(-5, -5), (5, 5)], [(-5, 5), (5, -5)]]
    for line in lines:
        draw.line([(x + dx, y + dy) for dx, dy in line], "#ffffff", 4)


def _strip(frames: np.ndarray, name: str) -> Image.Image:
    """Frames at even distances in time, under their name."""
    image = Image.new("RGB", (FRAMES * (FRAME + GAP) - GAP, FRAME + 24), PAPER)
    ImageDraw.Draw(image).text((0, 10), name, FADED, typeface(18), anchor="lm")
    for number, frame in enumerate(np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)):
        picture = Image.fromarray(frames[frame]).resize((FRAME, FRAME), Image.Resampling.NEAREST)
        image.paste(picture, (number * (FRAME + GAP), 24))
    return image


def _beside(left: Image.Image, right: Image.Image) -> Image.Image:
    image = Image.new("RGB", (CELL_WIDTH, max(left.height + 24, right.height)), PAPER)
    image.paste(left, (0, 24))  # level with the frames, below the strip's name
    image.paste(right, (CELL_WIDTH - right.width, 0))
    return image


def _caption(clip: Sampled) -> Image.Image:
    """The caption, what it names in the owners' colours."""
    font, line_height = typeface(24), 32
    mentions = [
        (*span, colour_of(entity.kind, entity.subject)) for entity in clip.scene.entities for span in entity.spans
    ]
    pieces = wrapped(clip.scene.prompt, mentions, font, CELL_WIDTH - 2 * EDGE)  # mentions are set off by some pixels
    image = Image.new("RGB", (CELL_WIDTH, line_height * (1 + pieces[-1].line)), PAPER)
    for piece in pieces:
        colour = INK if piece.mention is None else readable(mentions[piece.mention][2])
        ImageDraw.Draw(image).text((piece.x, piece.line * line_height), piece.text, colour, font)
    return image


def _save(picture: Image.Image, path: Path) -> None:
    with atomic(path) as temporary:
        picture.save(temporary, "PNG", optimize=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="checkpoints/lumosx-tiny")
    parser.add_argument("--out", type=Path, default=Path(__file__).parents[1] / ".github")
    arguments = parser.parse_args()
    main(arguments.model, arguments.out)
