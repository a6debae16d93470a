"""The measure: it reads the truth in true clips, planted faults where they were planted, and chance at random."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch

from lumosx.errors import InputError
from lumosx.playground import Reading, Truth, World, binding_accuracy, read_clip
from lumosx.playground.looks import FAMILIES
from lumosx.playground.matching import blur
from lumosx.playground.truth import Attribute

WORLD = World()
PAIRS = WORLD.render(range(40), split="measure", subjects=2)


def soften(video: torch.Tensor, sigma: float, noise: float) -> torch.Tensor:
    """Blurred by `sigma` pixels, with noise of `noise` (of a range of 1) on every value."""
    frames = blur(video.transpose(1, 2).flatten(0, 1), sigma)
    frames = frames + 2 * noise * torch.randn(frames.shape, generator=torch.Generator().manual_seed(0))
    return frames.clamp(-1, 1).unflatten(0, (video.shape[0], video.shape[2])).transpose(1, 2)


def read(
    truths: list[Truth], shown: list[Truth] | None = None, sigma: float = 0.0, noise: float = 0.0
) -> list[Reading]:
    """Readings against `truths` of clips that show `shown`."""
    clips = WORLD.draw(shown or truths)
    if sigma:
        clips = replace(clips, video=soften(clips.video, sigma, noise))
    return [read_clip(clips.frames(index), truth) for index, truth in enumerate(truths)]


def wearing(truth: Truth, worn: list[list[Attribute]]) -> Truth:
    """The clip with other attributes on its subjects."""
    subjects = [replace(s, attributes=tuple(items)) for s, items in zip(truth.subjects, worn, strict=True)]
    return truth.with_subjects(subjects)


def exchanged(truth: Truth) -> Truth:
    return wearing(truth, [list(subject.attributes) for subject in reversed(truth.subjects)])


def dropped(truth: Truth, family: str) -> Truth:
    return wearing(truth, [[item for item in s.attributes if item.family != family] for s in truth.subjects])


def shuffled(truth: Truth, chance: random.Random) -> Truth:
    """Each family's attributes on random subjects, at most one on each."""
    worn: list[list[Attribute]] = [[] for _ in truth.subjects]
    for family in FAMILIES:
        items = [item for _, item in truth.attributes if item.family == family]
        for owner, item in zip(chance.sample(range(len(worn)), len(items)), items, strict=True):
            worn[owner].append(item)
    return wearing(truth, worn)


def doubled(truth: Truth) -> Truth:
    """The last subject's attributes also on the first one, in the place of his own."""
    first, last = truth.subjects[0], truth.subjects[-1]
    families = {item.family: item.look for item in last.attributes}
    items = [replace(item, look=families.get(item.family, item.look)) for item in first.attributes]
    return truth.with_subjects([replace(first, attributes=tuple(items)), *truth.subjects[1:]])


def test_true_clips_score_one() -> None:
    readings = read(PAIRS.truth)
    assert all(reading.all_ok for reading in readings)
    estimate = binding_accuracy(readings)
    assert estimate.mean == 1.0 and estimate.n == sum(len(truth.attributes) for truth in PAIRS.truth)
    for reading, truth in zip(readings, PAIRS.truth, strict=True):
        assert reading.slots == [subject.slot for subject in truth.subjects]
        assert reading.placed is (True if truth.placed else None)
        assert reading.object_ok is (None if truth.object is None else True)
        assert (reading.background_likeness or 1) > 0.75 and (truth.background or not reading.background_likeness)
        assert min(reading.identity) > 0.5 and all(value > 0.5 for value in reading.attribute_likeness)


@pytest.mark.parametrize(("sigma", "noise", "floor"), [(0.7, 0.05, 0.97), (1.0, 0.08, 0.95)])
def test_soft_and_noisy_clips_still_score(sigma: float, noise: float, floor: float) -> None:
    assert binding_accuracy(read(PAIRS.truth, sigma=sigma, noise=noise)).mean >= floor


@pytest.mark.parametrize(("subjects", "clips", "floor"), [(1, 40, 1.0), (3, 24, 0.97)])
def test_other_numbers_of_subjects(subjects: int, clips: int, floor: float) -> None:
    truths = WORLD.render(range(clips), split="measure", subjects=subjects).truth
    assert binding_accuracy(read(truths)).mean >= floor


def test_same_nouns_are_told_apart_by_their_faces() -> None:
    truths = WORLD.render(range(40), split="measure", subjects=2, same_noun=True).truth
    assert binding_accuracy(read(truths, sigma=0.7, noise=0.05)).mean >= 0.97


