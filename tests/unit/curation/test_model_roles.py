"""Every model that curation can be told to use has the methods by which its role is asked, seen from its class alone:
none is made, so no weights are needed."""

import dis
import importlib
import inspect
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cached_property
from typing import Any, get_type_hints

import pytest

from lumosx.curation.models import MODELS, REGISTRY, Profile
from lumosx.curation.pipeline import STAGES
from lumosx.vision import HasCard, ModelCard

ROLES = [each.name for each in fields(Profile) if each.name not in REGISTRY.others]
PLACES = [(role, name) for role in ROLES for name, entry in MODELS.items() if role in entry.roles]


def protocols() -> dict[str, set[Any]]:
    """By role, what the stages that ask it say that it is."""
    found: dict[str, set[Any]] = {}
    for kind in STAGES:
        hints = get_type_hints(kind)
        for each in fields(kind):
            if "role" in each.metadata:
                found.setdefault(each.metadata["role"], set()).add(hints[each.name])
    return found


def adapter(name: str) -> type:
    """The class of which the registry makes a model."""
    module, _, kind = MODELS[name].adapter.rpartition(".")
    return getattr(importlib.import_module(f"lumosx.{module}"), kind)


def lacks(kind: type, protocol: type) -> Iterator[str]:
    """What a class has not, or has under another name, of a protocol."""
    for name, wanted in members(protocol):
        own = getattr(kind, name, None)
        if isinstance(wanted, property):
            if own is None and name not in assigned(kind):
                yield f"no {name}"
        elif not callable(own):
            yield f"no {name}()"
        else:
            asked, taken = parameters(wanted), parameters(own)
            if [each.name for each in asked] != [each.name for each in taken[: len(asked)]]:
                yield f"{name}{inspect.signature(own)} instead of {name}{inspect.signature(wanted)}"
            if any(each.kind is not each.POSITIONAL_OR_KEYWORD for each in taken[: len(asked)]):
                yield f"{name}() takes its parameters otherwise"
            if any(each.default is each.empty for each in taken[len(asked) :]):
                yield f"{name}() needs more than it is given"


def members(protocol: type) -> Iterator[tuple[str, Any]]:
    """The methods and properties of a protocol and its bases."""
    for base in protocol.__mro__:
        for name, value in vars(base).items():
            if not name.startswith("_"):
                yield name, value


def parameters(method: Callable[..., Any]) -> list[inspect.Parameter]:
    """Without the first, which is self."""
    return list(inspect.signature(method).parameters.values())[1:]


def assigned(kind: type) -> set[str]:
    """The attributes that the constructors of a class and its bases set."""
    made = [vars(base)["__init__"] for base in kind.__mro__[:-1] if inspect.isfunction(vars(base).get("__init__"))]
    return {step.argval for each in made for step in dis.get_instructions(each) if step.opname == "STORE_ATTR"}


def test_every_role_is_asked_by_a_stage_as_one_protocol() -> None:
    asked = protocols()
    assert asked.keys() == set(ROLES)
    assert all(len(kinds) == 1 for kinds in asked.values())


def test_every_role_can_be_filled_and_every_model_fills_one() -> None:
    assert {role for role, _ in PLACES} == set(ROLES)
    assert {name for _, name in PLACES} == set(MODELS)
    assert {role for entry in MODELS.values() for role in entry.roles} <= set(ROLES)


@pytest.mark.parametrize(("role", "name"), PLACES)
def test_a_model_answers_as_its_role_is_asked(role: str, name: str) -> None:
    (protocol,) = protocols()[role]
    wanted = [member for member, _ in members(protocol)]
    assert "card" in wanted and len(wanted) > 1
    assert not [*lacks(adapter(name), protocol)]


class Asked(HasCard):
    """As a role's protocol is."""

    def paint(self, picture: bytes, mask: bytes) -> bytes: ...


class Whole:
    """Has all, and more that nobody needs to know."""

    def __init__(self) -> None:
        self.card = ModelCard("", "", "", "", True)

    def paint(self, picture: bytes, mask: bytes, steps: int = 4) -> bytes:
        return picture[:steps] + mask


class Heir(Whole):
    """With all that it inherits."""

    def __init__(self) -> None:
        super().__init__()


class Late(Whole):
    """Makes its card when it is asked for it, and has no other."""

    def __init__(self) -> None: ...

    @cached_property
    def card(self) -> ModelCard:  # pyright: ignore[reportIncompatibleVariableOverride]
        return ModelCard("", "", "", "", True)


class WithoutCard:
    """Only reads what it should set."""

    def __init__(self, other: Any) -> None:
        self.name = other.card.name

    def paint(self, picture: bytes, mask: bytes) -> bytes:
        return picture + mask


class WithoutMethod(Late):
    """Another method has taken its place."""

    paint = None  # pyright: ignore[reportAssignmentType]

    def fill(self, picture: bytes, mask: bytes) -> bytes:
        return picture + mask


class Renamed(Late):
    """A parameter has another name."""

    def paint(self, picture: bytes, hole: bytes) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return picture + hole


class Exchanged(Late):
    """Parameters have another order."""

    def paint(self, mask: bytes, picture: bytes) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return picture + mask


class Fewer(Late):
    """A parameter is missing."""

    def paint(self, picture: bytes) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return picture


class More(Late):
    """A parameter is wanted that nobody gives."""

    def paint(self, picture: bytes, mask: bytes, steps: int) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return picture[:steps] + mask


class ByName(Late):
    """A parameter is taken by its name alone."""

    def paint(self, picture: bytes, *, mask: bytes) -> bytes:  # pyright: ignore[reportIncompatibleMethodOverride]
        return picture + mask


@pytest.mark.parametrize("kind", [Whole, Heir, Late])
def test_what_a_role_needs_is_found(kind: type) -> None:
    assert not [*lacks(kind, Asked)]


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (WithoutCard, "no card"),
        (WithoutMethod, "no paint()"),
        (Renamed, "hole: bytes) -> bytes instead of paint"),
        (Exchanged, "mask: bytes, picture: bytes) -> bytes instead of paint"),
        (Fewer, "picture: bytes) -> bytes instead of paint"),
        (More, "paint() needs more than it is given"),
        (ByName, "paint() takes its parameters otherwise"),
    ],
    ids=lambda each: each.__name__ if isinstance(each, type) else "",
)
def test_what_a_role_lacks_is_told(kind: type, problem: str) -> None:
    (told,) = lacks(kind, Asked)
    assert problem in told
