"""The contact sheet: references on the left, frames on the right, the prompt below, one colour a subject.

It is what a person looks at to judge a clip: whose picture went in, and on whom it came out.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from lumosx.references import letterbox
from lumosx.scene import Entity, Scene
from lumosx.scene.palette import OBJECT_COLOUR, colour_of, mix

INK, FADED, PAPER, CARD = "#1f2328", "#7d828a", "#f4f2ee", "#ffffff"
MARGIN, GAP, PADDING, RADIUS = 56, 16, 22, 18
TILE, TILES_A_ROW = 176, 4  # a reference
FRAME_BOX, FRAMES_WIDTH, FRAME_ROWS = (416, 320), 1296, 3
MENTION_SPACE = 7  # around a bound word of the prompt


@dataclass(frozen=True)
class Piece:
    """A run of characters of the prompt on one line, in one colour."""

    text: str
    x: float
    line: int
    mention: int | None


def contact_sheet(frames: np.ndarray, scene: Scene, record: Mapping[str, Any]) -> Image.Image:
    """References, frames and prompt in one picture, at twice the pixels it is usually shown with.

    Args:
        frames: uint8 [F, H, W, 3].
        scene: whose references are shown.
        record: of the clip; its mentions colour the prompt.
    """
    groups = grouped(scene)
    columns = min(TILES_A_ROW, max((len(group[2]) for group in groups), default=0))
    cards = [_card(*group, columns) for group in groups]
    left = stacked(cards, GAP + 6)
    right = _frames(frames)
    indent = left.width + 2 * GAP if cards else 0
    width = indent + max(right.width, 640 if cards else 900)
    text = _prompt(record, scene, width)
    head = _heading(scene, record, frames, width)
    body = max(left.height, right.height)
    height = head.height + body + text.height + 2 * MARGIN + 2 * (GAP + 12)
    sheet = Image.new("RGB", (width + 2 * MARGIN, height), PAPER)
    sheet.paste(head, (MARGIN, MARGIN))
    top = MARGIN + head.height + GAP + 12
    sheet.paste(left, (MARGIN, top))
    sheet.paste(right, (MARGIN + indent + (width - indent - right.width) // 2, top))
    sheet.paste(text, (MARGIN, top + body + GAP + 12))
    return sheet


def grouped(scene: Scene) -> list[tuple[str, str, list[Entity]]]:
    """(title, colour, entities with pictures): subject by subject, then objects and background."""
    pictured = [entity for entity in scene.entities if entity.image is not None]
    groups = [
        (subject.id, colour_of("face", number), [e for e in pictured if e.subject == number])
        for number, subject in enumerate(scene.subjects)
    ]
    scenery = [entity for entity in reversed(pictured) if entity.subject is None]
    groups.append((" and ".join(dict.fromkeys(entity.kind for entity in scenery)), OBJECT_COLOUR, scenery))
    return [group for group in groups if group[2]]


def _card(title: str, colour: str, entities: Sequence[Entity], columns: int) -> Image.Image:
    """One subject's references in a frame of its colour."""
    header, caption = 58, 38
    width = columns * (TILE + GAP) - GAP + 2 * PADDING
    height = header + math.ceil(len(entities) / columns) * (TILE + caption) + PADDING // 2
    card = Image.new("RGB", (width, height), PAPER)
    rounded(card, (0, 0, width, height), colour)
    rounded(card, (4, 4, width - 4, height - 4), CARD, RADIUS - 4)
    draw = ImageDraw.Draw(card)
    rounded(card, (PADDING, 20, PADDING + 20, 40), colour, 10)
    draw.text((PADDING + 32, 30), title, readable(colour), typeface(26), anchor="lm")
    for index, entity in enumerate(entities):
        row, column = divmod(index, columns)
        x, y = PADDING + column * (TILE + GAP), header + row * (TILE + caption)
        _framed(card, _thumbnail(entity), (x, y), colour)
        words = shortened(entity.words[0] if entity.words else entity.kind, typeface(20), TILE)
        draw.text((x + TILE / 2, y + TILE + 18), words, INK, typeface(20), anchor="mm")
    return card


