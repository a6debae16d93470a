"""The demonstration's footage, and how a run is scored against its truth."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lumosx.curation import demo_footage
from lumosx.curation.curate import Curated
from lumosx.curation.demo import Score, scores
from lumosx.curation.demo_footage import FRAMES, SIZE, VIDEOS, Planted, Shot, Video, read_truth, write_footage
from lumosx.curation.run import Kind, Standing
from lumosx.curation.sources import Clip, Found, Source
from lumosx.curation.stage import Rejected
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.data.frames import probe, read_window

SECONDS = FRAMES / 16


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "footage"
    videos = (
        Video("one.mp4", (Shot(13, 1, "no-people"), Shot(10, 1, "flow-low")), border=(0, 24, 0, 24)),
        Video("two.mp4", copy_of="one.mp4", made="copied"),
        Video("three.mp4", copy_of="one.mp4", made="damaged"),
        Video("four.mp4", (Shot(13, 1, "no-people"),), copy_of="one.mp4", made="encoded again"),
    )
    write_footage(folder, videos)
    return folder


def test_footage_is_what_its_truth_says(footage: Path) -> None:
    planted = read_truth(footage)
    assert [(shot.video, shot.start, shot.end, shot.fault, shot.again) for shot in planted] == [
        ("one.mp4", 0.0, SECONDS, "no-people", False),
        ("one.mp4", SECONDS, 2 * SECONDS, "flow-low", False),
        ("four.mp4", 0.0, SECONDS, "no-people", True),
    ]
    one = (footage / "one.mp4").read_bytes()
    assert (footage / "two.mp4").read_bytes() == one
    assert (footage / "three.mp4").read_bytes() == one[: len(one) // 2]
    with (footage / "one.mp4").open("rb") as file:
        found = probe(file)
        file.seek(0)
        frames = read_window(file, 0, 2 * FRAMES, 16, SIZE[0], SIZE[1] + 48).numpy()
    assert (found.width, found.height, found.frames) == (SIZE[0], SIZE[1] + 48, 2 * FRAMES)
    left, top, right, bottom = planted[0].crop
    assert (left, right, bottom - top) == (0, *SIZE)
    assert frames[:, :, : top - 2].max() < 12 and frames[:, :, bottom + 2 :].max() < 12
    shots = frames[:, FRAMES + 1 :].astype(float), frames[:, :FRAMES].astype(float)
    still, shaken = (np.abs(np.diff(shot, axis=1)).mean() for shot in shots)
    assert still < 0.1 * shaken


def test_the_same_footage_gives_the_same_bytes(footage: Path, tmp_path: Path) -> None:
    again = Video("four.mp4", (Shot(13, 1, "no-people"),), copy_of="one.mp4", made="encoded again")
    write_footage(tmp_path / "again", [again])
    assert (tmp_path / "again" / "four.mp4").read_bytes() == (footage / "four.mp4").read_bytes()


def test_nobody_passes_anybody_and_every_fault_is_planted() -> None:
    for shot in (shot for video in VIDEOS for shot in video.shots):
        people = sorted(demo_footage._truth(shot).subjects, key=lambda subject: subject.slot)
        assert [person.goal for person in people] == sorted(person.goal for person in people)
        assert len(people) == shot.people
    faults = {shot.fault for video in VIDEOS for shot in video.shots} | {video.made for video in VIDEOS}
    wanted = "grey subtitles crowd no-people flow-low flow-high quality copied damaged new"
    assert faults == {*wanted.split(), "encoded again", None}


def planted(video: str, number: int, fault: str | None = None, again: bool = False) -> Planted:
    truth = demo_footage._truth(Shot(1, 2))
    return Planted(video, number * SECONDS, (number + 1) * SECONDS, fault, (0, 0, *SIZE), again, truth)


def clip(video: str, start: float, values: dict[Kind, Any], why: Rejected | None = None) -> Standing:
    source = Source(video[0] * 16, Path(video), video)
    return Standing(Clip(source, start, start + 5), values, stopped=(BorderCrop, why) if why else None)


def test_scores_count_what_was_found_and_what_was_there() -> None:
    truth = [planted("a", 0), planted("a", 1, "grey"), planted("a", 2, "crowd"), planted("b", 0, again=True)]
    people = sorted(truth[0].truth.subjects, key=lambda subject: subject.slot)
    told = [
        SimpleNamespace(box=n, attributes=[SimpleNamespace(text=item.word) for item in person.attributes])
        for n, person in enumerate(people)
    ]
    told[0].attributes[0].text = "a lie"
    seen = {
        BorderCrop: SimpleNamespace(crop=(0, 0, *SIZE)),
        SubtitleText: SimpleNamespace(texts=[]),
        Matching: SimpleNamespace(subjects=told),
    }
    cropped: Any = {**seen, BorderCrop: SimpleNamespace(crop=(0, 24, *SIZE))}
    clips = [
        clip("a", 0.1, cropped),
        clip("a", SECONDS + 0.2, {}, Rejected("grey", "no colour")),
        clip("a", 2 * SECONDS + 0.9, {}, Rejected("grey", "no colour")),  # 0.9 s too late, and for a wrong reason
        clip("b", 0.0, {}, Rejected("duplicate", "as another")),
    ]
    found = {score.name: score for score in scores(Curated(Found([], {}, {}), {}, [], clips), truth)}
    assert found["cuts"] == Score("cuts", right=1, found=3, there=2)
    assert found["borders"] == Score("borders", right=0, found=1, there=0)
    assert found["grey"] == Score("grey", right=1, found=2, there=1)
    assert found["crowd"] == Score("crowd", right=0, found=0, there=1)
    assert found["duplicate"] == Score("duplicate", right=1, found=1, there=1)
    worn = sum(len(person.attributes) for person in people)
    assert found["attributes on their owners"] == Score("attributes on their owners", worn - 1, worn, worn)
    assert found["crowd"].precision is None and found["crowd"].recall == 0
    assert found["grey"].precision == 0.5 and found["grey"].recall == 1
    assert replace(found["grey"], there=0).recall is None
