"""The benchmark's demonstration: its scores are what was planted, found by real faces in videos on disk."""

from pathlib import Path

import bench_demo
import pytest
from binding_validation import IDENTITY, offline_models

from lumosx.evaluation.metrics.identity import IdentityMeasure
from lumosx.evaluation.metrics.owners import OwnersMeasure
from lumosx.evaluation.readers import read_cases
from lumosx.evaluation.runner import Suite, items_of, score_items
from lumosx.evaluation.videos import find_videos
from lumosx.scene import Scene

pytest.importorskip("dlib")
pytest.importorskip("face_recognition_models")
pytest.importorskip("cv2")

# A case of two people with five attributes, of three with seven: what `careless` must score, and `careful`.
PLANTED = {
    "tops exchanged": {"BindAcc": 3 / 5, "swap": 2 / 5, "dominance": 0, "person_recall": 1},
    "hat on two": {"BindAcc": 1, "swap": 0, "dominance": 1 / 7, "person_recall": 1},
}
RIGHT = {"BindAcc": 1, "swap": 0, "dominance": 0, "person_recall": 1}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cases with the faults of PLANTED, and one whose files are missing and broken."""
    out = tmp_path_factory.mktemp("demo")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench_demo, "FRAMES", 3)
        bench_demo.write_demo(out, [*PLANTED, bench_demo.BROKEN])
    return out


@pytest.fixture(scope="module")
def suite() -> Suite:
    models = offline_models()
    return Suite("v1", "subject", models, [IdentityMeasure(models), OwnersMeasure(models)], looks=2)


def scores(demo: Path, model: str, suite: Suite) -> list[dict[str, float | str]]:
    """For each case the value, or else the status, of every metric."""
    cases = read_cases(demo / "cases.yaml")
    videos = {name: {v.seed: v.path for v in found} for name, found in find_videos(demo / model, cases).by_case.items()}
    results = sorted(score_items(items_of(cases, videos), suite, demo / "scores" / model), key=lambda r: r.key)
    return [{s.metric: s.status if s.value is None else s.value for s in result.scores} for result in results]


def test_careless_has_what_was_planted_and_careful_nothing(demo: Path, suite: Suite) -> None:
    *careful, missing = scores(demo, "careful", suite)
    *careless, broken = scores(demo, "careless", suite)
    assert set(missing.values()) == {"missing"} and set(broken.values()) == {"error"}
    for right, wrong, planted in zip(careful, careless, PLANTED.values(), strict=True):
        assert {metric: right[metric] for metric in planted} == RIGHT
        assert {metric: wrong[metric] for metric in planted} == pytest.approx(planted)
        assert wrong[IDENTITY] == pytest.approx(right[IDENTITY], abs=0.01)  # faces do not tell the two apart


def test_the_cases_are_scenes_that_could_be_sampled(demo: Path) -> None:
    for case in read_cases(demo / "cases.yaml"):
        scene = Scene.from_dict(case.scene, root=case.folder, source=case.id)
        assert [message for message in scene.check() if message.severity != "note"] == []
        assert case.truth is not None and case.truth.is_file()
