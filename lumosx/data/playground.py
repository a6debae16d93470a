"""The playground as a source of training clips: endless, and nobody has seen them before."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lumosx.data.batch import Batch, Broken, Bucket
from lumosx.data.examples import Example, Reading, drop, prepare
from lumosx.data.keyed import keyed_chance, keyed_generator
from lumosx.data.sampler import Pick, StepPlan
from lumosx.data.source import FixedSet, unvaried
from lumosx.errors import InputError
from lumosx.playground import Clips, Truth, World
from lumosx.playground.render import render_clips, render_references
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.scene import SceneError
from lumosx.scene.text import parse_tags

MOST_PEOPLE = 4  # in a clip
SPARE = 10**8  # numbers below are for runs; a broken clip is replaced by the one that far behind it


@dataclass(frozen=True)
class Undrawn(Example):
    """A clip whose video is still to be drawn, and empty until then."""

    truth: Truth


@dataclass(frozen=True)
class UndrawnBatch(Batch):
    """The same of several."""

    truths: list[Truth]


class Playground:
    """Clip number n of a run is the same whoever asks, and whenever. Numbers of a run start at 0.

    Pictures are drawn where clips are read, on the CPU, which prepares them as in sampling. Videos may be left to the
    device that trains: only the process that trains can use it, and they need not come from another.

    Args:
        reading: how clips are read; `data.subjects` and `data.placed` are the mixture.
        split: "train", or "validation": clips of the world's own mixture, the same for every seed.
        device: `read` leaves the videos to `draw`, which draws on this device; None: `read` draws them.

    Raises:
        InputError: settings that the playground cannot serve.
    """

    def __init__(self, reading: Reading, split: str = "train", device: torch.device | None = None) -> None:
        self.reading, self.split, self.device = reading, split, device
        self.notes: list[str] = []
        data = reading.data
        self.buckets = [Bucket.parse(text) for text in data.buckets]
        if len(data.subjects) > MOST_PEOPLE or min(data.subjects, default=0) < 0 or not sum(data.subjects):
            raise InputError(
                f"data.subjects: {list(data.subjects)}: the playground takes up to {MOST_PEOPLE} shares, of clips "
                f"with 1 to {MOST_PEOPLE} people, none below 0 and not all of them 0"
            )
        if data.cache is not None or data.variants is not None:
            raise InputError("data.cache and data.variants: the playground's clips never come again; set data.path")

    def picks(self, batch: int) -> "PlaygroundPicks":
        return PlaygroundPicks(self.buckets, self.reading.seed, batch)

    def read(self, picks: Sequence[Pick], bucket: Bucket) -> list[Example | Broken]:
        truths = [self.truth(pick.index, bucket) for pick in picks]
        videos, scenes = self._drawn(truths, bucket)
        examples: list[Example | Broken] = []
        for pick, truth, video, scene in zip(picks, truths, videos, scenes, strict=True):
            try:
                example = self._example(pick, bucket, video, scene)
            except SceneError as error:  # a caption that is too long for data.text_length
                examples.append(Broken(pick.sample, str(error)))
            else:
                examples.append(example if self.device is None else Undrawn(**vars(example), truth=truth))
        return examples

    def draw(self, batch: UndrawnBatch) -> Batch:
        """The batch with its videos, float32 [B, 3, F, H, W] in [-1, 1] on `device`, all drawn at once."""
        assert self.device is not None  # else none is undrawn
        video = render_clips(batch.truths, self.device)
        return Batch(batch.samples, video, batch.references, batch.token_ids, batch.token_mask, batch.layouts)

    def fixed(self, clips: int) -> FixedSet:
        groups = [
            (bucket, [Pick(f"validation-{i}", i, 0) for i in range(place, clips, len(self.buckets))])
            for place, bucket in enumerate(self.buckets)
        ]
        source = Playground(unvaried(self.reading), "validation", self.device)
        return FixedSet(source, [group for group in groups if group[1]])

    def fixed_scenes(self, clips: int) -> list[dict[str, Any]]:
        rendered = [
            World((bucket.width, bucket.height), bucket.frames).render(
                [pick.index for pick in picks], split="validation"
            )
            for bucket, picks in self.fixed(clips).clips
        ]
        return [drawn.scene(place) for drawn in rendered for place in range(len(drawn))]

    def truth(self, number: int, bucket: Bucket) -> Truth:
        """Everything about clip `number`. The seed moves runs to clips of their own."""
        size = bucket.width, bucket.height
        if self.split != "train":
            return sample_truth(number, self.split, size, bucket.frames, Wishes())
        data, seed = self.reading.data, self.reading.seed
        shares = torch.tensor(data.subjects, dtype=torch.float64)
        people = 1 + int(torch.multinomial(shares, 1, generator=keyed_generator(seed, number, "subjects")))
        wishes = Wishes(subjects=people, placed=keyed_chance(seed, number, "placed", data.placed))
        return sample_truth(seed * 10**9 + number, self.split, size, bucket.frames, wishes)

    def _drawn(self, truths: list[Truth], bucket: Bucket) -> tuple[Tensor, list[dict[str, Any]]]:
        """Videos, empty where they are left to `draw`, and scenes."""
        undrawn = torch.zeros(len(truths), 0)
        if self.reading.data.reference_dropout == 1:  # to draw what is never shown takes most of the time
            videos = render_clips(truths, "cpu") if self.device is None else undrawn
            return videos, [{"lumosx": 1, "prompt": parse_tags(truth.prompt)[0]} for truth in truths]
        if self.device is not None:
            references = render_references(truths, bucket.height, bucket.width)
            return undrawn, Clips(undrawn, references, truths).scenes
        clips = World((bucket.width, bucket.height), bucket.frames).draw(truths)
        return clips.video, clips.scenes

    def _example(self, pick: Pick, bucket: Bucket, video: Tensor, scene: dict[str, Any]) -> Example:
        reading = self.reading
        draw = (reading.seed, pick.sample)
        binding = reading.bind(scene, pick.sample, draw)
        kept = drop(reading.layout(binding, bucket), pick.sample, reading)
        references = [torch.zeros(0, 3, bucket.height, bucket.width)]
        for row in kept.rows:
            entity = binding.references[row]
            assert entity.image is not None  # what makes it a reference
            key = (*draw, f"augment {entity.id}")
            references.append(prepare(entity.image, entity.kind, bucket, reading.data.augment, key)[None])
        text = binding.token_ids if kept.text else reading.tokenizer("").input_ids
        return Example(pick.sample, video, torch.cat(references), torch.tensor(text), kept.layout)


class PlaygroundPicks:
    """The order of training (a PickSource): step s has the numbers from s * batch on, in a bucket drawn for it."""

    def __init__(self, buckets: Sequence[Bucket], seed: int, batch: int) -> None:
        self.buckets, self.seed, self.batch = buckets, seed, batch

    def plans(self, position: dict[str, Any] | None = None) -> Iterator[StepPlan]:
        step = position["step"] if position else 0
        while True:
            generator = keyed_generator(self.seed, step, "bucket")
            bucket = self.buckets[int(torch.randint(len(self.buckets), (), generator=generator))]
            numbers = range(step * self.batch, (step + 1) * self.batch)
            step += 1
            yield StepPlan(step - 1, bucket, [Pick(str(number), number, 0) for number in numbers], {"step": step})

    def replacements(self, pick: Pick) -> Iterator[Pick]:
        number = pick.index
        while True:
            number += SPARE
            yield Pick(str(number), number, 0)
