"""The clips that validation measures: the same for every run, shared out evenly, and ready to be sampled."""

from pathlib import Path

import pytest
import torch
from clips_in_memory import playground, records, six_clips, store_of, two_men

from lumosx.data.loader import Share, training_steps, validation_batches
from lumosx.data.store import Store
from lumosx.errors import InputError
from lumosx.references import Augmentation
from lumosx.relations import bound_pictures
from lumosx.scene import Scene


def test_every_rank_validates_equally_many_clips(text_encoder: Path) -> None:
    source = playground(text_encoder, buckets=["32x32x9", "32x32x5"])
    ranks = [validation_batches(source, Share(6, micro_batch=2, rank=rank, size=3), 10) for rank in range(3)]
    shapes = [[tuple(item.batch.video.shape) for item in batches] for batches in ranks]
    assert shapes[0] == shapes[1] == shapes[2] == [(2, 3, 9, 32, 32), (2, 3, 5, 32, 32)]
    counted = [
        sample
        for batches in ranks
        for item in batches
        for sample, weight in zip(item.batch.samples, item.weights.tolist(), strict=True)
        if weight
    ]
    assert sorted(counted) == sorted(f"validation-{number}" for number in range(10))


def test_held_out_clips_are_for_validation_alone(text_encoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    held = [two_men(f"held-{number}", split="validation") for number in range(3)]
    store = store_of(two_men("clip"), *held)
    source = records(text_encoder, store, text_dropout=1.0, reference_dropout=1.0, shuffle=True)
    (item,) = validation_batches(source, Share(4), 16)
    assert sorted(item.batch.samples) == ["held-0#fixed", "held-1#fixed", "held-2#fixed"]
    assert item.weights.tolist() == [1, 1, 1]
    assert all(len(layout.references) == 7 and bool(layout.words.any()) for layout in item.batch.layouts)
    assert {sample for step in training_steps(source, Share(4), steps=3) for sample in step.order} == {
        f"clip#{n}" for n in range(12)
    }
    assert capsys.readouterr().out == ""


def test_without_held_out_clips_some_of_the_training_are_taken(
    text_encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = records(text_encoder, six_clips())
    four = [item.batch for rank in range(2) for item in validation_batches(source, Share(2, rank=rank, size=2), 4)]
    assert "no clip has split: validation" in capsys.readouterr().out
    chosen = {sample for batch in four for sample in batch.samples}
    more = Store([two_men("another"), *six_clips().records], six_clips().media)
    (again,) = validation_batches(records(text_encoder, more), Share(8), 4)
    assert len(chosen & set(again.batch.samples)) >= 3  # a clip that is added hardly changes the set


def test_fixed_clips_can_be_sampled(text_encoder: Path) -> None:
    """Their scenes have the pictures that the loss is measured with."""
    source = records(text_encoder, six_clips(), augment=Augmentation())
    scenes = [Scene.from_dict(scene) for scene in source.fixed_scenes(3)]
    (item,) = validation_batches(source, Share(3), 3)
    assert [f"{scene.id}#fixed" for scene in scenes] == item.batch.samples
    assert all(scene.generation.size == "32x32" and scene.generation.frames == 9 for scene in scenes)
    tokenizer = source.reading.tokenizer
    for scene, pictures in zip(scenes, item.batch.references, strict=True):
        assert torch.equal(bound_pictures(scene.bind(tokenizer, 96), 32, 32), pictures)


def test_fixed_clips_of_the_playground_can_be_sampled(text_encoder: Path) -> None:
    source = playground(text_encoder, buckets=["32x32x9", "64x32x5"])
    scenes = [Scene.from_dict(scene) for scene in source.fixed_scenes(3)]
    assert [scene.id for scene in scenes] == ["validation_000000", "validation_000002", "validation_000001"]
    assert [(scene.generation.size, scene.generation.frames) for scene in scenes[1:]] == [("32x32", 9), ("64x32", 5)]


def test_a_broken_clip_of_the_fixed_set_is_said(text_encoder: Path) -> None:
    source = records(text_encoder, store_of(two_men("clip", split="validation"), **{"carl.png": b"torn"}))
    with pytest.raises(InputError, match=r"validation set(.|\n)*clip#fixed: carl\.png"):
        validation_batches(source, Share(), 4)
