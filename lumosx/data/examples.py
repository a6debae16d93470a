"""One sample, from a pick to what batches are made of, in stages that reading pixels and reading a cache share.

describe       what is shown: window, pictures, order, words, layout.    No pixels; keyed by the variant.
read_pixels    the window and the pictures, varied and fitted.           A function of description and files;
    or the cache's latents of the same description
drop           what this visit does without: text, references.           Keyed by the sample; alike on both.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lumosx.data.batch import Bucket
from lumosx.data.config import DataConfig
from lumosx.data.frames import read_window
from lumosx.data.keyed import keyed_chance, keyed_generator
from lumosx.data.rows import scattered, shuffled, with_references
from lumosx.data.sampler import Pick
from lumosx.errors import InputError
from lumosx.records import ClipRecord, Picture
from lumosx.references import Augmentation, augment, fitted_size, letterbox, to_tensor
from lumosx.relations import TokenLayout, bound_layout
from lumosx.relations.mcam import Rules
from lumosx.scene import Binding, ImageError, ImageSpec, Scene
from lumosx.scene.images import FORMATS

Draw = tuple[int, str, str]  # (seed, sample, purpose), of `keyed_generator`


@dataclass(frozen=True)
class Reading:
    """How clips become what the model reads: the same for training, validation and the cache.

    Args:
        data: the configuration's `data`.
        tokenizer: a fast tokenizer with offsets.
        text_length: tokens a text is padded to.
        grid_of: (T, H, W) in tokens of a bucket's clips; picklable, because workers may be started afresh.
        seed: of the run.
        r2pe, csam, rules: what layouts carry.
    """

    data: DataConfig
    tokenizer: Any  # transformers types its `pad_token_id` as texts and lists too
    text_length: int
    grid_of: Callable[[Bucket], tuple[int, int, int]]
    seed: int = 0
    r2pe: bool = True
    csam: bool = True
    rules: Rules = "paper"

    def bind(self, scene: dict[str, Any], name: str, draw: tuple[int, str]) -> Binding:
        """The words of a scene bound to tokens, its people in the order of draw (seed, sample) if `data.shuffle`.

        Raises:
            SceneError: a word is not in the caption, or cannot be bound; messages call the scene `name`.
        """
        if self.data.scatter:
            scene = scattered(scene, keyed_generator(*draw, "scatter"))
        binding = Scene.from_dict(scene, source=name).bind(self.tokenizer, self.text_length, rules=self.rules)
        return shuffled(binding, keyed_generator(*draw, "shuffle")) if self.data.shuffle else binding

    def layout(self, binding: Binding, bucket: Bucket) -> TokenLayout:
        """The layout of a bound scene in a bucket."""
        return bound_layout(
            binding, self.grid_of(bucket), self.text_length, r2pe=self.r2pe, csam=self.csam, rules=self.rules
        )


@dataclass(frozen=True)
class Shown:
    """A reference picture of a sample."""

    picture: Picture
    kind: str  # of the entity: background, object, face, attribute
    draw: Draw  # of its augmentation


@dataclass(frozen=True)
class Described:
    """What a sample shows.

    Beside the bytes of its files and `data.augment`, the video's pixels depend on (video, start, fps, bucket) alone, a
    reference's on (its `Shown`, bucket), where without augmentation `draw` does not count, and the text on token_ids.
    """

    sample: str
    bucket: Bucket
    video: str  # its name in the store
    start: float  # seconds into the video
    fps: float
    pictures: tuple[Shown, ...]  # in token order, as the layout's references
    token_ids: tuple[int, ...]  # unpadded
    layout: TokenLayout


@dataclass(frozen=True)
class Example:
    """A sample, read, without what was dropped."""

    sample: str
    video: Tensor  # [3, F, H, W], uint8, or float32 in [-1, 1]; or latents [C, T, h, w]
    references: Tensor  # float32 [R, 3, H, W] in [-1, 1]; or latents [C, R, h, w]
    text: Tensor  # token ids int64 [n]; or embeddings [n, D]
    layout: TokenLayout


def describe(record: ClipRecord, pick: Pick, bucket: Bucket, reading: Reading) -> Described:
    """What a pick of a record shows. Equal for visits of one variant, but for `sample`.

    Raises:
        SceneError: a word is not in the caption, or cannot be bound.
    """
    choice = _choose(record, pick, bucket, reading)
    numbers: dict[str, int] = {}
    scene = record.scene(lambda pictures: _stand_in(choice.picture(pictures), numbers))
    binding = reading.bind(scene, record.id, choice.draw)
    pictures = []
    for entity in binding.references:
        assert entity.image is not None and entity.image.memory is not None  # a stand-in
        picture = entity.image.memory.info["picture"]
        pictures.append(Shown(picture, entity.kind, (*choice.draw, f"augment {entity.id}")))
    return Described(
        pick.sample, bucket, record.video, choice.first / record.fps, reading.data.fps, tuple(pictures),
        tuple(binding.token_ids), reading.layout(binding, bucket),
    )  # fmt: skip


def scene_of(
    record: ClipRecord, pick: Pick, bucket: Bucket, reading: Reading, open_file: Callable[[str], BinaryIO]
) -> dict[str, Any]:
    """The same in the scene format, with the same pictures, to be sampled at the bucket's size and length.

    Raises:
        InputError: a picture cannot be read; names it.
    """
    choice = _choose(record, pick, bucket, reading)

    def image(pictures: list[Picture]) -> dict[str, Any]:
        picture = choice.picture(pictures)
        with _named(picture.image):
            return picture.in_scene(_opened(open_file(picture.image)))

    size = f"{bucket.width}x{bucket.height}"
    return record.scene(image) | {"generation": {"size": size, "frames": bucket.frames, "fps": reading.data.fps}}


def read_pixels(
    described: Described, open_file: Callable[[str], BinaryIO], augmentation: Augmentation | None
) -> tuple[Tensor, Tensor]:
    """The video uint8 [3, F, H, W] and the references float32 [R, 3, H, W] in [-1, 1], in the layout's order.

    Raises:
        InputError: a file cannot be read; names it.
    """
    bucket = described.bucket
    with _named(described.video):
        file = open_file(described.video)
        video = read_window(file, described.start, bucket.frames, described.fps, bucket.width, bucket.height)
    references = [torch.zeros(0, 3, bucket.height, bucket.width)]
    for shown in described.pictures:
        with _named(shown.picture.image):
            image = _stored(shown.picture, open_file(shown.picture.image))
            references.append(prepare(image, shown.kind, bucket, augmentation, shown.draw)[None])
    return video, torch.cat(references)


def prepare(image: ImageSpec, kind: str, bucket: Bucket, augmentation: Augmentation | None, draw: Draw) -> Tensor:
    """A reference picture varied and fitted to the clip: float32 [3, H, W] in [-1, 1].

    Raises:
        ImageError: the picture cannot be used.
    """
    picture = image.open()
    if augmentation is not None:
        size = fitted_size(picture, bucket.width, bucket.height, image.fit)
        if size[0] < picture.width:  # blur and shrinking are in pixels of the clip, whatever the camera's were
            picture = picture.resize(size, Image.Resampling.BICUBIC)
        picture = augment(picture, augmentation, keyed_generator(*draw), geometric=kind != "background")
    return to_tensor(letterbox(picture, bucket.width, bucket.height, fit=image.fit, pad=image.pad))


@dataclass(frozen=True)
class Kept:
    """What is left of a sample after dropout."""

    layout: TokenLayout
    rows: list[int]  # references that stay
    text: bool


def drop(layout: TokenLayout, sample: str, reading: Reading) -> Kept:
    """Draws what a sample does without."""
    data, seed = reading.data, reading.seed
    rows = [
        row
        for row in range(len(layout.references))
        if not keyed_chance(seed, sample, f"drop reference {row}", data.entity_dropout)
    ]
    if keyed_chance(seed, sample, "drop references", data.reference_dropout):
        rows = []
    layout = with_references(layout, rows)
    if keyed_chance(seed, sample, "drop text", data.text_dropout):
        return Kept(layout.without_words(), rows, text=False)
    return Kept(layout, rows, text=True)


@dataclass(frozen=True)
class _Choice:
    """The window of a pick, frames `first` to `last` of the stored video, and its pictures."""

    draw: tuple[int, str]  # (seed, sample) of all that is drawn for the variant
    first: int
    last: int
    other_frames: bool

    def picture(self, pictures: list[Picture]) -> Picture:
        """One of an entity's pictures."""
        outside = [
            picture for picture in pictures if picture.frame is None or not self.first <= picture.frame <= self.last
        ]
        best = (self.other_frames and outside) or pictures
        generator = keyed_generator(*self.draw, f"picture for {pictures[0].image}")
        return best[int(torch.randint(len(best), (), generator=generator))]


