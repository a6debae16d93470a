"""From a scene's words to the tables of its layout, for every kind of entity."""

import re

import pytest
from PIL import Image
from tiny_models import tiny_tokenizer
from torch import Tensor

from lumosx.relations import Reference, bound_layout
from lumosx.scene import Binding, Scene

TOKENIZER = tiny_tokenizer()
LENGTH = 96
PROMPT = "A man in a white jacket with round glasses and a woman with a red hat hold a lamp on a street."


def picture(shade: int) -> Image.Image:
    return Image.new("RGB", (128, 128), (shade, 0, 0))


def binding(**changes: object) -> Binding:
    """A man without a face and with glasses in words alone; a woman with a face and a hat."""
    man = {
        "id": "man",
        "word": "man",
        "strength": 0.5,
        "attributes": [{"word": "white jacket", "image": picture(1), "strength": 0.4}, {"word": "round glasses"}],
    }
    woman = {
        "id": "woman",
        "word": "woman",
        "face": picture(2),
        "attributes": [{"word": "red hat", "image": picture(3)}],
    }
    things = {
        "objects": [{"word": "lamp", "image": picture(4), "strength": 2.0}],
        "background": {"word": "street", "image": picture(5)},
    }
    data = {"lumosx": 1, "prompt": PROMPT, "subjects": [man, woman], **things, **changes}
    return Scene.from_dict(data).bind(TOKENIZER, LENGTH)


def named(table: Tensor) -> list[str]:
    """The words of the prompt that each row of a table of tokens marks."""
    offsets = TOKENIZER(PROMPT, return_offsets_mapping=True)["offset_mapping"]
    words = [(word.group(), word.span()) for word in re.finditer(r"\w+", PROMPT)]
    rows = []
    for row in table:
        spans = [offsets[index] for index in row.nonzero().flatten().tolist()]
        rows.append([word for word, (start, stop) in words if any(a < stop and start < b for a, b in spans)])
    return [" ".join(row) for row in rows]


def test_roles_owners_and_strengths() -> None:
    layout = bound_layout(binding(), (2, 3, 4), LENGTH)
    assert layout.video == (2, 3, 4)
    assert list(layout.references) == [
        Reference("background"),
        Reference("object", strength=2.0),
        Reference("member", subject=0, strength=0.5 * 0.4),
        Reference("member", subject=1),
        Reference("member", subject=1),
    ]


def test_words_of_pictures_and_of_subjects_without_one() -> None:
    layout = bound_layout(binding(), (2, 3, 4), LENGTH)
    assert layout.words.shape == (5, LENGTH)
    assert named(layout.words) == ["street", "lamp", "white jacket", "woman", "red hat"]
    assert layout.subject_words is not None and layout.subject_words.shape == (2, LENGTH)
    assert named(layout.subject_words) == ["man round glasses", ""]


def test_the_jacket_is_bound_to_its_man_and_against_the_woman() -> None:
    """Equation (3): +1 on its subject's words, -1 on the other's, those without a picture too."""
    layout = bound_layout(binding(), (2, 3, 4), LENGTH)
    jacket, hat = layout.text_weights[2], layout.text_weights[4]
    assert named((jacket > 0)[None]) == ["man white jacket round glasses"]
    assert named((jacket < 0)[None]) == ["woman red hat"]
    assert named((hat > 0)[None]) == ["woman red hat"]
    assert named((hat < 0)[None]) == ["man white jacket round glasses"]


def test_no_words_without_a_picture_no_table() -> None:
    woman = {"id": "woman", "word": "woman", "face": picture(2)}
    assert bound_layout(binding(subjects=[woman]), (2, 3, 4), LENGTH).subject_words is None


@pytest.mark.parametrize(
    "changed", [{"r2pe": False}, {"csam": False}, {"mcam_ratio": 0.3}, {"mcam_ratio": 0.0}, {"rules": "release"}]
)
def test_switches_reach_the_layout(changed: dict) -> None:
    plain = {"r2pe": True, "csam": True, "mcam_ratio": None, "rules": "paper"}
    layout = bound_layout(binding(), (2, 3, 4), LENGTH, **changed)
    assert {name: getattr(layout, name) for name in plain} == plain | changed
