"""The world: the same seeds give the same clips, splits share nothing, and what is drawn is what is true."""

import json
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lumosx.errors import InputError
from lumosx.playground import Truth, World, figures
from lumosx.playground.camera import Camera
from lumosx.playground.figures import Pose, draw_figures
from lumosx.playground.looks import ATTRIBUTES, FACES, HAT_BASE, HATS, HEAD
from lumosx.playground.render import Stage, figure_look, move, pack, render_references, shown, worn_parts
from lumosx.playground.sampling import Wishes, difference, sample_truth
from lumosx.references import letterbox, to_tensor
from lumosx.scene import Scene

WORLD = World()


def truths(count: int, split: str = "test", **wishes: object) -> list[Truth]:
    return [sample_truth(seed, split, WORLD.size, WORLD.frames, Wishes(**wishes)) for seed in range(count)]  # type: ignore[arg-type]


def test_shapes_and_ranges() -> None:
    clips = World((48, 32), 5).render(range(6))
    assert clips.video.shape == (6, 3, 5, 32, 48) and clips.video.dtype == torch.float32
    assert all(references.shape[1:] == (3, 32, 48) for references in clips.references)
    everything = torch.cat([clips.video.flatten(), *(references.flatten() for references in clips.references)])
    assert everything.min() >= -1.0001 and everything.max() <= 1.0001
    assert clips.frames(0).shape == (5, 32, 48, 3) and clips.frames(0).dtype == np.uint8


def test_same_seeds_same_bytes_and_any_batch() -> None:
    first, again = WORLD.render(range(8)), WORLD.render(range(8))
    assert first.video.numpy().tobytes() == again.video.numpy().tobytes()
    assert first.truth == again.truth
    alone = WORLD.render([5])
    assert alone.truth[0] == first.truth[5]
    torch.testing.assert_close(alone.video[0], first.video[5], atol=1e-5, rtol=0)
    torch.testing.assert_close(alone.references[0], first.references[5], atol=1e-5, rtol=0)


def test_everything_is_made_on_the_device() -> None:
    """Tensors on the meta device mix with no others but single numbers, so a stray picture would be an error."""
    clips = WORLD.render(range(12), split="test", device="meta")
    assert any(truth.object and truth.object.holder is not None for truth in clips.truth)
    assert clips.video.device.type == "meta" and {r.device.type for r in clips.references} == {"meta"}
    assert clips.video.shape == (12, 3, 17, 64, 64)


def test_splits_share_no_parameter() -> None:
    def colours(split: str) -> set[object]:
        return {subject.look["skin"] for truth in truths(100, split) for subject in truth.subjects}

    train, test = colours("train"), colours("test")
    assert len(train) > 100 and not train & test


@pytest.mark.parametrize("subjects", [1, 2, 3, 4])
@pytest.mark.parametrize("placed", [True, False])
def test_wishes_are_kept(subjects: int, placed: bool) -> None:
    for truth in truths(20, subjects=subjects, placed=placed, same_noun=subjects > 1, background=placed):
        assert len(truth.subjects) == subjects and truth.placed == placed
        assert sorted(subject.slot for subject in truth.subjects) == list(range(subjects))
        assert len({subject.word for subject in truth.subjects}) == (subjects - 1 if subjects > 1 else 1)
        assert (truth.background is not None) == placed


@pytest.mark.parametrize("wishes", [{"subjects": 5}, {"subjects": 0}, {"subjects": 1, "same_noun": True}])
def test_impossible_wishes_are_refused(wishes: dict[str, int]) -> None:
    with pytest.raises(InputError):
        WORLD.render([0], **wishes)  # type: ignore[arg-type]


def test_a_negative_seed_and_a_foreign_size_are_refused() -> None:
    with pytest.raises(InputError, match="seed"):
        WORLD.render([-1])
    with pytest.raises(InputError, match="draws"):
        World((32, 32)).draw(WORLD.render([0]).truth)
    with pytest.raises(InputError, match="no truth"):
        WORLD.render([])


