"""Pictures of a scene: where they may lie, how they are opened safely, what they look like to the model.

A path is confined to the scene's root on request (server use), and a file is sized before it is decoded, so
that neither a symlink nor a decompression bomb gets through.
"""

import hashlib
import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from PIL import ExifTags, Image, ImageColor, ImageOps, UnidentifiedImageError

from lumosx.scene.spec import Fit, ImageField

MAX_BYTES = 128 << 20
MAX_PIXELS = 64_000_000
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")  # none that runs another program


class ImageError(Exception):
    """A picture cannot be used: `code` is the message code."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, eq=False)
class ImageSpec:
    """A picture and how to cut and fit it. `fit` and `pad` are for whoever letterboxes it to the clip's
    size.
    """

    path: Path | None
    memory: Image.Image | None = None
    crop: tuple[int, int, int, int] | None = None
    fit: Fit = "pad"
    pad: str = "#ffffff"
    confine: Path | None = None  # the folder that the file, symlinks followed, may not leave

    def open(self) -> Image.Image:
        """The picture as RGB: EXIF rotation applied, cropped, transparency composited on `pad`.

        Raises:
            ImageError: LX201 no such file, LX202 not a usable image, LX003 the crop leaves the picture,
                LX220 the file lies outside the folder it is confined to.
        """
        return self.render(self.decode())

    def render(self, stored: Image.Image) -> Image.Image:
        """What `open` makes of the decoded picture."""
        with _as_image_errors():
            return self._rendered(ImageOps.exif_transpose(stored))

    def _rendered(self, image: Image.Image) -> Image.Image:
        if self.crop is not None:
            if self.crop[2] > image.width or self.crop[3] > image.height:
                raise ImageError("LX003", f"crop {list(self.crop)} leaves the picture, {image.width}x{image.height}")
            image = image.crop(self.crop)
        if not image.has_transparency_data:
            return image.convert("RGB")
        image = image.convert("RGBA")
        base = Image.new("RGBA", image.size, ImageColor.getrgb(self.pad))
        return Image.alpha_composite(base, image).convert("RGB")

    def decode(self) -> Image.Image:
        """The picture as stored, decoded in full.

        Raises:
            ImageError: as in `open`.
        """
        with _as_image_errors():
            image = self.memory or Image.open(io.BytesIO(self._bytes), formats=FORMATS)
            _expect_usable(image)
            image.load()
            return image

    @cached_property
    def sha256(self) -> str:
        """Of the file's bytes, or of the pixels of an in-memory image."""
        if self.memory is None:
            return hashlib.sha256(self._bytes).hexdigest()
        head = f"{self.memory.mode} {self.memory.width}x{self.memory.height} ".encode()
        return hashlib.sha256(head + self.memory.tobytes()).hexdigest()

    @property
    def _bytes(self) -> bytes:
        assert self.path is not None
        if self.confine is not None and escapes(self.path, self.confine):
            raise ImageError("LX220", "lies outside the scene's root; keep pictures inside it")
        try:
            if not self.path.is_file():  # a folder, or a device or pipe that would block
                raise ImageError("LX201", "no such image file")
            if not 0 < self.path.stat().st_size <= MAX_BYTES:
                raise ImageError("LX202", f"the file is empty or larger than {MAX_BYTES >> 20} MiB")
            return self.path.read_bytes()
        except OSError as error:
            raise ImageError("LX202", f"cannot be read: {error.strerror or error}") from error


@contextmanager
def _as_image_errors() -> Iterator[None]:
    """Whatever a decoder raises on a broken or hostile file becomes an ImageError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            yield
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError("LX202", f"the picture has too many pixels ({error}); make it smaller") from error
    except UnidentifiedImageError as error:
        raise ImageError("LX202", f"not an image; use one of {', '.join(FORMATS)}") from error
    except Exception as error:  # OSError, SyntaxError, struct.error, ...: decoders raise what they like
        raise ImageError("LX202", f"the image file is broken ({error}); export it again") from error


def is_rotated(stored: Image.Image) -> bool:
    """Whether a decoded picture carries an EXIF rotation."""
    return stored.getexif().get(ExifTags.Base.Orientation, 1) != 1


def _expect_usable(image: Image.Image) -> None:
    if not image.width or not image.height:
        raise ImageError("LX202", "the picture has no pixels")
    if image.width * image.height > MAX_PIXELS:
        raise ImageError(
            "LX202", f"{image.width}x{image.height} is more than {MAX_PIXELS // 10**6} megapixels; shrink it"
        )
    if image.mode[0] in "IF":
        raise ImageError("LX202", f"pixels of more than 8 bits (mode {image.mode}); save it as 8-bit RGB")


def locate(field: ImageField, root: Path, fit: Fit | None = None, confine: Path | None = None) -> ImageSpec:
    """The picture a scene means: relative paths start at `root`."""
    crop = None if field.crop is None else (field.crop[0], field.crop[1], field.crop[2], field.crop[3])
    chosen: Fit = fit or field.fit or "pad"
    if isinstance(field.image, Image.Image):
        return ImageSpec(None, field.image, crop, chosen, field.pad)
    return ImageSpec(root / field.image, None, crop, chosen, field.pad, confine)


def escapes(path: Path, folder: Path) -> bool:
    """Whether `path`, symlinks followed, lies outside `folder`."""
    try:
        return not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, ValueError):  # symlink loops, NUL bytes
        return True
