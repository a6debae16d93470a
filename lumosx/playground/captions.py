"""Writes a clip's caption, with every mention attributable to its owner.

Faces are inline tags (`{man:s1}`); an attribute's word that two subjects share gets the numbers of its
occurrences. The text names everything, says what somebody does and, in placed captions only, where each one
stands first; it never tells a colour or a pattern, because those are what the references are for. Some captions
list what is worn without saying by whom, so that only the grouping of the references can tell.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from lumosx.playground.looks import PREPOSITIONS
from lumosx.playground.truth import Attribute, Backdrop, Subject, Thing

PLACES = {
    1: ("in the middle",),
    2: ("on the left", "on the right"),
    3: ("on the left", "in the middle", "on the right"),
    4: ("on the far left", "on the left", "on the right", "on the far right"),
}
ORDINALS = ("first", "second", "third", "fourth")
PLURAL = ("glasses", "sunglasses", "trousers", "shorts")
UNOWNED = 0.3  # share of the captions that could do so which leave open who wears what
_MARK = re.compile(r"\[(?P<word>[^|\]]+)\|(?P<owner>[^\]]*)\]")  # [cap|s1.hat]: a mention and whose it is

Occurrences = dict[str, tuple[int, ...]]
"""Owner ("s1.hat") -> the numbers of its word's occurrences in the prompt, counted from 1."""


def write_caption(
    rng: np.random.Generator,
    told: Sequence[Subject],
    thing: Thing | None,
    holder: Subject | None,
    backdrop: Backdrop | None,
    placed: bool,
) -> tuple[str, Occurrences]:
    """The prompt with tags, and every attribute's occurrences. `told` are the subjects in the order they are
    told.
    """
    sentences = _opening(rng, told, backdrop, placed)
    if thing is not None and holder is not None:
        sentences.append(f"{_again(told, holder)} holds a {thing.word}.")
    elif thing is not None:
        sentences.append(rng.choice([f"There is a {thing.word} on the ground.", f"A {thing.word} is on the ground."]))
    walkers = [subject for subject in told if subject.goal != subject.slot]
    others = [subject for subject in told if subject not in walkers]
    doing = rng.permutation(len(others))[: 1 if len(told) > 2 else rng.integers(1, len(told) + 1)]
    sentences += [f"{_again(told, others[index])} {others[index].motion.verb}s." for index in sorted(doing)]
    if walkers:
        sentences.append(f"{_again(told, walkers[0])} and {_again(told, walkers[1], 'the')} pass each other.")
    return _resolve(" ".join(sentences))


def _opening(rng: np.random.Generator, told: Sequence[Subject], backdrop: Backdrop | None, placed: bool) -> list[str]:
    scene = "" if backdrop is None else f" {PREPOSITIONS[backdrop.word]} a {backdrop.word}"
    style = int(rng.integers(4))
    owned = rng.random() >= UNOWNED or not _can_leave_open(told)
    if not owned:
        worn = [_thing(subject, item) for subject in told for item in subject.attributes]
        worn = [worn[index] for index in rng.permutation(len(worn))]
        return [*_opening_sentences(rng, told, scene, max(style, 1), placed, False), f"They wear {_join(worn)}."]
    if style == 0:  # one sentence a person
        sentences = [_sentence(rng, told, index, placed) for index in range(len(told))]
        if backdrop is not None:
            sentences.append(f"This is a {backdrop.word}." if len(told) == 1 else f"They are{scene}.")
        return sentences
    return _opening_sentences(rng, told, scene, style, placed, True)


def _can_leave_open(told: Sequence[Subject]) -> bool:
    """Whether what is worn could be anybody's, and no word stands for two things."""
    words = [item.word for subject in told for item in subject.attributes]
    return len(told) > 1 and 1 < len(words) == len(set(words))


def _opening_sentences(
    rng: np.random.Generator, told: Sequence[Subject], scene: str, style: int, placed: bool, owned: bool
) -> list[str]:
    """One sentence that names everybody, with what they wear if that is `owned`."""
    names = [
        _name(told, index, placed) + (_wearing(rng, subject) if owned else "") for index, subject in enumerate(told)
    ]
    verb = rng.choice(["stand", "are"] if len(told) > 1 else ["stands", "is"])
    if style == 1 and scene:
        return [_sentence_case(f"{scene.strip()}, {_join(names)} {verb} {'together' if len(told) > 1 else 'alone'}.")]
    if style == 2:
        return [f"Here {'are' if len(told) > 1 else 'is'} {_join(names)}{scene}."]
    return [_sentence_case(f"{_join(names)} {verb}{scene or ' here'}.")]


def _sentence(rng: np.random.Generator, told: Sequence[Subject], index: int, placed: bool) -> str:
    subject = told[index]
    if not subject.attributes:
        return f"Here is {_name(told, index, placed)}."
    return _sentence_case(f"{_name(told, index, placed)} {rng.choice(['wears', 'has'])} {_things(rng, subject)}.")


def _name(told: Sequence[Subject], index: int, placed: bool) -> str:
    subject = told[index]
    article = "another" if any(earlier.word == subject.word for earlier in told[:index]) else _article(subject.word)
    place = f" {PLACES[len(told)][subject.slot]}" if placed else ""
    return f"{article} {_mention(subject)}{place}"


def _article(word: str) -> str:
    return "an" if word[0] in "aeiou" else "a"


def _again(told: Sequence[Subject], subject: Subject, article: str = "The") -> str:
    same = [other for other in told if other.word == subject.word]
    ordinal = f"{ORDINALS[same.index(subject)]} " if len(same) > 1 else ""
    return f"{article} {ordinal}{_mention(subject)}"


def _wearing(rng: np.random.Generator, subject: Subject) -> str:
    return f" {rng.choice(['with', 'wearing'])} {_things(rng, subject)}" if subject.attributes else ""


def _things(rng: np.random.Generator, subject: Subject) -> str:
    things = [_thing(subject, item) for item in subject.attributes]
    return _join([things[index] for index in rng.permutation(len(things))])


def _thing(subject: Subject, item: Attribute) -> str:
    mark = f"[{item.word}|{subject.id}.{item.family}]"
    return mark if item.word in PLURAL else f"{_article(item.word)} {mark}"


def _mention(subject: Subject) -> str:
    return f"[{subject.word}|{subject.id}]"


def _join(items: Sequence[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"


def _sentence_case(text: str) -> str:
    return text[0].upper() + text[1:]


def _resolve(marked: str) -> tuple[str, Occurrences]:
    """Turn marks into the scene format: faces into tags, attributes into plain words with counted
    occurrences.
    """
    seen: Counter[str] = Counter()
    found: Occurrences = {}

    def replace(match: re.Match[str]) -> str:
        word, owner = match["word"], match["owner"]
        if "." not in owner:
            return f"{{{word}:{owner}}}"
        seen[word] += 1
        found[owner] = (*found.get(owner, ()), seen[word])
        return word

    return _MARK.sub(replace, marked), found