def test_the_drawn_mixture() -> None:
    drawn = truths(600)
    counts = Counter(len(truth.subjects) for truth in drawn)
    assert counts[2] > counts[1] > counts[3] > counts[4] > 0
    narrow = [sample_truth(seed, "test", (32, 32), 9, Wishes()) for seed in range(100)]
    assert max(len(truth.subjects) for truth in narrow) == 3  # four do not fit 32 pixels
    several = [truth for truth in drawn if len(truth.subjects) > 1]
    same = np.mean([len({s.word for s in truth.subjects}) < len(truth.subjects) for truth in several])
    assert 0.22 < same < 0.34
    assert 0.34 < np.mean([truth.placed for truth in drawn]) < 0.46
    assert {s.word for truth in drawn for s in truth.subjects} == set(FACES)
    worn = {item.word for truth in drawn for _, item in truth.attributes}
    assert worn == {noun for nouns in ATTRIBUTES.values() for noun in nouns}


def test_slot_sequence_and_caption_order_are_independent() -> None:
    cells = Counter((truth.subjects[0].slot, truth.told[0]) for truth in truths(800, subjects=2))
    assert set(cells) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    assert all(150 < count < 250 for count in cells.values()), cells


def test_things_that_must_be_told_apart_differ() -> None:
    for truth in truths(200, subjects=2):
        first, second = truth.subjects
        assert difference(first.look, second.look, ("skin", "hair")) > 0.3
        for one in first.attributes:
            for other in second.attributes:
                if one.family == other.family:
                    assert difference(one.look, other.look, (f"{one.family}_main", f"{one.family}_second")) > 0.4


def test_figures_stay_in_their_slots() -> None:
    subjects = [subject for truth in truths(60) for subject in truth.subjects]
    moves = move(subjects, 33, "cpu")
    assert moves.x.abs().max() < 0.3  # the slot's half is 1 unit, a torso's 0.66
    assert {subject.motion.verb for subject in subjects} == {"wave", "nod", "walk"}
    assert {float(m) > 0 for m in moves.pose.stride} == {True, False}


def test_truth_survives_json_and_renders_the_same_bytes() -> None:
    clips = WORLD.render(range(6), split="test")
    read = [Truth.from_dict(json.loads(json.dumps(truth.to_dict()))) for truth in clips.truth]
    assert read == clips.truth
    assert WORLD.draw(read).video.numpy().tobytes() == clips.video.numpy().tobytes()


def test_rendering_is_independent_of_resolution() -> None:
    truth = WORLD.render([3], subjects=2).truth[0]
    large = Truth.from_dict(truth.to_dict() | {"size": (256, 256)})
    small = WORLD.draw([truth]).video[0].transpose(0, 1)
    shrunk = F.interpolate(World((256, 256)).draw([large]).video[0].transpose(0, 1), scale_factor=0.25, mode="area")
    assert (small - shrunk).abs().mean() < 0.03


def test_references_follow_the_scene_and_its_pictures() -> None:
    clips = WORLD.render(range(12), split="test")
    for index, data in enumerate(clips.scenes):
        entities = Scene.from_dict(data).entities
        assert len(entities) == len(clips.references[index])
        for entity, reference in zip(entities, clips.references[index], strict=True):
            assert entity.image is not None
            torch.testing.assert_close(to_tensor(entity.image.open()), reference, atol=0.005, rtol=0)


@pytest.mark.parametrize("size", [(32, 32), (48, 32)])
def test_references_equal_letterboxed_large_pictures(size: tuple[int, int]) -> None:
    clips = World(size).render(range(4), split="test", background=True)
    for index in range(4):
        for entity, reference in zip(
            Scene.from_dict(clips.scene(index, 128)).entities, clips.references[index], strict=True
        ):
            assert entity.image is not None
            picture = to_tensor(letterbox(entity.image.open(), *size))
            assert (picture - reference).abs().mean() < 0.06, entity.id


