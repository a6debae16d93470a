"""What the clip shows, in words (paper, section 3.2: captions are written anew, as those of the web say too little)."""

from dataclasses import dataclass
from typing import Any, ClassVar

from lumosx.curation.footage import Span
from lumosx.curation.prompts import fill, stamp
from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Caption
from lumosx.scene.text import clean_text
from lumosx.vision import Question, Talker

TIMES = 5  # that a text is cleaned at most


@dataclass(frozen=True)
class Captioning(Stage[Caption]):
    """The caption of a clip by a model that sees frames of it, or by people (`vision.sidecar`).

    The paper takes VILA, whose weights forbid commercial use; profiles name others. The text is cleaned as a prompt is
    before it is encoded, so that the places of words, which are found next, stay what they are.

    captioner: answers in text. frames: that it sees, evenly spread, at most. side: to which larger frames are made
    smaller, the shorter one, in pixels. prompt: a file of `prompts`, or a path. least_words, most_words: split at
    spaces; the paper states none. Shorter captions hardly name who wears what; longer ones do not fit Wan's 512 tokens
    or come from a model that repeats itself.
    """

    name: ClassVar[str] = "caption"
    needs: ClassVar = (Technical, SubtitleText)
    gives: ClassVar = Caption

    captioner: Talker = model("captioner")
    frames: int = 8
    side: int = 480
    prompt: str = "caption.v1.md"
    least_words: int = threshold(8)
    most_words: int = threshold(250)

    def identity(self) -> dict[str, Any]:
        """With the prompt's text."""
        return super().identity() | {"prompt": stamp(self.prompt)}

    def measure(self, look: Look) -> Caption:
        """Asks, and cleans the answer."""
        clip, kept = look.clip, look.of(Technical)
        side = min(self.side, kept.width, kept.height)
        span = Span.of_clip(clip)
        pictures = list(span.read(span.evenly(self.frames), look.of(SubtitleText).crop, side))
        facts = {"source": clip.source.name, "start": clip.start, "end": clip.end}
        return Caption(text=cleaned(self.captioner.answer(Question(pictures, fill(self.prompt), facts=facts))))

    def judge(self, value: Caption) -> Rejected | None:
        """By the number of words."""
        count = len(value.text.split())
        if count < self.least_words:
            return Rejected("caption-short", "the caption has few words", count, self.least_words)
        if count > self.most_words:
            return Rejected("caption-long", "the caption has many words", count, self.most_words)
        return None


def cleaned(text: str) -> str:
    """The text as `clean_text` leaves it, however often it is cleaned again.

    Raises:
        ValueError: it does not come to rest.
    """
    for _ in range(TIMES):
        before, text = text, clean_text(text)
        if text == before:
            return text
    raise ValueError(f"the caption is escaped over and over: {text[:80]!r}")