def _thumbnail(entity: Entity) -> Image.Image:
    assert entity.image is not None
    picture = _enlarged(entity.image.open(), (TILE, TILE))
    return letterbox(picture, TILE, TILE, pad=entity.image.pad)


def _frames(frames: np.ndarray) -> Image.Image:
    """Frames at even distances in time, row by row."""
    count, height, width = frames.shape[:3]
    box = FRAME_BOX if count > 1 else (FRAMES_WIDTH, FRAME_BOX[1] * FRAME_ROWS)
    tile_width, tile_height = _fitted((width, height), box)
    columns = min(count, max(3, (FRAMES_WIDTH + GAP) // (tile_width + GAP)))
    rows = min(FRAME_ROWS, math.ceil(count / columns))
    shown = np.linspace(0, count - 1, min(count, columns * rows)).round().astype(int)
    size = (columns * (tile_width + GAP) - GAP, rows * (tile_height + GAP) - GAP)
    sheet = Image.new("RGB", size, PAPER)
    for index, frame in enumerate(shown):
        row, column = divmod(index, columns)
        image = _enlarged(Image.fromarray(frames[frame]), box)
        position = (column * (tile_width + GAP), row * (tile_height + GAP))
        sheet.paste(image, position, _mask(image.size, 10))
        stamp = f"{frame + 1}"
        corner = (position[0] + 8, position[1] + 8)
        rounded(sheet, (*corner, corner[0] + 22 + 10 * len(stamp), corner[1] + 28), "#00000088", 8)
        ImageDraw.Draw(sheet).text(
            (corner[0] + 11 + 5 * len(stamp), corner[1] + 14), stamp, "#ffffff", typeface(18), anchor="mm"
        )  # fmt: skip
    return sheet


def _heading(scene: Scene, record: Mapping[str, Any], frames: np.ndarray, width: int) -> Image.Image:
    settings, model = record["settings"], record["model"]["path"]
    facts = [
        Path(model).name if model else "model in memory",
        f"seed {record['seed']}",
        f"{settings['steps']} {settings['solver']} steps",
        f"cfg {settings['cfg']:g}",
        f"{frames.shape[2]}x{frames.shape[1]}, {len(frames)} frames",
        f"{record['binding']['rules']} rules",
    ]
    image = Image.new("RGB", (width, 96), PAPER)
    draw = ImageDraw.Draw(image)
    draw.text((0, 22), scene.id, INK, typeface(46), anchor="lm")
    draw.text((0, 78), "  ·  ".join(facts), FADED, typeface(22), anchor="lm")
    if scene.output.ai_label:
        draw.text((width, 22), "AI-generated with LumosX", FADED, typeface(22), anchor="rm")
    return image


def _prompt(record: Mapping[str, Any], scene: Scene, width: int) -> Image.Image:
    """The prompt, its bound words in the colours of what they name."""
    prompt: str = record["prompt"]
    numbers = {subject.id: number for number, subject in enumerate(scene.subjects)}
    mentions = [
        (*mention["span"], colour_of(entity["kind"], numbers.get(entity["subject"])))
        for entity in record["entities"]
        for mention in entity["mentions"]
    ]
    font, line_height = typeface(30), 54
    pieces = wrapped(prompt, mentions, font, width - 2 * PADDING)
    height = (1 + max(piece.line for piece in pieces)) * line_height + 2 * PADDING - 8
    image = Image.new("RGB", (width, height), PAPER)
    rounded(image, (0, 0, width, height), CARD)
    for number, (_, _, colour) in enumerate(mentions):
        own = [piece for piece in pieces if piece.mention == number]
        for line in {piece.line for piece in own}:
            ends = [(p.x, p.x + font.getlength(p.text)) for p in own if p.line == line]
            y = PADDING + line * line_height
            left = PADDING + min(end[0] for end in ends) - MENTION_SPACE
            right = PADDING + max(end[1] for end in ends) + MENTION_SPACE
            box = (left, y + 1, right, y + 45)
            rounded(image, tuple(round(edge) for edge in box), mix(colour, CARD, 0.78), 12)
    draw = ImageDraw.Draw(image)
    for piece in pieces:
        colour = INK if piece.mention is None else readable(mentions[piece.mention][2])
        position = (PADDING + piece.x, PADDING + piece.line * line_height + 23)
        draw.text(position, piece.text, colour, font, anchor="lm")
    return image


def wrapped(
    text: str, mentions: Sequence[tuple[int, int, str]], font: ImageFont.FreeTypeFont, width: float
) -> list[Piece]:
    """Words with their places; a word is cut where a mention begins or ends inside it."""
    pieces: list[Piece] = []
    x, line, start = 0.0, 0, 0
    for word in text.split(" "):
        if x > 0 and x + font.getlength(word) > width:
            x, line = 0.0, line + 1
        inside = [edge for mention in mentions for edge in mention[:2] if start < edge < start + len(word)]
        cuts = sorted({start, *inside, start + len(word)})
        for first, last in pairwise(cuts):
            owner = next((n for n, (a, b, _) in enumerate(mentions) if a <= first and last <= b), None)
            if x > 0 and owner != (pieces[-1].mention if pieces else None):
                x += MENTION_SPACE
            pieces.append(Piece(text[first:last], x, line, owner))
            x += font.getlength(text[first:last])
        x += font.getlength(" ")
        start += len(word) + 1
    return pieces


def stacked(images: Sequence[Image.Image], gap: int) -> Image.Image:
    """One below the other, `gap` pixels between them."""
    if not images:
        return Image.new("RGB", (1, 1), PAPER)
    height = sum(image.height + gap for image in images) - gap
    stack, y = Image.new("RGB", (max(image.width for image in images), height), PAPER), 0
    for image in images:
        stack.paste(image, (0, y))
        y += image.height + gap
    return stack


def _fitted(size: tuple[int, int], box: tuple[int, int]) -> tuple[int, int]:
    """`size` scaled into `box`; by a whole number if it grows, so that small clips show their pixels."""
    ratio = min(box[0] / size[0], box[1] / size[1])
    ratio = math.floor(ratio) if ratio >= 1 else ratio
    return max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))


