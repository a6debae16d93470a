"""Steps: the same clips however they are spread over ranks, pieces and workers, and wherever a run goes on."""

import multiprocessing
import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from clips_in_memory import BRIGHTER, NAMES, playground, reading, records, six_clips, store_of, two_men
from torch import Tensor

from lumosx.data.batch import Batch, EncodedBatch, StepData
from lumosx.data.examples import Described
from lumosx.data.loader import Share, open_source, training_steps
from lumosx.data.source import Records, Source
from lumosx.errors import InputError


def steps_of(source: Source, steps: int = 3, share: Share | None = None, **position: Any) -> list[StepData]:
    return list(training_steps(source, share or Share(4), steps=steps, **position))


def clips_of(steps: Sequence[StepData]) -> list[tuple[Any, ...]]:
    """What the model would see of every clip, in order, whatever batches it is in."""
    clips = []
    for step in steps:
        for batch in step.batches:
            assert isinstance(batch, Batch)
            rows = zip(
                batch.samples, batch.video, batch.references, batch.token_ids, batch.token_mask, batch.layouts,
                strict=True,
            )  # fmt: skip
            clips += [
                (sample, video.numpy().tobytes(), shown.numpy().tobytes(), ids.tolist(), mask.tolist(), layout)
                for sample, video, shown, ids, mask, layout in rows
            ]
    return clips


VARIED: dict[str, Any] = {"text_dropout": 0.3, "entity_dropout": 0.3, "shuffle": True}


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(text_encoder: Path, workers: int) -> None:
    alone = steps_of(records(text_encoder, six_clips(), **VARIED))
    spread = steps_of(records(text_encoder, six_clips(), workers=workers, **VARIED))
    assert clips_of(spread) == clips_of(alone)
    assert [step.position for step in spread] == [step.position for step in alone]


def test_workers_change_nothing_in_the_playground(text_encoder: Path) -> None:
    alone, spread = (steps_of(playground(text_encoder, workers=workers, **VARIED), steps=2) for workers in (0, 1))
    assert clips_of(spread) == clips_of(alone)


