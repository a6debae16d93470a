"""Faces of key frames: whose they are, who is the same person in another frame, and the gates."""

from dataclasses import replace

import numpy as np
import pytest
from block_models import BLUE, BODY, GREEN, OLIVE, RED, BlockFaces, FaceColour, Named, paint
from composites import FACES, Person, composite
from key_frames import entities, look_at, measured, noisy, subject
from PIL import Image, ImageFilter

from lumosx.curation.stages.faces import FaceGates, hidden, sharpness, turned
from lumosx.curation.stages.values import FacePicture, Faces
from lumosx.errors import InputError
from lumosx.vision import Face
from lumosx.vision.faces import DlibEncoder, DlibFaces

ANN, BOB = (10.0, 10.0, 50.0, 80.0), (70.0, 10.0, 110.0, 80.0)  # people's boxes in a frame of 120 x 80
ANNS, BOBS = (25.0, 12.0, 35.0, 22.0), (84.0, 12.0, 96.0, 26.0)  # and their faces


def gates(**settings) -> FaceGates:
    stated = {"least_likeness": 0.9, **settings}
    return FaceGates(faces=BlockFaces(RED, GREEN, BLUE, OLIVE), identities=FaceColour(), **stated)


def found(value: Faces) -> list[list[tuple]]:
    """Of every subject the key frames, the person's number there, and the likeness."""
    return [[(face.key, face.person, pytest.approx(face.likeness, abs=0.01)) for face in of] for of in value.subjects]


def face(**measures) -> FacePicture:
    """A face that passes all gates, but for the measures stated."""
    good = {"key": 0, "person": 0, "box": (0, 0, 64, 80), "score": 1.0, "sharpness": 400.0, "turned": 0.1}
    return FacePicture(**{**good, "hidden": 0.0, "likeness": 1.0, "picture": "blobs/a.png"} | measures)


def test_a_person_is_followed_by_the_face(tmp_path):
    """The two change places after the first frame, and only one is there in the last."""
    frames = [
        paint((ANNS, RED), (BOBS, GREEN)),
        paint((ANNS, GREEN), (BOBS, RED)),
        paint((BOBS, RED)),
    ]
    words = entities(0, subject(0), subject(1))
    value = measured(gates(), look_at(tmp_path, frames, [[ANN, BOB], [ANN, BOB], [BOB]], words))
    assert found(value) == [[(0, 0, 1.0), (1, 1, 1.0), (2, 0, 1.0)], [(0, 1, 1.0), (1, 0, 1.0)]]
    assert value.subjects[0][1].box == BOBS


def test_subjects_are_numbered_by_their_boxes_in_the_shown_frame(tmp_path):
    frames = [paint((ANNS, RED), (BOBS, GREEN)), paint((ANNS, RED), (BOBS, GREEN))]
    words = entities(1, subject(1), subject(0))
    value = measured(gates(), look_at(tmp_path, frames, [[ANN, BOB]] * 2, words))
    assert found(value) == [[(0, 1, 1.0), (1, 1, 1.0)], [(0, 0, 1.0), (1, 0, 1.0)]]


def test_a_stranger_is_nobody(tmp_path):
    """Olive has a cosine of 0.6 with red."""
    frames, words = [paint((ANNS, RED)), paint((ANNS, OLIVE))], entities(0, subject(0))
    look = look_at(tmp_path, frames, [[ANN], [ANN]], words)
    assert found(measured(gates(least_likeness=0.7), look)) == [[(0, 0, 1.0)]]
    assert found(measured(gates(least_likeness=0.5), look)) == [[(0, 0, 1.0), (1, 0, 0.6)]]


def test_likenesses_are_weighed_all_at_once(tmp_path):
    """Olive is like green (0.8) more than like red (0.6), but green is there too."""
    frames = [paint((ANNS, RED), (BOBS, GREEN)), paint((ANNS, OLIVE), (BOBS, GREEN))]
    words = entities(0, subject(0), subject(1))
    value = measured(gates(least_likeness=0.5), look_at(tmp_path, frames, [[ANN, BOB]] * 2, words))
    assert found(value) == [[(0, 0, 1.0), (1, 0, 0.6)], [(0, 1, 1.0), (1, 1, 1.0)]]


