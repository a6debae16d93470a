"""Backgrounds: what is painted over, what is not, and whether somebody is left."""

from pathlib import Path

import numpy as np
import pytest
from block_models import BLUE, BODY, RED, BlockPeople, paint
from key_frames import BoxSegmenter, GreyPainter, entities, look_at, measured, subject

from lumosx.curation.cutouts import cut_out
from lumosx.curation.run import Kind
from lumosx.curation.stage import Look
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.background import CleanBackgrounds, grown
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.objects import ObjectMasks
from lumosx.curation.stages.values import Attributes, Background, CleanBackground, FacePicture, Faces, Objects
from lumosx.errors import InputError
from lumosx.records import Model
from lumosx.vision import Box
from lumosx.vision.boxes import filled

ANN, BOB = (10.0, 10.0, 40.0, 80.0), (60.0, 20.0, 80.0, 80.0)  # in a frame of 120 x 80
BEACH = entities(0, subject(0), background="sandy beach")
BARE: dict[Kind, Model] = {
    FaceGates: Faces(subjects=[[]]), AttributeMasks: Attributes(subjects=[[]]), ObjectMasks: Objects(objects=[])
}  # fmt: skip


def stage(*left: tuple, **settings) -> CleanBackgrounds:
    """`left`: colours that are seen as people in the result."""
    stated = {"dilation": 0.0, **settings}
    return CleanBackgrounds(segmenter=BoxSegmenter(), inpainter=GreyPainter(), people=BlockPeople(*left), **stated)


def look(folder: Path, people: list[list[Box]], more: dict[Kind, Model] | None = None, seed: int = 0, **words) -> Look:
    frames = [paint(*((box, BODY) for box in boxes)) for boxes in people]
    return look_at(folder, frames, people, words.get("words", BEACH), {**BARE, **(more or {})}, seed)


def test_everybody_is_painted_over(tmp_path):
    """Bob, too, whom the caption does not name."""
    cleaning = stage()
    where = look(tmp_path, [[ANN, BOB], [ANN], []])
    value = measured(cleaning, where)
    shares = [(30 * 70 + 20 * 60) / 9600, 30 * 70 / 9600, 0]
    assert value.foreground == pytest.approx(shares)
    assert [(frame.key, frame.people_left) for frame in value.frames] == [(0, 0), (1, 0), (2, 0)]
    (mask, prompt, seed), *_ = cleaning.inpainter.asked  # type: ignore
    size = (80, 120)
    np.testing.assert_array_equal(mask, filled(ANN, size) | filled(BOB, size))
    assert prompt == "sandy beach, empty, nothing, there is nothing"
    picture = where.blobs.picture(value.frames[0].picture)
    assert (picture[mask] == 50 + seed % 50).all() and (picture[~mask] == 0).all()


def test_what_was_cut_out_of_the_frame_is_painted_over(tmp_path):
    """Faces, attributes and objects, each in its own key frame alone."""
    where = look(tmp_path, [[], []])
    frame = paint()
    boat, hat = (90.0, 50.0, 110.0, 70.0), (0.0, 0.0, 10.0, 5.0)
    cut = [cut_out(where.blobs, frame, key, filled(box, (80, 120)), 1.0) for key, box in enumerate((boat, hat))]
    assert cut[0] and cut[1]
    face = FacePicture(
        key=1, person=0, box=(50, 0, 60, 10), score=1.0, sharpness=0.0, turned=None, likeness=1.0, picture="none"
    )
    more: dict[Kind, Model] = {
        FaceGates: Faces(subjects=[[face]]),
        AttributeMasks: Attributes(subjects=[[[cut[1]]]]),
        ObjectMasks: Objects(objects=[[cut[0]]]),
    }
    cleaning = stage()
    measured(cleaning, look(tmp_path, [[], []], more))
    (first, *_), (second, *_) = cleaning.inpainter.asked  # type: ignore
    np.testing.assert_array_equal(first, filled(boat, (80, 120)))
    np.testing.assert_array_equal(second, filled(hat, (80, 120)) | filled((50, 0, 60, 10), (80, 120)))


def test_the_foreground_grows_before_it_is_painted(tmp_path):
    cleaning = stage(dilation=0.05)
    (share,) = measured(cleaning, look(tmp_path, [[ANN]])).foreground
    ((mask, *_),) = cleaning.inpainter.asked  # type: ignore
    assert mask[40, 6:44].all() and not mask[40, :6].any() and not mask[40, 44:].any(), "4 pixels of 80"
    assert share == pytest.approx(mask.mean())


