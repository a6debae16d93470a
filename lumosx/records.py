"""The clip record: a scene together with its video, which curation writes and training reads.

One schema for a folder of own clips, JSON lines, Parquet and WebDataset shards. A record is a scene with several
pictures an entity: ids, words and pictures follow the scene format, and the caption is a prompt as a scene states it
(`{man:ben}` says whom a word names; literal braces are doubled). A list of one word or number is kept as that word or
number, scores and meta by name, so that equal records have equal bytes.
"""

import difflib
import json
import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from lumosx.errors import InputError
from lumosx.fields import legal_keys

VERSION = "lumosx.clips/1"
ID_PATTERN = r"[A-Za-z0-9._-]{1,80}"  # of a scene

Choose = Callable[[list["Picture"]], Any]  # the scene's `image` for an entity with these pictures, or None


class RecordError(InputError):
    """A record cannot be used. `problems` says every reason, each with its place inside the record."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))

    def __reduce__(self) -> tuple[type, tuple[list[str]]]:
        return type(self), (self.problems,)


def _id(value: str) -> str:
    if re.fullmatch(ID_PATTERN, value) and value.strip("."):
        return value
    raise ValueError(f"{value!r} is no legal id: 1 to 80 of A-Z a-z 0-9 . _ -")


def _member(value: str) -> str:
    plain = "\0" not in value and "\\" not in value and posixpath.normpath(value) == value
    if plain and not value.startswith("/") and value.split("/")[0] not in (".", ".."):
        return value
    raise ValueError(f"{value!r} is no path inside the data set, such as clips/a.mp4 (no leading /, no ., no ..)")


def _caption(value: str) -> str:
    if value.strip():
        return value
    raise ValueError("the caption is empty; describe the clip in it")


def _word(value: Any) -> Any:
    words = value if isinstance(value, list) else [value]
    if words and all(isinstance(word, str) and word.strip() for word in words):
        return words[0] if len(words) == 1 else words
    raise ValueError(f"a word is text that occurs in the caption, or a list of such texts, not {value!r}")


def _occurrence(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(type(number) is int and number >= 1 for number in numbers):
        return numbers[0] if len(numbers) == 1 else numbers
    raise ValueError(f"occurrence counts from 1: a whole number or a list of them, not {value!r}")


def _box(value: Any) -> Any:
    box = tuple(value) if isinstance(value, list | tuple) else ()
    if len(box) == 4 and all(type(number) is int for number in box) and 0 <= box[0] < box[2] and 0 <= box[1] < box[3]:
        return box
    raise ValueError("crop is [x0, y0, x1, y1] in whole pixels with 0 <= x0 < x1 and 0 <= y0 < y1")


def _by_name(value: dict[str, Any]) -> dict[str, Any]:
    return dict(sorted(value.items()))


Id = Annotated[str, AfterValidator(_id)]
Member = Annotated[str, AfterValidator(_member)]
Word = Annotated[str | list[str], BeforeValidator(_word)]
Occurrence = Annotated[int | list[int], BeforeValidator(_occurrence)]
Box = tuple[int, int, int, int]
Count = Annotated[int, Field(ge=1)]


class Model(BaseModel):
    """Strict: no unknown keys, no silent conversion ("16" is not 16), no changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Picture(Model):
    """A reference picture. `frame` is the clip's own frame that it was cut from; None: it comes from elsewhere."""

    image: Member
    frame: Annotated[int, Field(ge=0)] | None = None
    crop: Annotated[Box, BeforeValidator(_box)] | None = None  # [x0, y0, x1, y1] in pixels
    fit: Literal["pad", "crop"] | None = None  # None: "pad"
    pad: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")] = "#ffffff"

    def in_scene(self, image: Any) -> dict[str, Any]:
        """The picture field of a scene: `image` (a path or a PIL image), cut and fitted as this record says."""
        crop = {} if self.crop is None else {"crop": list(self.crop)}
        return {"image": image, **crop, **self.model_dump(include={"fit", "pad"}, exclude_defaults=True)}


class Part(Model):
    """A background or an attribute, with all its pictures. An attribute may have none."""

    word: Word
    occurrence: Occurrence | None = None
    pictures: list[Picture] = []


class Thing(Part):
    """An object that belongs to nobody; the caption may name it by its id."""

    id: Id | None = None


class Person(Model):
    """Somebody with pictures of the face, attributes, or both."""

    id: Id
    word: Word | None = None
    occurrence: Occurrence | None = None
    faces: list[Picture] = []
    attributes: list[Part] = []

    @model_validator(mode="after")
    def _complete(self) -> "Person":
        if not self.faces and not self.attributes:
            raise ValueError(f"{self.id} has neither `faces` nor `attributes`; give one of them")
        if self.word is None and (self.faces or self.occurrence):
            raise ValueError(f"{self.id} needs a `word`: what the caption calls this person")
        return self


