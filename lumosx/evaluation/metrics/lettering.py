"""Does a clip show lettering that nobody asked for, such as subtitles and watermarks? Protocol v1.

The measure is ours: the paper only says that clips with subtitles were kept out of the training data.
"""

import re
import unicodedata

from lumosx.evaluation.cases import Case
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.vision import TextReader, Written

METRIC = "unasked_text"
LETTERS = 3  # that make a text: fewer are read into curves, such as an 8 into a cup on its saucer
SCORE = 0.6  # least score of what counts as read


def unasked(written: Written, prompt: str) -> bool:
    """Whether a line of text is surely there and says something that the prompt does not.

    It does if at least three letters are left without the words that the prompt says too, on a sign or otherwise. Case,
    white space and punctuation do not matter, for the reader joins words and splits them. Numbers are no text. A word
    that is asked for and comes out misspelt is another word.
    """
    prompt, text = _plain(prompt), _plain(written.text)
    words = re.findall(r"[^\W_]+", text)
    left = [] if _says(prompt, "".join(words)) else [word for word in words if not _says(prompt, word)]
    return written.score >= SCORE and sum(letter.isalpha() for word in left for letter in word) >= LETTERS


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _says(prompt: str, letters: str) -> bool:
    """Whether whole words of the prompt are these letters and digits, with whatever else between them."""
    return re.search(r"(?<![^\W_])" + r"[\W_]*".join(letters) + r"(?![^\W_])", prompt) is not None


class LetteringMeasure:
    """`unasked_text`: the share of looks on which a line of text is read that the prompt does not say. Less is better.

    It looks at the first, the middle and the last frame of the evidence: a burnt-in subtitle stays for seconds. Letters
    on a reference picture are not known to be asked for: they count unless the prompt says them.
    """

    def __init__(self, models: Models) -> None:
        self._reader = models.reader
        self.metrics = {METRIC: False} if models.reader else {}

    def __call__(self, case: Case, clip: Clip, evidence: Evidence) -> list[Score]:
        return [_lettering(self._reader, case.prompt, evidence)] if self._reader else []


def _lettering(reader: TextReader, prompt: str, evidence: Evidence) -> Score:
    last = len(evidence.frames) - 1
    read = {look: reader.read(evidence.frames[look]) for look in sorted({0, (last + 1) // 2, last})}
    spoilt = [any(unasked(written, prompt) for written in lines) for lines in read.values()]
    looks = {str(look): [_described(written, prompt) for written in lines] for look, lines in read.items()}
    return Score(METRIC, sum(spoilt) / len(spoilt), detail={"looks": looks})


def _described(written: Written, prompt: str) -> dict[str, object]:
    return {
        "text": written.text,
        "box": written.box,
        "score": round(written.score, 3),
        "unasked": unasked(written, prompt),
    }