def test_exchanged_owners_score_zero_and_are_named() -> None:
    readings = read(PAIRS.truth, [exchanged(truth) for truth in PAIRS.truth])
    assert binding_accuracy(readings).mean == 0.0
    for reading in readings:
        assert all(owner == 1 - subject for (subject, _), owner in reading.owners.items())
        assert reading.placed is not False  # the faces did not move


def test_exchanged_places_are_seen_where_the_caption_tells_them() -> None:
    placed = WORLD.render(range(40), split="measure", subjects=2, placed=True).truth
    moved = [truth.with_subjects([replace(s, slot=1 - s.slot) for s in truth.subjects]) for truth in placed]
    readings = read(placed, moved)
    assert not any(reading.placed for reading in readings)
    assert binding_accuracy(readings).mean >= 0.99  # everyone took his things along


def test_random_owners_are_read_as_planted_and_score_chance() -> None:
    chance = random.Random(0)
    planted = [shuffled(truth, chance) for truth in PAIRS.truth]
    readings = read(PAIRS.truth, planted)
    for reading, truth, shown in zip(readings, PAIRS.truth, planted, strict=True):
        wearer = {id(item): subject for subject, item in shown.attributes}
        assert list(reading.owners.values()) == [wearer[id(item)] for _, item in truth.attributes]
    assert 0.38 < binding_accuracy(readings).mean < 0.62


@pytest.mark.parametrize("family", FAMILIES)
def test_dropped_attributes_are_on_nobody_and_move_nothing_else(family: str) -> None:
    truths = [truth for truth in PAIRS.truth if any(item.family == family for _, item in truth.attributes)]
    readings = read(truths, [dropped(truth, family) for truth in truths], sigma=0.7, noise=0.05)
    gone, others = [], []
    for reading, truth in zip(readings, truths, strict=True):
        for (subject, item), owner in zip(truth.attributes, reading.owners.values(), strict=True):
            (gone if item.family == family else others).append((subject, owner))
    assert np.mean([owner is None for _, owner in gone]) >= 0.97
    assert np.mean([owner == subject for subject, owner in others]) >= 0.97


def test_an_attribute_on_both_is_missing_for_one() -> None:
    """Both wear the last one's things: those of the first are nowhere, those of the last on either."""
    missing, doubles = [], []
    for reading, truth in zip(read(PAIRS.truth, list(map(doubled, PAIRS.truth))), PAIRS.truth, strict=True):
        first, last = ({item.family for item in subject.attributes} for subject in truth.subjects)
        for (subject, item), owner in zip(truth.attributes, reading.owners.values(), strict=True):
            if item.family in first & last:
                (doubles if subject else missing).append(owner)
    assert len(missing) > 20 and np.mean([owner is None for owner in missing]) > 0.9
    assert None not in doubles


def test_a_missing_object_is_seen() -> None:
    truths = [truth for truth in WORLD.render(range(60), split="measure", subjects=2).truth if truth.object]
    without = [replace(truth, object=None) for truth in truths]
    assert len(truths) > 15 and all(reading.object_ok for reading in read(truths))
    assert np.mean([reading.object_ok for reading in read(truths, without)]) < 0.25


def test_a_wrong_background_is_seen() -> None:
    truths = [truth for truth in PAIRS.truth if truth.background][:24]
    other = [replace(truth, background=truths[i - 1].background) for i, truth in enumerate(truths)]
    wrong = [reading.background_likeness for reading in read(truths, other)]
    assert np.mean([likeness for likeness in wrong if likeness is not None]) < 0.6


def test_frames_of_another_size_are_refused() -> None:
    with pytest.raises(InputError, match="uint8"):
        read_clip(np.zeros((9, 16, 16, 3), np.uint8), PAIRS.truth[0])
    with pytest.raises(InputError, match="float32"):
        read_clip(np.zeros((9, 32, 32, 3), np.float32), PAIRS.truth[0])


@pytest.mark.parametrize("fill", [0, 128, 255])
def test_empty_frames_bind_nothing(fill: int) -> None:
    for truth in PAIRS.truth[:10]:
        reading = read_clip(np.full((9, 32, 32, 3), fill, np.uint8), truth)
        assert not any(reading.binding) and not reading.all_ok


def of(*binding: bool) -> Reading:
    return Reading([0, 1], {}, list(binding), None, [1.0, 1.0], [1.0] * len(binding), None, None)


def test_intervals() -> None:
    clear = binding_accuracy([of(True, True)] * 40)
    assert clear.mean == clear.high == 1.0 and 0.9 < clear.low < 0.93 and clear.n == 80  # Wilson over 40 clips
    half = binding_accuracy([of(True, True), of(False, False)] * 50)
    assert half.mean == 0.5 and half.n == 200
    assert 0.38 < half.low < 0.42 and 0.58 < half.high < 0.62  # as wide as 100 clips make it, not 200 attributes
    with pytest.raises(InputError):
        binding_accuracy([of()])
