"""Attributes: looked for on their person, cut out, and never taken from a neighbour."""

from pathlib import Path

import numpy as np
from block_models import BLUE, GREEN, RED, BlockPhrases, paint
from key_frames import BoxSegmenter, entities, look_at, measured, subject

from lumosx.curation.cutouts import owner
from lumosx.curation.stage import Look
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.values import Attributes, Cutout, Entities, FacePicture, Faces
from lumosx.vision import Box, Found, Picture

ANN, BOB = (10.0, 10.0, 50.0, 80.0), (70.0, 10.0, 110.0, 80.0)  # people's boxes in a frame of 120 x 80
HAT, COAT = (20.0, 10.0, 40.0, 20.0), (72.0, 40.0, 108.0, 70.0)
MEANINGS = {"red hat": RED, "blue coat": BLUE}


def seen(key: int, person: int) -> FacePicture:
    """Where a subject was found by the face; no gate matters here."""
    return FacePicture(
        key=key, person=person, box=(0, 0, 1, 1), score=1.0, sharpness=0.0, turned=None, likeness=1.0, picture="none"
    )


def look(
    folder: Path, frames: list[Picture], people: list[list[Box]], words: Entities, faces: list | None = None
) -> Look:
    subjects = faces or [[] for _ in words.subjects]
    return look_at(folder, frames, people, words, {FaceGates: Faces(subjects=subjects)})


def stage(meanings: dict | None = None, segmenter: BoxSegmenter | None = None, **settings) -> AttributeMasks:
    phrases = BlockPhrases(MEANINGS if meanings is None else meanings)
    return AttributeMasks(phrases=phrases, segmenter=segmenter or BoxSegmenter(), **settings)


def test_a_cutout_is_the_attribute_alone(tmp_path):
    frame = paint((ANN, GREEN), (HAT, RED))
    where = look(tmp_path, [frame], [[ANN]], entities(0, subject(0, "red hat")))
    ((found,),) = measured(stage(), where).subjects
    (cutout,) = found
    assert (cutout.key, cutout.box, cutout.score) == (0, HAT, 0.9)
    assert cutout.area == 200 / 9600
    picture, mask = where.blobs.picture(cutout.picture), where.blobs.picture(cutout.mask)
    np.testing.assert_array_equal(picture, np.full((10, 20, 4), (*RED, 255), np.uint8))
    assert mask.shape == (80, 120) and mask.dtype == np.uint8
    assert (mask[10:20, 20:40] == 255).all() and mask.sum() == 255 * 200


def test_what_is_not_the_attribute_is_transparent_and_white(tmp_path):
    """The box of the coat has black corners, which the segmenter leaves out."""
    frame = paint(((72.0, 50.0, 108.0, 70.0), BLUE), ((80.0, 40.0, 100.0, 50.0), BLUE))
    where = look(tmp_path, [frame], [[BOB]], entities(0, subject(0, "blue coat")))
    (((cutout,),),) = measured(stage(segmenter=BoxSegmenter(outline=True)), where).subjects
    picture = where.blobs.picture(cutout.picture)
    assert cutout.box == COAT and picture.shape == (30, 36, 4)
    assert (picture[:10, :8] == (255, 255, 255, 0)).all() and (picture[:10, 8:28] == (*BLUE, 255)).all()


def test_attributes_are_looked_for_where_their_person_is(tmp_path):
    """The shown frame says who has the first box; faces say who is where in the others, where they are seen at all."""
    frames = [
        paint((HAT, RED), (COAT, BLUE)),
        paint(((80.0, 10.0, 100.0, 20.0), RED), ((12.0, 40.0, 48.0, 70.0), BLUE)),
        paint((HAT, RED), (COAT, BLUE)),
    ]
    words = entities(0, subject(0, "red hat"), subject(1, "blue coat"))
    faces = [[seen(0, 0), seen(1, 1)], [seen(1, 0)]]
    value = measured(stage(), look(tmp_path, frames, [[ANN, BOB]] * 3, words, faces))
    (hats,), (coats,) = value.subjects
    assert [(hat.key, hat.box) for hat in hats] == [(0, HAT), (1, (80, 10, 100, 20))]
    assert [(coat.key, coat.box) for coat in coats] == [(0, COAT), (1, (12, 40, 48, 70))]


