"""The JSON schema that editors use: shipped, current, and of one mind with the checks."""

import json
from typing import Any

import jsonschema
import pytest

from lumosx.scene import json_schema
from lumosx.scene.schema import SCHEMA_FILE

SOUND: dict[str, Any] = {
    "lumosx": 1,
    "id": "a",
    "prompt": "A man in a coat.",
    "subjects": [
        {"id": "b", "word": ["man"], "face": "f.png", "attributes": [{"word": "coat", "image": {"image": "c.png"}}]}
    ],
    "generation": {"size": "832x480", "seeds": [1, 2]},
}


def test_the_shipped_schema_is_current() -> None:
    shipped = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    assert shipped == json_schema(), "run: from lumosx.scene.schema import write_schema; write_schema()"


def test_a_sound_scene_is_valid() -> None:
    jsonschema.validate(SOUND, json_schema())


@pytest.mark.parametrize(
    "change",
    [
        {"lumosx": 2},
        {"id": "a/b"},
        {"prompt": 3},
        {"unknown": 1},
        {"subjects": [{"word": "man"}]},
        {"generation": {"size": "480p"}},
        {"generation": {"steps": 0}},
        {"binding": {"rules": "mine"}},
        {"output": {"format": "avi"}},
    ],
)
def test_a_faulty_scene_is_not_valid(change: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(SOUND | change, json_schema())
