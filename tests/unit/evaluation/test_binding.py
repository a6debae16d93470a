"""The report on binding: true clips score 1, planted faults score what was planted, switches reach the scene."""

import json
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lumosx.errors import InputError
from lumosx.evaluation.binding import CONDITIONS, Condition, Generate, Score, measure_binding, score
from lumosx.playground import Reading, Truth, World
from lumosx.scene import Scene

WORLD = World()
CLIPS = 6
PLACED, UNPLACED, PLACED_OFF, UNPLACED_OFF = CONDITIONS


def drawing(condition: Condition, change: Callable[[Truth], Truth] = lambda truth: truth) -> Generate:
    """A generator that draws the true clip of a seed, changed."""

    def generate(scene: Scene, seed: int) -> np.ndarray:
        asked = {"subjects": condition.subjects, "placed": condition.placed, "same_noun": condition.same_noun}
        clip = WORLD.render([seed], split="test", **asked)
        assert scene.prompt == Scene.from_dict(clip.scenes[0]).prompt
        return WORLD.draw([change(clip.truth[0])]).frames(0)

    return generate


def measured(generate: Generate, condition: Condition, first_seed: int = 0) -> Score:
    *_, (_, done) = measure_binding(generate, condition, world=WORLD, clips=CLIPS, first_seed=first_seed)
    assert done is not None
    return done


def exchanged(truth: Truth) -> Truth:
    worn = [subject.attributes for subject in reversed(truth.subjects)]
    return truth.with_subjects([replace(s, attributes=a) for s, a in zip(truth.subjects, worn, strict=True)])


def bare(truth: Truth) -> Truth:
    return truth.with_subjects([replace(subject, attributes=()) for subject in truth.subjects])


@pytest.mark.parametrize(("condition", "placed_right"), [(PLACED, 1.0), (UNPLACED, None)])
def test_true_clips_score_one(condition: Condition, placed_right: float | None) -> None:
    done = measured(drawing(condition), condition)
    assert (done.condition, done.clips) == (condition.name, CLIPS)
    assert done.binding.mean == done.all_right == 1.0
    assert done.dropped == 0.0
    assert done.placed_right == placed_right
    assert 0.5 < done.identity <= 1 and 0.5 < done.attribute_likeness <= 1


def test_exchanged_owners_score_zero() -> None:
    done = measured(drawing(PLACED, exchanged), PLACED)
    assert done.binding.mean == done.all_right == done.dropped == 0.0
    assert done.placed_right == 1.0  # the faces did not move


def test_things_on_nobody_are_dropped_and_count_as_wrong() -> None:
    done = measured(drawing(UNPLACED, bare), UNPLACED)
    assert done.dropped > 0.9 and done.binding.mean < 0.1 and done.all_right == 0.0


def test_same_nouns_are_reported_apart() -> None:
    same, distinct = (replace(UNPLACED, same_noun=wish) for wish in (True, False))
    done = measured(drawing(same), same)
    assert done.binding_same_noun == done.binding and done.binding_distinct_nouns is None
    done = measured(drawing(distinct), distinct)
    assert done.binding_distinct_nouns == done.binding and done.binding_same_noun is None


def test_the_caller_sees_every_clip_done() -> None:
    progress = list(measure_binding(drawing(UNPLACED), UNPLACED, world=WORLD, clips=2))
    assert [number for number, _ in progress] == [1, 2, 2]
    assert [done is None for _, done in progress] == [True, True, False]


@pytest.mark.parametrize(("condition", "mcam"), list(zip(CONDITIONS, [None, None, False, False], strict=True)))
def test_the_switch_and_the_captions_reach_the_generator(condition: Condition, mcam: bool | None) -> None:
    seen = []

    def generate(scene: Scene, seed: int) -> np.ndarray:
        seen.append((scene, seed))
        return drawing(condition)(scene, seed)

    measured(generate, condition, first_seed=20)
    assert [seed for _, seed in seen] == list(range(20, 20 + CLIPS))
    assert {scene.binding.mcam for scene, _ in seen} == {mcam}
    assert {"on the left" in scene.prompt for scene, _ in seen} == {condition.placed}


def reading(owners: list[int | None], placed: bool | None = None) -> Reading:
    """Of a subject 0 with these seen on (0: on its owner)."""
    keyed = {(0, str(number)): owner for number, owner in enumerate(owners)}
    right = [owner == 0 for owner in owners]
    return Reading([0, 1], keyed, right, placed, [0.5, 1.0], [0.25] * len(owners), None, None)


READINGS = [reading([0, 0], placed=True), reading([0, 1, None], placed=False), reading([]), reading([1])]


def test_the_report_by_hand() -> None:
    done = score("mine", READINGS, [True, False, False, False])
    assert (done.condition, done.clips) == ("mine", 4)
    assert (done.binding.mean, done.binding.n) == (3 / 6, 6)
    assert done.binding_same_noun is not None and done.binding_distinct_nouns is not None
    assert (done.binding_same_noun.mean, done.binding_same_noun.n) == (1.0, 2)
    assert (done.binding_distinct_nouns.mean, done.binding_distinct_nouns.n) == (1 / 4, 4)
    assert done.dropped == pytest.approx(1 / 6)
    assert done.all_right == 2 / 4  # with nothing to wear, all is right
    assert done.placed_right == 1 / 2
    assert (done.identity, done.attribute_likeness) == (0.75, 0.25)


def test_a_part_without_attributes_has_no_estimate() -> None:
    assert score("mine", READINGS, [False, False, True, False]).binding_same_noun is None


def test_clips_without_attributes_measure_nothing() -> None:
    with pytest.raises(InputError, match="no reading has an attribute"):
        score("mine", [reading([])], [False])


def test_figures_are_plain_json() -> None:
    done = score("mine", READINGS, [True, False, False, False])
    data = done.to_dict()
    assert json.loads(json.dumps(data)) == data
    assert data["binding"] == {"mean": 0.5, "low": done.binding.low, "high": done.binding.high, "n": 6}
    assert score("mine", READINGS[3:], [False]).to_dict()["placed_right"] is None