def test_people_who_are_not_named_keep_their_faces(tmp_path):
    """Only the woman on the left is a subject; in the second frame she is away, and he is not taken for her."""
    frames = [paint((ANNS, OLIVE), (BOBS, GREEN)), paint((BOBS, GREEN))]
    value = measured(gates(least_likeness=0.5), look_at(tmp_path, frames, [[ANN, BOB], [BOB]], entities(0, subject(0))))
    assert found(value) == [[(0, 0, 1.0)]]


def test_a_face_belongs_to_one_person(tmp_path):
    """Bob shows no face, and Ann's lies in both boxes."""
    wide = (20.0, 10.0, 110.0, 80.0)
    look = look_at(tmp_path, [paint((ANNS, RED))], [[ANN, wide]], entities(0, subject(0), subject(1)))
    assert found(measured(gates(), look)) == [[(0, 0, 1.0)], []]


def test_a_person_has_the_largest_face_in_the_upper_part(tmp_path):
    """Not the smaller one on a poster behind, nor the larger one on the shirt."""
    poster, shirt = (12.0, 12.0, 16.0, 16.0), (20.0, 56.0, 40.0, 76.0)
    frame = paint((poster, RED), (ANNS, GREEN), (shirt, BLUE))
    look = look_at(tmp_path, [frame], [[ANN]], entities(0, subject(0)))
    assert measured(gates(), look).subjects[0][0].box == ANNS
    assert measured(gates(upper=1.0), look).subjects[0][0].box == shirt


def test_pictures_show_the_face_with_a_margin(tmp_path):
    frame = noisy(paint((ANN, BODY), (ANNS, RED)), amount=0)
    look = look_at(tmp_path, [frame], [[ANN]], entities(0, subject(0)))
    (of_ann,) = measured(gates(margin=0.2), look).subjects[0]
    np.testing.assert_array_equal(look.blobs.picture(of_ann.picture), frame[10:24, 23:37])


def test_without_a_face_in_the_shown_frame_a_subject_has_none(tmp_path):
    look = look_at(tmp_path, [paint(), paint((ANNS, RED))], [[ANN], [ANN]], entities(0, subject(0)))
    value = measured(gates(), look)
    assert value.subjects == [[]]
    rejected = gates().judge(value)
    assert rejected and (rejected.code, rejected.value, rejected.threshold) == ("no-face", 0, 1)


@pytest.mark.parametrize(
    ("code", "measure", "value"),
    [
        ("face-small", {"box": (0, 0, 31, 80)}, 31),
        ("face-hidden", {"hidden": 0.6}, 0.6),
        ("face-turned", {"turned": 0.8}, 0.8),
        ("face-blurred", {"sharpness": 19.0}, 19.0),
    ],
)
def test_gates(code, measure, value):
    stage = gates()
    rejected = stage.gate(face(**measure))
    assert rejected and (rejected.code, rejected.value) == (code, value)
    assert stage.gate(face()) is None
    bad, good = face(**measure), face(key=1)
    assert stage.passing(Faces(subjects=[[bad, good], [bad]])) == [[good], []]
    assert stage.judge(Faces(subjects=[[bad, good]])) is None, "one good face suffices"
    judged = stage.judge(Faces(subjects=[[good], [bad]]))
    assert judged and judged.code == code


def test_landmarks_that_are_not_known_turn_nobody_away():
    assert gates().gate(face(turned=None)) is None


def test_gates_are_no_part_of_what_is_measured():
    loose = {"least_side": 1, "least_sharpness": 0.0, "most_turned": 1.0, "most_hidden": 1.0, "least_faces": 0}
    assert gates(**loose).identity() == gates().identity() != gates(least_likeness=0.8).identity()
    assert gates(**loose).judge(Faces(subjects=[[], [face(box=(0, 0, 2, 2))]])) is None
    assert gates(least_faces=2).judge(Faces(subjects=[[face(), face(key=1)]])) is None
    rejected = gates(least_faces=2).judge(Faces(subjects=[[face()]]))
    assert rejected and rejected.code == "no-face"


def test_an_encoder_may_state_who_is_the_same():
    class Sure(FaceColour):
        same_person = 0.75

    stage = FaceGates(faces=Named(), identities=Sure())  # type: ignore
    assert stage.same_person == 0.75 and replace(stage, least_likeness=0.5).same_person == 0.5
    with pytest.raises(InputError, match="least_likeness: blocks does not state"):
        FaceGates(faces=Named(), identities=FaceColour())  # type: ignore


