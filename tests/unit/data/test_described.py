"""One sample: what is chosen for it, how its words stay with its pictures, and what dropout leaves."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from clips_in_memory import BRIGHTER, COLOURS, FPS, PROMPT, grid_of, picture, reading, store_of, two_men, video
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageColor

from lumosx.data.batch import Bucket
from lumosx.data.examples import Described, Reading, describe, drop, prepare, read_pixels
from lumosx.data.keyed import keyed_chance, keyed_generator
from lumosx.data.sampler import Pick
from lumosx.errors import InputError
from lumosx.records import ClipRecord
from lumosx.references import Augmentation
from lumosx.scene import ImageSpec

BUCKET = Bucket(32, 32, 9)


def described(record: ClipRecord, how: Reading, visit: int = 0, bucket: Bucket = BUCKET) -> Described:
    return describe(record, Pick(f"{record.id}#{visit}", 0, visit), bucket, how)


def names(sample: Described) -> list[str]:
    return [shown.picture.image.removesuffix(".png") for shown in sample.pictures]


def word_of(sample: Described, row: int, how: Reading) -> str:
    return how.tokenizer.decode(torch.tensor(sample.token_ids)[sample.layout.words[row][: len(sample.token_ids)]])


# what is shown


def test_a_description_is_in_token_order_with_its_words(text_encoder: Path) -> None:
    how = reading(text_encoder)
    sample = described(two_men(), how)
    assert [shown.kind for shown in sample.pictures] == [
        "background", "object", "face", "attribute", "attribute", "face", "attribute",
    ]  # fmt: skip
    assert [word_of(sample, row, how).strip() for row in range(7)] == [
        "park", "ball", "man", "hat", "glasses", "man", "hat",
    ]  # fmt: skip
    assert sample.layout.subjects == [None, None, 0, 0, 0, 1, 1]
    assert sample.layout.video == (3, 4, 4) and sample.layout.text_length == 96
    marked = sample.layout.words
    assert not bool((marked[2] & marked[5]).any()) and not bool((marked[3] & marked[6]).any())  # each his own mention


def test_layouts_carry_the_switches(text_encoder: Path) -> None:
    how = reading(text_encoder)
    changed = Reading(how.data, how.tokenizer, 96, grid_of, r2pe=False, csam=False, rules="paper")
    layout = described(two_men(), changed).layout
    assert not layout.r2pe and not layout.csam and layout.rules == "paper"


def test_a_visit_is_the_same_whenever_it_is_described_and_visits_differ(text_encoder: Path) -> None:
    how, record = reading(text_encoder, shuffle=True), two_men()
    visits = [described(record, how, visit) for visit in range(24)]
    assert visits == [described(record, how, visit) for visit in range(24)]
    assert len({sample.start for sample in visits}) > 6
    assert {names(sample)[2] for sample in visits} == {"ben1", "ben2", "ben3", "carl"}
    assert [sample.sample for sample in visits[:2]] == ["clip#0", "clip#1"]


def test_variants_come_again_whatever_the_seed(text_encoder: Path) -> None:
    how = reading(text_encoder, variants=3, shuffle=True)
    visits = [described(two_men(), how, visit) for visit in range(6)]
    other = Reading(how.data, how.tokenizer, 96, grid_of, seed=5)
    for visit in range(3):
        first, again, elsewhere = visits[visit], visits[visit + 3], described(two_men(), other, visit)
        assert content(first) == content(again) == content(elsewhere)
    assert len({str(content(sample)) for sample in visits}) == 3


def content(sample: Described) -> tuple[Any, ...]:
    return (sample.start, sample.pictures, sample.token_ids, sample.layout)


@given(frames=st.integers(9, 200), rate=st.sampled_from([8.0, 12.5, 16.0, 23.976, 60.0]), visit=st.integers(0, 50))
@settings(max_examples=60, deadline=None)
def test_windows_lie_inside_the_video(text_encoder: Path, frames: int, rate: float, visit: int) -> None:
    if (frames - 1) * FPS < 8 * rate:
        return  # too short for the bucket: no pick of it is made
    sample = described(two_men(frames=frames, fps=rate), reading(text_encoder), visit)
    assert sample.start >= 0
    assert sample.start + 8 / FPS <= (frames - 1) / rate + 1e-6


def test_pictures_from_outside_the_window_come_first(text_encoder: Path) -> None:
    """Ben's faces are of frames 0, 19 and of another video; windows are 9 of 20 frames, from 0 to 11 on."""
    people = two_men().to_dict()["subjects"]
    people[0]["faces"] = [
        {"image": "ben1.png", "frame": 0}, {"image": "ben2.png", "frame": 19}, {"image": "ben3.png", "frame": 10},
    ]  # fmt: skip
    record = two_men(subjects=people)
    seen: Counter[str] = Counter()
    for visit in range(40):
        sample = described(record, reading(text_encoder), visit)
        first = round(sample.start * FPS)
        frame = sample.pictures[2].picture.frame
        assert frame is not None and not first <= frame <= first + 8
        seen[names(sample)[2]] += 1
    assert len(seen) == 3
    free = [described(record, reading(text_encoder, other_frames=False), visit) for visit in range(40)]
    inside = [
        sample for sample in free
        if 0 <= (sample.pictures[2].picture.frame or 0) - round(sample.start * FPS) <= 8
    ]  # fmt: skip
    assert 0 < len(inside) < 40


