"""Checks of the pictures: they exist, open, are large enough, and nobody's face is used twice."""

from collections.abc import Sequence
from pathlib import Path

from lumosx.scene.entities import Declared, Entity
from lumosx.scene.images import ImageError, ImageSpec, is_rotated
from lumosx.scene.messages import Report, nearest

MIN_FACE = 112  # pixels on the short side: what face recognisers are fed
MIN_OBJECT = 64
MAX_ASPECT = 3.0


def check_images(entities: Sequence[Entity], declared: Sequence[Declared], report: Report) -> None:
    """Open every picture and judge it."""
    usable: list[tuple[Entity, Declared]] = []
    for entity, written in zip(entities, declared, strict=True):
        if entity.image is not None and _check_image(entity, entity.image, written, report):
            usable.append((entity, written))
    _check_repeats(usable, report)


def _check_image(entity: Entity, image: ImageSpec, written: Declared, report: Report) -> bool:
    where = written.image_path
    try:
        stored = image.decode()
        picture = image.render(stored)
    except ImageError as error:
        hint = _similar_file(image.path) if error.code == "LX201" else ""
        report.add(error.code, where, f"{written.shown!r}: {error}{hint}")
        return False
    if is_rotated(stored):
        report.add("LX213", where, f"{written.shown!r} carries an EXIF rotation, which is applied")
    if stored.has_transparency_data and stored.convert("RGBA").getchannel("A").getextrema() != (255, 255):
        report.add("LX214", where, f"{written.shown!r} is partly transparent: composited on {image.pad} (`pad:`)")
    _check_size(entity, written, picture.size, report)
    return True


def _check_size(entity: Entity, written: Declared, size: tuple[int, int], report: Report) -> None:
    short, long = sorted(size)
    limit = {"face": MIN_FACE, "object": MIN_OBJECT}.get(entity.kind, 0)
    measure = f"{written.shown!r} is {size[0]}x{size[1]}"
    if short < limit:
        text = f"{measure}: below {limit} px on the short side a {entity.kind} loses detail; use a larger one"
        report.add("LX210", written.image_path, text)
    if long > MAX_ASPECT * short:
        text = f"{measure}: longer than {MAX_ASPECT:g}:1, so mostly padding; crop it"
        report.add("LX212", written.image_path, text)


def _check_repeats(usable: Sequence[tuple[Entity, Declared]], report: Report) -> None:
    """The same bytes with the same crop (one group photo cropped twice is no repetition)."""
    first: dict[tuple[object, ...], tuple[Entity, Declared]] = {}
    for entity, written in usable:
        assert entity.image is not None
        other, _ = first.setdefault((entity.image.sha256, entity.image.crop), (entity, written))
        if other is entity:
            continue
        faces = entity.kind == other.kind == "face"
        text = f"{written.shown!r} is the same picture as that of {other.id}"
        text += ": two people cannot share a face" if faces else "; give each its own"
        report.add("LX211", written.image_path, text, "error" if faces else None)


def _similar_file(path: Path | None) -> str:
    try:
        names = [] if path is None else [entry.name for entry in path.parent.iterdir() if entry.is_file()]
    except (OSError, ValueError):  # ValueError: a NUL character in the path
        return "; its folder does not exist either, see `root:`"
    close = nearest(path.name if path else "", names, count=1)
    return f"; nearest in that folder: {close[0]!r}" if close else "; mend the path (relative to `root:`)"
