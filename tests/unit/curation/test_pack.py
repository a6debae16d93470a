"""Records out of what the stages found: words with their owners, one picture an entity, and nothing that differs."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lumosx.curation import pack
from lumosx.curation.blobs import Blobs
from lumosx.curation.pack import NoRecord, WordsDiffer, record_of, tagged
from lumosx.curation.run import Kind
from lumosx.curation.sources import Clip, Source
from lumosx.curation.stage import Look
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.background import CleanBackgrounds
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.grey import Greyscale
from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.objects import ObjectMasks
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.values import (
    Attributes,
    Background,
    Caption,
    CleanBackground,
    Colourfulness,
    Cutout,
    Entities,
    FacePicture,
    Faces,
    FlowStrength,
    Kept,
    Objects,
    Phrase,
    Subject,
    VideoFile,
)  # fmt: skip
from lumosx.curation.stages.video import ClipVideo
from lumosx.data.store import open_store, write_parquet
from lumosx.scene import Scene

CAPTION = (
    "A woman in a red hat {left} and another woman in a hat and a coat stand by a boat on a beach. The boat is old."
)
SOURCE = Source("0123456789abcdef", Path("day.mp4"), "sub/day.mp4")


def place(text: str, number: int = 1, caption: str = CAPTION) -> Phrase:
    """The number-th place of words in the caption."""
    start, stop = [found.span() for found in re.finditer(rf"\b{text}\b", caption)][number - 1]
    return Phrase(text=caption[start:stop], chars=(start, stop))


def look_of(folder: Path, entities: Entities, caption: str = CAPTION, seed: int = 0) -> tuple[Look, dict[Kind, Any]]:
    """A clip with a picture of everything in every key frame, and stages that let all pass."""
    blobs = Blobs(folder)

    def picture(shade: int) -> str:
        return blobs.put_picture(np.full((8, 8, 3), shade, np.uint8))

    def cutout(shade: int, key: int) -> Cutout:
        return Cutout(key=key, box=(0, 0, 8, 8), score=1, area=0.1, picture=picture(shade + key), mask=picture(255))

    def face(shade: int, key: int) -> FacePicture:
        return FacePicture(key=key, person=0, box=(0, 0, 8, 8), score=1, sharpness=90, turned=None, likeness=1,
                           picture=picture(shade + key))  # fmt: skip

    people = entities.subjects
    values: dict[Kind, Any] = {
        Greyscale: Colourfulness(value=20.0),
        Technical: Kept(width=64, height=48, frames=88, stored_fps=25, key_numbers=[4, 44, 83], key_frames=[""] * 3),
        Motion: FlowStrength(value=0.5, pairs=[0.5]),
        Captioning: Caption(text=caption),
        Matching: entities,
        FaceGates: Faces(subjects=[[face(10 * n, key) for key in range(3)] for n in range(len(people))]),
        AttributeMasks: Attributes(
            subjects=[
                [[cutout(100 + 30 * n + 10 * i, key) for key in (0, 2)] for i in range(len(person.attributes))]
                for n, person in enumerate(people)
            ]
        ),
        ObjectMasks: Objects(objects=[[cutout(200, 1)] for _ in entities.objects]),
        CleanBackgrounds: Background(
            frames=[CleanBackground(key=0, foreground=0.2, people_left=0, picture=picture(250))], foreground=[0.2] * 3
        ),
        ClipVideo: VideoFile(video=blobs.put(b"video", ".mp4")),
    }
    passes = {
        FaceGates: lambda value: value.subjects,
        AttributeMasks: lambda value: value.subjects,
        ObjectMasks: lambda value: value.objects,
        CleanBackgrounds: lambda value: value.frames,
    }
    stages = {kind: SimpleNamespace(passing=passes[kind]) for kind in passes}
    return Look(Clip(SOURCE, 1.0, 6.5), values, blobs, seed), stages  # pyright: ignore[reportReturnType]


def two_women(**changed: Any) -> Entities:
    """Both wear a hat; the caption says hat and boat twice."""
    people = [
        Subject(box=0, noun=place("woman"), attributes=[place("red hat")]),
        Subject(box=1, noun=place("woman", 2), attributes=[place("hat", 2), place("coat")]),
    ]
    stated = {"shown": 1, "people": 2, "subjects": people, "objects": [place("boat")], "background": place("beach")}
    return Entities(**stated | {"repaired": False} | changed)


def test_every_word_keeps_its_owner_and_its_place(tmp_path: Path) -> None:
    entities = two_women()
    record = record_of(*look_of(tmp_path, entities))
    assert record.caption.startswith("A {woman:s1} in a red hat {{left}} and another {woman:s2} in a hat and a coat")
    assert [part.word for part in record.subjects[1].attributes] == ["hat", "coat"]
    assert record.subjects[0].attributes[0].occurrence is None
    assert record.subjects[1].attributes[0].occurrence is None  # the other one is a red hat
    assert record.objects[0].occurrence == 1
    scene = Scene.from_dict(record.scene(lambda pictures: None))
    assert scene.prompt == CAPTION
    assert record.background is not None
    assert (record.frames, record.fps, record.width, record.height) == (88, 16.0, 64, 48)
    assert record.scores == {"colourfulness": 20.0, "flow": 0.5, "certainty": 1.0}
    assert record.meta == {"source": SOURCE.id, "file": "sub/day.mp4", "start": "1.0", "end": "6.5"}


def test_one_picture_an_entity_by_chance_and_always_the_same(tmp_path: Path) -> None:
    made = {seed: record_of(*look_of(tmp_path, two_women(), seed=seed)) for seed in range(8)}
    assert all(len(part.faces) == 1 for record in made.values() for part in record.subjects)
    frames = {seed: [picture.frame for picture in record.pictures()] for seed, record in made.items()}
    assert len({tuple(own) for own in frames.values()}) > 3
    assert all(len(set(own)) > 1 for own in frames.values())
    assert record_of(*look_of(tmp_path, two_women(), seed=3)) == made[3]
    for picture in made[0].pictures():
        assert picture.frame == [4, 44, 83][int(Blobs(tmp_path).picture(picture.image)[0, 0, 0]) % 10]


def test_an_attribute_without_a_picture_stays_in_words_and_an_object_does_not(tmp_path: Path) -> None:
    look, stages = look_of(tmp_path, two_women())
    stages[AttributeMasks].passing = lambda value: [[[]], [value.subjects[1][0], []]]
    stages[ObjectMasks].passing = lambda value: [[]]
    record = record_of(look, stages)
    assert [part.pictures == [] for subject in record.subjects for part in subject.attributes] == [True, False, True]
    assert record.objects == []
    without = {kind: stage for kind, stage in stages.items() if kind is not CleanBackgrounds}
    assert record_of(look, without).background is None


def test_what_is_least_certain_is_a_score(tmp_path: Path) -> None:
    look, stages = look_of(tmp_path, two_women())
    doubtful = [[look.of(FaceGates).subjects[0][0].model_copy(update={"score": 0.25})], look.of(FaceGates).subjects[1]]
    stages[FaceGates].passing = lambda value: doubtful
    assert record_of(look, stages).scores["certainty"] == 0.25


def test_a_share_of_the_videos_is_for_validation(tmp_path: Path) -> None:
    look, stages = look_of(tmp_path, two_women())

    def split(source: str, start: float, seed: int = 0) -> str:
        clip = Clip(Source(source, Path("day.mp4"), "day.mp4"), start, start + 6)
        return record_of(Look(clip, look.values, look.blobs, seed), stages, 0.3).split

    videos = {f"{number:016x}": {split(f"{number:016x}", start) for start in (0.0, 7.5)} for number in range(100)}
    assert all(len(splits) == 1 for splits in videos.values())  # all clips of a video
    assert 18 <= sum(splits == {"validation"} for splits in videos.values()) <= 42  # 30, and 2.6 deviations
    assert len({split("a" * 16, 0.0, seed) for seed in range(40)}) == 2
    assert record_of(look, stages).split == "train"


def test_what_a_scene_would_read_otherwise_is_no_record(tmp_path: Path) -> None:
    caption = "A man &amp; a dog."
    man = Subject(box=0, noun=Phrase(text="man", chars=(2, 5)), attributes=[])
    entities = two_women(subjects=[man], objects=[], background=None)
    with pytest.raises(WordsDiffer, match=r"would read 'A man &amp; a dog\.' in another way"):
        record_of(*look_of(tmp_path, entities, caption))


def seen(record: Any) -> list[tuple[str, tuple[Any, ...]]]:
    """Words and places of all entities, as a scene of the record finds them."""
    shades = iter(range(99))
    scene = Scene.from_dict(record.scene(lambda pictures: Image.new("RGB", (64, 64), (next(shades), 0, 0))))
    return [(entity.words[0], entity.spans) for entity in scene.entities]


CUPS = "A man holds a tea cup. On the table stands a cup near a woman with a tea cup."
CUP = place("cup", 2, CUPS)  # on the table


def cups(*objects: Phrase, **changed: Any) -> Entities:
    """The second tea cup is the woman's."""
    people = [
        Subject(box=0, noun=place("man", caption=CUPS), attributes=[]),
        Subject(box=1, noun=place("woman", caption=CUPS), attributes=[place("tea cup", 2, CUPS)]),
    ]
    return two_women(**{"subjects": people, "objects": list(objects), "background": None} | changed)