class ClipRecord(Model):
    """A clip: its video, its caption, and pictures of everything that the caption binds.

    `video` and the pictures are names inside the data set. `frames` and `fps` are those of the stored video, `width`
    and `height` as it is shown. `scores` are what curation measured; `meta` (source, licence, consent ...) is for
    people and never read.
    """

    version: Literal["lumosx.clips/1"] = VERSION
    id: Id
    video: Member
    caption: Annotated[str, Field(max_length=8000), AfterValidator(_caption)]
    width: Count
    height: Count
    frames: Count
    fps: Annotated[float, Field(gt=0)]
    split: Literal["train", "validation"] = "train"
    background: Part | None = None
    objects: list[Thing] = []
    subjects: list[Person] = []
    scores: Annotated[dict[str, float], AfterValidator(_by_name)] = {}
    meta: Annotated[dict[str, str], AfterValidator(_by_name)] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "ClipRecord":
        names = [subject.id for subject in self.subjects]
        if len(set(names)) < len(names):
            raise ValueError(f"two subjects have one id ({', '.join(names)}); give each its own")
        for picture in self.pictures():
            if picture.frame is not None and picture.frame >= self.frames:
                raise ValueError(f"{picture.image!r} is of frame {picture.frame}, but the clip has {self.frames}")
        return self

    @classmethod
    def from_dict(cls, data: Any) -> "ClipRecord":
        """A record from plain data.

        Raises:
            RecordError: something is wrong; it carries every problem.
        """
        if isinstance(data, dict) and data.get("version", VERSION) != VERSION:
            raise RecordError([f"this program reads records of version {VERSION!r}, not {data['version']!r}"])
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise RecordError([_described(problem) for problem in error.errors(include_url=False)]) from None

    def to_dict(self) -> dict[str, Any]:
        """As plain data, the version first, without what says nothing."""
        return {"version": self.version} | self.model_dump(exclude_defaults=True)

    def to_json(self) -> str:
        """One line of JSON, the same for equal records."""
        return json.dumps(self.to_dict(), ensure_ascii=False)

    def pictures(self) -> Iterator[Picture]:
        """Every picture, in the order of a scene's entities: background, objects, each subject's."""
        for part in [*([self.background] if self.background else []), *self.objects]:
            yield from part.pictures
        for subject in self.subjects:
            yield from subject.faces
            for part in subject.attributes:
                yield from part.pictures

    def media(self) -> list[str]:
        """The names of all files that the record needs, the video first, each once."""
        return list(dict.fromkeys([self.video, *(picture.image for picture in self.pictures())]))

    def scene(self, choose: Choose) -> dict[str, Any]:
        """The record in the scene format, with one picture an entity.

        Args:
            choose: gets the pictures of an entity that has some and gives what shall stand as the scene's picture:
                a path, a PIL image, or `Picture.in_scene` of one; None: the entity goes without.

        An attribute without a picture stays as words. A background, an object or a person of whom nothing is left
        is left out.
        """
        scene: dict[str, Any] = {"lumosx": 1, "id": self.id, "prompt": self.caption}
        if self.background and "image" in (background := _placed(self.background, choose)):
            scene["background"] = background
        objects = [_placed(thing, choose) for thing in self.objects]
        subjects = [_person(subject, choose) for subject in self.subjects]
        scene["objects"] = [thing for thing in objects if "image" in thing]
        scene["subjects"] = [subject for subject in subjects if "face" in subject or subject["attributes"]]
        return scene


def _placed(part: Part, choose: Choose) -> dict[str, Any]:
    image = choose(part.pictures) if part.pictures else None
    stated = part.model_dump(exclude={"pictures"}, exclude_none=True)
    return stated if image is None else stated | {"image": image}


def _person(person: Person, choose: Choose) -> dict[str, Any]:
    face = choose(person.faces) if person.faces else None
    stated = person.model_dump(include={"id", "word", "occurrence"}, exclude_none=True)
    if face is not None:
        stated["face"] = face
    return stated | {"attributes": [_placed(part, choose) for part in person.attributes]}


def _described(problem: Any) -> str:
    """A problem that pydantic found: where in the record, what, and for a misspelt key the right one."""
    path = list(problem["loc"])
    place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")
    if problem["type"] == "extra_forbidden":
        known = legal_keys(ClipRecord, path[:-1])
        best = difflib.get_close_matches(str(path[-1]), known, 1)
        return f"{place}: unknown key; " + (f"did you mean `{best[0]}`?" if best else f"known: {', '.join(known)}")
    if problem["type"] == "missing":
        return f"{place}: is missing; add it"
    text = problem["msg"].removeprefix("Value error, ")
    shown = "" if problem["type"] == "value_error" else f", not {repr(problem['input'])[:60]}"
    return f"{place}: {text}{shown}".removeprefix(": ")
