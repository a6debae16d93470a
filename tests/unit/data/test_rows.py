"""Which references a sample has, and in which order: words stay with their owners."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from clips_in_memory import load_tokenizer, two_men
from PIL import Image

from lumosx.data.keyed import keyed_generator
from lumosx.data.rows import shuffled, with_references
from lumosx.relations import bound_layout
from lumosx.scene import Binding, Scene


def bind(text_encoder: Path, scene: dict[str, Any]) -> Binding:
    return Scene.from_dict(scene).bind(load_tokenizer(text_encoder), 96)


def test_shuffling_takes_words_without_pictures_along(text_encoder: Path) -> None:
    scene = two_men().scene(lambda pictures: None if "glasses" in pictures[0].image else stand_in(pictures[0].image))
    binding = bind(text_encoder, scene)
    assert binding.subject_words is not None and binding.subject_words[0] and not binding.subject_words[1]
    owners = set()
    for visit in range(8):
        mixed = shuffled(binding, keyed_generator(0, visit, "shuffle"))
        ben = next(entity.subject for entity in mixed.references if entity.id == "ben.face")
        assert mixed.subject_words is not None and ben is not None
        assert mixed.subject_words[ben] == binding.subject_words[0] and not mixed.subject_words[1 - ben]
        owners.add(ben)
    assert owners == {0, 1}


@pytest.mark.parametrize("lost", [{"ben.png"}, {"hat_carl.png"}, {"ben.png", "glasses.png", "carl.png", "hat_ben.png"}])
def test_a_lost_member_is_as_in_a_scene_without_its_picture(text_encoder: Path, lost: set[str]) -> None:
    record = two_men(subjects=[person | {"faces": [{"image": f"{person['id']}.png"}]} for person in people()])
    whole = bind(text_encoder, record.scene(lambda pictures: stand_in(pictures[0].image)))
    layout = bound_layout(whole, (3, 4, 4), 96)
    rows = [row for row, picture in enumerate(record.pictures()) if picture.image not in lost]
    partly = record.scene(lambda pictures: None if pictures[0].image in lost else stand_in(pictures[0].image))
    without = bind(text_encoder, partly)
    expected = bound_layout(without, (3, 4, 4), 96)
    found = with_references(layout, rows)
    assert found == expected and torch.equal(found.text_weights, expected.text_weights)


def test_a_lost_object_is_as_in_a_scene_without_it(text_encoder: Path) -> None:
    whole = bound_layout(bind(text_encoder, two_men().scene(lambda p: stand_in(p[0].image))), (3, 4, 4), 96)
    bare = two_men(objects=[], background=None).scene(lambda p: stand_in(p[0].image))
    assert with_references(whole, range(2, 7)) == bound_layout(bind(text_encoder, bare), (3, 4, 4), 96)


def people() -> list[dict[str, Any]]:
    return two_men().to_dict()["subjects"]


def stand_in(name: str) -> Image.Image:
    """A picture of its own for every name."""
    return Image.new("RGB", (1, 1), tuple(hashlib.sha256(name.encode()).digest()[:3]))
