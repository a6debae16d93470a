"""Captions: what the model is shown, how its answer is cleaned and judged, and captions that people wrote."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from lumosx.curation.blobs import Blobs
from lumosx.curation.prompts import fill, read, stamp
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look, Rejected
from lumosx.curation.stages.captions import Captioning, cleaned
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Caption, Kept, Subtitles
from lumosx.errors import InputError
from lumosx.mp4 import write_mp4
from lumosx.vision import ModelCard, Question
from lumosx.vision.sidecar import Sidecar


@dataclass
class Says:
    """A model that always says the same, and keeps what it was asked."""

    text: str = "a man"
    asked: list[Question] = field(default_factory=list)
    card: ModelCard = ModelCard("says", "tests", "1", "Apache-2.0", True)  # noqa: RUF009

    def answer(self, question: Question) -> str:
        self.asked.append(question)
        return self.text


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> Path:
    """Six seconds at 16 a second; frame n is of brightness 40 + 2 n, with a black border of 16 pixels at the left."""
    path = tmp_path_factory.mktemp("video") / "grey.mp4"
    frames = np.repeat(np.arange(40, 40 + 2 * 96, 2, dtype=np.uint8), 96 * 160 * 3).reshape(96, 96, 160, 3).copy()
    frames[:, :, :16] = 0
    write_mp4(frames, path, Fraction(16), {"crf": "10"})
    return path


def look(video: Path, blobs: Path, frames: int = 81, size: tuple[int, int] = (144, 96)) -> Look:
    """At the clip from second 0.5 on, without the border."""
    clip = Clip(Source("a" * 16, video, "some/grey.mp4"), 0.5, 0.5 + frames / 16)
    kept = Kept.model_construct(width=size[0], height=size[1], frames=frames)
    subtitles = Subtitles.model_construct(crop=(16, 0, 160, 96))
    return Look(clip, {Technical: kept, SubtitleText: subtitles}, Blobs(blobs), 0)


def test_the_model_sees_frames_of_the_whole_clip_without_its_border(video, tmp_path):
    model = Says()
    assert Captioning(model, frames=5).measure(look(video, tmp_path)) == Caption(text="a man")
    (question,) = model.asked
    shown = np.stack(question.pictures)
    assert shown.shape == (5, 96, 144, 3)
    expected = [40 + 2 * (8 + number) for number in (0, 20, 40, 60, 80)]  # the clip begins with frame 8 of the video
    np.testing.assert_allclose(shown.mean(axis=(1, 2, 3)), expected, atol=1.5)
    assert question.prompt == read("caption.v1.md") and question.schema is None
    assert question.facts == {"source": "some/grey.mp4", "start": 0.5, "end": 0.5 + 81 / 16}


def test_each_frame_is_shown_once_and_no_larger_than_wanted(video, tmp_path):
    model = Says()
    Captioning(model, frames=8, side=48).measure(look(video, tmp_path, frames=3))
    assert np.stack(model.asked[0].pictures).shape == (3, 48, 72, 3)
    Captioning(model, frames=1).measure(look(video, tmp_path, size=(72, 48)))
    assert np.stack(model.asked[1].pictures).shape == (1, 48, 72, 3)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        (" A man\n\n waves.\t ", "A man waves."),
        ("Tom &amp; Jerry", "Tom & Jerry"),
        ("&amp;amp;amp;lt;b&amp;amp;amp;gt;", "<b>"),
        ("cafÃ©", "café"),
        ("a {red} hat", "a {red} hat"),
    ],
)
def test_captions_are_cleaned_until_nothing_changes(said, kept):
    assert cleaned(said) == kept == cleaned(kept)


def test_a_caption_that_is_escaped_for_ever():
    with pytest.raises(ValueError, match="over and over"):
        cleaned("< &" + "amp;" * 20 + "lt;")


def test_an_empty_answer_is_no_caption(video, tmp_path):
    with pytest.raises(ValueError, match="at least 1 character"):
        Captioning(Says(" \n")).measure(look(video, tmp_path, frames=2))


@pytest.mark.parametrize(("words", "code"), [(3, "caption-short"), (4, None), (6, None), (7, "caption-long")])
def test_the_number_of_words_is_judged(words, code):
    rejected = Captioning(Says(), least_words=4, most_words=6).judge(Caption(text=" ".join(["word"] * words)))
    if code is None:
        assert rejected is None
    else:
        assert isinstance(rejected, Rejected)
        assert (rejected.code, rejected.value, rejected.threshold) == (code, words, 4 if words < 4 else 6)


def test_the_prompts_text_is_part_of_the_fingerprint_and_thresholds_are_not(tmp_path):
    own = tmp_path / "mine.md"
    own.write_text("What is it?")
    stage = Captioning(Says(), prompt=str(own))
    first = stage.identity()
    assert Captioning(Says(), prompt=str(own), least_words=1, most_words=2).identity() == first
    moved = tmp_path / "elsewhere" / "mine.md"
    moved.parent.mkdir()
    moved.write_text("What is it?\n")
    assert Captioning(Says(), prompt=str(moved)).identity() == first
    own.write_text("What is that?")
    assert stage.identity() != first
    assert Captioning(Says(), prompt=str(moved), frames=4).identity() != first


def test_prompts_are_filled_in_once(tmp_path):
    own = tmp_path / "own.md"
    own.write_text("Of $caption for $$5: {${caption}}\n")
    assert fill(str(own), caption="a $caption") == "Of a $caption for $5: {a $caption}"
    assert stamp("caption.v1.md").startswith("caption.v1.md ")


def test_prompts_that_cannot_be_used(tmp_path):
    with pytest.raises(InputError, match=r"prompt caption\.v9\.md: .*there is caption\.v1\.md, entities\.v1\.md"):
        read("caption.v9.md")
    own = tmp_path / "own.md"
    own.write_text("Of $captoin")
    with pytest.raises(InputError, match=r"'captoin' is no place to fill in; there is \$caption, \$boxes"):
        fill(str(own), caption="", boxes="")


@pytest.fixture
def written(tmp_path) -> Path:
    (tmp_path / "some").mkdir()
    (tmp_path / "some" / "grey.txt").write_text("\ufeffEin Mann grüßt.\n", encoding="utf-8")
    (tmp_path / "some" / "grey.json").write_text("{}")
    return tmp_path


def test_captions_that_people_wrote(written, video, tmp_path):
    assert Captioning(Sidecar(written)).measure(look(video, tmp_path)) == Caption(text="Ein Mann grüßt.")
    facts = {"source": "some/grey.mp4"}
    assert Sidecar(str(written)).answer(Question([], "", {"type": "object"}, facts)) == "{}"


def test_a_changed_text_is_another_model(written):
    first = Sidecar(written).card
    assert Sidecar(written).card == first and first.commercial
    (written / "some" / "grey.txt").write_text("Eine Frau grüßt.")
    second = Sidecar(written).card
    (written / "some" / "grey.txt").rename(written / "some" / "gray.txt")
    assert len({first.revision, second.revision, Sidecar(written).card.revision}) == 3


@pytest.mark.parametrize("out", [".", "some/out"])
def test_a_data_set_in_its_folder_is_no_text(written, out):
    before = Sidecar(written).card
    work = written / out / "curation"
    (work / "ledger").mkdir(parents=True)
    for name in ("sources.json", "setup.json", "ledger/a.json"):
        (work / name).write_text("{}")
        assert Sidecar(written).card == before
    (written / "curation.txt").write_text("A man.")
    assert Sidecar(written).card != before


def test_texts_that_are_not_there(written):
    for schema, wanted in ((None, r"other\.txt.*what the clip shows"), ({}, r"other\.json.*its entities")):
        with pytest.raises(InputError, match=wanted):
            Sidecar(written).answer(Question([], "", schema, {"source": "other.mp4"}))
    (written / "other.txt").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"other\.txt.*cannot be read"):
        Sidecar(written).answer(Question([], "", None, {"source": "other.mp4"}))
    for place in (written / "nowhere", written / "some" / "grey.txt"):
        with pytest.raises(InputError, match=r"no such folder; give the one with these files"):
            Sidecar(place)