def test_where_all_pictures_are_of_the_window_one_of_them_is_taken(text_encoder: Path) -> None:
    people = two_men().to_dict()["subjects"]
    people[0]["faces"] = [{"image": "ben1.png", "frame": 10}, {"image": "ben2.png", "frame": 11}]
    chosen = {names(described(two_men(subjects=people, frames=12), reading(text_encoder), v))[2] for v in range(20)}
    assert chosen == {"ben1", "ben2"}


def test_a_word_that_is_not_in_the_caption_is_said(text_encoder: Path) -> None:
    record = two_men("odd", caption=PROMPT.replace("a park", "a garden"))
    with pytest.raises(InputError, match=r"odd background\.word: 'park' does not occur"):
        described(record, reading(text_encoder))


def test_one_face_for_two_people_is_found_before_pictures_are_read(text_encoder: Path) -> None:
    people = two_men().to_dict()["subjects"]
    people[1]["faces"] = [{"image": "ben1.png"}]
    people[0]["faces"] = [{"image": "ben1.png"}]
    with pytest.raises(InputError, match="two people cannot share a face"):
        described(two_men(subjects=people), reading(text_encoder))


def test_shuffling_keeps_words_with_their_owners(text_encoder: Path) -> None:
    """Both are called man and wear a hat: who is meant was settled in the scene's order."""
    plain = described(two_men(), reading(text_encoder))
    words = dict(zip(map(group, names(plain)), plain.layout.words, strict=True))
    orders = set()
    for visit in range(24):
        sample = described(two_men(), reading(text_encoder, shuffle=True), visit)
        found = [group(name) for name in names(sample)]
        for name, row in zip(found, sample.layout.words, strict=True):
            assert torch.equal(row, words[name])
        assert found[:2] == ["park", "ball"]
        assert sample.layout.subjects[2:] == ([0, 0, 0, 1, 1] if found[2] == "ben" else [0, 0, 1, 1, 1])
        assert {found[2], found[sample.layout.subjects.index(1)]} == {"ben", "carl"}  # faces stay first
        orders.add(tuple(found))
    assert len(orders) == 4  # two orders of people, two of Ben's attributes


def group(name: str) -> str:
    return "ben" if name in ("ben1", "ben2", "ben3") else name


def test_one_picture_can_be_fitted_in_two_ways(text_encoder: Path) -> None:
    record = two_men(
        background={"word": "park", "pictures": [{"image": "park.png", "fit": "crop"}]},
        objects=[{"word": "ball", "pictures": [{"image": "park.png", "pad": "#ff0000"}]}],
    )
    place, thing = described(record, reading(text_encoder)).pictures[:2]
    assert place.picture.fit == "crop" and thing.picture.fit is None and thing.picture.pad == "#ff0000"


# pixels


def test_pixels_are_those_of_the_window_and_the_pictures(text_encoder: Path) -> None:
    sample = described(two_men(), reading(text_encoder))
    clip, pictures = read_pixels(sample, store_of().open, None)
    first = round(sample.start * FPS)
    assert clip.shape == (3, 9, 32, 32) and clip.dtype == torch.uint8
    assert [int(frame.float().mean().round()) for frame in clip[0]] == [
        (first + number) * BRIGHTER for number in range(9)
    ]
    assert pictures.shape == (7, 3, 32, 32) and float(pictures.abs().max()) <= 1
    for name, shown in zip(names(sample), pictures, strict=True):
        middle = ((shown[:, 16, 16] + 1) * 127.5).round().int().tolist()
        assert tuple(middle) == ImageColor.getrgb(COLOURS[name])
    assert bool((pictures[:, :, :, :4] == 1).all())  # portraits stand on white


def test_a_picture_is_cropped_as_its_record_says(text_encoder: Path) -> None:
    record = two_men(background={"word": "park", "pictures": [{"image": "park.png", "crop": [0, 0, 24, 24]}]})
    _, pictures = read_pixels(described(record, reading(text_encoder)), store_of().open, None)
    assert bool((pictures[0][1, :, 0] < 0.1).all())  # square, it fills the clip: no white beside it
    wide = two_men(background={"word": "park", "pictures": [{"image": "park.png", "fit": "crop"}]})
    _, again = read_pixels(described(wide, reading(text_encoder)), store_of().open, None)
    assert torch.equal(again[0], pictures[0])


