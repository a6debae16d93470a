"""The playground's clips: the same for the same seeds, words bound, pictures prepared as the pipeline does."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from clips_in_memory import reading

from lumosx.data.batch import Batch, Broken, Bucket
from lumosx.data.encoder import Encoder
from lumosx.data.examples import Example
from lumosx.data.loader import Share, open_source, training_steps, validation_batches
from lumosx.data.playground import Playground, Undrawn
from lumosx.errors import InputError
from lumosx.playground import World
from lumosx.references import Augmentation, letterbox, to_tensor
from lumosx.scene import Scene

BUCKET, WORLD = Bucket(32, 32, 9), World((32, 32), 9)
# of the first clips of seed 0, with given shares of people and of places
PROMPTS = [
    "On a beach, a {bear:s1} in the middle wearing a skirt and a beanie is alone. The {bear:s1} nods.",
    "In a room, a {cat:s2} on the right and an {alien:s1} on the left are together. They wear a jacket, sunglasses and "
    "a cap. The {cat:s2} nods. The {alien:s1} waves.",
    "Here are a {bear:s1} and a {man:s2} on a street. They wear a beanie, trousers and a jacket. The {bear:s1} holds a "
    "lamp. The {bear:s1} walks. The {man:s2} nods.",
]


def make_source(text_encoder: Path, seed: int = 0, device: torch.device | None = None, **data: Any) -> Playground:
    settings = {"path": None, "subjects": [0.0, 1.0], "placed": 0.5, **data}
    return Playground(replace(reading(text_encoder, **settings), seed=seed), device=device)


def batch_of(source: Playground, step: int = 0, clips: int = 4) -> Batch:
    steps = training_steps(source, Share(clips), steps=step + 1, position={"step": step})
    batch = next(steps).batches[0]
    assert isinstance(batch, Batch)
    return batch


def test_clips_are_those_of_former_runs(text_encoder: Path) -> None:
    source = make_source(text_encoder, subjects=[0.2, 0.75, 0.05], placed=0.75)
    assert [source.truth(number, BUCKET).prompt for number in range(3)] == PROMPTS


def test_a_batch_is_the_same_whenever_it_is_asked_for(text_encoder: Path) -> None:
    through = [step.batches[0] for step in training_steps(make_source(text_encoder), Share(4), steps=2)]
    again = batch_of(make_source(text_encoder), step=1)
    first, second = through
    assert isinstance(first, Batch) and isinstance(second, Batch)
    assert second.samples == again.samples == ["4", "5", "6", "7"]
    assert torch.equal(second.video, again.video) and second.layouts == again.layouts
    assert torch.equal(second.token_ids, again.token_ids)
    assert not torch.equal(first.video, second.video)


def test_a_clip_is_the_same_in_any_batch(text_encoder: Path) -> None:
    source = make_source(text_encoder)
    whole = batch_of(source, clips=4)
    pick = next(source.picks(4).plans()).picks[2]
    (alone,) = source.read([pick], BUCKET)
    assert isinstance(alone, Example)
    assert torch.equal(alone.video, whole.video[2]) and torch.equal(alone.references, whole.references[2])


@pytest.mark.parametrize("workers", [0, 1])
def test_who_draws_the_videos_changes_no_bit_on_the_cpu(text_encoder: Path, workers: int) -> None:
    """Pictures and words of a batch come from where it is read, its videos from there or from where it is used."""
    read, left = (
        batch_of(make_source(text_encoder, device=device, workers=workers, text_dropout=0.3, entity_dropout=0.3))
        for device in (None, torch.device("cpu"))
    )
    assert type(left) is Batch
    assert torch.equal(left.video, read.video) and left.samples == read.samples and left.layouts == read.layouts
    assert all(map(torch.equal, left.references, read.references))
    assert torch.equal(left.token_ids, read.token_ids) and torch.equal(left.token_mask, read.token_mask)


def test_videos_that_are_left_do_not_travel(text_encoder: Path) -> None:
    source = make_source(text_encoder, device=torch.device("cpu"))
    for example in source.read(next(source.picks(3).plans()).picks, BUCKET):
        assert isinstance(example, Undrawn) and not example.video.numel() and len(example.references)


def test_the_fixed_set_is_drawn_by_the_same_device(text_encoder: Path) -> None:
    read, left = (
        validation_batches(make_source(text_encoder, device=device), Share(2), 3)
        for device in (None, torch.device("cpu"))
    )
    for one, other in zip(read, left, strict=True):
        assert type(other.batch) is Batch and torch.equal(one.batch.video, other.batch.video)


@pytest.mark.gpu
@pytest.mark.parametrize("workers", [0, 1])
def test_a_gpu_draws_the_same_videos_and_keeps_them(text_encoder: Path, workers: int) -> None:
    read, left = (
        batch_of(make_source(text_encoder, device=device, workers=workers)) for device in (None, torch.device("cuda"))
    )
    assert left.video.device.type == "cuda" and float((left.video.cpu() - read.video).abs().max()) < 1e-3
    assert all(map(torch.equal, left.references, read.references)) and left.layouts == read.layouts


@pytest.mark.parametrize(("device", "draws"), [("cpu", None), ("meta", torch.device("meta"))])
def test_the_encoders_device_draws_unless_it_is_the_cpu(
    text_encoder: Path, device: str, draws: torch.device | None
) -> None:
    encoder = Encoder.open(str(text_encoder), "lumosx-tiny", torch.device(device))
    source = open_source(reading(text_encoder, path=None), encoder)
    assert isinstance(source, Playground) and source.device == draws


@pytest.mark.parametrize("shuffle", [False, True])
def test_words_of_a_batch_name_their_references(text_encoder: Path, shuffle: bool) -> None:
    """Decoding the marked tokens of each reference gives the word of the entity whose picture it is."""
    source = make_source(text_encoder, shuffle=shuffle)
    batch = batch_of(source, clips=8)
    moved = 0
    for row, (layout, scene) in enumerate(zip(batch.layouts, scenes_of(source, batch), strict=True)):
        pictured = [entity for entity in scene.entities if entity.image is not None]
        assert len(layout.references) == len(batch.references[row]) == len(pictured)
        for place, words in enumerate(layout.words):
            drawn = [to_tensor(entity.image.open()) for entity in pictured if entity.image is not None]
            (shown,) = [n for n, picture in enumerate(drawn) if torch.equal(picture, batch.references[row][place])]
            assert pictured[shown].words[0] in source.reading.tokenizer.decode(batch.token_ids[row][words])
            moved += shown != place
        subjects = [subject for subject in layout.subjects if subject is not None]
        assert subjects == sorted(subjects)
    assert bool(moved) == shuffle


def test_references_are_prepared_as_the_pipeline_prepares_them(text_encoder: Path) -> None:
    """The pipeline's letterbox gives a rendered reference back, but for its rounding to bytes."""
    source = make_source(text_encoder)
    batch = batch_of(source)
    rendered = WORLD.draw([source.truth(int(sample), BUCKET) for sample in batch.samples])
    for fed, drawn, scene in zip(batch.references, rendered.references, rendered.scenes, strict=True):
        images = [entity.image for entity in Scene.from_dict(scene).entities if entity.image is not None]
        assert torch.equal(fed, torch.stack([to_tensor(letterbox(image.open(), 32, 32)) for image in images]))
        assert float((fed - drawn).abs().max()) <= 1 / 127.5


