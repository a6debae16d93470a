"""The rules by which curation measures where nothing can be downloaded: sharpness, colourfulness, the layout of clips
and people around their faces, on pictures of which the answer is known."""

from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from lumosx.curation.models import REGISTRY
from lumosx.vision import Box, Face, FaceDetector, ModelCard, Picture
from lumosx.vision.rules import GRID, MOMENTS, SIDE, Layout, PeopleByFaces, Sharpness, colourfulness

FACES = Path(__file__).parents[2] / "data" / "faces"
NAMES = ("astronaut", "biden", "obama")
LEAST = REGISTRY.load_profile("offline").settings["quality"]["least_quality"]
SHARP = 3.0  # from here up a picture is sharp
BLURS = (0.0, 0.5, 1.0, 2.0, 4.0)  # pixels of a picture with 160 rows (standard deviation)


def face(name: str) -> Picture:
    """A photograph with 160 rows."""
    picture = Image.open(FACES / f"{name}.jpg").convert("RGB")
    return np.asarray(picture.resize((160 * picture.width // picture.height, 160), Image.Resampling.LANCZOS))


def room(things: int, height: int = 60) -> Picture:
    """A drawn room with 160 rows: a floor, a window, and boxes that differ from the wall by some levels of grey."""
    picture = Image.new("RGB", (240, 160), (120, 120, 120))
    draw = ImageDraw.Draw(picture)
    draw.rectangle((0, 110, 239, 159), fill=(120 - height, 120 - height // 2, 120 - height))
    draw.polygon(((30, 20), (90, 26), (88, 70), (34, 74)), fill=(120, 120 + height, 120))
    random = np.random.default_rng(things)
    for left, top, grey in zip(
        random.integers(0, 210, things), random.integers(0, 130, things), random.integers(0, 2, things), strict=True
    ):
        draw.ellipse(
            (int(left), int(top), int(left) + 24, int(top) + 24), fill=(120 + height * (2 * int(grey) - 1),) * 3
        )
    return np.asarray(picture)


def blurred(picture: Picture, deviation: float) -> Picture:
    return np.asarray(Image.fromarray(picture).filter(ImageFilter.GaussianBlur(deviation)))


def grainy(picture: Picture, deviation: float) -> Picture:
    grain = np.random.default_rng(0).normal(0, deviation, (*picture.shape[:2], 1))
    return (picture + grain).clip(0, 255).astype(np.uint8)


def paler(picture: Picture, contrast: float) -> Picture:
    return (128 + contrast * (picture.astype(float) - 128)).round().astype(np.uint8)


def quality(picture: Picture) -> float:
    return Sharpness().score([picture])[0]


PICTURES = {name: face(name) for name in NAMES} | {"few things": room(0), "many things": room(30)}
pictures = pytest.mark.parametrize("picture", PICTURES.values(), ids=PICTURES)


@pytest.mark.parametrize("levels", [10, 60, 255])
def test_a_step_is_sharp_whatever_its_height(levels: int) -> None:
    step = np.zeros((SIDE, SIDE + 40, 3), np.uint8)
    step[:, 70:] = levels
    assert quality(step) == pytest.approx(4)


def test_a_slope_of_two_pixels_is_half_as_sharp() -> None:
    """In the row 0 0 0 h 2h 2h 2h the |Laplacian| is h beside the middle, and all differs by 2h around it."""
    slope = np.zeros((SIDE, SIDE, 3), np.uint8)
    slope[:, 70:], slope[:, 69] = 120, 60
    assert quality(slope) == pytest.approx(1 + (4 - 1) / 2)


def test_points_are_as_sharp_as_can_be() -> None:
    points = np.zeros((SIDE, SIDE, 3), np.uint8)
    points[::3, ::3] = 100
    assert quality(points) == 5


def test_what_has_no_edges_has_the_lowest_quality() -> None:
    flat = np.full((160, 240, 3), 90, np.uint8)
    shade = np.repeat(np.linspace(0, 255, 240).round().astype(np.uint8)[None], 160, axis=0)
    assert quality(flat) == 1
    assert quality(np.repeat(shade[..., None], 3, axis=2)) < 1.6
    assert quality(grainy(flat, 4)) == 1


@pictures
def test_the_more_blurred_the_lower_the_quality(picture: Picture) -> None:
    found = [quality(blurred(picture, deviation)) for deviation in BLURS]
    assert all(sharper > other + 0.1 for sharper, other in pairwise(found)), found


@pictures
def test_sharp_pictures_pass_the_offline_profile_and_blurred_ones_do_not(picture: Picture) -> None:
    assert quality(picture) > SHARP > LEAST
    assert quality(blurred(picture, 2)) < LEAST - 0.1
    assert quality(blurred(picture, 4)) < LEAST - 0.5


@pictures
@pytest.mark.parametrize("contrast", [0.75, 0.5, 0.3])
def test_contrast_changes_little(picture: Picture, contrast: float) -> None:
    assert quality(paler(picture, contrast)) == pytest.approx(quality(picture), abs=0.5)
    assert quality(paler(blurred(picture, 2), contrast)) == pytest.approx(quality(blurred(picture, 2)), abs=0.5)


@pytest.mark.parametrize("deviation", BLURS)
def test_how_much_there_is_changes_little(deviation: float) -> None:
    few, *more = [quality(blurred(room(things), deviation)) for things in (0, 1, 5, 30)]
    assert more == pytest.approx([few] * 3, abs=0.4)


@pictures
def test_grain_makes_no_blurred_picture_sharp_and_no_sharp_one_blurred(picture: Picture) -> None:
    assert quality(grainy(blurred(picture, 2), 4)) < LEAST
    assert quality(grainy(picture, 4)) > SHARP


@pictures
def test_quality_is_of_the_picture_and_not_of_its_size(picture: Picture) -> None:
    soft = blurred(picture, 1)
    height, width = soft.shape[:2]
    larger = np.asarray(Image.fromarray(soft).resize((3 * width, 3 * height), Image.Resampling.BICUBIC))
    assert quality(larger) == pytest.approx(quality(soft), abs=0.3)


def test_one_sharp_thing_before_a_blurred_room_is_sharp() -> None:
    """As a camera sees it that focuses on somebody."""
    sharp, soft, near = Image.fromarray(room(30)), Image.fromarray(blurred(room(30), 4)), Image.new("L", (240, 160))
    ImageDraw.Draw(near).ellipse((80, 25, 160, 135), fill=255)
    focused = Image.composite(sharp, soft, near.filter(ImageFilter.GaussianBlur(8)))
    assert quality(np.asarray(soft)) < LEAST
    assert quality(np.asarray(focused)) > SHARP


def test_scores_are_means_over_frames_and_the_same_every_time() -> None:
    frames = [*PICTURES.values()]
    alone = np.array([Sharpness().score([frame]) for frame in frames])
    together = Sharpness().score(frames)
    assert together == pytest.approx(alone.mean(axis=0))
    assert together == Sharpness().score(frames)
    assert Sharpness().score(frames[::-1]) == pytest.approx(together)
    assert all(1 <= score <= 5 for score in alone.ravel())


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (112, 80)])
def test_small_pictures_have_scores(size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    assert all(1 <= score <= 5 for score in Sharpness().score([picture]))


def test_colourfulness_as_it_was_defined() -> None:
    """Hasler and Suesstrunk 2003: of r - g and (r + g) / 2 - b the deviation, and 0.3 of the mean."""
    red = np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 200
    assert colourfulness(red) == pytest.approx(0.3 * np.sqrt(200**2 + 100**2))
    half = red.copy()
    half[:, 3:] = 0
    assert colourfulness(half) == pytest.approx(1.3 * np.sqrt(100**2 + 50**2))
    assert colourfulness(np.repeat(red[..., :1], 3, axis=2)) == 0


def test_aesthetics_rise_with_colour() -> None:
    picture = face("astronaut")
    grey = np.repeat(picture.mean(axis=2, keepdims=True), 3, axis=2)
    faded = [(grey + share * (picture - grey)).round().astype(np.uint8) for share in (0, 0.3, 0.6, 1)]
    found = [Sharpness().score([each])[1] for each in faded]
    assert found[0] == 1 and found == sorted(set(found))


def clip(seed: int, frames: int = 20, size: tuple[int, int] = (160, 240)) -> np.ndarray:
    """Soft patches of colour that turn into others, uint8 [F, *size, 3] between 40 and 200."""
    height, width = size
    patches = [Image.fromarray(each) for each in np.random.default_rng(seed).integers(40, 201, (2, 5, 7, 3), np.uint8)]
    first, last = (np.asarray(each.resize((width, height), Image.Resampling.BILINEAR), float) for each in patches)
    return np.stack([first + share * (last - first) for share in np.linspace(0, 1, frames)]).astype(np.uint8)


def likeness(one: np.ndarray, other: np.ndarray) -> float:
    return float(Layout().embed_video(one) @ Layout().embed_video(other))


def test_layout_is_the_mean_thumbnail_of_each_quarter() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (8, 16, 24, 3), np.uint8)
    cells = frames.reshape(MOMENTS, 2, GRID, 2, GRID, 3, 3).mean(axis=(1, 3, 5))
    centred = (cells - cells.mean()).ravel()
    found = Layout().embed_video(frames)
    assert found.dtype == np.float32 and found.shape == (MOMENTS * GRID * GRID * 3,)
    assert found == pytest.approx(centred / np.linalg.norm(centred), abs=1e-3)
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-6)
    assert (found == Layout().embed_video(frames)).all()


def test_layout_knows_copies_from_other_clips() -> None:
    frames = clip(0)
    smaller = np.stack([np.asarray(Image.fromarray(frame).resize((120, 80))) for frame in frames])
    copies = [smaller, frames + np.uint8(50), frames[::2], np.stack([grainy(frame, 6) for frame in frames])]
    assert min(likeness(frames, copy) for copy in copies) > 0.99
    others = [clip(1), frames[:, :, ::-1], frames[:, ::-1], frames[..., ::-1], frames[::-1]]
    assert max(likeness(frames, other) for other in others) < 0.8


def test_layout_of_a_clip_of_one_grey_is_like_nothing() -> None:
    for level in (0, 77, 255):
        assert not Layout().embed_video(np.full((9, 30, 40, 3), level, np.uint8)).any()


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_layout_of_short_clips(frames: int) -> None:
    still = np.repeat(clip(0, 1), frames, axis=0)
    assert Layout().embed_video(still) == pytest.approx(Layout().embed_video(np.repeat(still[:1], 16, axis=0)))


class Faces:
    """Finds faces where it was told."""

    card = ModelCard("told", "nobody", "7", "MIT", False)

    def __init__(self, *faces: Face) -> None:
        self.faces = [*faces]

    def detect(self, picture: Picture) -> list[Face]:
        return self.faces


def people(*boxes: Box) -> list[Box]:
    """Of faces in a picture of 400 x 300 pixels."""
    detector = cast(FaceDetector, Faces(*(Face(box, 0.5) for box in boxes)))
    return [found.box for found in PeopleByFaces(detector).detect(np.zeros((300, 400, 3), np.uint8))]


def test_a_body_is_three_faces_wide_and_seven_high() -> None:
    assert people((180, 50, 210, 80)) == [(150, 20, 240, 230)]


@pytest.mark.parametrize(
    ("box", "body"),
    [
        ((0, 100, 20, 120), (0, 80, 40, 220)),  # at the left edge
        ((370, 100, 400, 130), (340, 70, 400, 280)),  # at the right edge
        ((100, 5, 120, 25), (80, 0, 140, 125)),  # at the top
        ((100, 200, 140, 240), (60, 160, 180, 300)),  # at the bottom
    ],
)
def test_a_body_ends_with_the_picture(box: Box, body: Box) -> None:
    assert people(box) == [body]


def test_everybody_is_found_in_the_faces_order_with_their_scores() -> None:
    faces = Face((180, 50, 210, 80), 0.9), Face((40, 60, 60, 80), 0.4)
    found = PeopleByFaces(cast(FaceDetector, Faces(*faces))).detect(np.zeros((300, 400, 3), np.uint8))
    assert [one.score for one in found] == [0.9, 0.4]
    assert [one.box for one in found] == people(*(each.box for each in faces))
    assert people() == []


def test_the_card_is_of_the_faces_detector_under_a_name_of_its_own() -> None:
    card = PeopleByFaces(cast(FaceDetector, Faces())).card
    assert card.to_dict() == Faces.card.to_dict() | {"name": "bodies around faces of told"}


def test_a_real_face_has_a_body_below_it() -> None:
    """Found by the default detector in a photograph that is put into a larger scene."""
    scene = np.full((400, 400, 3), 90, np.uint8)
    head = face("obama")
    left, top = 120, 30
    scene[top : top + head.shape[0], left : left + head.shape[1]] = head
    (found,) = PeopleByFaces().detect(scene)
    x0, y0, x1, y1 = found.box
    assert (x0 + x1) / 2 == pytest.approx(left + head.shape[1] / 2, abs=15)
    assert y0 < top + 20 and y1 == 400
    assert x1 - x0 > 1.5 * head.shape[1]
