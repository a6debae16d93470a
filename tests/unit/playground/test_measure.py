"""The measure: it reads the truth in true clips, chance where owners are random, and faults of faces and places.

Faults of attributes are planted in test_planted_faults.py.
"""

import random
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from lumosx.errors import InputError
from lumosx.playground import Reading, Truth, World, binding_accuracy, read_clip
from lumosx.playground.looks import FAMILIES
from lumosx.playground.matching import blur
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.playground.truth import Attribute

WORLD = World()


def sampled(clips: int, subjects: int = 2, same_noun: bool | None = None, placed: bool | None = None) -> list[Truth]:
    wishes = Wishes(subjects, placed, same_noun)
    return [sample_truth(seed, "measure", WORLD.size, WORLD.frames, wishes) for seed in range(clips)]


PAIRS = sampled(20)


def read(truths: Sequence[Truth], shown: Sequence[Truth] | None = None, *, soft: bool = False) -> list[Reading]:
    """Readings against `truths` of clips that show `shown`, `soft` ones blurred by a pixel and noisy."""
    clips = WORLD.draw(shown or truths)
    if soft:
        frames = blur(clips.video.transpose(1, 2).flatten(0, 1), 1.0)
        frames = frames + 0.06 * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
        video = frames.clamp(-1, 1).unflatten(0, (len(clips), WORLD.frames)).transpose(1, 2)
        clips = replace(clips, video=video)
    return [read_clip(clips.frames(index), truth) for index, truth in enumerate(truths)]


def wearing(truth: Truth, worn: list[list[Attribute]]) -> Truth:
    """The clip with other attributes on its subjects."""
    subjects = [replace(s, attributes=tuple(items)) for s, items in zip(truth.subjects, worn, strict=True)]
    return truth.with_subjects(subjects)


def shuffled(truth: Truth, chance: random.Random) -> Truth:
    """Each family's attributes on random subjects, at most one on each."""
    worn: list[list[Attribute]] = [[] for _ in truth.subjects]
    for family in FAMILIES:
        items = [item for _, item in truth.attributes if item.family == family]
        for owner, item in zip(chance.sample(range(len(worn)), len(items)), items, strict=True):
            worn[owner].append(item)
    return wearing(truth, worn)


def test_true_clips_score_one() -> None:
    readings = read(PAIRS)
    assert all(reading.all_ok for reading in readings)
    estimate = binding_accuracy(readings)
    assert estimate.mean == 1.0 and estimate.n == sum(len(truth.attributes) for truth in PAIRS)
    for reading, truth in zip(readings, PAIRS, strict=True):
        assert set(reading.verdicts) <= {"right"} and len(reading.verdicts) == len(truth.attributes)
        assert reading.slots == [subject.slot for subject in truth.subjects]
        assert reading.placed is (True if truth.placed else None)
        assert reading.object_ok is (None if truth.object is None else True)
        assert (reading.background_likeness or 1) > 0.75 and (truth.background or not reading.background_likeness)
        assert min(reading.identity) > 0.5 and all(value > 0.3 for value in reading.attribute_likeness)


def test_soft_and_noisy_clips_still_score() -> None:
    assert binding_accuracy(read(PAIRS[:12], soft=True)).mean >= 0.97


@pytest.mark.parametrize(("subjects", "clips"), [(1, 8), (3, 10), (4, 4)])
def test_other_numbers_of_subjects(subjects: int, clips: int) -> None:
    assert binding_accuracy(read(sampled(clips, subjects))).mean >= 0.98


def test_same_nouns_are_told_apart_by_their_faces() -> None:
    assert binding_accuracy(read(sampled(12, same_noun=True), soft=True)).mean >= 0.97


def test_exchanged_owners_score_zero_and_are_named() -> None:
    truths = PAIRS[:12]
    shown = [wearing(truth, [list(s.attributes) for s in reversed(truth.subjects)]) for truth in truths]
    readings = read(truths, shown)
    assert binding_accuracy(readings).mean <= 0.02
    assert not any(reading.placed is False for reading in readings)  # the faces did not move
    owners = [(subject, owner) for reading in readings for (subject, _), owner in reading.owners.items()]
    assert np.mean([owner == 1 - subject for subject, owner in owners]) >= 0.97


