"""OpenS2V-Eval's cases (PKU-YuanGroup/OpenS2V-Nexus): a JSON mapping from the case's id to its pictures and prompt.

    {"singleobj_1": {"img_paths": ["Images/singleobject/cup/52.jpg"], "class_label": ["Cup"], "prompt": "...", ...}}

Paths are seen from the JSON's folder; other keys are not read. A picture has a label and no kind, so its kind is
guessed, in this order:

- the background, if its label or its folder is `background`;
- a person's face, if the last word of its label, or its folder without `crop_`, says a person (`PEOPLE`), or if the
  case is of a kind that has people alone (ids `singleface_`, `multiface_`, `singlehuman_`, `multihuman_`). Of the
  `human` kinds the picture shows the whole person, and whoever reads it looks for the face;
- else an object.

Nobody has attributes: the labels do not say whose a thing is. A label need not occur in the prompt ("Cup" beside a
prompt about a teapot); such a case can be scored, and what stands in the way of sampling it, sampling says.
"""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lumosx.errors import InputError
from lumosx.scene.text import escape_braces

BACKGROUND = "background"
PEOPLE = {
    "baby", "boy", "boys", "child", "children", "face", "female", "gentleman", "girl", "girls", "guy", "human",
    "humans", "kid", "lady", "male", "man", "men", "people", "person", "woman", "women",
}  # fmt: skip
ONLY_PEOPLE = r"(single|multi)(face|human)"


class _Entry(BaseModel):
    model_config = ConfigDict(strict=True, extra="ignore")

    img_paths: Annotated[list[str], Field(min_length=1)]
    class_label: list[str]
    prompt: str


def is_opens2v(data: Any) -> bool:
    """Whether plain data of a JSON file are such cases."""
    return isinstance(data, dict) and any(isinstance(entry, dict) and "img_paths" in entry for entry in data.values())


def scene_of(case_id: str, data: Any) -> dict[str, Any]:
    """The scene of one entry.

    Raises:
        InputError: fields are missing or of the wrong type, labels and pictures do not pair, two backgrounds.
    """
    try:
        entry = _Entry.model_validate(data)
    except ValidationError as error:
        found = (f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
        raise InputError(f"{case_id} is no case of OpenS2V ({'; '.join(found)})") from error
    if len(entry.img_paths) != len(entry.class_label):
        numbers = f"{len(entry.img_paths)} img_paths and {len(entry.class_label)} class_label"
        raise InputError(f"{case_id} has {numbers}; each picture has one label")
    scene: dict[str, Any] = {"lumosx": 1, "id": case_id, "prompt": escape_braces(entry.prompt)}
    subjects: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for path, label in zip(entry.img_paths, entry.class_label, strict=True):
        if BACKGROUND in (label.casefold(), _folder(path)):
            if BACKGROUND in scene:
                raise InputError(f"{case_id} has two backgrounds; a scene has one")
            scene[BACKGROUND] = {"word": label, "image": path}
        elif _is_person(case_id, label, path):
            subjects.append({"id": f"person{len(subjects) + 1}", "word": label, "face": path})
        else:
            objects.append({"id": f"object{len(objects) + 1}", "word": label, "image": path})
    return scene | {"subjects": subjects, "objects": objects}


def _is_person(case_id: str, label: str, path: str) -> bool:
    last = re.findall(r"\w+", label.casefold())[-1:]
    return bool(PEOPLE.intersection([*last, _folder(path)]) or re.match(ONLY_PEOPLE, case_id.casefold()))


def _folder(path: str) -> str:
    return PurePosixPath(path).parent.name.casefold().removeprefix("crop_")