def test_growing_is_round_and_may_be_nothing():
    mask = np.zeros((100, 200), bool)
    mask[50, 100] = True
    disc = grown(mask, 0.1)
    y, x = np.nonzero(disc)
    assert (y.min(), y.max(), x.min(), x.max()) == (40, 60, 90, 110)
    assert np.hypot(y - 50, x - 100).max() <= 11 and disc.sum() == pytest.approx(np.pi * 100, rel=0.1)
    np.testing.assert_array_equal(grown(mask, 0.0), mask)


def test_frames_with_much_foreground_are_not_painted(tmp_path):
    half = (0.0, 0.0, 60.0, 80.0)
    cleaning = stage()
    value = measured(cleaning, look(tmp_path, [[half], [ANN]]))
    assert value.foreground[0] == 0.5 and [frame.key for frame in value.frames] == [1]
    assert len(cleaning.inpainter.asked) == 1  # type: ignore
    both = measured(stage(paint_below=0.9), look(tmp_path, [[half], [ANN]]))
    assert [frame.key for frame in both.frames] == [0, 1]
    assert [frame.key for frame in stage(paint_below=0.9).passing(both)] == [1]
    with pytest.raises(InputError, match="paint_below as high"):
        stage(most_foreground=0.6)


def test_people_who_are_left_are_counted(tmp_path):
    """Somebody whom the detector overlooked before (red, in the second frame alone)."""
    frames = [paint((ANN, BODY)), paint((ANN, BODY), (BOB, RED), ((100.0, 0.0, 110.0, 10.0), RED))]
    where = look_at(tmp_path, frames, [[ANN], [ANN]], BEACH, BARE)
    value = measured(stage(RED), where)
    assert [frame.people_left for frame in value.frames] == [0, 2]
    assert [frame.key for frame in stage().passing(value)] == [0]
    assert [frame.key for frame in stage(most_people_left=2).passing(value)] == [0, 1]
    unsure = measured(stage(RED, sure=1.1), where)
    assert [frame.people_left for frame in unsure.frames] == [0, 0]


def test_without_words_there_is_no_background(tmp_path):
    cleaning = stage(BLUE)
    value = measured(cleaning, look(tmp_path, [[ANN]], words=entities(0, subject(0))))
    assert value == Background(frames=[], foreground=[]) and not cleaning.inpainter.asked  # type: ignore


def test_seeds_are_each_frames_own_and_repeat(tmp_path):
    def seeds(seed: int) -> list[int]:
        cleaning = stage()
        measured(cleaning, look(tmp_path, [[ANN], [ANN]], seed=seed))
        return [asked[2] for asked in cleaning.inpainter.asked]  # type: ignore

    assert seeds(0) == seeds(0) and len({*seeds(0), *seeds(1)}) == 4


def clean(key: int, foreground: float, left: int) -> CleanBackground:
    return CleanBackground(key=key, foreground=foreground, people_left=left, picture="none")


@pytest.mark.parametrize(
    ("frames", "foreground", "code", "value", "threshold"),
    [
        ([], [], "no-background", None, None),
        ([], [0.7, 0.6], "foreground", 0.6, 0.5),
        ([clean(0, 0.4, 2), clean(1, 0.3, 1)], [0.4, 0.3], "people-left", 1, 0),
    ],
)
def test_a_clip_leaves_only_if_a_background_is_required(frames, foreground, code, value, threshold):
    found = Background(frames=frames, foreground=foreground)
    assert stage().judge(found) is None
    rejected = stage(required=True).judge(found)
    assert rejected and (rejected.code, rejected.value, rejected.threshold) == (code, value, threshold)
    good = Background(frames=[*frames, clean(2, 0.2, 0)], foreground=[*foreground, 0.2])
    assert stage(required=True).judge(good) is None


def test_thresholds_are_no_part_of_what_is_measured():
    loose = stage(most_foreground=0.3, most_people_left=5, required=True)
    assert loose.identity() == stage().identity() != stage(paint_below=0.6).identity()
    assert loose.passing(Background(frames=[clean(0, 0.4, 0), clean(1, 0.2, 5)], foreground=[0.4, 0.2])) == [
        clean(1, 0.2, 5)
    ]