def _enlarged(image: Image.Image, box: tuple[int, int]) -> Image.Image:
    size = _fitted(image.size, box)
    grows = size[0] >= image.width
    return image.resize(size, Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS)


def _framed(card: Image.Image, picture: Image.Image, position: tuple[int, int], colour: str) -> None:
    x, y = position
    rounded(card, (x - 3, y - 3, x + picture.width + 3, y + picture.height + 3), colour, 13)
    card.paste(picture, position, _mask(picture.size, 10))


def rounded(image: Image.Image, box: tuple[int, ...], colour: str, radius: int = RADIUS) -> None:
    """A smooth rounded rectangle; `colour` may be #rrggbbaa."""
    size = box[2] - box[0], box[3] - box[1]
    alpha = int(colour[7:] or "ff", 16)
    mask = _mask(size, radius).point([value * alpha // 255 for value in range(256)])
    image.paste(Image.new("RGB", size, colour[:7]), (box[0], box[1]), mask)


@lru_cache(maxsize=64)
def _mask(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", (size[0] * 4, size[1] * 4), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, mask.width - 1, mask.height - 1), radius * 4, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def readable(colour: str) -> str:
    """The colour dark enough for text on white."""
    return mix(colour, INK, 0.4)


def shortened(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The text, or its beginning and three dots, in at most `width` pixels."""
    while font.getlength(text) > width and len(text) > 1:
        text = text.rstrip("…")[:-1].rstrip() + "…"
    return text


@lru_cache(maxsize=8)
def typeface(size: int) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow."""
    font = ImageFont.load_default(size)
    assert isinstance(font, ImageFont.FreeTypeFont)  # PIL without FreeType has no sizes
    return font
