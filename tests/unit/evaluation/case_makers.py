"""Makers of cases for tests: pictures that all differ, samples of the release, a scene of two people with jackets."""

import json
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from ruamel.yaml import YAML

from lumosx.evaluation.cases import Case

RELEASE = json.loads((Path(__file__).parents[2] / "data" / "release_scenes.json").read_text(encoding="utf-8"))
shade = count(1)


def paint(*paths: Path, size: tuple[int, int] = (120, 130)) -> None:
    """Pictures that all differ."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        number = next(shade)
        colour = (number * 67 % 256, number * 129 % 256, number * 199 % 256)  # apart enough for JPEG
        Image.new("RGB", size, colour).save(path)


def colour(picture: np.ndarray) -> tuple[int, ...]:
    return tuple(picture[0, 0].tolist())


def sample(root: Path, name: str, release: str) -> None:
    """One of the published samples, its pictures empty."""
    paint(*(root / name / file for file in RELEASE[release]["files"]))
    (root / name / "caption.txt").write_text(RELEASE[release]["caption"], encoding="utf-8")


def two_people(**other: Any) -> dict[str, Any]:
    """A scene of two people with jackets, whose pictures lie beside it."""
    return {
        "lumosx": 1,
        "prompt": "{A man:ben} in a {jacket:ben.jacket} and a woman in a jacket and a scarf, {{smiling}}.",
        "subjects": [
            {"id": "ben", "word": "man", "face": "ben.png", "attributes": [{"word": "jacket", "image": "red.png"}]},
            {
                "id": "ann", "word": "woman", "face": {"image": "ann.png", "crop": [10, 10, 60, 70]},
                "attributes": [{"word": "scarf"}, {"word": "jacket", "image": "blue.png"}],
            },
        ],
        "objects": [{"word": "lamp that no prompt names", "image": "lamp.png"}],
    } | other  # fmt: skip


def write_scene(path: Path, **other: Any) -> Path:
    paint(*(path.parent / f"{name}.png" for name in ("ben", "red", "ann", "blue", "lamp")))
    YAML().dump(two_people(**other), path)
    return path


def names(case: Case) -> list[tuple[str, int | None, str]]:
    return [(reference.kind, reference.subject, reference.word) for reference in case.references]