def test_each_worker_is_one_step_ahead(text_encoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = records(text_encoder, six_clips(), workers=2)
    kind, drawn = type(source.picks(2)), []
    plans = kind.plans

    def counted(self: Any, position: Any) -> Any:
        for plan in plans(self, position):
            drawn.append(plan.step)
            yield plan

    monkeypatch.setattr(kind, "plans", counted)
    steps = training_steps(source, Share(2), steps=50)
    next(steps)
    assert drawn == [0, 1, 2]


def test_reading_leaves_the_generator_of_the_run_alone(text_encoder: Path) -> None:
    """A resumed run starts its loader once more than one that never stopped."""
    before = torch.get_rng_state()
    steps_of(records(text_encoder, six_clips(), workers=1, **VARIED), steps=1)
    assert torch.equal(torch.get_rng_state(), before)


def test_workers_outlive_a_signal_to_the_group_of_the_run(text_encoder: Path) -> None:
    before = set(multiprocessing.active_children())  # of other tests
    steps = training_steps(records(text_encoder, six_clips(), workers=1), Share(2), steps=50)
    next(steps)
    (worker,) = set(multiprocessing.active_children()) - before
    assert worker.pid is not None and os.getpgid(worker.pid) != os.getpgid(0)
    steps.close()  # pyright: ignore[reportAttributeAccessIssue]
    worker.join(10)
    assert not worker.is_alive()


@pytest.mark.parametrize("kind", ["records", "playground"])
def test_ranks_and_pieces_together_have_the_batch_of_one(text_encoder: Path, kind: str) -> None:
    def source() -> Source:
        if kind == "records":
            return records(text_encoder, six_clips(), **VARIED)
        return playground(text_encoder, **VARIED)

    alone = steps_of(source(), steps=2)
    spread = [
        step
        for number in range(2)
        for rank in range(2)
        for step in [steps_of(source(), 2, Share(4, micro_batch=1, rank=rank, size=2))[number]]
    ]
    assert all(len(step.batches) == 2 for step in spread)
    assert clips_of(spread) == clips_of(alone)
    assert [step.order for step in spread[::2]] == [step.order for step in alone] == [s.order for s in spread[1::2]]
    assert [batch.samples for step in alone for batch in step.batches] == [step.order for step in alone]


@pytest.mark.parametrize("kind", ["records", "playground"])
def test_a_run_goes_on_behind_any_step(text_encoder: Path, kind: str) -> None:
    source = records(text_encoder, six_clips()) if kind == "records" else playground(text_encoder)
    through = steps_of(source, steps=4)
    resumed = steps_of(source, steps=4, position=through[1].position)
    assert clips_of(resumed) == clips_of(through[2:])
    assert steps_of(source, steps=4, position=through[3].position) == []


def test_a_clip_comes_again_in_another_way(text_encoder: Path) -> None:
    """Six clips in steps of three: rounds of two steps, each with every clip once."""
    steps = steps_of(records(text_encoder, six_clips()), 4, Share(3))
    visits = [sample.split("#") for step in steps for sample in step.order]
    assert [visit for _, visit in visits] == ["0"] * 6 + ["1"] * 6
    assert {name for name, _ in visits[:6]} == {name for name, _ in visits[6:]} == set(NAMES)
    shown = {sample: clip for sample, clip, *_ in clips_of(steps)}
    assert any(shown[f"{name}#0"] != shown[f"{name}#1"] for name in NAMES)


def test_a_batch_is_padded_to_the_length_of_texts(text_encoder: Path) -> None:
    (step,) = steps_of(records(text_encoder, six_clips(), text_dropout=0.5), steps=1)
    (batch,) = step.batches
    assert isinstance(batch, Batch) and batch.video.dtype == torch.uint8
    assert batch.token_ids.shape == batch.token_mask.shape == (4, 96)
    pad = reading(text_encoder).tokenizer.pad_token_id
    assert bool((batch.token_ids[batch.token_mask == 0] == pad).all())
    lengths = batch.token_mask.sum(dim=1).tolist()
    assert 1 in lengths and max(lengths) > 10  # </s> alone, and a caption


# broken samples


def test_a_broken_clip_is_told_and_replaced(text_encoder: Path) -> None:
    """Whoever reads it and beside whatever, so that all ranks agree with a single one."""
    store = six_clips(**{"clip-2.mkv": b"torn"})
    alone = steps_of(records(text_encoder, store), steps=3)
    ranks = [steps_of(records(text_encoder, store), 3, Share(4, rank=rank, size=2)) for rank in range(2)]
    together = [step for number in range(3) for step in (ranks[0][number], ranks[1][number])]
    assert clips_of(together) == clips_of(alone)
    told = [item for step in alone for item in step.broken]
    assert told == [item for step in together for item in step.broken]
    assert {item.sample for item in told} == {"clip-2#0", "clip-2#1"}
    assert all(item.reason.startswith("clip-2.mkv: ") for item in told)
    assert not any(sample.startswith("clip-2#") for sample, *_ in clips_of(alone))
    assert any("clip-2#0" in step.order for step in alone)  # the order is of what was planned


def test_a_word_missing_in_the_caption_is_a_broken_sample(text_encoder: Path) -> None:
    bad = two_men("bad", caption="A {man:ben} with a hat and glasses and a {man:carl} with a hat in a park.")
    steps = steps_of(records(text_encoder, store_of(bad, two_men("good"))), 1, Share(2))
    (broken,) = steps[0].broken
    assert broken.sample == "bad#0" and "bad objects[0].word: 'ball' does not occur in the prompt" in broken.reason


@pytest.mark.parametrize("workers", [0, 1])
def test_where_nothing_can_be_read_the_run_stops(text_encoder: Path, workers: int) -> None:
    store = six_clips(**{f"{name}.mkv": b"torn" for name in NAMES})
    with pytest.raises(InputError, match=r"no clip of 32x32x9 can be read") as caught:
        steps_of(records(text_encoder, store, workers=workers))
    assert all(f"{name}.mkv" in str(caught.value) for name in NAMES) and "Traceback" not in str(caught.value)


# from the cache


class Fake:
    """Latents that tell which description they were asked for."""

    empty_text = torch.full((1, 8), -1.0)

    def read(self, described: Described) -> tuple[Tensor, Tensor, Tensor]:
        count = len(described.pictures)
        references = torch.arange(count).float().view(1, count, 1, 1).expand(2, count, 4, 4)
        return torch.full((2, 3, 4, 4), described.start), references, torch.ones(len(described.token_ids), 8)


def test_dropout_works_alike_on_the_cache(text_encoder: Path) -> None:
    dropped: dict[str, Any] = {"text_dropout": 0.4, "entity_dropout": 0.3, "variants": 2}
    pixels = steps_of(records(text_encoder, six_clips(), **dropped))
    how = reading(text_encoder, cache="somewhere", **dropped)
    cached = steps_of(Records(how, six_clips(), Fake()))
    kinds = set()
    for step, other in zip(pixels, cached, strict=True):
        (batch,), (encoded,) = step.batches, other.batches
        assert isinstance(batch, Batch) and isinstance(encoded, EncodedBatch)
        assert encoded.samples == batch.samples and encoded.layouts == batch.layouts
        assert encoded.latents.shape == (4, 2, 3, 4, 4) and encoded.text.shape == (4, 96, 8)
        for row, (mask, text) in enumerate(zip(batch.token_mask, encoded.text, strict=True)):
            assert text.abs().sum(dim=1).gt(0).long().tolist() == mask.tolist()
            kinds.add(float(text[0, 0]))
            shown = encoded.references[row]
            assert shown.shape[1] == len(batch.references[row]) == len(encoded.layouts[row].references)
            first = int(batch.video[row, 0, 0].float().mean().round()) // BRIGHTER
            assert float(encoded.latents[row].mean()) * 8 == pytest.approx(first)
    assert kinds == {1.0, -1.0}


def test_a_cache_is_asked_for_every_variant_once(text_encoder: Path) -> None:
    source = records(text_encoder, six_clips(), variants=2)
    asked = [source.describe(pick, bucket) for pick, bucket in source.variants()]
    assert len({sample.sample for sample in asked}) == len(asked) == 12
    known = {(sample.video, sample.start) for sample in asked}
    for plan in islice(source.picks(4).plans(), 12):
        for pick in plan.picks:
            sample = source.describe(pick, plan.bucket)
            assert (sample.video, sample.start) in known


# settings


@pytest.mark.parametrize(
    ("share", "nearest"),
    [({"batch": 5, "size": 2}, 4), ({"batch": 2, "size": 4}, 4), ({"batch": 7, "micro_batch": 3}, 6)],
)
def test_a_batch_that_cannot_be_shared_is_refused(share: dict[str, int], nearest: int) -> None:
    with pytest.raises(InputError, match=rf"train\.batch={share['batch']} .*nearest: {nearest}"):
        Share(**share)


def test_a_cache_needs_to_know_how_many_variants_it_has(text_encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.variants"):
        open_source(reading(text_encoder, path=str(tmp_path), cache="somewhere"))


def test_people_are_told_which_clips_are_left_out(text_encoder: Path) -> None:
    source = records(text_encoder, store_of(two_men("clip"), two_men("short", frames=3)))
    (note,) = source.notes
    assert note.startswith("1 clips are left out: too short")
    assert playground(text_encoder).notes == []