def test_random_owners_score_chance() -> None:
    chance = random.Random(0)
    planted = [shuffled(truth, chance) for truth in PAIRS]
    readings, right = read(PAIRS, planted), []
    for reading, truth, shown in zip(readings, PAIRS, planted, strict=True):
        wearer = {id(item): subject for subject, item in shown.attributes}
        owners = zip(reading.owners.values(), (wearer[id(item)] for _, item in truth.attributes), strict=True)
        right += [found == true for found, true in owners]
    assert np.mean(right) >= 0.97
    assert 0.35 < binding_accuracy(readings).mean < 0.65


def test_exchanged_places_are_seen_where_the_caption_tells_them() -> None:
    placed = sampled(8, placed=True)
    moved = [
        truth.with_subjects([replace(s, slot=1 - s.slot, goal=1 - s.goal) for s in truth.subjects]) for truth in placed
    ]
    readings = read(placed, moved)
    assert not any(reading.placed for reading in readings)
    assert binding_accuracy(readings).mean >= 0.98  # everyone took his things along


def test_exchanged_faces_take_nothing_along() -> None:
    """Who stays in place with another's face is the other, in the wrong clothes."""
    truths = PAIRS[:8]
    shown = []
    for truth in truths:
        first, second = truth.subjects
        faces = [replace(first, look=second.look), replace(second, look=first.look)]
        shown.append(truth.with_subjects(faces))
    readings = read(truths, shown)
    assert binding_accuracy(readings).mean <= 0.02
    assert all(r.slots == [1 - s.slot for s in t.subjects] for r, t in zip(readings, truths, strict=True))


def test_a_face_shown_twice_leaves_the_other_unseen() -> None:
    truths = PAIRS[:8]
    shown = []
    for truth in truths:
        first, second = truth.subjects
        shown.append(truth.with_subjects([first, replace(second, look=first.look)]))
    for reading in read(truths, shown):
        assert reading.slots[0] is not None and reading.slots[1] is None
        assert not reading.all_ok


def passing(clips: int) -> list[Truth]:
    truths = (sample_truth(seed, "passing", WORLD.size, WORLD.frames, Wishes(subjects=2)) for seed in range(1000))
    return [t for t in truths if any(s.goal != s.slot for s in t.subjects)][:clips]


def test_people_who_pass_each_other_keep_their_things() -> None:
    truths = passing(6)
    readings = read(truths, soft=True)
    assert all(reading.passed for reading in readings)
    assert binding_accuracy(readings).mean >= 0.97


def test_people_who_should_pass_each_other_and_stay_are_read_where_they_stand() -> None:
    truths = passing(6)
    stay = [truth.with_subjects([replace(s, goal=s.slot) for s in truth.subjects]) for truth in truths]
    readings = read(truths, stay, soft=True)
    assert not any(reading.passed or reading.all_ok for reading in readings)
    assert binding_accuracy(readings).mean >= 0.97


def test_a_missing_object_is_seen() -> None:
    truths = [truth for truth in sampled(40) if truth.object][:10]
    without = [replace(truth, object=None) for truth in truths]
    assert len(truths) == 10 and all(reading.object_ok for reading in read(truths))
    assert np.mean([reading.object_ok is True for reading in read(truths, without)]) < 0.25


def test_a_wrong_background_is_seen() -> None:
    truths = [truth for truth in PAIRS if truth.background][:8]
    other = [replace(truth, background=truths[i - 1].background) for i, truth in enumerate(truths)]
    wrong = [reading.background_likeness for reading in read(truths, other)]
    assert np.mean([likeness for likeness in wrong if likeness is not None]) < 0.6


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="uint8"):
        read_clip(np.zeros((17, 16, 16, 3), np.uint8), PAIRS[0])
    with pytest.raises(InputError, match="float32"):
        read_clip(np.zeros((17, 64, 64, 3), np.float32), PAIRS[0])


@pytest.mark.parametrize("fill", [0, 128, 255])
def test_empty_frames_bind_nothing(fill: int) -> None:
    for truth in PAIRS[:3]:
        reading = read_clip(np.full((17, 64, 64, 3), fill, np.uint8), truth)
        assert not any(reading.binding) and not reading.all_ok