def test_a_reference_shows_one_whole_entity_on_white() -> None:
    for references in render_references(truths(80, subjects=2, background=False), 64, 64):
        for reference in references:
            edges = (reference[:, 0], reference[:, -1], reference[:, :, 0], reference[:, :, -1])
            assert all((edge > 0.99).all() for edge in edges)  # nothing is cut off
            assert (reference < 0.9).any()


def test_a_noun_tells_a_face() -> None:
    """One draw of each noun: their outlines differ."""
    looks = {}
    for truth in truths(300, subjects=1):
        looks.setdefault(truth.subjects[0].word, figure_look(truth.subjects[0]))
    assert set(looks) == set(FACES)
    count = len(looks)
    camera = Camera(*(torch.full((count,), value) for value in (32.0, 32 + HEAD * 32, 32.0)))
    show = shown([{"face"}] * count, "cpu")
    drawn = draw_figures(pack(list(looks.values()), "cpu"), Pose.standing(count), camera, show, 64, 64)
    shapes = drawn[:, 3]
    for i in range(count):
        for j in range(i):
            assert (shapes[i] - shapes[j]).abs().sum() / shapes[i].sum() > 0.08, (
                list(looks)[i],
                list(looks)[j],
            )


def test_the_stage_fills_the_frame() -> None:
    stage = Stage.of((64, 64), 2)
    assert stage.slots == (16.0, 48.0) and stage.unit == 16.0
    highest = HAT_BASE + max(span[1] for hat in HATS.values() if isinstance(span := hat["hat_height"], tuple))
    assert 0.8 * 64 < highest * stage.unit < stage.ground
    assert worn_parts(truths(1, subjects=2)[0].subjects[0]) >= {"face", "body", "shirt", "trousers"}


def test_two_who_pass_each_other_exchange_their_places() -> None:
    passing = [truth for truth in truths(300) if any(s.goal != s.slot for s in truth.subjects)]
    assert 10 < len(passing) < 50
    for truth in passing:
        walkers = [s for s in truth.subjects if s.goal != s.slot]
        first, second = walkers
        assert (first.goal, second.goal) == (second.slot, first.slot)
        assert {first.depth, second.depth} == {0.0, 1.0} and {s.motion.verb for s in walkers} == {"walk"}
    track = Stage.of((64, 64), 2).track(0, 1, 17)
    assert float(track[0]) == 16 and float(track[-1]) == 48 and bool((track.diff() > 0).all())


def test_the_near_hide_the_far() -> None:
    truth = next(t for t in truths(300, subjects=2) if any(s.goal != s.slot for s in t.subjects))
    near = min(truth.subjects, key=lambda subject: subject.depth)
    bare = replace(truth, object=None)
    middle = WORLD.frames // 2
    both = WORLD.draw([bare]).video[0, :, middle]
    far = WORLD.draw(
        [
            bare.with_subjects(
                [replace(s, look=s.look | {"skin": (1.0, 1.0, 1.0)}) if s is not near else s for s in truth.subjects]
            )
        ]
    ).video[0, :, middle]
    stage = Stage.of(truth.size, 2)
    row = round(stage.ground - HEAD * stage.unit)  # through the eyes of the one in front
    column = round(float(stage.track(near.slot, near.goal, WORLD.frames)[middle]) + near.shift * stage.unit)
    here = (slice(None), slice(row - 3, row + 4), slice(column - 3, column + 4))
    assert (both - far).abs().max() > 0.5 and (both[here] - far[here]).abs().max() < 0.02


def test_a_frame_is_drawn_in_pieces_without_a_seam(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = WORLD.render(range(3)).video
    monkeypatch.setattr(figures, "CHUNK", 7)
    torch.testing.assert_close(WORLD.render(range(3)).video, whole, atol=1e-5, rtol=0)