def test_a_wide_clip_pads_its_references(text_encoder: Path) -> None:
    batch = batch_of(make_source(text_encoder, buckets=["64x32x9"]), clips=2)
    for layout, pictures in zip(batch.layouts, batch.references, strict=True):
        assert pictures.shape == (len(layout.references), 3, 32, 64) and layout.video == (3, 4, 8)
        faces = [row for row, reference in enumerate(layout.references) if reference.role == "member"]
        assert bool((pictures[faces][..., :16] == 1).all()) and bool((pictures[faces][..., 48:] == 1).all())


def test_dropout_takes_words_and_references(text_encoder: Path) -> None:
    without_text = batch_of(make_source(text_encoder, text_dropout=1.0))
    assert int(without_text.token_mask.sum()) == 4  # </s> alone, four times
    assert not any(bool(layout.words.any()) for layout in without_text.layouts)
    assert all(len(pictures) for pictures in without_text.references)
    alone = batch_of(make_source(text_encoder, reference_dropout=1.0))
    assert all(not layout.references for layout in alone.layouts) and not any(map(len, alone.references))


def test_the_mix_of_clips_is_the_one_asked_for(text_encoder: Path) -> None:
    source = make_source(text_encoder, subjects=[0.5, 0.0, 0.5], placed=0.8)
    drawn = [source.truth(number, BUCKET) for number in range(200)]
    counts = [sum(len(truth.subjects) == people for truth in drawn) for people in (1, 2, 3)]
    assert 70 < counts[0] < 130 and counts[1] == 0 and counts[0] + counts[2] == 200
    assert 140 < sum(truth.placed for truth in drawn) < 180


