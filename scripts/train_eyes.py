"""Trains the eyes of the playground (`lumosx.vision.drawn`), which curation's demonstration sees with.

    python scripts/train_eyes.py --out checkpoints/playground-eyes

Pictures are frames of clips that no other use of the playground draws (split "eyes"). Where a part is seen is found by
drawing the frame again with the part in other colours: the pixels that change are the part's.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from scipy import ndimage
from torch import Tensor, nn

from lumosx.curation.marks import draw
from lumosx.files import atomic, write_json
from lumosx.playground.looks import Look
from lumosx.playground.render import render_clips
from lumosx.playground.sampling import Wishes, sample_truth
from lumosx.playground.truth import Truth
from lumosx.vision.drawn import BODY, CLASSES, NOUNS, PLACES, SIDE, Eyes

SPLIT = "eyes"
SIZES = tuple((width, SIDE) for width in (96, 128, 144, 168))  # of the frames, a size a batch
CHANGED = 0.08  # change of a pixel (of 0 to 2) by which it shows a part
AWAY = 100.0  # figure units: out of the frame
BATCH = 16
STEPS = 1600
RATE = 2e-3
PIXEL = 4.0
PLACE = 0.3  # weight of the loss of places; that of pixels is PIXEL
POOL = 96  # batches that are kept to be seen again
SEEN = 3  # steps for each batch that is drawn
MARKED = 0.4  # share of the pictures with boxes of people, as the model sees them that is asked who wears what
MOST_BOXES = 4


@dataclass(frozen=True)
class Labelled:
    """Frames [N, 3, H, W] in [-1, 1], the class of every pixel [N, H, W], and the place [N]."""

    frames: Tensor
    labels: Tensor
    places: Tensor


@torch.no_grad()
def labelled(seeds: Sequence[int], size: tuple[int, int]) -> Labelled:
    """Frames with the class of every pixel."""
    truths = [sample_truth(seed, SPLIT, size, 1, Wishes(background=True)) for seed in seeds]
    variants = [[truth, *(changed for _, changed in _parts(truth))] for truth in truths]
    drawn = render_clips([variant for group in variants for variant in group], "cpu")[:, :, 0]
    frames, labels, first = [], [], 0
    for truth, group in zip(truths, variants, strict=True):
        pictures = drawn[first : first + len(group)]
        first += len(group)
        label = torch.zeros(pictures.shape[-2:], dtype=torch.long)
        for (word, _), picture in zip(_parts(truth), pictures[1:], strict=True):
            changed = (picture - pictures[0]).abs().amax(0) > CHANGED
            label[_face_of(changed) if word in NOUNS else changed] = CLASSES.index(word)
        frames.append(pictures[0])
        labels.append(label)
    places = [PLACES.index(truth.background.word) for truth in truths if truth.background]
    return Labelled(torch.stack(frames), torch.stack(labels), torch.tensor(places))


def _face_of(skin: Tensor) -> Tensor:
    """Of somebody's skin and hair [H, W] that of the head, which is the largest piece and what lies in its box; hands
    are the body's."""
    numbered, count = ndimage.label(skin.numpy())
    if not count:
        return skin
    head = ndimage.find_objects(numbered)[int(np.bincount(numbered.ravel())[1:].argmax())]
    inside = torch.zeros_like(skin)
    inside[head] = True
    return skin & inside


def _parts(truth: Truth) -> list[tuple[str, Truth]]:
    """Every part of a clip, the later over the earlier: its word, and the clip with it in other colours, or away."""
    found = [(BODY, _changed(truth, index, shift=AWAY)) for index in range(len(truth.subjects))]
    for index, subject in enumerate(truth.subjects):
        found.append((subject.word, _changed(truth, index, look=_other(subject.look))))
        for number, item in enumerate(subject.attributes):
            worn = list(subject.attributes)
            worn[number] = replace(item, look=_other(item.look))
            found.append((item.word, _changed(truth, index, attributes=tuple(worn))))
    if truth.object is not None:
        found.append((truth.object.word, replace(truth, object=replace(truth.object, look=_other(truth.object.look)))))
    return found


def _changed(truth: Truth, index: int, **fields: Any) -> Truth:
    subjects = list(truth.subjects)
    subjects[index] = replace(subjects[index], **fields)
    return truth.with_subjects(subjects)


