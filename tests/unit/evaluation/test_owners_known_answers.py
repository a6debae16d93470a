"""Binding on composites of photographed faces, by dlib's real detector and embeddings: each planted fault moves its own
rate and no other, whatever the light, the sharpness and the size."""

import importlib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lumosx.evaluation.clips import Clip
from lumosx.evaluation.models import Models

pytest.importorskip("dlib")
pytest.importorskip("face_recognition_models")
pytest.importorskip("cv2")

SMALL = (480, 270)
RATES = ("swap", "leak", "dominance", "drop", "missing")

# Of 5 attributes where two people wear a top and trousers and one of them a hat, of 7 where there are three people:
# how many are bound, and how many have which fault; last, how many people are seen twice.
KNOWN = {
    (2, "tops exchanged"): (3, {"swap": 2}, 0),
    (2, "person in another's place"): (3, {"missing": 2}, 1),
    (2, "a stranger"): (5, {}, 0),
    (2, "a stranger with a top"): (5, {}, 0),
    (3, "people reordered"): (7, {}, 0),
    (3, "tops exchanged"): (5, {"swap": 2}, 0),
    (3, "tops go round"): (4, {"swap": 3}, 0),
    (3, "hat on the wrong one"): (6, {"leak": 1}, 0),
    (3, "top on the wrong one"): (5, {"leak": 2}, 0),
    (3, "hat on two"): (7, {"dominance": 1}, 0),
    (3, "top on two"): (6, {"dominance": 2}, 0),
    (3, "top unlike"): (6, {"drop": 1}, 0),
    (3, "hat left out"): (6, {"drop": 1}, 0),
    (3, "person missing"): (5, {"missing": 2}, 0),
    (3, "person twice"): (7, {}, 1),
    (3, "person in another's place"): (5, {"missing": 2}, 1),
}  # fmt: skip

NUISANCES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "dark": lambda frames: (frames * 0.9).astype(np.uint8),
    "bright": lambda frames: np.clip(frames * 1.15, 0, 255).astype(np.uint8),
    "blurred": lambda frames: gaussian_filter(frames, (0, 0.8, 0.8, 0)),
}


@pytest.fixture(scope="module")
def planting() -> ModuleType:
    """The script that plants faults and prints their table."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[3] / "scripts"))
        return importlib.import_module("binding_validation")


@pytest.fixture(scope="module")
def models(planting: ModuleType) -> Models:
    return planting.offline_models()


def measured(
    planting: ModuleType,
    models: Models,
    people: int,
    fault: str,
    nuisance: Callable[[np.ndarray], np.ndarray] = lambda frames: frames,
    size: tuple[int, int] = SMALL,
) -> dict[str, float]:
    scene = planting.FAULTS[fault](planting.scene_of(people, np.random.default_rng(7)))
    clip = planting.clip_with(scene, np.random.default_rng(7), size)
    found = planting.measured(scene, Clip(nuisance(clip.frames), clip.fps), models)
    return {metric: score.value for metric, score in found.items()}


def expected(people: int, fault: str) -> dict[str, float]:
    bound, faults, twice = KNOWN[people, fault]
    attributes = 2 * people + 1
    visible = attributes - faults.get("drop", 0) - faults.get("missing", 0)
    rates = {rate: faults.get(rate, 0) / attributes for rate in RATES}
    return {"BindAcc": bound / attributes, "BindAcc|seen": bound / visible, **rates, "duplicate": twice / people}


@pytest.mark.parametrize(("people", "fault"), KNOWN)
def test_a_planted_fault_moves_its_own_rate(planting: ModuleType, models: Models, people: int, fault: str) -> None:
    found = measured(planting, models, people, fault)
    known = expected(people, fault)
    assert {metric: found[metric] for metric in known} == pytest.approx(known)


@pytest.mark.parametrize("nuisance", NUISANCES)
def test_light_and_sharpness_change_no_verdict(planting: ModuleType, models: Models, nuisance: str) -> None:
    found = measured(planting, models, 2, "tops exchanged", NUISANCES[nuisance])
    known = expected(2, "tops exchanged")
    assert {metric: found[metric] for metric in known} == pytest.approx(known)


def test_size_changes_no_verdict(planting: ModuleType, models: Models) -> None:
    found = measured(planting, models, 2, "tops exchanged", size=(800, 450))
    known = expected(2, "tops exchanged")
    assert {metric: found[metric] for metric in known} == pytest.approx(known)


def test_identity_is_blind_to_an_exchange(planting: ModuleType, models: Models) -> None:
    right, exchanged = (measured(planting, models, 3, fault) for fault in ("correct", "tops exchanged"))
    assert exchanged[planting.IDENTITY] == pytest.approx(right[planting.IDENTITY], abs=1e-3)
    assert exchanged["BindAcc"] < right["BindAcc"] - 0.2
