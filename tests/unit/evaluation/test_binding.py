"""The report on binding: true clips score 1, planted faults score what was planted, switches reach the scene."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest

from lumosx.evaluation import binding
from lumosx.evaluation.binding import (
    FAULTS,
    VARIANTS,
    Condition,
    Generate,
    Outcome,
    Score,
    measure_binding,
    score,
    scores,
)
from lumosx.playground import Reading, Truth, World
from lumosx.playground.wearing import Verdict
from lumosx.scene import Scene

WORLD = World()
CLIPS = range(20, 24)
PLACED, UNPLACED = Condition("placed"), Condition("unplaced")


class Recording:
    """Makes grey clips and notes what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Scene, list[int]]] = []

    def __call__(self, scene: Scene, seeds: list[int]) -> Iterator[np.ndarray]:
        self.asked.append((scene, seeds))
        for seed in seeds:
            yield np.full((WORLD.frames, *WORLD.size[::-1], 3), seed % 256, np.uint8)


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips are not really read, for tests of what is around that."""
    reading = Reading([0, 1], {}, [True], None, [1.0, 1.0], [1.0], None, None, ["right"], None)
    monkeypatch.setattr(binding, "read_clip", lambda frames, truth: reading)


def drawing(condition: Condition, change: Callable[[Truth], Truth] = lambda truth: truth) -> Generate:
    """Draws the true clip of a scene, changed."""

    def generate(scene: Scene, seeds: list[int]) -> Iterator[np.ndarray]:
        clip = int(scene.id.removeprefix("test_"))
        asked = {"subjects": condition.subjects, "same_noun": clip % 2 == 0}
        true = WORLD.render([clip], split="test", placed=VARIANTS[condition.name].placed, **asked)
        assert scene.prompt == Scene.from_dict(true.scenes[0]).prompt
        yield from (WORLD.draw([change(true.truth[0])]).frames(0) for _ in seeds)

    return generate


def measured(condition: Condition, change: Callable[[Truth], Truth] = lambda truth: truth) -> Score:
    generate = drawing(condition, change)
    return score(condition, list(measure_binding(generate, condition, world=WORLD, clips=CLIPS)))


def exchanged(truth: Truth) -> Truth:
    worn = [subject.attributes for subject in reversed(truth.subjects)]
    return truth.with_subjects([replace(s, attributes=a) for s, a in zip(truth.subjects, worn, strict=True)])


def bare(truth: Truth) -> Truth:
    return truth.with_subjects([replace(subject, attributes=()) for subject in truth.subjects])


def means(found: Score) -> dict[str, float | None]:
    """All figures of a score without their intervals."""
    data = found.to_dict()
    shares = {name: value for name, value in (data | data["faults"]).items() if value is None or "mean" in str(value)}
    return {name: value and value["mean"] for name, value in shares.items() if name != "faults"}


@pytest.mark.parametrize(("condition", "placed_right"), [(PLACED, 1.0), (UNPLACED, None)])
def test_true_clips_score_one(condition: Condition, placed_right: float | None) -> None:
    found = measured(condition)
    assert (found.condition, found.clips, found.samples) == (condition, len(CLIPS), len(CLIPS))
    figures = means(found)
    assert figures["binding"] == figures["all_right"] == 1.0
    assert figures["binding_same_noun"] == figures["binding_distinct_nouns"] == 1.0
    assert [figures[fault] for fault in FAULTS] == [0.0] * len(FAULTS)
    assert figures["placed_right"] == placed_right
    assert found.identity is not None and 0.5 < found.identity.low <= found.identity.high <= 1
    assert found.attribute_likeness is not None and found.attribute_likeness.low > 0.5


def test_exchanged_owners_are_swapped() -> None:
    figures = means(measured(PLACED, exchanged))
    assert figures["binding"] == figures["all_right"] == 0.0
    assert figures["swapped"] is not None and figures["swapped"] > 0.9
    assert figures["placed_right"] == 1.0  # the faces did not move


def test_things_on_nobody_are_dropped_and_count_as_wrong() -> None:
    figures = means(measured(UNPLACED, bare))
    assert figures["dropped"] is not None and figures["dropped"] > 0.9
    assert figures["binding"] is not None and figures["binding"] < 0.1
    assert figures["all_right"] == 0.0


@pytest.mark.parametrize("name", VARIANTS)
def test_switches_and_captions_reach_the_generator(name: str, unread: None) -> None:
    generate = Recording()
    assert list(measure_binding(generate, Condition(name), world=WORLD, clips=[20]))
    [(scene, _)] = generate.asked
    off = [mechanism for mechanism in ("mcam", "csam", "r2pe") if getattr(scene.binding, mechanism) is False]
    placed = "placed" if "on the left" in scene.prompt else "unplaced"
    nobodys = [] if scene.subjects else ["scattered"]
    assert name == ", ".join([placed, *(f"{mechanism.upper()} off" for mechanism in off), *nobodys])


def test_every_other_clip_has_two_people_of_one_noun(unread: None) -> None:
    generate = Recording()
    outcomes = list(measure_binding(generate, UNPLACED, world=WORLD, clips=CLIPS))
    assert [outcome.same_noun for outcome in outcomes] == [True, False, True, False]
    nouns = [{str(subject.word) for subject in scene.subjects} for scene, _ in generate.asked]
    assert [len(found) == 1 for found in nouns] == [outcome.same_noun for outcome in outcomes]


def test_one_subject_has_nobody_to_share_a_noun_with(unread: None) -> None:
    [outcome] = measure_binding(Recording(), Condition("unplaced", subjects=1), world=WORLD, clips=[20])
    assert not outcome.same_noun


def noises(condition: Condition, samples: int) -> dict[str, list[int]]:
    generate = Recording()
    assert list(measure_binding(generate, condition, world=WORLD, clips=[20, 21], samples=samples))
    return {scene.id: seeds for scene, seeds in generate.asked}


def test_noise_is_keyed_by_clip_and_sample_alone(unread: None) -> None:
    one, three = noises(UNPLACED, 1), noises(UNPLACED, 3)
    assert noises(Condition("placed", steps=5), 3) == three
    assert {clip: seeds[:1] for clip, seeds in three.items()} == one
    assert len({seed for seeds in three.values() for seed in seeds}) == 6


def test_what_is_done_is_left_out(unread: None) -> None:
    generate = Recording()
    done = {(UNPLACED, 20, 0), (UNPLACED, 20, 1), (UNPLACED, 21, 0), (PLACED, 21, 1)}
    outcomes = list(measure_binding(generate, UNPLACED, world=WORLD, clips=[20, 21], samples=2, done=done))
    assert [outcome.key for outcome in outcomes] == [(UNPLACED, 21, 1)]
    assert [seeds for _, seeds in generate.asked] == [noises(UNPLACED, 2)["test_000021"][1:]]


def test_each_clip_is_read_as_soon_as_it_is_made(unread: None) -> None:
    made = []

    def generate(scene: Scene, seeds: list[int]) -> Iterator[np.ndarray]:
        for frames in Recording()(scene, seeds):
            made.append(scene.id)
            yield frames

    outcomes = measure_binding(generate, UNPLACED, world=WORLD, clips=[20], samples=3)
    assert [len(made) for _ in outcomes] == [1, 2, 3]


def outcome(
    clip: int, verdicts: list[Verdict], *, sample: int = 0, placed: bool | None = None, passed: bool | None = None
) -> Outcome:
    bound = [verdict in ("right", "duplicated") for verdict in verdicts]
    right = set(verdicts) <= {"right"} and False not in (placed, passed)
    likeness = [0.25] * len(verdicts)
    return Outcome(
        PLACED,
        clip,
        sample,
        0.5 + clip,
        1 + sample,
        clip == 0,
        bound,
        verdicts,
        [0.5, 1.0],
        likeness,
        placed,
        passed,
        right,
    )


OUTCOMES = [
    outcome(0, ["right", "right"], placed=True),
    outcome(1, ["duplicated", "swapped", "dropped"], placed=False),
    outcome(2, [], passed=True),
    outcome(3, ["swapped"]),
    outcome(3, ["right", "blended"], sample=1),
]


def test_the_report_by_hand() -> None:
    found = score(PLACED, OUTCOMES)
    assert (found.clips, found.samples) == (4, 5)
    figures = means(found)
    assert figures["binding"] == 4 / 8
    assert (figures["binding_same_noun"], figures["binding_distinct_nouns"]) == (1.0, 2 / 6)
    assert {fault: figures[fault] for fault in FAULTS} == {
        "swapped": 2 / 8, "dropped": 1 / 8, "duplicated": 1 / 8, "blended": 1 / 8,
    }  # fmt: skip
    assert figures["all_right"] == 2 / 5  # with nothing to wear, all is right
    assert (figures["placed_right"], figures["passed"]) == (1 / 2, 1.0)
    assert (figures["identity"], figures["attribute_likeness"]) == (0.75, 0.25)
    assert (found.seconds, found.threads) == (2.0, [1, 2])  # the median of the first samples


def test_samples_of_one_clip_do_not_narrow_the_interval() -> None:
    clips = [outcome(clip, ["right" if clip % 4 else "swapped"]) for clip in range(40)]
    once = score(PLACED, clips)
    thrice = score(PLACED, [replace(one, sample=sample) for one in clips for sample in range(3)])
    assert once.binding is not None and thrice.binding is not None
    assert (thrice.binding.low, thrice.binding.high) == pytest.approx((once.binding.low, once.binding.high))
    assert thrice.binding.n == 3 * once.binding.n


def test_a_part_without_attributes_has_no_estimate() -> None:
    found = score(PLACED, [outcome(0, [])])
    assert (found.binding, found.binding_same_noun, found.attribute_likeness) == (None, None, None)
    assert found.all_right is not None and found.all_right.mean == 1.0


def test_conditions_are_reported_apart_in_their_order() -> None:
    others = [replace(one, condition=UNPLACED) for one in OUTCOMES[:2]]
    assert scores([others[0], *OUTCOMES, others[1]]) == [score(UNPLACED, others), score(PLACED, OUTCOMES)]


def test_figures_are_plain_json() -> None:
    condition = Condition("unplaced", 3, 10, "euler", 1.5)
    data = score(condition, OUTCOMES).to_dict()
    assert json.loads(json.dumps(data)) == data
    stated = {key: data[key] for key in ("condition", "subjects", "steps", "solver", "cfg")}
    assert stated == {"condition": "unplaced", "subjects": 3, "steps": 10, "solver": "euler", "cfg": 1.5}
    assert data["all_right"].keys() == {"mean", "low", "high", "n"} and data["all_right"]["n"] == 5


def test_of_one_clip_likeness_has_no_interval_and_its_figures_are_json() -> None:
    data = score(PLACED, [replace(OUTCOMES[0], identity=[0.884])]).to_dict()
    assert data["identity"] == {"mean": 0.884, "low": None, "high": None, "n": 1}
    assert "Infinity" not in json.dumps(data)
