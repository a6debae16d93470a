"""Searches a phrase in a prompt: whole words, in any script, with or without regard to case.

On characters and not on tokens, because tokenizers split the same word differently after a space or a
bracket.
"""

from functools import lru_cache

import regex

from lumosx.scene.messages import nearest
from lumosx.scene.text import Span

_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_LETTER = rf"[\w--[{_SPACELESS}]]"  # scripts written without spaces have no word boundaries to respect
_FLAGS = regex.VERSION1 | regex.UNICODE


def find_phrase(phrase: str, text: str, *, case_sensitive: bool = False) -> list[Span]:
    """Where `phrase` stands in `text` as whole words; without regard to case (full case folding) unless
    asked.

    >>> find_phrase("man", "A woman and a man: the Man's hat")
    [(14, 17), (23, 26)]
    """
    return [match.span() for match in _pattern(phrase, case_sensitive).finditer(text)]


@lru_cache(maxsize=1024)
def _pattern(phrase: str, case_sensitive: bool) -> regex.Pattern[str]:
    before = rf"(?<!{_LETTER})" if regex.match(_LETTER, phrase, _FLAGS) else ""
    after = rf"(?!{_LETTER})" if regex.match(_LETTER, phrase[-1], _FLAGS) else ""
    folding = regex.VERSION1 if case_sensitive else regex.IGNORECASE | regex.FULLCASE
    return regex.compile(before + regex.escape(phrase, special_only=True) + after, _FLAGS | folding)


def find_plural(phrase: str, text: str) -> list[Span]:
    """Where the regular English plural of `phrase` stands ("cups" for "cup")."""
    return sorted(find_phrase(f"{phrase}s", text) + find_phrase(f"{phrase}es", text))


def nearest_phrases(phrase: str, text: str, count: int = 3) -> list[str]:
    """The phrases of `text`, about as many words long, that look most like `phrase`."""
    words = [match.group() for match in regex.finditer(r"[\w'-]+", text)]
    length = max(1, len(phrase.split()))
    windows = [
        " ".join(words[start : start + size])
        for size in range(max(1, length - 1), length + 2)
        for start in range(len(words) - size + 1)
    ]
    return nearest(phrase, windows, count)
