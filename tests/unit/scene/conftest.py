"""What the scene tests share: scenes as files, and the release's six samples with placeholder pictures."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from scene_makers import Check, make_picture, make_tokenizer

from lumosx.scene import examine

RELEASE = json.loads((Path(__file__).parents[2] / "data" / "release_scenes.json").read_text(encoding="utf-8"))


@pytest.fixture
def tokenizer() -> Any:
    return make_tokenizer()


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """check(data, **options) writes `data` as a scene file beside its pictures and gives all messages.

    Every path in `pictures` is made; text instead of data is written as it is.
    """

    def run(data: dict[str, Any] | str, pictures: tuple[str, ...] = (), name: str = "scene.yaml", **options: bool):
        for path in pictures:
            if not (tmp_path / path).exists():
                (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
                make_picture().save(tmp_path / path)
        path = tmp_path / name
        if isinstance(data, str):
            path.write_text(data, encoding="utf-8")
        else:
            YAML().dump(data, path)
        return examine(path, **options)[1]

    return run


@pytest.fixture(scope="session")
def release_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The release's test data: identity/1..3 and subject/1..3, real captions, names and sizes."""
    root = tmp_path_factory.mktemp("release")
    for sample, content in RELEASE.items():
        for file, size in content["files"].items():
            path = root / sample / file
            path.parent.mkdir(parents=True, exist_ok=True)
            make_picture(*size).save(path)
        (root / sample / "caption.txt").write_text(content["caption"], encoding="utf-8")
    return root


@pytest.fixture
def sorted_listing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that lists names in order, so that LX300 does not depend on the machine."""
    monkeypatch.setattr("lumosx.scene.release.file_system_order", lambda path: sorted(os.listdir(path)))
