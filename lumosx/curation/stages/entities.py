"""Entity words of the caption, and who wears what (paper, sections 3.2 and A.1).

A model sees a key frame with the people in numbered boxes, gets the boxes and the caption as text, and copies words out
of the caption. Where in the caption they stand is found here and never taken from the model: each comes with a quote
that occurs once.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Annotated, Any, ClassVar

from pydantic import Field, ValidationError

from lumosx.curation.marks import draw, legend
from lumosx.curation.prompts import fill, stamp
from lumosx.curation.stage import Look, Rejected, Stage, model, threshold
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Chars, Entities, People, Phrase, Subject
from lumosx.records import Model
from lumosx.scene.mentions import find_phrase
from lumosx.vision import BadAnswer, Question, Talker

MOST_ATTRIBUTES = 3  # of a person
SHOWN = 3  # problems that an error tells
PUNCTUATION = ' .,;:!?"“”'  # that an answer may have copied with its words


class InvalidAnswer(Exception):
    """A model's answer breaks the rules, or breaks off. `problems` says how; the message is the first of them. `text`
    is the answer."""

    def __init__(self, problems: list[str], text: str = "") -> None:
        self.problems, self.text = problems, text
        super().__init__("; ".join(problems[:SHOWN]))


class Mention(Model):
    """Words of the caption, and a longer piece of it that contains them and occurs once."""

    words: str
    quote: str


class Person(Model):
    """Somebody in a box, whose number counts from 1."""

    box: int
    noun: Mention
    attributes: Annotated[list[Mention], Field(max_length=MOST_ATTRIBUTES)]


class Answer(Model):
    """What the model is asked for."""

    subjects: list[Person]
    objects: list[Mention]
    background: Mention | None


@dataclass(frozen=True)
class Matching(Stage[Entities]):
    """Subjects with their attributes, objects and the background, as the caption names them.

    The key frame that shows most people is asked about, of several the one nearest to the middle. An answer is accepted
    if every phrase occurs in the caption as whole words (section A.4), no two phrases share words, so that an attribute
    has one owner, a person has at most three attributes, and every box is one person's. If it is not, or breaks off,
    the model is told what is wrong, once.

    tagger: answers in JSON. prompt, repair: files of `prompts`, or paths. all_named: whether a clip leaves in whose
    shown frame somebody is whom the caption does not name: such a person would be trained as a part of somebody else's
    words, which is what the relations between references are there to prevent.
    """

    name: ClassVar[str] = "entities"
    needs: ClassVar = (Technical, PeopleCount, Captioning)
    gives: ClassVar = Entities

    tagger: Talker = model("tagger")
    prompt: str = "entities.v1.md"
    repair: str = "repair.v1.md"
    all_named: bool = threshold(True)

    def identity(self) -> dict[str, Any]:
        """With the prompts' texts."""
        return super().identity() | {"prompt": stamp(self.prompt), "repair": stamp(self.repair)}

    def measure(self, look: Look) -> Entities:
        """Asks, and once more if the answer breaks a rule or breaks off.

        Raises:
            InvalidAnswer: so does the second answer.
        """
        people, caption = look.of(PeopleCount), look.of(Captioning).text
        shown = shown_frame(people)
        boxes = [seen.box for seen in people.frames[shown]]
        picture = look.blobs.picture(look.of(Technical).key_frames[shown])
        stated = legend(boxes, picture.shape[1], picture.shape[0]) or "(there is nobody)"
        clip = look.clip
        facts = {"source": clip.source.name, "start": clip.start, "end": clip.end, "caption": caption, "boxes": boxes}

        def ask(prompt: str) -> Entities:
            question = Question([draw(picture, boxes)], prompt, Answer.model_json_schema(), facts)
            try:
                answer = self.tagger.answer(question)
            except BadAnswer as error:
                raise InvalidAnswer([str(error)], error.text) from error
            return accepted(answer, caption, shown, len(boxes))

        prompt = fill(self.prompt, boxes=stated, caption=caption)
        try:
            return ask(prompt)
        except InvalidAnswer as wrong:
            problems = "\n".join(f"- {problem}" for problem in wrong.problems)
            repair = fill(self.repair, question=prompt, answer=wrong.text, problems=problems)
        return ask(repair).model_copy(update={"repaired": True})

    def judge(self, value: Entities) -> Rejected | None:
        """Somebody must be named, and everybody unless `all_named` is off."""
        named = len(value.subjects)
        if not named:
            return Rejected("no-subjects", "the caption names nobody who is seen", 0, 1)
        if self.all_named and named < value.people:
            return Rejected("unnamed-people", "the caption does not name all who are seen", named, value.people)
        return None


