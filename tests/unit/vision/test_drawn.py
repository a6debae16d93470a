"""Eyes for the playground: what follows from the true class of every pixel is what is true of the clip."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.playground.truth import Subject, Truth
from lumosx.vision import Question, drawn

SIZE = (144, 96)


@pytest.fixture(scope="module")
def training() -> ModuleType:
    path = Path(__file__).parents[3] / "scripts" / "train_eyes.py"
    spec = importlib.util.spec_from_file_location("train_eyes", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def seen(training: ModuleType) -> list[tuple[Truth, drawn.Reading, np.ndarray]]:
    """Clips, what perfect eyes see of them, and their pictures."""
    seeds = range(12)
    batch = training.labelled(seeds, SIZE)
    pictures = ((batch.frames + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()
    truths = [sample_truth(seed, training.SPLIT, SIZE, 1, Wishes(background=True)) for seed in seeds]
    return [
        (truth, drawn.Reading(labels.numpy(), np.ones(labels.shape), drawn.PLACES[place]), picture)
        for truth, labels, place, picture in zip(truths, batch.labels, batch.places, pictures, strict=True)
    ]


@pytest.fixture
def perfect(seen: list[Any], monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Adapters that see with perfect eyes."""
    known = {picture.tobytes(): reading for _, reading, picture in seen}
    monkeypatch.setattr(drawn, "read", lambda picture: known[picture.tobytes()])
    monkeypatch.setattr(drawn, "shipped", lambda name: Path(__file__))
    yield


def people_of(truth: Truth) -> list[Subject]:
    """From left to right in the first frame."""
    return sorted(truth.subjects, key=lambda subject: subject.slot)


def test_everybody_is_seen_with_what_is_worn(seen: list[Any]) -> None:
    for truth, reading, _ in seen:
        people = people_of(truth)
        assert [figure.noun for figure in reading.figures] == [person.word for person in people]
        for figure, person in zip(reading.figures, people, strict=True):
            assert {item.word for item in person.attributes} <= figure.worn.keys()
            x0, y0, x1, y1 = figure.box
            assert 0 <= x0 < x1 <= SIZE[0] and 0 <= y0 < y1 <= SIZE[1]
            assert x0 <= figure.face.box[0] and figure.face.box[2] <= x1


@pytest.mark.usefixtures("perfect")
def test_a_caption_names_everybody_and_the_answer_says_whose_is_what(seen: list[Any]) -> None:
    talker, right, worn, told = drawn.DrawnTalker(), 0, 0, 0
    for truth, reading, picture in seen:
        caption = talker.answer(Question([picture], "Describe."))
        boxes = [figure.box for figure in reading.figures]
        facts = {"caption": caption, "boxes": boxes}
        answer = json.loads(talker.answer(Question([picture], "Who?", schema={}, facts=facts)))
        people = people_of(truth)
        assert [subject["box"] for subject in answer["subjects"]] == list(range(1, len(people) + 1))
        quotes = [subject["noun"]["quote"] for subject in answer["subjects"]]
        assert all(quote in caption for quote in quotes) and len(set(quotes)) == len(quotes)
        if truth.background:
            assert answer["background"]["words"] == truth.background.word
        mine = {(n, item.word) for n, person in enumerate(people, 1) for item in person.attributes}
        said = {(each["box"], part["words"]) for each in answer["subjects"] for part in each["attributes"]}
        right, worn, told = right + len(mine & said), worn + len(mine), told + len(said)
    assert right == worn > 20  # nothing is missed
    assert told <= 1.1 * worn  # a bag that hangs before a neighbour may be told of both


@pytest.mark.usefixtures("perfect")
def test_what_a_phrase_names_is_found_and_filled(seen: list[Any]) -> None:
    phrases, segmenter, found = drawn.DrawnPhrases(), drawn.DrawnSegmenter(), 0
    for truth, reading, picture in seen:
        for item in (item for person in truth.subjects for item in person.attributes):
            (boxes,) = phrases.find(picture, [f"a {item.word}"])
            if sum(other.word == item.word for _, other in truth.attributes) == 1 and boxes:
                (mask,) = segmenter.segment(picture, [boxes[0].box])
                true = reading.mask(item.word)
                found += (mask & true).sum() > 0.5 * true.sum()
    assert found > 20
    assert phrases.find(seen[0][2], ["a nothing"]) == [[]]
    assert segmenter.segment(seen[0][2], []).shape == (0, SIZE[1], SIZE[0])


@pytest.mark.usefixtures("perfect")
def test_faces_of_one_person_are_alike_and_of_two_are_not(seen: list[Any]) -> None:
    identity, detector = drawn.DrawnIdentity(), drawn.DrawnFaces()
    for _, reading, picture in seen:
        faces = [figure.face for figure in reading.figures]
        assert {face.box for face in detector.detect(picture)} == {face.box for face in faces}
        vectors = identity.embed(picture, faces)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
        alike = vectors @ vectors.T
        np.fill_diagonal(alike, 0)
        assert (alike < 1).all()
    assert identity.embed(seen[0][2], []).shape == (0, drawn.BINS**3)


def test_a_piece_has_one_name_and_pieces_apart_have_their_own() -> None:
    cap, beanie, skirt = (drawn.CLASSES.index(word) for word in ("cap", "beanie", "skirt"))
    labels = np.array([[cap, cap, beanie, 0, beanie], [0, skirt, skirt, 0, beanie]])
    assert drawn.settled(labels).tolist() == [[cap, cap, cap, 0, beanie], [0, skirt, skirt, 0, beanie]]


def test_the_network_names_every_pixel_of_every_size() -> None:
    pixels, places = drawn.Eyes()(torch.zeros(2, 3, 96, 144))
    assert pixels.shape == (2, len(drawn.CLASSES), 96, 144) and places.shape == (2, len(drawn.PLACES))
