"""The scene format as a JSON schema, for editors; generated from the models and shipped as schema.json."""

import json
from pathlib import Path
from typing import Any

from lumosx.scene.spec import SceneSpec

SCHEMA_FILE = Path(__file__).with_name("schema.json")


def json_schema() -> dict[str, Any]:
    """The schema of a scene file."""
    schema = SceneSpec.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "LumosX scene"}


def write_schema() -> None:
    """Bring schema.json up to date."""
    SCHEMA_FILE.write_text(json.dumps(json_schema(), indent=2) + "\n", encoding="utf-8")
