"""Objects: looked for in whole key frames and cut out."""

import numpy as np
from block_models import BLUE, GREEN, RED, BlockPhrases, paint
from key_frames import BoxSegmenter, entities, look_at, measured, subject

from lumosx.curation.stages.objects import ObjectMasks
from lumosx.curation.stages.values import Cutout, Objects

ANN = (10.0, 10.0, 50.0, 80.0)
BOAT, BALL = (60.0, 40.0, 110.0, 70.0), (5.0, 60.0, 15.0, 70.0)
WORDS = entities(0, subject(0, "red hat"), objects=["blue boat", "ball", "kite"])


def stage(segmenter: BoxSegmenter | None = None, **settings) -> ObjectMasks:
    phrases = BlockPhrases({"blue boat": BLUE, "ball": GREEN, "red hat": RED})
    return ObjectMasks(phrases=phrases, segmenter=segmenter or BoxSegmenter(), **settings)


def test_objects_of_every_key_frame(tmp_path):
    """The boat is in the first and the last, the ball in the last, the kite in none."""
    frames = [paint((BOAT, BLUE)), paint(), paint((BALL, GREEN), (BOAT, BLUE))]
    segmenter = BoxSegmenter()
    where = look_at(tmp_path, frames, [[ANN]] * 3, WORDS)
    boats, balls, kites = measured(stage(segmenter), where).objects
    assert [(boat.key, boat.box) for boat in boats] == [(0, BOAT), (2, BOAT)]
    assert [(ball.key, ball.box) for ball in balls] == [(2, BALL)]
    assert kites == []
    assert segmenter.asked == [[BOAT], [], [BOAT, BALL]], "a frame is segmented once"
    picture = where.blobs.picture(boats[1].picture)
    np.testing.assert_array_equal(picture, np.full((30, 50, 4), (*BLUE, 255), np.uint8))


def test_the_surest_box_counts(tmp_path):
    larger = (20.0, 5.0, 80.0, 36.0)  # blocks are found the largest first
    (boats, *_) = measured(stage(), look_at(tmp_path, [paint((BOAT, BLUE), (larger, BLUE))], [[]], WORDS)).objects
    assert [(boat.box, boat.score) for boat in boats] == [(larger, 0.9)]


def test_a_caption_without_objects_asks_nobody(tmp_path):
    segmenter = BoxSegmenter()
    asking = stage(segmenter)
    value = measured(asking, look_at(tmp_path, [paint((BOAT, BLUE))], [[]], entities(0)))
    assert value.objects == [] and segmenter.asked == [] and asking.phrases.asked == []  # type: ignore


def test_small_cutouts_do_not_pass():
    def cutout(side: float) -> Cutout:
        return Cutout(key=0, box=(5, 5, 5 + side, 60), score=1.0, area=0.1, picture="none", mask="none")

    value = Objects(objects=[[cutout(23), cutout(24)], []])
    assert stage().passing(value) == [[cutout(24)], []]
    assert stage(least_side=23).passing(value) == value.objects
    assert stage(least_side=23).identity() == stage().identity()
    assert stage().judge(value) is None
