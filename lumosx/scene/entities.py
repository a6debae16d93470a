"""Lists a scene's entities in token order: background, objects, then per subject its face and attributes.

`Declared` is an entity as written; `Entity` is the same after its words were found in the prompt.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from lumosx.scene.images import ImageSpec
from lumosx.scene.messages import Path
from lumosx.scene.spec import Fit, ImageField, SceneSpec, Subject, phrases
from lumosx.scene.text import Span, clean_text

Kind = Literal["background", "object", "face", "attribute"]


@dataclass(frozen=True)
class Entity:
    """One thing the scene binds. Without an image it has words but no tokens (a text-only attribute)."""

    id: str
    kind: Kind
    subject: int | None
    words: tuple[str, ...]
    spans: tuple[Span, ...]
    strength: float
    image: ImageSpec | None = field(repr=False)


@dataclass(frozen=True)
class Declared:
    """An entity as written. `names` are what an inline tag may call it; `path` is where it stands."""

    id: str
    kind: Kind
    subject: int | None
    words: tuple[str, ...]
    occurrence: tuple[int, ...] | None
    strength: float
    picture: ImageField | None
    path: Path
    names: tuple[str, ...]
    fit: Fit | None = None

    @property
    def owner(self) -> object:
        """Entities with the same owner share one binding: a subject's members; else each stands alone."""
        return self.id if self.subject is None else self.subject

    @property
    def shown(self) -> str:
        """Its picture's path for messages."""
        picture = self.picture.image if self.picture is not None else None
        return picture if isinstance(picture, str) else f"<image of {self.id}>"

    @property
    def image_path(self) -> Path:
        """Where its picture is stated."""
        return (*self.path, "face" if self.kind == "face" else "image")


def declared_entities(spec: SceneSpec) -> tuple[Declared, ...]:
    """Every entity of the scene in token order, with an id that is unique in the scene."""
    taken: set[str] = set()
    return tuple(_unique(entity, taken) for entity in _entities(spec))


def _unique(entity: Declared, taken: set[str]) -> Declared:
    """Two attributes with the same word get `ben.scarf` and `ben.scarf#2`."""
    name, number = entity.id, 1
    while name in taken:
        number += 1
        name = f"{entity.id}#{number}"
    taken.add(name)
    if name == entity.id:
        return entity
    names = tuple(n for n in entity.names if n != entity.id)
    return Declared(**{**vars(entity), "id": name, "names": (*names, name)})


def _entities(spec: SceneSpec) -> Iterator[Declared]:
    if (place := spec.background) is not None:
        yield Declared(
            "background", "background", None, _cleaned(place.word), _numbers(place.occurrence),
            place.strength, place.image, ("background",), ("background",), place.fit,
        )  # fmt: skip
    for index, thing in enumerate(spec.objects):
        words = _cleaned(thing.word)
        name = thing.id or words[0]
        yield Declared(
            name, "object", None, words, _numbers(thing.occurrence), thing.strength,
            thing.image, ("objects", index), (name,),
        )  # fmt: skip
    for index, subject in enumerate(spec.subjects):
        yield from _members(index, subject)


def _members(index: int, subject: Subject) -> Iterator[Declared]:
    path: Path = ("subjects", index)
    if subject.face is not None or subject.word is not None:
        name = f"{subject.id}.face"
        yield Declared(
            name, "face", index, _cleaned(subject.word), _numbers(subject.occurrence), subject.strength,
            subject.face, path, (subject.id, name),
        )  # fmt: skip
    for number, part in enumerate(subject.attributes):
        words = _cleaned(part.word)
        name = f"{subject.id}.{words[0]}"
        yield Declared(
            name, "attribute", index, words, _numbers(part.occurrence), subject.strength * part.strength,
            part.image, (*path, "attributes", number), (name,),
        )  # fmt: skip


def _cleaned(word: str | list[str] | None) -> tuple[str, ...]:
    """The same cleaning as the prompt's, each phrase once."""
    return tuple(dict.fromkeys(clean_text(phrase) for phrase in phrases(word)))


def _numbers(occurrence: int | list[int] | None) -> tuple[int, ...] | None:
    if occurrence is None:
        return None
    return (occurrence,) if isinstance(occurrence, int) else tuple(occurrence)
