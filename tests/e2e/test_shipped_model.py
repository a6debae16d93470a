"""The checkpoint that comes with the repository: its files, its figures, and that it binds."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from lumosx import LumosXPipeline, Scene
from lumosx.evaluation.binding import Condition, measure_binding
from lumosx.paths import checkpoint_path, configs_dir
from lumosx.playground import World

ROOT = Path(__file__).parents[2]
TINY = checkpoint_path("checkpoints/lumosx-tiny")
FLOOR = 0.75  # well under the measured accuracy, well over the 0.5 of owners by chance


@pytest.fixture(scope="module")
def pipe() -> LumosXPipeline:
    return LumosXPipeline.from_pretrained(TINY)


def test_every_file_is_the_one_that_was_measured() -> None:
    sums = dict(reversed(line.split("  ", 1)) for line in (TINY / "SHA256SUMS").read_text().splitlines())
    files = {str(p.relative_to(TINY)): p for p in TINY.rglob("*") if p.is_file() and p.name != "SHA256SUMS"}
    assert sums == {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def test_it_is_small() -> None:
    assert sum(path.stat().st_size for path in TINY.rglob("*")) < 20e6


@pytest.mark.parametrize("page", [TINY / "README.md", ROOT / "README.md"], ids=["card", "README"])
def test_pages_state_what_was_measured(page: Path) -> None:
    """Each condition's row of the table holds the numbers of binding.json, and no condition is left out."""
    text = page.read_text()
    for score in json.loads((TINY / "binding.json").read_text())["scores"]:
        row = re.search(rf"^\| {re.escape(score['condition'])} \|(.*)$", text, re.MULTILINE)
        assert row, score["condition"]
        assert f"{score['binding']['mean']:.3f}" in row[1]
        assert f"{score['binding']['low']:.3f}-{score['binding']['high']:.3f}" in row[1]
        assert f"{score['dropped']:.3f}" in row[1]


def test_it_binds_on_unseen_people(pipe: LumosXPipeline) -> None:
    condition = Condition("placed", placed=True)

    def generate(scene: Scene, seed: int):
        return pipe(scene, seed=seed, progress=False).frames  # pyright: ignore[reportAttributeAccessIssue]

    *_, (_, score) = measure_binding(generate, condition, world=World(), clips=24, first_seed=9000)
    assert score is not None and score.binding.mean > FLOOR


def test_words_decide_where_people_stand(pipe: LumosXPipeline) -> None:
    """Telling the other side moves the people: the same noise, left and right exchanged in the prompt."""
    import numpy as np

    path = configs_dir() / "scenes" / "two_friends" / "scene.yaml"
    scene = Scene.load(path)
    text = path.read_text()
    exchanged = text.replace("on the left", "@").replace("on the right", "on the left").replace("@", "on the right")
    frames = pipe(scene, seed=1, progress=False).frames.astype(float)
    other = pipe(Scene.from_dict(_parsed(exchanged), root=path.parent), seed=1, progress=False).frames.astype(float)
    mirrored = np.concatenate([other[:, :, 16:], other[:, :, :16]], axis=2)
    bodies = np.s_[:, 4:28]  # without sky and ground, which stay
    assert np.abs(frames - mirrored)[bodies].mean() < np.abs(frames - other)[bodies].mean()


def _parsed(text: str) -> dict:
    from ruamel.yaml import YAML

    return YAML(typ="safe").load(text)
