"""A scene whose references are nobody's own: the same pictures and words, and no way to tell groups."""

import torch

from lumosx.data.rows import scattered
from lumosx.playground import World
from lumosx.scene import Scene

CLIPS = World((32, 32), 1).render(range(6), subjects=3)


def scenes(seed: int) -> list[tuple[dict, dict]]:
    found = []
    for index in range(len(CLIPS)):
        scene = CLIPS.scene(index, picture_size=32)
        found.append((scene, scattered(scene, torch.Generator().manual_seed(seed))))
    return found


def owned(scene: dict) -> list[tuple[str, bytes]]:
    """Word and picture of everything that a subject or the scene has."""
    pictures = [(thing["word"], thing["image"].tobytes()) for thing in scene.get("objects", [])]
    for subject in scene.get("subjects", []):
        pictures.append((subject["word"], subject["face"].tobytes()))
        pictures += [(item["word"], item["image"].tobytes()) for item in subject["attributes"]]
    return pictures


def test_keeps_every_picture_with_its_word_and_nobody_who_owns_one() -> None:
    for scene, loose in scenes(0):
        assert "subjects" not in loose
        assert sorted(owned(loose)) == sorted(owned(scene))
        assert loose["prompt"] == scene["prompt"] and loose.get("background") == scene.get("background")


def test_the_scattered_scene_is_sound_and_each_word_is_found() -> None:
    for scene, loose in scenes(1):
        whole, bound = Scene.from_dict(scene), Scene.from_dict(loose)
        assert not [message for message in bound.check() if message.severity == "error"]
        assert all(entity.subject is None for entity in bound.entities)
        spans = sorted((entity.words, entity.spans) for entity in whole.entities)
        assert sorted((entity.words, entity.spans) for entity in bound.entities) == spans


def test_the_order_is_drawn() -> None:
    orders = {tuple(word for word, _ in owned(scenes(seed)[0][1])) for seed in range(8)}
    assert len(orders) > 4