def _choose(record: ClipRecord, pick: Pick, bucket: Bucket, reading: Reading) -> _Choice:
    data = reading.data
    # variants belong to the data, not to a run: runs of other seeds find them in the cache
    seed, variant = (0, pick.visit % data.variants) if data.variants else (reading.seed, pick.visit)
    draw = (seed, f"{record.id}#{variant}")
    span = math.ceil((bucket.frames - 1) * record.fps / data.fps)
    starts = max(1, record.frames - span)
    first = int(torch.randint(starts, (), generator=keyed_generator(*draw, "window")))
    return _Choice(draw, first, first + span, data.other_frames)


def _stand_in(picture: Picture, numbers: dict[str, int]) -> Image.Image:
    """A pixel in the place of a picture, whose words are bound before it is read. Each picture has a colour of its own,
    so that one face for two people is still found."""
    number = numbers.setdefault(f"{picture.image} {picture.crop}", len(numbers))
    pixel = Image.new("RGB", (1, 1), (number % 256, number // 256, 0))
    pixel.info["picture"] = picture
    return pixel


def _stored(picture: Picture, file: BinaryIO) -> ImageSpec:
    crop = None if picture.crop is None else (picture.crop[0], picture.crop[1], picture.crop[2], picture.crop[3])
    return ImageSpec(None, _opened(file), crop, picture.fit or "pad", picture.pad)


def _opened(file: BinaryIO) -> Image.Image:
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:  # its own words name an address in memory
        raise InputError(f"not an image; use one of {', '.join(FORMATS)}") from error


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Whatever is wrong with a file becomes an InputError that names it."""
    try:
        yield
    except (InputError, ImageError, OSError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: {error}") from error
