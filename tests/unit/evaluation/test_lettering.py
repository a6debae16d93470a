"""Lettering: read for real in drawn frames, and the share of looks that it spoils by readers of known answers."""

import logging
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.lettering import LetteringMeasure, unasked
from lumosx.evaluation.models import Models
from lumosx.evaluation.protocols import measures
from lumosx.evaluation.scores import Score
from lumosx.vision import ModelCard, Written
from lumosx.vision.lettering import RapidOcr

FONT = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
WIDTH, HEIGHT = 416, 240
PROMPT = 'A man in a red T-shirt holds a sign that says "Grand Opening 2024" at the café.'


class Told:
    """Reads off a frame the lines that stand for its grey level."""

    card = ModelCard("told", "a test", "1", "none", True)

    def __init__(self, *lines: tuple[str, float]) -> None:
        self.lines = lines
        self.asked: list[int] = []

    def read(self, picture: np.ndarray) -> list[Written]:
        level = int(picture[0, 0, 0])
        self.asked.append(level)
        return [Written(text, (1.0, 2.0, 30.0, 8.0), score) for text, score in self.lines[level : level + 1] if text]


def models_with(reader: Any) -> Models:
    return Models(None, {}, reader=reader)  # type: ignore[arg-type]  # no face is looked for


def score_of(reader: Any, frames: np.ndarray, prompt: str = PROMPT) -> Score:
    case, clip, models = Case("a", prompt, (), {}, Path()), Clip(frames, 8.0), models_with(reader)
    (score,) = LetteringMeasure(models)(case, clip, Evidence(case, clip, models))
    return score


def grey_frames(count: int) -> np.ndarray:
    """Each as bright as its number."""
    return np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1).repeat(4, 1).repeat(4, 2).repeat(3, 3)


def frame_with(text: str, left: int = 60, top: int = 200, colour: str = "white") -> np.ndarray:
    """A slope of grey with outlined letters of 20 pixels."""
    slope = np.linspace(60, 160, WIDTH).astype(np.uint8)[None, :, None]
    image = Image.fromarray(slope.repeat(HEIGHT, 0).repeat(3, 2))
    font = ImageFont.truetype(str(FONT), 20)
    ImageDraw.Draw(image).text((left, top), text, colour, font, stroke_width=2, stroke_fill="black")
    return np.asarray(image)


def extent_of(text: str, left: int = 60, top: int = 200) -> tuple[int, int, int, int]:
    """What the letters cover, by the pixels that they change."""
    changed = (frame_with(text, left, top) != frame_with("")).any(axis=2)
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    return columns[0], rows[0], columns[-1] + 1, rows[-1] + 1


@pytest.fixture(scope="module")
def reader() -> RapidOcr:
    return RapidOcr()


def test_a_subtitle_is_read_where_it_is(reader: RapidOcr) -> None:
    (line,) = reader.read(frame_with("Thanks for watching"))
    assert (line.text, line.score > 0.9) == ("Thanks for watching", True)
    np.testing.assert_allclose(line.box, extent_of("Thanks for watching"), atol=8)


def test_lines_come_from_top_to_bottom(reader: RapidOcr) -> None:
    frame = frame_with("Second line").copy()
    frame[:100] = frame_with("First line", 180, 20)[:100]
    assert [line.text for line in reader.read(frame)] == ["First line", "Second line"]


def test_a_frame_without_text_has_none(reader: RapidOcr) -> None:
    assert reader.read(frame_with("")) == []


def test_frames_are_taken_for_rgb(monkeypatch: pytest.MonkeyPatch) -> None:
    """RapidOCR takes an array for BGR; of its answers the boxes are the corners' extent."""
    seen: list[np.ndarray] = []
    corners = np.array([[[2, 4], [9, 3], [10, 7], [3, 8]]], np.float32)
    reader = RapidOcr()
    monkeypatch.setattr(
        reader,
        "_engine",
        lambda image: seen.append(image) or SimpleNamespace(txts=("x",), boxes=corners, scores=(0.3,)),
    )
    assert reader.read(np.full((12, 12, 3), (250, 120, 10), np.uint8)) == [Written("x", (2.0, 3.0, 10.0, 8.0), 0.3)]
    assert seen[0][0, 0].tolist() == [10, 120, 250]