def test_sharpness_falls_with_blur_and_not_with_size():
    fine = noisy(np.full((448, 448, 3), 128, np.uint8))
    picture = np.asarray(Image.fromarray(fine).resize((224, 224), Image.Resampling.BOX))
    box = (0.0, 0.0, 224.0, 224.0)
    blurs = [Image.fromarray(picture).filter(ImageFilter.GaussianBlur(radius)) for radius in (1, 2, 4)]
    values = [sharpness(picture, box), *(sharpness(np.asarray(blur), box) for blur in blurs)]
    assert values == sorted(values, reverse=True) and values[0] > 4 * values[1] > 0
    assert sharpness(np.full((40, 40, 3), 90, np.uint8), (0.0, 0.0, 40.0, 40.0)) == 0
    assert sharpness(picture, (300.0, 0.0, 320.0, 20.0)) == 0
    smooth = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(4))
    larger = np.asarray(smooth.resize((448, 448), Image.Resampling.BICUBIC))
    assert sharpness(larger, (0.0, 0.0, 448.0, 448.0)) == pytest.approx(values[3], rel=0.3)


def landmarks(nose: tuple[float, float], degrees: float = 0.0) -> Face:
    points = np.array([[-20, 0], [20, 0], nose, [np.nan] * 2, [np.nan] * 2], float)
    angle = np.deg2rad(degrees)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return Face((0.0, 0.0, 80.0, 80.0), 1.0, points @ rotation + 40)


@pytest.mark.parametrize("degrees", [0.0, 30.0])
def test_turned_is_how_far_the_nose_is_aside(degrees):
    assert turned(landmarks((0, 22), degrees)) == pytest.approx(0)
    assert turned(landmarks((10, 22), degrees)) == pytest.approx(0.5)
    assert turned(landmarks((-10, 30), degrees)) == pytest.approx(0.5)
    assert turned(landmarks((50, 22), degrees)) == 1


def test_turned_is_unknown_without_landmarks():
    assert turned(Face((0.0, 0.0, 8.0, 8.0), 1.0)) is None
    assert turned(landmarks((np.nan, np.nan))) is None


def test_hidden_is_what_is_outside_or_behind_others():
    size, box = (80, 120), (100.0, 10.0, 140.0, 30.0)
    assert hidden(box, [], size) == pytest.approx(0.5)
    assert hidden(box, [(100.0, 0.0, 110.0, 80.0)], size) == pytest.approx(0.75)
    assert hidden((10.0, 10.0, 30.0, 30.0), [(50.0, 0.0, 60.0, 80.0)], size) == 0
    assert hidden((200.0, 10.0, 210.0, 20.0), [], size) == 1


def test_who_shows_a_face_hides_others_with_the_head_alone(tmp_path):
    """Bob's box lies over Ann's face. If his face is seen elsewhere, it hides nothing; if he is turned away, it may."""
    bob, words = (20.0, 5.0, 110.0, 80.0), entities(0, subject(0), subject(1))
    seen = measured(gates(), look_at(tmp_path, [paint((ANNS, RED), (BOBS, GREEN))], [[ANN, bob]], words))
    assert [of[0].hidden for of in seen.subjects] == [0, 0]
    away = measured(gates(), look_at(tmp_path, [paint((ANNS, RED))], [[ANN, bob]], words))
    assert away.subjects[0][0].hidden == 1


def test_real_faces_are_followed(tmp_path):
    """By dlib, where two people stand in another order in the second frame."""
    people = [Person(FACES[0], (200, 30, 40), x=0.25), Person(FACES[1], (30, 30, 60), x=0.75)]
    moved = [replace(people[0], x=0.75), replace(people[1], x=0.25)]
    width, height = 360, 300
    frames = [composite(each, width, height) for each in (people, moved)]
    boxes = [sorted(person.box("body", width, height) for person in each) for each in (people, moved)]
    stage = FaceGates(faces=DlibFaces(), identities=DlibEncoder())
    value = measured(stage, look_at(tmp_path, frames, boxes, entities(0, subject(0), subject(1))))
    assert [[face.person for face in of] for of in value.subjects] == [[0, 1], [1, 0]]
    assert stage.judge(value) is None
    assert all(face.turned is not None and face.turned < 0.6 for of in value.subjects for face in of)
