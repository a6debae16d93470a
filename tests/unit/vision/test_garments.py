"""Words for garments: what takes whose place, and where it is."""

import pytest

from lumosx.vision.garments import PARTS, SLOTS, part, slot


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("a red T-shirt", "top"),
        ("black leather jacket", "outer"),
        ("blue jeans", "bottom"),
        ("a pair of blue jeans", "bottom"),
        ("a pair of skis", "skis"),
        ("a bag of shoes", "carried"),
        ("suit trousers", "bottom"),
        ("Dress with a white scarf", "dress"),
        ("evening dresses", "dress"),
        ("a jacket with a hood", "outer"),
        ("a black and white shirt.", "top"),
        ("a hat and a scarf", "head"),
        ("in a coat", "outer"),
        ("two Hats", "head"),
        ("shirt collar", "top"),
        ("that chat", "chat"),
        ("silver lantern", "lantern"),
        ("lantern with a scarf", "lantern"),
        ("a black and white lantern", "lantern"),
        ("lantern", "lantern"),
        ("", ""),
    ],
)
def test_the_slot_is_that_of_the_garment_and_else_the_word_itself(phrase: str, expected: str) -> None:
    assert slot(phrase) == expected


@pytest.mark.parametrize(
    ("phrase", "expected"),
    [
        ("two Hats", "head"),
        ("a T-shirt", "chest"),
        ("in a coat", "chest"),
        ("evening dresses", "chest"),
        ("a woollen scarf", "chest"),
        ("a pair of blue jeans", "legs"),
        ("sunglasses", None),
        ("boots", None),
        ("guitar", None),
    ],
)
def test_the_part_is_what_a_garment_covers(phrase: str, expected: str | None) -> None:
    assert part(phrase) == expected


def test_a_word_is_in_one_slot_and_parts_are_of_slots() -> None:
    words = [word for listed in SLOTS.values() for word in listed.split()]
    assert len(set(words)) == len(words)
    assert PARTS.keys() <= SLOTS.keys()
