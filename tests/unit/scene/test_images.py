"""Pictures: what the model is shown, and what no picture may do."""

import json
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from scene_makers import make_picture

from lumosx.scene import ImageError, ImageSpec, Message, Scene, SceneError, examine


def spec_of(image: Image.Image, **more: Any) -> ImageSpec:
    return ImageSpec(None, image, **more)


def test_rgb_is_untouched() -> None:
    image = make_picture(7, 5)
    assert spec_of(image).open().tobytes() == image.tobytes()


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 0), (0, 0, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("RGBA", (255, 0, 0, 51), (51, 0, 204)),
        ("LA", (0, 0), (0, 0, 255)),
        ("L", 9, (9, 9, 9)),
        ("1", 1, (255, 255, 255)),
        ("CMYK", (0, 0, 0, 0), (255, 255, 255)),
    ],
)
def test_modes_and_alpha_on_pad(mode: str, colour: Any, expected: tuple[int, int, int]) -> None:
    opened = spec_of(Image.new(mode, (3, 3), colour), pad="#0000ff").open()
    assert opened.mode == "RGB"
    assert opened.getpixel((1, 1)) == expected


def test_palette_transparency(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 0, 0])
    image.save(tmp_path / "p.png", transparency=1)
    assert ImageSpec(tmp_path / "p.png").open().getpixel((0, 0)) == (255, 255, 255)


def test_exif_rotation_comes_before_the_crop(tmp_path: Path) -> None:
    image = Image.new("RGB", (30, 20), "red")
    image.paste("blue", (0, 0, 10, 20))  # the left third; the top third after turning by 90 degrees
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.png", exif=exif)
    assert ImageSpec(tmp_path / "a.png").open().size == (20, 30)
    cut = ImageSpec(tmp_path / "a.png", crop=(0, 0, 20, 10)).open()
    assert cut.size == (20, 10)
    assert cut.getcolors() == [(200, (0, 0, 255))]


def test_crop_outside_is_an_error() -> None:
    with pytest.raises(ImageError, match="leaves the picture, 7x5"):
        spec_of(make_picture(7, 5), crop=(0, 0, 8, 5)).open()


def test_sha256_is_of_the_file_or_of_the_pixels(tmp_path: Path) -> None:
    import hashlib

    image = make_picture(7, 5)
    image.save(tmp_path / "a.png")
    assert ImageSpec(tmp_path / "a.png").sha256 == hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert spec_of(image).sha256 == spec_of(image.copy()).sha256 != spec_of(make_picture(7, 5)).sha256
    assert spec_of(Image.new("L", (2, 3))).sha256 != spec_of(Image.new("L", (3, 2))).sha256


def bomb_png(width: int, height: int) -> bytes:
    """A valid header that promises a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def truncated_png(tmp_path: Path) -> bytes:
    Image.effect_noise((64, 64), 90).save(tmp_path / "whole.png")
    return (tmp_path / "whole.png").read_bytes()[:900]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (bomb_png(9000, 9000), "megapixels"),
        (bomb_png(60000, 60000), "pixels"),
        (b"", "empty"),
        (b"GIF89a", "broken|not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not an image"),
    ],
)
def test_files_that_are_no_usable_picture(content: bytes, what: str, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=what) as caught:
        ImageSpec(tmp_path / "a.png").open()
    assert caught.value.code == "LX202"


def test_truncated_and_deep_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(truncated_png(tmp_path))
    with pytest.raises(ImageError, match="broken"):
        ImageSpec(tmp_path / "a.png").open()
    with pytest.raises(ImageError, match="8-bit RGB"):
        spec_of(Image.new("I;16", (4, 4))).open()


@pytest.mark.parametrize("kind", ["folder", "pipe", "missing"])
def test_what_is_no_file_is_missing_and_never_blocks(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(ImageError) as caught:
        ImageSpec(path).open()
    assert caught.value.code == "LX201"


@pytest.fixture
def server(tmp_path: Path) -> Path:
    """A scene's folder with a picture, beside a secret one."""
    (tmp_path / "scene").mkdir()
    make_picture().save(tmp_path / "scene" / "a.png")
    make_picture().save(tmp_path / "secret.png")
    (tmp_path / "scene" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "scene" / "up").symlink_to(tmp_path)
    (tmp_path / "scene" / "inner.png").symlink_to(tmp_path / "scene" / "a.png")
    (tmp_path / "scene" / "loop.png").symlink_to(tmp_path / "scene" / "loop.png")
    return tmp_path / "scene"