def test_a_thing_that_a_scene_would_see_elsewhere_is_no_record(tmp_path: Path) -> None:
    inner = Phrase(text="cup", chars=(18, 21))  # of the first tea cup
    for entities in (cups(inner), cups(background=inner)):
        with pytest.raises(WordsDiffer, match=r"'cup' at character 18 lies inside other words"):
            record_of(*look_of(tmp_path, entities, CUPS))
    record = record_of(*look_of(tmp_path, cups(CUP), CUPS))
    assert dict(seen(record)) == {"man": ((2, 5),), "woman": ((56, 61),), "tea cup": ((69, 76),), "cup": ((45, 48),)}


def test_words_that_the_record_does_not_state_take_no_place(tmp_path: Path) -> None:
    """A tea cup that was not found is none of the scene's, so that it sees a cup in it."""
    objects = [place("tea cup", 1, CUPS), CUP]
    people = [Subject(box=0, noun=place("man", caption=CUPS), attributes=[])]
    look, stages = look_of(tmp_path, cups(*objects, subjects=people), CUPS)
    assert dict(seen(record_of(look, stages)))["cup"] == ((45, 48),)
    stages[ObjectMasks].passing = lambda value: [[], value.objects[1]]
    record = record_of(look, stages)
    assert record.objects[0].occurrence == 2
    assert dict(seen(record))["cup"] == ((45, 48),)


