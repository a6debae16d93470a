"""Lettering that was laid over, and lettering that belongs to the scene."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from curation_footage import look_at, pan, save_video
from PIL import Image, ImageDraw, ImageFont

from lumosx.curation.footage import Crop
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.values import Borders, Subtitles
from lumosx.vision import ModelCard, Picture, Written

FRAMES, HEIGHT, WIDTH = 48, 160, 240
Draw = Callable[[np.ndarray, int], None]


class WhiteReader:
    """Takes what is white for a line, named by its width; counts the pictures that it was given."""

    card = ModelCard("white", "tests", "1", "Apache-2.0", True)

    def __init__(self, score: float = 0.9) -> None:
        self.asked, self.score = 0, score

    def read(self, picture: Picture) -> list[Written]:
        self.asked += 1
        rows, columns = np.nonzero((picture > 235).all(axis=2))
        if len(rows) < 20:
            return []
        x0, y0, x1, y1 = map(float, (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
        return [Written(f" {round((x1 - x0) / 20) * 20} wide ", (x0, y0, x1, y1), self.score)]


def bars(frame: np.ndarray, x: int, y: int, width: int, height: int = 10) -> None:
    """White strokes on black."""
    frame[y : y + height, x : x + width] = 0
    for stroke in range(x, x + width, 6):
        frame[y : y + height, stroke : stroke + 3] = 255


def found(path: Path, draw: Draw | None, reader: WhiteReader | None = None, crop: Crop | None = None) -> Subtitles:
    """Of a view that pans, with what is drawn on each frame."""
    frames = pan(FRAMES, 3, height=HEIGHT, width=WIDTH) // 2 + 30
    for number, frame in enumerate(frames):
        if draw:
            draw(frame, number)
    video = save_video(path / "a.mp4", frames, pixels="yuv444p")
    values = {BorderCrop: Borders(crop=crop or (0, 0, WIDTH, HEIGHT), kept=1.0)}
    return SubtitleText(reader or WhiteReader()).measure(look_at(video, FRAMES / 16, values))


def test_without_lettering_nobody_is_asked(tmp_path: Path) -> None:
    reader = WhiteReader()
    value = found(tmp_path, None, reader, (0, 10, WIDTH, 150))
    assert value == Subtitles(share=0.0, crop=(0, 10, WIDTH, 150), left=0.0, texts=[])
    assert reader.asked == 0


def test_subtitles_are_cut_off(tmp_path: Path) -> None:
    reader = WhiteReader()
    value = found(tmp_path, lambda frame, _: bars(frame, 60, 140, 120), reader)
    x0, y0, x1, y1 = value.crop
    assert (x0, y0, x1) == (0, 0, WIDTH) and 134 <= y1 <= 138 and y1 % 2 == 0
    assert value.left == 0 and value.texts == ["120 wide"]
    assert value.share == pytest.approx(120 * 10 / (WIDTH * HEIGHT), rel=0.1)
    assert reader.asked == 4  # the band below in four frames, the one above never
    assert SubtitleText(reader).judge(value) is None


def test_words_may_change_in_their_place(tmp_path: Path) -> None:
    value = found(tmp_path, lambda frame, number: bars(frame, *((60, 140, 120) if number < 24 else (90, 140, 60))))
    assert value.crop[3] <= 138 and sorted(value.texts) == ["120 wide", "60 wide"]


def test_a_title_above_and_within_borders(tmp_path: Path) -> None:
    crop = (20, 10, WIDTH, 154)
    value = found(tmp_path, lambda frame, _: bars(frame, 30, 20, 60), crop=crop)
    assert (value.crop[0], value.crop[2:]) == (20, (WIDTH, 154)) and 32 <= value.crop[1] <= 36


def test_signs_that_move_with_the_scene_stay(tmp_path: Path) -> None:
    value = found(tmp_path, lambda frame, number: bars(frame, 200 - 3 * number, 140, 40))
    assert value == Subtitles(share=0.0, crop=(0, 0, WIDTH, HEIGHT), left=0.0, texts=[])


def test_what_stands_in_the_middle_stays(tmp_path: Path) -> None:
    reader = WhiteReader()
    assert found(tmp_path, lambda frame, _: bars(frame, 60, 75, 120), reader).share == 0 == reader.asked


def test_doubtful_lines_do_not_count(tmp_path: Path) -> None:
    assert found(tmp_path, lambda frame, _: bars(frame, 60, 140, 120), WhiteReader(0.5)).share == 0


def test_what_cannot_be_cut_off_leaves(tmp_path: Path) -> None:
    def above_and_below(frame: np.ndarray, number: int) -> None:
        bars(frame, 60, 24, 120)
        bars(frame, 60, 130, 120)

    value = found(tmp_path, above_and_below)
    assert value.crop == (0, 0, WIDTH, HEIGHT)
    assert value.left == value.share == pytest.approx(2 * 120 * 10 / (WIDTH * HEIGHT), rel=0.1)
    stage = SubtitleText(WhiteReader())
    rejected = stage.judge(value)
    assert rejected is not None
    assert (rejected.code, rejected.value, rejected.threshold) == ("subtitles", value.left, stage.most_left)
    assert SubtitleText(WhiteReader(), most_left=0.1).judge(value) is None


def test_real_letters_by_the_real_reader(tmp_path: Path) -> None:
    """White letters with an outline over a view that pans, as subtitles are; read by PP-OCR from its wheel."""
    lettering = pytest.importorskip("lumosx.vision.lettering")
    font = ImageFont.load_default(22)
    frames = []
    for number, frame in enumerate(pan(16, 4, height=240, width=420)):
        image = Image.fromarray(frame)
        ImageDraw.Draw(image).text(
            (210, 205), "I never said that", (255, 255, 255), font, "mm", stroke_width=2, stroke_fill=(0, 0, 0)
        )
        ImageDraw.Draw(image).text((10 + 8 * number, 100), "MILK", (255, 255, 255), font)  # in the middle, moving
        frames.append(np.asarray(image))
    video = save_video(tmp_path / "a.mp4", np.stack(frames))
    values = {BorderCrop: Borders(crop=(0, 0, 420, 240), kept=1.0)}
    value = SubtitleText(lettering.RapidOcr(), frames=2).measure(look_at(video, 1.0, values))
    assert [text.replace(" ", "").lower() for text in value.texts] == ["ineversaidthat"]
    assert 180 <= value.crop[3] <= 194 and value.left == 0