def _other(look: Look) -> Look:
    """The look with every channel of every colour half way round."""
    return {
        name: tuple((channel + 0.5) % 1 for channel in value) if isinstance(value, tuple) else value
        for name, value in look.items()
    }


def spoiled(frames: Tensor, generator: torch.Generator) -> Tensor:
    """As footage arrives: softer, noisier, brighter or darker; some with boxes drawn in."""
    count = len(frames)

    def each(low: float, high: float) -> Tensor:
        return (torch.rand(count, 1, 1, 1, generator=generator) * (high - low) + low).to(frames)

    soft = nn.functional.avg_pool2d(frames, 3, 1, 1, count_include_pad=False)
    mixed = frames + (soft - frames) * each(0, 1)
    noisy = mixed * each(0.85, 1.1) + each(-0.1, 0.1) + torch.randn(frames.shape, generator=generator) * each(0, 0.06)
    marked = (torch.rand(count, generator=generator) < MARKED).nonzero().flatten().tolist()
    for number in marked:
        noisy[number] = _with_boxes(noisy[number], generator)
    return noisy


def _with_boxes(frame: Tensor, generator: torch.Generator) -> Tensor:
    """A frame [3, H, W] with numbered boxes as large as people."""
    height, width = frame.shape[1:]
    count = int(torch.randint(1, MOST_BOXES + 1, (1,), generator=generator))
    left, top, wide, high = torch.rand(4, count, generator=generator)
    x0, y0 = (left * 1.1 - 0.2) * width, top * 0.6 * height
    corners = torch.stack([x0, y0, x0 + (0.2 + 0.3 * wide) * width, y0 + (0.5 + 0.5 * high) * height], 1)
    pixels = ((frame.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
    drawn = draw(pixels, [tuple(box) for box in corners.tolist()])
    return torch.from_numpy(drawn.copy()).permute(2, 0, 1).float() / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=STEPS)
    options = parser.parse_args()
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    eyes, start = Eyes().to(memory_format=torch.channels_last), time.monotonic()  # a third faster on a CPU
    optimizer = torch.optim.AdamW(eyes.parameters(), lr=RATE, weight_decay=1e-4)
    pool: list[Labelled] = []
    losses: list[float] = []
    for step in range(options.steps):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, step / 50) * (0.5 + 0.5 * np.cos(np.pi * step / options.steps)) + RATE / 200
        if step % SEEN == 0:
            number = step // SEEN
            fresh = labelled(range(number * BATCH, (number + 1) * BATCH), SIZES[number % len(SIZES)])
            pool = [*pool, fresh][-POOL:]
        batch = pool[int(torch.randint(len(pool), (1,), generator=generator))]
        losses.append(_update(eyes, optimizer, batch, generator))
        if (step + 1) % 50 == 0:
            minutes = (time.monotonic() - start) / 60
            print(f"step {step + 1}  loss {np.mean(losses[-50:]):.3f}  {minutes:.1f} min", flush=True)
    measured = measure(eyes.eval(), 200)
    print(measured)
    with atomic(options.out / "model.safetensors") as temporary:
        save_file({name: value.half().contiguous() for name, value in eyes.state_dict().items()}, temporary)
    write_json({"steps": options.steps, "pictures": 200, **measured}, options.out / "training.json")


def _update(eyes: Eyes, optimizer: torch.optim.Optimizer, batch: Labelled, generator: torch.Generator) -> float:
    pixels, places = eyes(spoiled(batch.frames, generator))
    loss = PIXEL * nn.functional.cross_entropy(pixels, batch.labels) + PLACE * nn.functional.cross_entropy(
        places, batch.places
    )
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return float(loss.detach())


@torch.no_grad()
def measure(eyes: Eyes, pictures: int) -> dict[str, float]:
    """On frames that were not seen: pixels named rightly of those that show something, and places."""
    first, right, shown, places = 10**6, 0, 0, 0
    for start in range(0, pictures, BATCH):
        batch = labelled(range(first + start, first + start + BATCH), SIZES[start // BATCH % len(SIZES)])
        logits, place = eyes(batch.frames)
        some = batch.labels > 0
        right += int((logits.argmax(1) == batch.labels)[some].sum())
        shown += int(some.sum())
        places += int((place.argmax(1) == batch.places).sum())
    return {"pixels": round(right / shown, 4), "places": round(places / (-(-pictures // BATCH) * BATCH), 4)}


if __name__ == "__main__":
    main()
