"""People, scores and near-duplicates: what is measured of key frames, and who leaves for it."""

import tracemalloc
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from curation_footage import save_video
from hypothesis import given
from hypothesis import strategies as st
from key_frames import entities, look_at, measured

from lumosx.curation.blobs import Blobs
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look, Vector
from lumosx.curation.stages import duplicates
from lumosx.curation.stages.duplicates import NearDuplicates
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.scores import Quality
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import Embedding, Kept, People, Scores, Seen, Subtitles
from lumosx.vision import Found, ModelCard, Picture

CARD = ModelCard("fake", "tests", "1", "Apache-2.0", True)
GREY = np.full((60, 90, 3), 90, np.uint8)


class Counts:
    """Sees as many people as a picture's first pixel says, from right to left, the last of them doubtful."""

    card = CARD

    def detect(self, picture: Picture) -> list[Found]:
        count = int(picture[0, 0, 0])
        return [Found((10.0 * n, 0.0, 10.0 * n + 9, 50.0), 0.3 if n == 0 else 0.9) for n in reversed(range(count))]


class Brightness:
    """Quality is the mean of a frame / 40, aesthetics the number of frames."""

    card = CARD

    def score(self, frames: list[Picture]) -> tuple[float, float]:
        return float(np.mean(frames)) / 40, float(len(frames))


def people(*counts: int) -> People:
    seen = Seen(box=(0.0, 0.0, 1.0, 1.0), score=1.0)
    return People(frames=[[seen] * count for count in counts])


def test_people_are_counted_from_left_to_right_without_the_doubtful(tmp_path: Path) -> None:
    frames = [GREY.copy() for _ in range(3)]
    for frame, count in zip(frames, (3, 0, 1), strict=True):
        frame[0, 0] = count
    value = measured(PeopleCount(people=Counts()), look_at(tmp_path, frames, [], entities(0)))
    assert [[seen.box[0] for seen in frame] for frame in value.frames] == [[10.0, 20.0], [], []]


@pytest.mark.parametrize(
    ("counts", "code"), [((0, 0, 0), "no-people"), ((0, 1, 0), None), ((3, 2, 3), None), ((1, 4, 1), "crowd")]
)
def test_one_to_three_people_stay(counts: tuple[int, ...], code: str | None) -> None:
    rejected = PeopleCount(people=Counts()).judge(people(*counts))
    assert (rejected and rejected.code) == code
    if rejected:
        assert rejected.value == max(counts)
        assert rejected.threshold == (1 if code == "no-people" else 3)


def test_quality_is_judged_before_aesthetics(tmp_path: Path) -> None:
    stage = Quality(scorer=Brightness())
    value = measured(stage, look_at(tmp_path, [GREY, GREY], [], entities(0)))
    assert value == Scores(quality=2.25, aesthetic=2.0)
    assert stage.judge(value).code == "quality"
    assert stage.judge(Scores(quality=3.5, aesthetic=1.9)).code == "aesthetic"
    assert stage.judge(Scores(quality=3.5, aesthetic=2.0)) is None


def embedding(*numbers: float, frames: int = 81, pixels: int = 100) -> Embedding:
    vector = np.array(numbers, np.float32)
    return Embedding(vector=Vector.of(vector / np.linalg.norm(vector)), pixels=pixels, frames=frames)


def test_of_what_is_alike_directly_or_through_others_the_longest_stays() -> None:
    values = {
        "a": embedding(1, 0, 0),
        "b": embedding(1, 0.4, 0, frames=90),  # cosine .93 with a
        "c": embedding(1, 0.9, 0),  # .93 with b, .74 with a
        "d": embedding(0, 0, 1),
    }
    rejected = NearDuplicates(embedder=None, alike=0.9).judge_all(values)
    assert rejected.keys() == {"a", "c"}
    assert {r.text for r in rejected.values()} == {"shows the same as b"}
    assert rejected["a"].value == pytest.approx(0.9285, abs=1e-3)
    larger = values | {"c": embedding(1, 0.9, 0, pixels=200)}  # shorter than b, but of a larger picture
    assert NearDuplicates(embedder=None, alike=0.9).judge_all(larger).keys() == {"a", "b"}
    assert NearDuplicates(embedder=None, alike=0.95).judge_all(values) == {}
    assert NearDuplicates(embedder=None).judge_all({"a": values["a"]}) == {}
    assert NearDuplicates(embedder=None).judge_all({}) == {}


def test_a_chain_of_slow_drift_names_the_next_link() -> None:
    turned = {f"c{n}": embedding(np.cos(0.3 * n), np.sin(0.3 * n), pixels=200 if n == 0 else 100) for n in range(6)}
    rejected = NearDuplicates(embedder=None).judge_all(turned)
    others = [f"shows the same as c{n - 1}, and through others as c0" for n in range(2, 6)]
    assert [rejected[f"c{n}"].text for n in range(1, 6)] == ["shows the same as c0", *others]
    assert [each.value for each in rejected.values()] == pytest.approx([np.cos(0.3)] * 5)


def steps_to(kept: str, alike: dict[str, set[str]]) -> dict[str, int]:
    """How many links away every clip of a cluster is."""
    steps, edge = {kept: 0}, {kept}
    while edge:
        edge = {near for each in edge for near in alike[each]} - steps.keys()
        steps |= dict.fromkeys(edge, max(steps.values()) + 1)
    return steps


