"""Clips that a run samples of its validation scenes, to be looked at: MP4 files and one contact sheet."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from lumosx.files import atomic
from lumosx.pipelines import LumosXPipeline, Result
from lumosx.pipelines.video import write_clip
from lumosx.scene import Scene
from lumosx.training.ranks import Ranks

SEED = 0


@dataclass(frozen=True)
class _Sampled:
    """A clip as files, which are small enough to be sent between ranks."""

    number: int
    name: str
    clip: bytes  # MP4
    sheet: bytes  # PNG


def sample_clips(
    pipeline: LumosXPipeline, scenes: Sequence[dict[str, Any]], folder: Path, ranks: Ranks, **settings: Any
) -> None:
    """Samples each scene once, spread over the ranks, and writes all clips and their sheet to `folder` in one piece.

    Every rank must call it. Seed and noise are the same at every call.

    Args:
        pipeline: over the model that trains, in its parallel form.
        scenes: in the scene format, the same on all ranks.
        folder: such as RUN/samples/step-000500; written by the main rank.
        settings: fields of the pipeline's `Settings`, such as steps, in place of the checkpoint's.
    """
    parsed = [Scene.from_dict(scene) for scene in scenes]
    place = pipeline.text_encoder.device
    sampled = []
    for number, is_own in _turns([bool(_pictures(scene)) for scene in parsed], ranks):
        # "auto" would decide by the scene, and ranks with other scenes would do another number of passes
        result = pipeline(parsed[number], seed=SEED, guidance="apart", progress=False, **settings)
        if is_own:
            assert isinstance(result, Result)  # one seed, one clip
            sampled.append(_files(number, result))
    pipeline.text_encoder.to(place)  # the pipeline leaves it on the CPU, but training uses it too
    gathered = ranks.gather(sampled)
    if ranks.is_main:
        _write([clip for share in gathered for clip in share], folder)  # pyright: ignore[reportGeneralTypeIssues]


def _pictures(scene: Scene) -> list[Any]:
    return [entity for entity in scene.entities if entity.image is not None]


def _turns(pictured: Sequence[bool], ranks: Ranks) -> Iterator[tuple[int, bool]]:
    """Numbers of the scenes that this rank samples one after another, and whether the clip is its to keep.

    In a turn all ranks do equally many passes, because sharded models talk to each other in each pass: ranks that
    are left over repeat a scene, and scenes without pictures, which need fewer passes, have turns of their own. Ranks
    that share a clip's tokens sample the same scene.
    """
    for kind in (True, False):
        numbers = [number for number, has in enumerate(pictured) if has == kind]
        for start in range(0, len(numbers), ranks.data_size):
            turn = numbers[start : start + ranks.data_size]
            is_own = ranks.data_rank < len(turn) and ranks.rank % ranks.sequence == 0
            yield turn[ranks.data_rank % len(turn)], is_own


def _files(number: int, result: Result) -> _Sampled:
    name = f"{number:02d}-{result.scene.id}"
    with TemporaryDirectory() as folder:
        clip = write_clip(result.frames, Path(folder) / f"{name}.mp4", result.fps, result.label).read_bytes()
    sheet = BytesIO()
    result.contact_sheet().reduce(2).save(sheet, format="PNG")
    return _Sampled(number, name, clip, sheet.getvalue())


def _write(clips: list[_Sampled], folder: Path) -> None:
    clips = sorted(clips, key=lambda clip: clip.number)
    with atomic(folder) as beside:
        beside.mkdir()
        for clip in clips:
            (beside / f"{clip.name}.mp4").write_bytes(clip.clip)
        _stacked([Image.open(BytesIO(clip.sheet)) for clip in clips]).save(beside / "sheet.png")


def _stacked(images: list[Image.Image]) -> Image.Image:
    """One picture under the other."""
    size = max(image.width for image in images), sum(image.height for image in images)
    whole, top = Image.new("RGB", size, images[0].getpixel((0, 0))), 0  # pyright: ignore[reportArgumentType]
    for image in images:
        whole.paste(image, (0, top))
        top += image.height
    return whole
