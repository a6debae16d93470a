"""Regions by rule and colours, on composites whose garments and places are known."""

import numpy as np
import pytest
from composites import Person, composite, swatch
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence, Track
from lumosx.evaluation.models import Models
from lumosx.vision import Face, crop
from lumosx.vision.rules import Colours, Regions

RED, BLUE, GREEN = (190, 40, 40), (40, 60, 180), (40, 140, 60)
BLACK, WHITE, YELLOW = (25, 25, 28), (240, 240, 238), (220, 190, 40)
PEOPLE = [
    Person("astronaut", RED, BLACK, GREEN, 0.2),
    Person("obama", BLUE, WHITE, YELLOW, 0.5),
    Person("biden", GREEN, BLUE, RED, 0.8),
]
PHRASES = {"hat": "a woollen hat", "top": "a jacket", "trousers": "a pair of trousers"}


def _body(frame: np.ndarray, face: Face) -> np.ndarray:
    """The person around a face, as metrics cut it."""
    models = Models(faces=None, identities={})  # pyright: ignore[reportArgumentType]
    evidence = Evidence(None, Clip(frame[None], 8), models)  # pyright: ignore[reportArgumentType]
    box = evidence.body(Track({0: face}), 0)
    assert box is not None
    part = crop(frame, box)
    assert part is not None
    return part


def _worn(frame: np.ndarray, person: Person, phrase: str) -> np.ndarray | None:
    """What Regions finds of a phrase on a person."""
    body = _body(frame, Face(person.box("face", frame.shape[1], 360), 1.0))
    (found,) = Regions().find(body, [phrase])
    return crop(body, found[0].box) if found else None


@pytest.mark.parametrize("height", [360, 300])
@pytest.mark.parametrize("person", PEOPLE, ids=lambda person: person.face)
def test_regions_lie_on_the_garments(person: Person, height: int) -> None:
    """Also where the frame ends above the knees."""
    frame = composite(PEOPLE)[:height]
    for part, phrase in PHRASES.items():
        region = _worn(frame, person, phrase)
        colour = getattr(person, part)
        assert region is not None
        share = (np.abs(region.astype(int) - colour).max(axis=2) < 30).mean()
        assert share > 0.9, f"{part} of {person.face}: {share:.0%} of the region is the garment"


def test_below_the_frame_nothing_is_found() -> None:
    frame = composite(PEOPLE)[:200]
    assert _worn(frame, PEOPLE[1], "blue jeans") is None
    assert _worn(frame, PEOPLE[1], "blue shirt") is not None


def test_other_things_are_anywhere() -> None:
    (found,) = Regions().find(np.zeros((70, 30, 3), np.uint8), ["a surfboard"])
    assert [one.box for one in found] == [(0, 0, 30, 70)]


def test_colours_tell_whose_garment_it_is() -> None:
    """The likeness of each garment's reference picture is largest on its owner, by a margin."""
    frame, colours = composite(PEOPLE), Colours()
    for part, phrase in PHRASES.items():
        references = colours.embed([swatch(part, getattr(person, part)) for person in PEOPLE])
        worn = colours.embed([region for p in PEOPLE if (region := _worn(frame, p, phrase)) is not None])
        likeness = references @ worn.T
        others = likeness[~np.eye(3, dtype=bool)]
        assert likeness.diagonal().min() > 0.8 and others.max() < 0.5, f"{part}: {likeness.round(2)}"


def test_a_shade_is_nearer_than_another_colour() -> None:
    red, darker, blue = Colours().embed([swatch("top", c) for c in (RED, (150, 30, 30), BLUE)])
    assert red @ darker > 0.7 > 0.3 > red @ blue


@settings(max_examples=25)
@given(st.integers(0, 60), st.tuples(*[st.integers(0, 225)] * 3))
def test_colours_do_not_see_padding(margin: int, colour: tuple[int, int, int]) -> None:
    patch = np.random.default_rng(0).integers(0, 20, (24, 24, 3), np.uint8) + np.array(colour, np.uint8)
    padded = np.pad(patch, ((margin, margin), (margin, 0), (0, 0)), constant_values=255)
    plain, with_margin = Colours().embed([patch, padded])
    assert np.linalg.norm(plain) == pytest.approx(1, abs=1e-5)
    assert with_margin == pytest.approx(plain, abs=1e-6)


def test_colours_see_white_that_is_all_or_inside() -> None:
    white = np.full((20, 20, 3), 255, np.uint8)
    framed = np.pad(white, ((5, 5), (5, 5), (0, 0)), constant_values=0)
    all_white, inside, black = Colours().embed([white, framed, np.zeros_like(white)])
    assert all_white @ inside > 0.5 > all_white @ black
    assert Colours().embed([]).shape == (0, len(all_white))