def test_a_noun_takes_the_place_where_it_is_tagged_alone(tmp_path: Path) -> None:
    caption = "A park ranger walks in a park. The park ranger smiles."
    people = [Subject(box=0, noun=place("park ranger", 1, caption), attributes=[])]
    entities = two_women(subjects=people, objects=[], background=place("park", 2, caption))
    record = record_of(*look_of(tmp_path, entities, caption))
    assert dict(seen(record)) == {"park": ((25, 29),), "park ranger": ((2, 13),)}


@pytest.mark.parametrize("changed", [{}, {"objects": [], "background": place("boat")}])
def test_all_entities_are_looked_for_in_the_scene(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: dict[str, Any]
) -> None:
    people = [Subject(box=0, noun=place("woman"), attributes=[])]
    monkeypatch.setattr(pack, "_words", lambda phrase, parts: {"word": phrase.text})
    with pytest.raises(WordsDiffer, match=r"in another way: 'boat'$"):  # which the caption says twice
        record_of(*look_of(tmp_path, two_women(subjects=people, **changed)))


def test_who_has_neither_face_nor_attribute_stays_as_words(tmp_path: Path) -> None:
    people = [Subject(box=0, noun=place("woman"), attributes=[]), two_women().subjects[1]]
    look, stages = look_of(tmp_path, two_women(subjects=people))
    stages[FaceGates].passing = lambda value: [[], []]
    record = record_of(look, stages)
    assert [person.id for person in record.subjects] == ["s2"]
    assert record.caption.startswith("A woman in a red hat {{left}} and another {woman:s2} in a hat")
    assert ("woman", (place("woman", 2).chars,)) in seen(record)
    look, stages = look_of(tmp_path, two_women(subjects=people[:1]))
    stages[FaceGates].passing = lambda value: [[]]
    with pytest.raises(NoRecord, match="of nobody in this clip there is a face or an attribute"):
        record_of(look, stages)


def test_what_breaks_the_rules_of_records_is_none(tmp_path: Path) -> None:
    long = CAPTION + " And so on." * 800
    with pytest.raises(NoRecord, match=r"^caption: String should have at most 8000 characters, not 'A \{woman:s1\}"):
        record_of(*look_of(tmp_path, two_women(), long))


def test_the_records_are_a_data_set_of_which_nothing_is_missing(tmp_path: Path) -> None:
    record = record_of(*look_of(tmp_path, two_women()))
    write_parquet([record], tmp_path)
    (tmp_path / "curation").mkdir()
    assert open_store(tmp_path).records == [record]


def test_tags_stand_in_the_order_of_the_caption() -> None:
    names = {"s2": Phrase(text="a", chars=(0, 1)), "s1": Phrase(text="c", chars=(4, 5))}
    assert tagged("a b c}", names) == "{a:s2} b {c:s1}}}"