def test_nobody_wears_what_a_neighbour_wears(tmp_path):
    """Ann's box reaches over Bob's coat, which lies nearer to his middle."""
    wide = (10.0, 10.0, 115.0, 80.0)
    frame = paint((HAT, RED), (COAT, BLUE))
    words = entities(0, subject(0, "blue coat"), subject(1, "blue coat"))
    value = measured(stage(), look(tmp_path, [frame], [[wide, BOB]], words))
    assert [[len(found) for found in of] for of in value.subjects] == [[0], [1]]


def test_the_surest_box_of_the_person_counts(tmp_path):
    """A second box is less sure, and a surer one lies beside the person."""
    found = [
        Found((42.0, 30.0, 50.0, 40.0), 0.95),
        Found((14.0, 5.0, 34.0, 15.0), 0.8),
        Found((5.0, 40.0, 9.0, 44.0), 0.7),
    ]
    # in pixels of the person's picture, whose corner is at (6, 3)
    where = look(tmp_path, [paint()], [[ANN]], entities(0, subject(0, "red hat")))
    (((cutout,),),) = measured(stage({"red hat": found}, margin=0.1), where).subjects
    assert cutout.box == (20, 10, 40, 18) and cutout.score == 0.8, "its upper 2 rows lie over the person's box"


def test_what_is_outside_of_the_persons_box_is_cut_off(tmp_path):
    tall = (20.0, 2.0, 40.0, 20.0)
    where = look(tmp_path, [paint((tall, RED))], [[ANN]], entities(0, subject(0, "red hat")))
    segmenter = BoxSegmenter()
    (((cutout,),),) = measured(stage(segmenter=segmenter, margin=0.2), where).subjects
    assert segmenter.asked == [[tall]], "the segmenter sees the whole box"
    assert cutout.box == HAT


def test_a_frame_is_segmented_once(tmp_path):
    """A segmenter's work is on the frame; boxes cost little."""
    frame = paint((HAT, RED), (COAT, BLUE), ((20.0, 60.0, 40.0, 70.0), GREEN))
    words = entities(0, subject(0, "red hat", "green shoes"), subject(1, "blue coat"))
    segmenter = BoxSegmenter()
    meanings = {**MEANINGS, "green shoes": GREEN}
    value = measured(stage(meanings, segmenter), look(tmp_path, [frame], [[ANN, BOB]], words))
    assert [len(boxes) for boxes in segmenter.asked] == [3]
    assert [[len(found) for found in of] for of in value.subjects] == [[1, 1], [1]]


def test_an_attribute_that_is_not_found_stays_words(tmp_path):
    words = entities(0, subject(0, "red hat", "gold ring"), subject(1))
    where = look(tmp_path, [paint((HAT, RED))], [[ANN, BOB]], words)
    value = measured(stage(), where)
    assert [[len(found) for found in of] for of in value.subjects] == [[1, 0], []]
    assert stage().judge(value) is None
    assert stage().judge(Attributes(subjects=[[[], []], []])) is None


def test_small_cutouts_do_not_pass(tmp_path):
    def cutout(width: float, height: float) -> Cutout:
        return Cutout(key=0, box=(5, 5, 5 + width, 5 + height), score=1.0, area=0.1, picture="none", mask="none")

    small, large = cutout(100, 23), cutout(24, 24)
    value = Attributes(subjects=[[[small, large], [small]], []])
    assert stage().passing(value) == [[[large], []], []]
    assert stage(least_side=1).passing(value) == value.subjects
    assert stage(least_side=1).identity() == stage().identity()


def test_the_owner_of_a_place():
    people = [(0.0, 0.0, 40.0, 80.0), (20.0, 0.0, 100.0, 80.0)]
    assert owner((10.0, 40.0), people) == 0
    assert owner((30.0, 40.0), people) == 0, "half a width from the first's middle, three quarters from the other's"
    assert owner((39.0, 40.0), people) == 1
    assert owner((60.0, 90.0), people) is None
    assert owner((5.0, 5.0), []) is None