@given(
    st.lists(st.tuples(st.integers(0, 62), st.integers(81, 83)), min_size=1, max_size=20),
    st.integers(1, 5),
    st.randoms(),
)
def test_clusters_are_those_of_all_pairs_in_whatever_order_and_blocks(clips, block: int, random) -> None:
    """Clips are directions in tenths of a radian; alike are those that are two apart at most."""
    values = {
        f"{n:02d}": embedding(np.cos(at / 10), np.sin(at / 10), frames=frames) for n, (at, frames) in enumerate(clips)
    }
    stage, mixed = NearDuplicates(embedder=None, alike=float(np.cos(0.25))), list(values)
    rejected = stage.judge_all(values)
    random.shuffle(mixed)
    with patch.object(duplicates, "BLOCK", block):
        assert stage.judge_all({name: values[name] for name in mixed}) == rejected
    vectors = {name: value.vector.array.astype(float) for name, value in values.items()}
    cosine = {(a, b): float(vectors[a] @ vectors[b]) for a in values for b in values}
    alike = {a: {b for b in values if cosine[a, b] >= stage.alike} for a in values}
    left = set(values)
    while left:
        kept = min(left, key=lambda name: (-values[name].frames, name))  # of all that is left, so of its cluster
        steps = steps_to(kept, alike)
        left -= steps.keys()
        assert kept not in rejected
        for name, step in steps.items():
            if step:
                nearer = [other for other in alike[name] if steps[other] == step - 1]
                link, _, through = rejected[name].text.removeprefix("shows the same as ").partition(", and through ")
                assert link in nearer and through == (f"others as {kept}" if step > 1 else "")
                assert rejected[name].value == pytest.approx(cosine[name, link], abs=1e-6)
                assert cosine[name, link] == pytest.approx(max(cosine[name, other] for other in nearer), abs=1e-6)


@given(st.integers(0, 2**32 - 1), st.floats(-1, 1))
def test_a_cosine_is_the_same_in_whatever_order_it_is_summed(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    pair = random.normal(size=(2, 300)) * random.normal(size=300) ** 8
    pair[1] += 10 * scale * pair[0]
    pair = (pair / np.linalg.norm(pair, axis=1, keepdims=True)).astype(np.float32)
    some, other = duplicates._exact(pair)
    mixed = random.permutation(300)
    assert some @ other == some[mixed] @ other[mixed] == sum((some * other)[mixed].tolist())
    assert some @ other == pytest.approx(float(pair[0].astype(float) @ pair[1].astype(float)), abs=1e-6)


def test_the_memory_does_not_grow_with_the_pairs() -> None:
    """All clips are alike: 9 million pairs, of which a byte each would be more than is allowed."""
    values = {f"{n:04d}": embedding(1, 0) for n in range(3000)}
    with patch.object(duplicates, "BLOCK", 64):
        tracemalloc.start()
        rejected = NearDuplicates(embedder=None).judge_all(values)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 8e6
    assert len(rejected) == 2999


def test_copies_of_some_are_those_alike_to_one_of_them() -> None:
    values = {"a": embedding(1, 0, 0), "b": embedding(1, 0.1, 0), "c": embedding(0, 1, 0), "d": embedding(0, 1, 0.1)}
    stage = NearDuplicates(embedder=None)
    assert stage.copies(values, {"a"}) == ["b"]
    assert stage.copies(values, {"a", "d"}) == ["b", "c"]
    assert stage.copies(values, {"a", "b"}) == stage.copies(values, set()) == stage.copies({}, {"a"}) == []


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(81, 83)), min_size=1, max_size=12), st.randoms())
def test_one_of_each_cluster_stays_in_whatever_order(clips: list[tuple[int, int]], random) -> None:
    corners = np.eye(4)
    values = {f"{n:02d}": embedding(*corners[corner], frames=frames) for n, (corner, frames) in enumerate(clips)}
    mixed = list(values)
    random.shuffle(mixed)
    rejected = NearDuplicates(embedder=None).judge_all({name: values[name] for name in mixed})
    assert rejected == NearDuplicates(embedder=None).judge_all(values)
    for corner in {corner for corner, _ in clips}:
        own = [(-frames, f"{n:02d}") for n, (at, frames) in enumerate(clips) if at == corner]
        assert [name for _, name in own if name not in rejected] == [min(own)[1]]


def test_the_embedder_sees_frames_of_the_clip_alone_cropped(tmp_path: Path) -> None:
    frames = [np.full((48, 64, 3), 2 * number, np.uint8) for number in range(96)]
    for frame in frames:
        frame[:, :16] = 255
    video = save_video(tmp_path / "a.mp4", np.stack(frames))
    seen: list[np.ndarray] = []

    class Remembers:
        card = CARD

        def embed_video(self, frames: np.ndarray) -> np.ndarray:
            seen.append(frames)
            return np.array([1, 0], np.float32)

    kept = Kept(width=48, height=48, frames=48, stored_fps=16, key_numbers=[2, 24, 45], key_frames=["", "", ""])
    cut = Subtitles(share=0, crop=(16, 0, 64, 48), left=0, texts=[])
    clip = Clip(Source("a" * 16, video, "a.mp4"), 3.0, 6.0)
    look = Look(clip, {Technical: kept, SubtitleText: cut}, Blobs(tmp_path), 0)
    value = measured(NearDuplicates(embedder=Remembers(), frames=4), look)
    assert value.vector.array.tolist() == [1, 0]
    assert value.frames == 48
    assert seen[0].shape == (4, 48, 48, 3)
    assert np.abs(seen[0].mean((1, 2, 3)) - [96, 128, 158, 190]).max() < 6  # frames 48, 64, 79 and 95