def test_every_bucket_gets_steps(text_encoder: Path) -> None:
    source = make_source(text_encoder, buckets=["32x32x9", "32x32x5"])
    plans = list(islice(source.picks(2).plans(), 40))
    assert 10 < sum(plan.bucket == BUCKET for plan in plans) < 30
    assert [pick.index for plan in plans for pick in plan.picks] == list(range(80))
    assert next(source.picks(2).plans(plans[6].position)) == plans[7]


def test_augmentation_varies_pictures_and_leaves_the_clip(text_encoder: Path) -> None:
    plain, varied = batch_of(make_source(text_encoder)), batch_of(make_source(text_encoder, augment=Augmentation()))
    assert torch.equal(plain.video, varied.video)
    assert not any(map(torch.equal, plain.references, varied.references))


@pytest.mark.filterwarnings("ignore:the prompt has")
def test_a_caption_that_is_too_long_is_broken(text_encoder: Path) -> None:
    source = make_source(text_encoder)
    short = Playground(replace(source.reading, text_length=4))
    (broken,) = short.read(next(short.picks(1).plans()).picks, BUCKET)
    assert isinstance(broken, Broken) and broken.sample == "0" and "beyond the 4 tokens" in broken.reason
    replacements = islice(short.picks(1).replacements(next(short.picks(1).plans()).picks[0]), 3)
    assert len({short.truth(pick.index, BUCKET).prompt for pick in replacements}) == 3


def test_the_fixed_set_is_the_same_for_every_run(text_encoder: Path) -> None:
    one = make_source(text_encoder, seed=0, placed=0.0).fixed(5)
    other = make_source(text_encoder, seed=7, subjects=[1.0], text_dropout=1.0, reference_dropout=1.0).fixed(5)
    ((bucket, picks),) = one.clips
    assert other.clips == one.clips and len(picks) == 5
    for first, second in zip(one.source.read(picks, bucket), other.source.read(picks, bucket), strict=True):
        assert isinstance(first, Example) and isinstance(second, Example)
        assert torch.equal(first.video, second.video) and first.layout == second.layout
        assert torch.equal(first.text, second.text) and len(second.references)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"subjects": [0.2] * 5}, "up to 4"),
        ({"subjects": [0.0, 0.0]}, "not all of them 0"),
        ({"subjects": [1.0, -1.0]}, "none below 0"),
        ({"variants": 2}, r"set data\.path"),
        ({"cache": "folder"}, r"data\.variants"),
        ({"buckets": ["32x32"]}, "WIDTHxHEIGHTxFRAMES"),
    ],
)
def test_what_the_playground_cannot_serve_is_refused(
    text_encoder: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_source(reading(text_encoder, path=None, **settings))


def scenes_of(source: Playground, batch: Batch) -> list[Scene]:
    scenes = WORLD.draw([source.truth(int(sample), BUCKET) for sample in batch.samples]).scenes
    return [Scene.from_dict(scene) for scene in scenes]