def test_augmentation_is_keyed_by_the_visit_and_the_entity(text_encoder: Path) -> None:
    how, augmentation = reading(text_encoder), Augmentation(probability=1.0)
    first, second = described(two_men(), how, 0), described(two_men(), how, 1)
    plain = read_pixels(first, store_of().open, None)[1]
    varied = read_pixels(first, store_of().open, augmentation)[1]
    assert torch.equal(varied, read_pixels(first, store_of().open, augmentation)[1])
    assert not any(map(torch.equal, plain, varied))
    assert not torch.equal(varied[5], read_pixels(second, store_of().open, augmentation)[1][5])
    draws = [shown.draw for shown in first.pictures]
    assert len(set(draws)) == 7


def test_a_photograph_is_varied_as_its_small_copy_is() -> None:
    """Blur is in pixels of the clip: on a camera's pixels it would be gone behind the letterbox."""
    bucket, draw = Bucket(48, 32, 5), (0, "clip", "augment")
    noise = torch.randint(0, 256, (40, 60, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    photograph = Image.fromarray(noise.numpy()).resize((1200, 800), Image.Resampling.NEAREST)
    small = photograph.resize((48, 32), Image.Resampling.BICUBIC)
    augmentation = Augmentation(probability=1.0)
    varied, same = (
        prepare(ImageSpec(None, memory=image), "face", bucket, augmentation, draw) for image in (photograph, small)
    )
    assert torch.equal(varied, same)
    plain = prepare(ImageSpec(None, memory=photograph), "face", bucket, None, draw)
    assert not torch.equal(varied, plain)


def test_a_background_is_not_moved(text_encoder: Path) -> None:
    """Its place on the canvas stays; a face's is rotated or cropped away."""
    sample = described(two_men(), reading(text_encoder))
    varied = read_pixels(sample, store_of().open, Augmentation(blur=0.0, probability=1.0))[1]
    edges = (varied[:, 0, :, 1:] - varied[:, 0, :, :-1]).abs() > 0.2
    assert edges[0].any(dim=0).nonzero().flatten().tolist() == [3, 27]
    assert any(edges[row].any(dim=0).nonzero().flatten().tolist() != [3, 27] for row in range(1, 7))


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("clip.mkv", b"no video", "is no video"),
        ("clip.mkv", video(4), "its last frame is at"),
        ("carl.png", b"no picture", "not an image"),
        ("carl.png", picture("blue")[:60], "broken"),
    ],
    ids=["no video", "too short", "no picture", "torn picture"],
)
def test_a_file_that_cannot_be_read_is_named(text_encoder: Path, name: str, content: bytes, what: str) -> None:
    store = store_of(**{name: content})
    with pytest.raises(InputError, match=f"^{name}: .*{what}"):
        read_pixels(described(two_men(), reading(text_encoder)), store.open, None)


# dropout


def test_nothing_is_dropped_unasked(text_encoder: Path) -> None:
    how = reading(text_encoder)
    layout = described(two_men(), how).layout
    kept = drop(layout, "clip#0", how)
    assert kept.layout == layout and kept.rows == list(range(7)) and kept.text


def test_dropout_is_of_the_visit_not_of_the_variant(text_encoder: Path) -> None:
    how = reading(text_encoder, variants=1, text_dropout=0.5, reference_dropout=0.3, entity_dropout=0.3)
    layout = described(two_men(), how).layout
    kept = [drop(layout, f"clip#{visit}", how) for visit in range(60)]
    assert kept == [drop(layout, f"clip#{visit}", how) for visit in range(60)]
    assert 15 < sum(item.text for item in kept) < 45
    assert 8 < sum(not item.rows for item in kept) < 35
    assert len({tuple(item.rows) for item in kept}) > 10
    for item in kept:
        assert len(item.layout.references) == len(item.rows)
        assert item.text or not bool(item.layout.words.any())


def test_without_any_reference_only_the_video_is_left(text_encoder: Path) -> None:
    how = reading(text_encoder, reference_dropout=1.0)
    kept = drop(described(two_men(), how).layout, "clip#0", how)
    assert kept.layout.references == () and len(kept.layout) == 3 * 4 * 4 and kept.text
    assert kept.layout.text_weights.shape == (0, 96)


def test_keys_are_independent() -> None:
    draws = {
        float(torch.rand((), generator=keyed_generator(seed, sample, purpose)))
        for seed in range(3)
        for sample in (0, 1, "clip#1")
        for purpose in ("noise", "drop text")
    }
    assert len(draws) == 18
    assert not keyed_chance(0, 0, "x", 0.0) and keyed_chance(0, 0, "x", 1.0)
    assert keyed_chance(3, 7, "x", 0.5) == keyed_chance(3, "7", "x", 0.5)
    assert 60 < sum(keyed_chance(0, sample, "x", 0.3) for sample in range(300)) < 120
