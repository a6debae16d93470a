"""Who is seen where: tracks, the assignment over the clip against every permutation, missing and extra people."""

from itertools import permutations

import numpy as np
import pytest
from block_models import (
    BLUE,
    BODY,
    COAT,
    GREEN,
    OLIVE,
    PURPLE,
    RED,
    BlockFaces,
    BlockPeople,
    FaceColour,
    Named,
    case_of,
    clip_of,
    face,
    paint,
    plain,
    reference,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from lumosx.evaluation import evidence as module
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence, Track
from lumosx.evaluation.models import Models
from lumosx.vision import Face

LEFT, MIDDLE, RIGHT = (10, 10, 30, 30), (50, 10, 70, 30), (90, 10, 110, 30)
COLOURS = (RED, GREEN, BLUE, OLIVE, PURPLE)
MODELS = Models(BlockFaces(*COLOURS), {"Colour": FaceColour()})


def evidence_of(colours, *frames, threshold: float | None = 0.0, looks: int = 16, models: Models = MODELS) -> Evidence:
    """Of a case that asks for faces of some colours."""
    case = case_of(*(face(subject, colour) for subject, colour in enumerate(colours)))
    return Evidence(case, clip_of(*frames), models, threshold, looks)


def colours_of(evidence: Evidence, track: Track | None) -> dict[int, tuple[int, ...]]:
    """What is at a track's boxes, by look."""
    if track is None:
        return {}
    boxes = {look: [int(v) for v in face.box] for look, face in track.faces.items()}
    return {look: tuple(evidence.frames[look][y0, x0].tolist()) for look, (x0, y0, x1, y1) in boxes.items()}


def test_people_who_exchange_places_slowly_are_followed() -> None:
    frames = [
        paint(((10 + 8 * t, 10, 30 + 8 * t, 30), RED), ((90 - 8 * t, 45, 110 - 8 * t, 65), BLUE)) for t in range(11)
    ]
    evidence = evidence_of([RED, BLUE], *frames)
    assert [set(colours_of(evidence, track).values()) for track in evidence.tracks] == [{RED}, {BLUE}]
    assert all(len(track.faces) == 11 for track in evidence.tracks)


def test_people_who_jump_are_followed_by_their_faces() -> None:
    one, other = paint((LEFT, RED), (RIGHT, BLUE)), paint((LEFT, BLUE), (RIGHT, RED))
    evidence = evidence_of([RED, BLUE], one, other, one)
    assert [set(colours_of(evidence, track).values()) for track in evidence.tracks] == [{RED}, {BLUE}]


def test_who_comes_back_is_the_same_track() -> None:
    evidence = evidence_of([RED], paint((LEFT, RED)), paint(), paint(), paint((RIGHT, RED)))
    assert [sorted(track.faces) for track in evidence.tracks] == [[0, 3]]


def strict(same_person: float) -> Models:
    """With an encoder that says from which cosine on two faces are one person."""
    encoder = FaceColour()
    encoder.same_person = same_person  # pyright: ignore[reportAttributeAccessIssue]
    return Models(MODELS.faces, {"Colour": encoder})


@pytest.mark.parametrize(
    ("models", "changed", "tracks"),
    [
        (MODELS, PURPLE, 1),  # .6 alike, one person anywhere
        (strict(0.7), PURPLE, 1),  # in place from .55 on
        (strict(0.8), PURPLE, 2),  # in place from .7 on
        (MODELS, BLUE, 2),  # at a right angle, in place from .25 on
        (strict(0.34), BLUE, 2),  # from .01 on
    ],
)
def test_a_face_that_changes_in_place_is_one_track_if_not_too_much(models: Models, changed, tracks: int) -> None:
    evidence = evidence_of([RED], paint((LEFT, RED)), paint((LEFT, changed)), models=models)
    assert len(evidence.tracks) == tracks


def test_less_alike_than_one_person_needs_the_place() -> None:
    evidence = evidence_of([RED], paint((LEFT, RED)), paint((RIGHT, PURPLE)), models=strict(0.7))
    assert len(evidence.tracks) == 2


def test_people_who_exchange_places_at_a_cut_are_followed() -> None:
    """Lookalikes, .6: their places alone would outweigh their faces."""
    one, other = paint((LEFT, RED), (RIGHT, PURPLE)), paint((LEFT, PURPLE), (RIGHT, RED))
    evidence = evidence_of([RED, PURPLE], one, other, models=strict(0.9))
    assert [set(colours_of(evidence, track).values()) for track in evidence.tracks] == [{RED}, {PURPLE}]


@st.composite
def continuations(draw) -> tuple[list[Track], list[Face], np.ndarray]:
    """Up to three tracks of one or two looks ago, and faces of now: some overlap, some are alike."""

    def found() -> tuple[Face, np.ndarray]:
        x, angle = draw(st.integers(0, 3)), draw(st.floats(0, np.pi))
        return Face((10.0 * x, 0, 10.0 * x + 20, 20), 1.0), np.array([np.cos(angle), np.sin(angle)])

    before = [(draw(st.integers(0, 1)), *found()) for _ in range(draw(st.integers(1, 3)))]
    now = [found() for _ in range(draw(st.integers(1, 3)))]
    tracks = [Track({look: face}, {look: embedding}) for look, face, embedding in before]
    return tracks, [face for face, _ in now], np.array([embedding for _, embedding in now])


@given(continuations(), st.sampled_from((0.3, 0.5, 0.7, 0.909)))
@settings(max_examples=100, deadline=None)
def test_the_links_are_the_best_of_all_that_are_allowed(drawn, same: float) -> None:
    tracks, faces, embeddings = drawn

    def gain(track: Track, column: int | None) -> float:
        if column is None:
            return 0
        [(look, face)] = track.faces.items()
        alike = float(track.embeddings[look] @ embeddings[column])
        shared = max(0.0, 20 - abs(face.box[0] - faces[column].box[0]))
        union = shared / (40 - shared) if look == 1 else 0
        if alike >= same or (union >= 0.3 and 1 - alike <= 1.5 * (1 - same)):
            return alike + union
        return -np.inf

    columns = [*range(len(faces)), *[None] * len(tracks)]
    ways = permutations(columns, len(tracks))
    best = max(sum(gain(track, column) for track, column in zip(tracks, way, strict=True)) for way in ways)
    links = module._links(tracks, 2, faces, embeddings, same)
    assert sum(gain(track, column) for column, track in links.items()) == pytest.approx(best, abs=1e-9)
    assert len({id(track) for track in links.values()}) == len(links)


def test_who_stands_where_another_left_before_is_somebody_else() -> None:
    evidence = evidence_of([RED], paint((LEFT, RED)), paint(), paint((LEFT, BLUE)))
    assert [sorted(track.faces) for track in evidence.tracks] == [[0], [2]]


def test_a_link_that_is_not_allowed_takes_no_other_links_place() -> None:
    # The best total pairs both tracks with a face each, of which neither is alike enough.
    box = Face((0, 0, 1, 1), 1.0)
    tracks = [Track({0: box}, {0: np.array(axis)}) for axis in ([1.0, 0.0], [0.0, 1.0])]
    faces = [Face((50, 0, 51, 1), 1.0), Face((80, 0, 81, 1), 1.0)]
    embeddings = np.array([[-0.1, 0.6], [-0.4, 0.45]])  # [faces, cosine with each track]
    assert embeddings[0, 0] + embeddings[1, 1] > embeddings[0, 1] + embeddings[1, 0]
    assert module._links(tracks, 1, faces, embeddings, 0.5) == {0: tracks[1]}


@st.composite
def scenes(draw) -> tuple[list, list]:
    """The faces of up to three subjects, and frames of up to three people in fixed places, not all seen everywhere."""
    subjects = draw(st.lists(st.sampled_from(COLOURS), min_size=1, max_size=3))
    people = draw(st.lists(st.sampled_from(COLOURS), max_size=3, unique=True))
    seen = [draw(st.lists(st.booleans(), min_size=3, max_size=3)) for _ in people]
    places = (LEFT, MIDDLE, RIGHT)
    frames = [
        paint(*((place, colour) for place, colour, when in zip(places, people, seen, strict=False) if when[look]))
        for look in range(3)
    ]
    return subjects, frames


def worth(evidence: Evidence, subject: int, track: Track | None) -> float:
    """The sum of cosines over the looks, straight from the colours; nothing is worse than who is not alike enough."""
    wanted = evidence.case.faces[subject].picture()[0, 0].astype(float)
    cosines = [
        np.dot(wanted, seen) / np.linalg.norm(wanted) / np.linalg.norm(seen)
        for seen in colours_of(evidence, track).values()
    ]
    return -np.inf if cosines and np.mean(cosines) < evidence.threshold - 1e-6 else sum(cosines)


def total(evidence: Evidence) -> float:
    """Of the people that were found."""
    return sum(worth(evidence, subject, track) for subject, track in evidence.people.items())


@given(scenes(), st.sampled_from((0.0, 0.3, 0.7, 0.9)))
@settings(max_examples=40, deadline=None)
def test_the_assignment_is_the_best_of_all(scene, threshold: float) -> None:
    subjects, frames = scene
    evidence = evidence_of(subjects, *frames, threshold=threshold)
    choices = [*evidence.tracks, *[None] * len(subjects)]
    table = [[worth(evidence, subject, track) for track in choices] for subject in range(len(subjects))]
    ways = permutations(range(len(choices)), len(subjects))
    best = max(sum(row[column] for row, column in zip(table, way, strict=True)) for way in ways)
    assert total(evidence) == pytest.approx(best, abs=1e-5)
    assigned = [id(track) for track in evidence.people.values() if track is not None]
    assert len(set(assigned)) == len(assigned)
    assert sorted([*assigned, *map(id, evidence.strangers)]) == sorted(map(id, evidence.tracks))


@given(scenes(), st.randoms(use_true_random=False))
@settings(max_examples=20, deadline=None)
def test_the_order_of_subjects_does_not_matter(scene, random) -> None:
    subjects, frames = scene
    shuffled = random.sample(subjects, len(subjects))
    assert total(evidence_of(shuffled, *frames)) == pytest.approx(total(evidence_of(subjects, *frames)), abs=1e-5)


def test_a_missing_person_is_not_replaced_by_a_stranger() -> None:
    frames = [paint((LEFT, RED), (RIGHT, OLIVE))] * 3
    near, far = evidence_of([RED, BLUE], *frames, threshold=0.5), evidence_of([RED, GREEN], *frames, threshold=0.5)
    assert near.people[1] is None and [set(colours_of(near, t).values()) for t in near.strangers] == [{OLIVE}]
    assert set(colours_of(far, far.people[1]).values()) == {OLIVE} and far.strangers == []


def test_who_is_alike_enough_wins_over_who_is_seen_longer() -> None:
    frames = [paint((LEFT, OLIVE), (RIGHT, RED))] + [paint((LEFT, OLIVE))] * 5
    anyone, alike = evidence_of([RED], *frames), evidence_of([RED], *frames, threshold=0.9)
    assert set(colours_of(anyone, anyone.people[0]).values()) == {OLIVE}
    assert colours_of(alike, alike.people[0]) == {0: RED}


def test_two_references_of_one_face_need_two_people() -> None:
    evidence = evidence_of([RED, RED], paint((LEFT, RED)), paint((LEFT, RED)))
    assert [track is None for track in evidence.people.values()].count(True) == 1


def test_nobody_is_seen_and_nobody_is_asked_for() -> None:
    empty = evidence_of([RED, BLUE], paint(), paint())
    assert empty.tracks == [] and empty.people == {0: None, 1: None} and empty.strangers == []
    unasked = evidence_of([], paint((LEFT, RED)))
    assert unasked.people == {} and unasked.strangers == unasked.tracks and len(unasked.tracks) == 1


def test_looks_are_spread_over_the_clip_and_zero_means_all() -> None:
    frames = [paint(((t, 0, t + 20, 20), RED)) for t in range(9)]
    few = evidence_of([RED], *frames, looks=3)
    assert [face.box[0] for face in few.tracks[0].faces.values()] == [0, 4, 8]
    assert len(evidence_of([RED], *frames, looks=0).frames) == 9


def test_a_reference_is_its_largest_face_or_the_whole_picture() -> None:
    picture = paint((LEFT, RED), ((40, 10, 100, 70), BLUE))
    case = case_of(reference("face", "man", picture, 0), reference("face", "woman", plain((90, 120, 0)), 1))
    evidence = Evidence(case, clip_of(paint()), MODELS)
    assert evidence.references[0] == pytest.approx([0, 0, 1])
    assert evidence.references[1] == pytest.approx([0.6, 0.8, 0])  # a colour that is no face


def test_a_body_is_the_smallest_around_the_face() -> None:
    frame = paint(((0, 0, 60, 80), BODY), ((5, 5, 35, 60), COAT), (LEFT, RED), size=(120, 80))
    evidence = evidence_of([RED], frame, models=Models(MODELS.faces, MODELS.identities, BlockPeople(BODY, COAT)))
    assert evidence.body(evidence.tracks[0], 0) == (5, 5, 35, 60)


def test_without_a_detector_a_body_follows_from_the_face_and_stays_in_the_frame() -> None:
    evidence = evidence_of([RED], paint(((50, 10, 60, 20), RED)), paint(((0, 0, 20, 20), RED)), paint())
    track = evidence.tracks[0]
    assert evidence.body(track, 0) == (40, 0, 70, 70)  # three faces wide, seven high, the first above the face
    assert evidence.body(track, 1) == (0, 0, 40, 80)
    assert evidence.body(track, 2) is None


def test_an_encoder_may_say_from_which_cosine_on_two_faces_are_one_person() -> None:
    models = strict(0.9)
    apart = [paint((LEFT, OLIVE)), paint((RIGHT, GREEN))]  # .8 alike
    assert [len(evidence_of([GREEN], *apart, models=m).tracks) for m in (MODELS, models)] == [1, 2]
    frame = paint((LEFT, OLIVE))
    assert evidence_of([GREEN], frame, threshold=None, models=models).people == {0: None}
    assert evidence_of([GREEN], frame, threshold=0.7, models=models).people[0] is not None
    assert evidence_of([GREEN], frame, threshold=None).people[0] is not None


class Counting(Named):
    """How often faces are looked for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def detect(self, picture):
        self.calls += 1
        return MODELS.faces.detect(picture)


def test_faces_are_looked_for_once_a_look_and_once_a_reference() -> None:
    detector = Counting()
    models = Models(detector, {"one": FaceColour(), "other": FaceColour(red=2)})
    evidence = Evidence(case_of(face(0, RED)), Clip(np.stack([paint((LEFT, RED))] * 4), 8.0), models)
    for encoder in models.identities.values():
        evidence.reference_embedding(0, encoder)
    assert evidence.people[0] is not None and evidence.strangers == []
    assert detector.calls == 4 + 1