def test_it_is_quiet_and_stays_off_the_network(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the network is asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    logger = logging.getLogger("RapidOCR")  # hands nothing on to the root's handlers
    logger.addHandler(caplog.handler)
    try:
        reader = RapidOcr()
        assert reader.read(frame_with("Hello there")) and not reader.read(frame_with(""))
    finally:
        logger.removeHandler(caplog.handler)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


def test_it_says_which_wheel_it_is(reader: RapidOcr) -> None:
    card = reader.card
    assert (card.source, card.licence, card.commercial) == ("rapidocr", "Apache-2.0", True)
    assert card.revision.startswith("3.")


@pytest.mark.parametrize("missing", ["rapidocr", "onnxruntime"])
def test_without_its_libraries(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(InputError, match=rf"{missing} cannot be imported.*pip install 'lumosx\[bench\]'"):
        RapidOcr()


def test_a_wheel_with_other_networks_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import rapidocr

    monkeypatch.setattr(rapidocr, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(InputError, match=r"has no PP-OCRv6_det_small.onnx: pip install rapidocr=="):
        RapidOcr()


def test_a_clip_with_a_subtitle_at_its_end(reader: RapidOcr) -> None:
    """The sign is asked for on all looks, the subtitle on the last is not."""
    sign = frame_with("GRAND OPENING", 100, 60)
    spoilt = sign.copy()
    spoilt[180:] = frame_with("Thanks for watching")[180:]
    score = score_of(reader, np.stack([sign, sign, spoilt]))
    assert score.value == pytest.approx(1 / 3)
    lines = [(look, line["text"], line["unasked"]) for look, read in score.detail["looks"].items() for line in read]
    assert lines == [
        ("0", "GRAND OPENING", False), ("1", "GRAND OPENING", False),
        ("2", "GRAND OPENING", False), ("2", "Thanks for watching", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    ["GRAND OPENING", "grandopening", "Gr and ope ning", "opening", "A MAN", "2024", "TShirt", "T-SHIRT!", "ＲＥＤ",
     "CAFÉ", "CAFE\u0301", "at", "1999", "12:45", "a red ok", "", "..."],
)  # fmt: skip
def test_what_the_prompt_says_is_asked_for(text: str) -> None:
    """And what has less than three letters beside it is none."""
    assert not unasked(Written(text, (0, 0, 1, 1), 1.0), PROMPT)


@pytest.mark.parametrize("text", ["Thanks", "GRAND OPFNING", "a red fox", "pen", "man12", "谢谢你", "a b c d"])
def test_all_else_is_not(text: str) -> None:
    """Parts of words are other words ("pen" in "Opening"), and so are misspelt ones."""
    assert unasked(Written(text, (0, 0, 1, 1), 1.0), PROMPT)


@pytest.mark.parametrize(("score", "counts"), [(0.59, False), (0.6, True)])
def test_what_is_doubtful_does_not_count(score: float, counts: bool) -> None:
    assert unasked(Written("Thanks", (0, 0, 1, 1), score), PROMPT) is counts


@given(st.lists(st.from_regex("[a-z]{1,6}", fullmatch=True), min_size=1, max_size=8), st.data())
def test_any_words_of_the_prompt_are_asked_for(words: list[str], data: st.DataObject) -> None:
    """In any order as words, in the prompt's order in any spacing."""
    line = Written(" ".join(data.draw(st.permutations(words))).upper(), (0, 0, 1, 1), 1.0)
    assert not unasked(line, ", ".join(words))
    letters = "".join(words)
    cut = data.draw(st.integers(0, len(letters)))
    assert not unasked(Written(f"{letters[:cut]} {letters[cut:]}", (0, 0, 1, 1), 1.0), ", ".join(words))


@pytest.mark.parametrize(
    ("lines", "share", "read"),
    [
        (["Thanks", "", "", "", ""], 1 / 3, [0, 2, 4]),
        (["Thanks", "", "Thanks", "", "grand"], 2 / 3, [0, 2, 4]),
        (["", "Thanks", "", "Thanks", ""], 0.0, [0, 2, 4]),  # nobody looks there
        (["", "Thanks"], 1 / 2, [0, 1]),
        (["Thanks"], 1.0, [0]),
    ],
)
def test_the_share_of_looks(lines: list[str], share: float, read: list[int]) -> None:
    told = Told(*((text, 0.9) for text in lines))
    score = score_of(told, grey_frames(len(lines)))
    assert (score.metric, score.status, score.value) == ("unasked_text", "ok", pytest.approx(share))
    assert told.asked == read
    assert list(score.detail["looks"]) == [str(look) for look in read]


def test_the_detail_says_what_was_read_and_where() -> None:
    score = score_of(Told(("Thanks", 0.91234)), grey_frames(1))
    line = {"text": "Thanks", "box": (1.0, 2.0, 30.0, 8.0), "score": 0.912, "unasked": True}
    assert score.detail == {"looks": {"0": [line]}}


def test_less_is_better_and_without_a_reader_nothing_is_measured() -> None:
    assert LetteringMeasure(models_with(Told())).metrics == {"unasked_text": False}
    assert LetteringMeasure(models_with(None)).metrics == {}


def test_it_is_measured_in_the_subject_task_of_v1() -> None:
    told: Any = Told()
    models = Models(told, {"ArcSim": told}, reader=told)
    named = {(p, t): [m for each in measures(p, t, models) for m in each.metrics] for p in ("v1", "release")
             for t in ("identity", "subject")}  # fmt: skip
    assert [place for place, metrics in named.items() if "unasked_text" in metrics] == [("v1", "subject")]
