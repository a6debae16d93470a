"""Rendered clips as a data set: people and programs find in it what is true of the clips."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from clips_in_memory import reading
from PIL import Image

from lumosx.data.batch import Bucket
from lumosx.data.examples import Example
from lumosx.data.rendered import SHOWN, SPACE, write_clip_folder, write_index
from lumosx.data.sampler import Pick
from lumosx.data.source import Records
from lumosx.data.store import Store, open_store
from lumosx.pipelines.video import read_clip
from lumosx.playground import Clips, Truth, World
from lumosx.scene import Scene


@pytest.fixture(scope="module")
def clips() -> Clips:
    """Six clips of two or three people; two of a clip may share their noun."""
    world = World()
    some = [world.render([20, 21, 22], subjects=2, same_noun=True), world.render([23, 24, 25], subjects=3)]
    return world.draw([truth for drawn in some for truth in drawn.truth])


@pytest.fixture(scope="module")
def folder(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "world"
    for index in range(len(clips)):
        write_clip_folder(clips, index, folder, 128)
    write_index(folder)
    return folder


@pytest.fixture(scope="module")
def store(folder: Path) -> Store:
    return open_store(folder)


def owners(data: dict[str, Any]) -> set[tuple[str, str, str]]:
    """(kind, word, owner) of all that somebody is or wears, by a caption's mentions."""
    mentions = [mention for mention in data["mentions"] if mention["owner"] is not None]
    return {(mention["kind"], mention["text"].lower(), mention["owner"]) for mention in mentions}


def test_scenes_are_sound_and_take_the_pictures_of_the_records(folder: Path, store: Store) -> None:
    for record in store.records:
        scene = Scene.load(folder / record.id / "scene.yaml", sandbox=True)
        assert scene.check() == []
        pictures = [f"{record.id}/{image}" for image in _images(scene.to_dict())]
        assert record.media() == [f"{record.id}/clip.mp4", *pictures]
        assert all(Image.open(folder / name).height == 128 for name in pictures)


def _images(scene: Any) -> list[str]:
    """Every picture's path in a scene as written, in the order of records."""
    things = [*([scene["background"]] if "background" in scene else []), *scene.get("objects", [])]
    people = [path for person in scene["subjects"] for path in (person["face"], *map(_image, person["attributes"]))]
    return [*map(_image, things), *people]


def _image(entry: dict[str, Any]) -> str:
    return entry["image"]


def test_captions_say_whose_every_word_is(folder: Path, clips: Clips) -> None:
    for truth, path in zip(clips.truth, sorted(folder.glob("*/caption.json")), strict=True):
        data = json.loads(path.read_text())
        assert all(data["caption"][slice(*mention["span"])] == mention["text"] for mention in data["mentions"])
        worn = {("attribute", item.word, truth.subjects[index].id) for index, item in truth.attributes}
        assert owners(data) == worn | {("face", subject.word, subject.id) for subject in truth.subjects}
        assert _tagged(truth) == [
            (mention["text"], mention["owner"]) for mention in data["mentions"] if mention["kind"] == "face"
        ]
        for subject, item, numbers in _numbered(data, truth):
            assert item.occurrence in (None, numbers), (subject, item)


def _tagged(truth: Truth) -> list[tuple[str, str]]:
    """(word, owner) of every {word:owner} of the prompt, in order."""
    tags = [part.split("}")[0].split(":") for part in truth.prompt.split("{")[1:]]
    return [(word, owner) for word, owner in tags]


def _numbered(data: dict[str, Any], truth: Truth) -> list[tuple[str, Any, tuple[int, ...]]]:
    """Every attribute with the numbers of its mentions among those of its word."""
    by_word: dict[str, list[str]] = defaultdict(list)
    for mention in data["mentions"]:
        by_word[mention["text"].lower()].append(mention["owner"])
    found = []
    for index, item in truth.attributes:
        own = truth.subjects[index].id
        numbers = [number for number, owner in enumerate(by_word[item.word], start=1) if owner == own]
        found.append((own, item, tuple(numbers)))
    return found


def test_training_reads_the_rendered_clips_and_their_owners(store: Store, clips: Clips, text_encoder: Path) -> None:
    bucket = Bucket(*World.size, World.frames)
    how = replace(reading(text_encoder, shuffle=False, buckets=[str(bucket)]), text_length=200)
    source = Records(how, store)
    for index, truth in enumerate(clips.truth):
        (example,) = source.read([Pick(f"{index}#0", index, 0)], bucket)
        assert isinstance(example, Example)
        drawn = torch.from_numpy(clips.frames(index)).permute(3, 0, 1, 2)
        assert int((example.video.int() - drawn.int()).abs().max()) <= 2
        scene = clips.scene(index)
        assert example.layout == how.layout(how.bind(scene, "drawn", (0, "")), bucket)
        members = [row.subject for row in example.layout.references if row.subject is not None]
        assert members == [n for n, subject in enumerate(truth.subjects) for _ in range(1 + len(subject.attributes))]
        assert (example.references - clips.references[index]).abs().mean() < 0.05  # drawn larger, then made smaller


def test_the_video_is_nearly_lossless_and_the_strip_is_exact(folder: Path, clips: Clips) -> None:
    width, height = World.size
    for index, clip in enumerate(sorted(folder.glob("*/clip.mp4"))):
        drawn = clips.frames(index).astype(float)
        played = read_clip(clip, height, width)
        assert 10 * np.log10(255**2 / ((drawn - played) ** 2).mean()) > 50
        times = -(-SHOWN // height)
        strip = np.asarray(Image.open(clip.with_name("frames.png")))
        step = width * times + SPACE
        shown = [strip[::times, n * step : n * step + width * times : times] for n in range(World.frames)]
        assert (np.stack(shown) == drawn).all()