def shown_frame(people: People) -> int:
    """The key frame that shows most people, of several the one nearest to the middle, the earlier of two."""
    counts = [len(frame) for frame in people.frames]
    middle = (len(counts) - 1) / 2
    return min(range(len(counts)), key=lambda frame: (-counts[frame], abs(frame - middle), frame))


def accepted(text: str, caption: str, shown: int, people: int) -> Entities:
    """What an answer says, in the order of boxes and of the caption.

    Args:
        text: the answer, JSON, in a fence of ``` with words around it if it must be.
        caption: in which all words are found.
        shown: the key frame that was asked about.
        people: the number of boxes in it.

    Raises:
        InvalidAnswer: with all that is wrong.
    """
    answer = _parsed(text)
    places, problems = {}, list(_wrong_boxes(answer, people))
    for label, mention in _mentions(answer):
        try:
            places[label] = locate(mention.words, mention.quote, caption)
        except ValueError as error:
            problems.append(f"{label}: {error}")
    problems += _overlaps(places, caption)
    if problems:
        raise InvalidAnswer(problems, text)

    def phrases(*labels: str) -> list[Phrase]:
        spans = sorted(places[label] for label in labels)
        return [Phrase(text=caption[start:stop], chars=(start, stop)) for start, stop in spans]

    subjects = [
        Subject(
            box=person.box - 1,
            noun=phrases(f"subjects[{number}].noun")[0],
            attributes=phrases(*(f"subjects[{number}].attributes[{i}]" for i in range(len(person.attributes)))),
        )
        for number, person in enumerate(answer.subjects)
    ]
    return Entities(
        shown=shown,
        people=people,
        subjects=sorted(subjects, key=lambda subject: subject.box),
        objects=phrases(*(f"objects[{i}]" for i in range(len(answer.objects)))),
        background=phrases("background")[0] if answer.background else None,
        repaired=False,
    )


def locate(words: str, quote: str, caption: str) -> Chars:
    """Where words stand in a caption: in the quote, which occurs there once. Letters may differ in case.

    Raises:
        ValueError: the place is not the only one, or there is none; says what to do.
    """
    words, quote = " ".join(words.split()).strip(PUNCTUATION), " ".join(quote.split())
    if not words or not (bare := quote.strip(PUNCTUATION)):
        raise ValueError("is empty; copy words from the caption, or leave the entry out")
    outer = find_phrase(quote, caption) or find_phrase(bare, caption)
    if not outer:
        raise ValueError(f"{quote!r} is not in the caption; copy it letter by letter, or leave the entry out")
    if len(outer) > 1:
        raise ValueError(f"{quote!r} occurs {len(outer)} times in the caption; quote a longer piece that occurs once")
    start, stop = outer[0]
    inner = find_phrase(words, caption[start:stop])
    if not inner:
        raise ValueError(f"{words!r} is not in its quote {quote!r}; quote a piece that contains it")
    if len(inner) > 1:
        raise ValueError(f"{words!r} occurs {len(inner)} times in its quote {quote!r}; quote a piece with one of them")
    return start + inner[0][0], start + inner[0][1]


def _parsed(text: str) -> Answer:
    fenced = re.match(r"[^{]*?```(?:json)?(.*)```", text, re.DOTALL | re.IGNORECASE)
    try:
        return Answer.model_validate_json(fenced[1] if fenced else text)
    except ValidationError as error:
        raise InvalidAnswer([_described(problem) for problem in error.errors(include_url=False)], text) from None


def _described(problem: Any) -> str:
    """A problem of form that pydantic found."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in problem["loc"]).removeprefix(".")
    return f"{path or 'the answer'}: {problem['msg']}"


def _mentions(answer: Answer) -> Iterator[tuple[str, Mention]]:
    """All of them with their places in the answer."""
    for number, person in enumerate(answer.subjects):
        yield f"subjects[{number}].noun", person.noun
        for i, attribute in enumerate(person.attributes):
            yield f"subjects[{number}].attributes[{i}]", attribute
    for number, thing in enumerate(answer.objects):
        yield f"objects[{number}]", thing
    if answer.background:
        yield "background", answer.background


def _wrong_boxes(answer: Answer, people: int) -> Iterator[str]:
    seen: dict[int, int] = {}
    for number, person in enumerate(answer.subjects):
        if not 1 <= person.box <= people:
            yield f"subjects[{number}].box: there is no box {person.box}, they count from 1 to {people}"
        elif (first := seen.setdefault(person.box, number)) != number:
            yield f"subjects[{number}].box: box {person.box} is subjects[{first}] already; a box is one person"


def _overlaps(places: Mapping[str, Chars], caption: str) -> Iterator[str]:
    for (first, a), (second, b) in combinations(places.items(), 2):
        if a[0] < b[1] and b[0] < a[1]:
            shared = caption[max(a[0], b[0]) : min(a[1], b[1])]
            yield f"{second}: shares {shared!r} in the caption with {first}; each place belongs to one entry"