def errors(folder: Path, image: str, *, sandbox: bool = True, **more: Any) -> list[str]:
    text = f"lumosx: 1\nprompt: A sea.\nbackground: {{word: sea, image: {json.dumps(image)}}}\n"
    text += "".join(f"{key}: {value}\n" for key, value in more.items())
    (folder / "scene.yaml").write_text(text)
    messages: list[Message] = examine(folder / "scene.yaml", sandbox=sandbox)[1]
    return [message.code for message in messages if message.severity == "error"]


@pytest.mark.parametrize("image", ["../secret.png", "link.png", "up/secret.png", "/etc/passwd", "loop.png", "a\0.png"])
def test_sandbox_keeps_pictures_inside(image: str, server: Path) -> None:
    assert errors(server, image) == ["LX220"]


@pytest.mark.parametrize("image", ["a.png", "inner.png", "./up/scene/a.png"])
def test_sandbox_allows_what_stays_inside(image: str, server: Path) -> None:
    assert errors(server, image) == []


def test_without_the_sandbox_paths_are_free(server: Path) -> None:
    assert errors(server, "link.png", sandbox=False) == []
    assert errors(server, "../secret.png", sandbox=False) == []


def test_sandbox_confines_output_to_where_it_is_written_from(
    server: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert errors(server, "a.png", output=f"{{dir: {server}/out}}") == ["LX220"]
    monkeypatch.chdir(server)
    assert errors(server, "a.png", output=f"{{dir: {server}/out}}") == []


def test_sandbox_confines_root_and_output(server: Path) -> None:
    assert errors(server, "secret.png", root="..") == ["LX220"]
    assert errors(server, "a.png", output="{dir: ../out}") == ["LX220"]
    assert errors(server, "a.png", output="{dir: /tmp}") == ["LX220"]
    assert errors(server, "a.png", output="{dir: out}") == []


def test_a_link_changed_after_the_check_is_still_refused(server: Path) -> None:
    (server / "scene.yaml").write_text("lumosx: 1\nprompt: A sea.\nbackground: {word: sea, image: a.png}\n")
    image = Scene.load(server / "scene.yaml", sandbox=True).entities[0].image
    assert image is not None
    (server / "a.png").unlink()
    (server / "a.png").symlink_to(server.parent / "secret.png")
    with pytest.raises(ImageError, match="outside"):
        image.open()


def test_one_group_photo_with_two_crops_is_no_repetition(picture_of_two: Image.Image) -> None:
    subjects = [
        {"id": "a", "word": "man", "face": {"image": picture_of_two, "crop": [0, 0, 200, 200]}},
        {"id": "b", "word": "boy", "face": {"image": picture_of_two, "crop": [200, 0, 400, 200]}},
    ]
    data = {"lumosx": 1, "prompt": "A man, a boy.", "subjects": subjects}
    assert Scene.from_dict(data).check() == []
    subjects[1]["face"] = subjects[0]["face"]
    with pytest.raises(SceneError, match="LX211"):
        Scene.from_dict(data)


@pytest.fixture
def picture_of_two() -> Image.Image:
    return make_picture(400, 200)


def test_fit_and_pad_come_from_the_scene() -> None:
    place = {"word": "sea", "image": {"image": make_picture(), "pad": "#102030"}, "fit": "crop"}
    image = Scene.from_dict({"lumosx": 1, "prompt": "A sea.", "background": place}).entities[0].image
    assert image is not None
    assert (image.fit, image.pad, image.path) == ("crop", "#102030", None)
