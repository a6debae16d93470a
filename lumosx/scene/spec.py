"""The scene format, version 1, as typed models: which fields exist, of which type, in which range.

Only what can be judged field by field is here; whatever needs the prompt, the pictures or two fields of
different entities is in `checks`. Generation and binding fields are None where the scene is silent: the
checkpoint decides.
"""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from PIL import Image
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetPydanticSchema,
    PlainValidator,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError, core_schema

from lumosx.scene.text import clean_text

VERSION = 1
ID_PATTERN = r"^[A-Za-z0-9._-]{1,80}$"
SIZE_PATTERN = r"^([0-9]{1,5})x([0-9]{1,5})$"
MAX_PROMPT = 8000  # characters; no prompt of 512 tokens is as long, and the search takes more time than it is long
Rules = Literal["paper", "release"]
Ambiguity = Literal["error", "pair", "all"]
Fit = Literal["pad", "crop"]


def coded(code: str, text: str) -> PydanticCustomError:
    """A validation error that becomes the message `code`."""
    return PydanticCustomError(code, "{text}", {"text": text})  # type: ignore[arg-type]


def _version(value: Any) -> int:
    if value == VERSION and type(value) is int:
        return value
    raise coded("LX001", f"this program reads scenes of `lumosx: {VERSION}`, not `lumosx: {value}`")


def _id(value: str) -> str:
    if re.match(ID_PATTERN, value) and value.strip("."):
        return value
    raise coded("LX103", f"{value!r} is no legal id: 1 to 80 of A-Z a-z 0-9 . _ - (it becomes a file name)")


def _phrases(value: Any) -> Any:
    words = value if isinstance(value, list) else [value]
    if words and all(isinstance(word, str) and clean_text(word) for word in words):
        return value
    raise coded("LX003", f"a word is text that occurs in the prompt, or a list of such texts, not {value!r}")


def _occurrence(value: Any) -> Any:
    numbers = value if isinstance(value, list) else [value]
    if numbers and all(type(number) is int and number >= 1 for number in numbers):
        return value
    raise coded("LX003", f"occurrence counts from 1: a whole number or a list of them, not {value!r}")


def _picture(value: Any) -> str | Image.Image:
    if isinstance(value, Image.Image):
        return value
    if isinstance(value, str | Path) and str(value).strip():
        return str(value)
    raise coded("LX003", f"a picture is the path of an image file, not {value!r}")


def _image_field(value: Any) -> Any:
    return {"image": value} if isinstance(value, str | Path | Image.Image) else value


def _single(what: str) -> BeforeValidator:
    def refuse_list(value: Any) -> Any:
        if isinstance(value, list):
            raise coded("LX102", f"{what}, but a list of {len(value)} is given; keep one")
        return value

    return BeforeValidator(refuse_list)


def _crop(box: list[int]) -> list[int]:
    x0, y0, x1, y1 = box
    if 0 <= x0 < x1 and 0 <= y0 < y1:
        return box
    raise coded("LX003", f"crop is [x0, y0, x1, y1] in pixels with 0 <= x0 < x1 and 0 <= y0 < y1, not {box}")


def _size(value: str) -> str:
    match = re.match(SIZE_PATTERN, value)
    if not match:
        raise coded("LX003", f"size is WIDTHxHEIGHT in pixels such as 832x480, not {value!r}")
    width, height = (int(number) for number in match.groups())
    if width % 16 == 0 and height % 16 == 0 and width and height:
        return value
    lower, upper = (f"{_multiple(width, up)}x{_multiple(height, up)}" for up in (False, True))
    best = " or ".join(dict.fromkeys((lower, upper)))
    raise coded("LX003", f"size {value}: width and height are multiples of 16; nearest: {best}")


def _multiple(number: int, up: bool) -> int:
    return max(16, (number + 15 * up) // 16 * 16)


def _frames(value: int) -> int:
    if value >= 1 and value % 4 == 1:
        return value
    lower = max(1, (value - 1) // 4 * 4 + 1)
    raise coded("LX003", f"frames {value}: the number is 4n + 1; nearest: {lower} or {lower + 4}")


def _seeds(value: list[int]) -> list[int]:
    if len(set(value)) == len(value):
        return value
    raise coded("LX103", "the same seed twice in `seeds` would write the same file twice; keep each once")


def _output_name(value: str) -> str:
    bare = re.sub(r"\{(id|seed)\}", "x", value)
    if "{" in bare or "}" in bare:
        raise coded("LX003", f"output name {value!r}: only {{id}} and {{seed}} can be filled in")
    if re.search(r"[/\\\x00-\x1f]", bare) or not bare.strip(". "):
        raise coded("LX103", f"output name {value!r} is no file name; a folder goes into `dir`")
    return value


def _jsonable(value: dict[str, Any]) -> dict[str, Any]:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise coded("LX003", f"meta is copied to the sidecar and must be plain data: {error}") from error
    return value


Id = Annotated[str, AfterValidator(_id), Field(json_schema_extra={"pattern": ID_PATTERN})]
Phrases = Annotated[str | list[str], BeforeValidator(_phrases)]
Occurrence = Annotated[int | list[int], BeforeValidator(_occurrence)]
Strength = Annotated[float, Field(ge=0, le=2)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Picture = Annotated[
    str | Image.Image,
    GetPydanticSchema(lambda _source, _handler: core_schema.no_info_plain_validator_function(_picture)),
    WithJsonSchema({"type": "string", "minLength": 1}),
]


class Model(BaseModel):
    """Strict: no unknown keys, no silent conversion ("16" is not 16), no changes afterwards."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ImageField(Model):
    """A picture as written: a path (or a PIL image) and how to cut and fit it."""

    image: Picture
    crop: Annotated[list[int], Field(min_length=4, max_length=4), AfterValidator(_crop)] | None = None
    fit: Fit | None = None
    pad: Colour = "#ffffff"


PictureField = Annotated[ImageField, BeforeValidator(_image_field, json_schema_input_type=str | ImageField)]


class Attribute(Model):
    """Something a subject wears or holds. Without an image it stays text-only."""

    word: Phrases
    image: PictureField | None = None
    occurrence: Occurrence | None = None
    strength: Strength = 1.0


class Subject(Model):
    """A person: a face, attributes, or both."""

    id: Id
    word: Phrases | None = None
    occurrence: Occurrence | None = None
    face: Annotated[PictureField | None, _single("a subject has one face")] = None
    attributes: list[Attribute] = []
    strength: Strength = 1.0
    consent: str | None = None


class SceneObject(Model):
    """A thing that belongs to nobody."""

    id: Id | None = None
    word: Phrases
    image: PictureField
    occurrence: Occurrence | None = None
    strength: Strength = 1.0


class Background(Model):
    """The place. `fit` may stand here or inside `image`."""

    word: Phrases
    image: PictureField
    occurrence: Occurrence | None = None
    fit: Fit | None = None
    strength: Strength = 1.0

    @model_validator(mode="after")
    def _one_fit(self) -> "Background":
        if self.fit is not None and self.image.fit is not None:
            raise coded("LX005", "background states `fit` twice, beside and inside `image`; keep one")
        return self


class Generation(Model):
    """How to sample. None: the checkpoint's own value."""

    size: Annotated[str, AfterValidator(_size), Field(json_schema_extra={"pattern": SIZE_PATTERN})] | None = None
    frames: Annotated[int, AfterValidator(_frames)] | None = None
    fps: Annotated[float, Field(gt=0)] | None = None
    steps: Annotated[int, Field(ge=1)] | None = None
    solver: Literal["dpm++", "unipc", "euler"] | None = None
    shift: Annotated[float, Field(gt=0)] | None = None
    cfg: Annotated[float, Field(ge=0)] | None = None
    cfg_image: Annotated[float, Field(ge=0)] | None = None
    seed: Seed | None = None
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_seeds)] | None = None

    @model_validator(mode="after")
    def _one_kind_of_seed(self) -> "Generation":
        if self.seed is not None and self.seeds is not None:
            raise coded("LX005", "both `seed` and `seeds` are given; keep one")
        return self

    @property
    def width(self) -> int | None:
        """Pixels, if the scene states a size."""
        return None if self.size is None else int(self.size.split("x")[0])

    @property
    def height(self) -> int | None:
        """Pixels, if the scene states a size."""
        return None if self.size is None else int(self.size.split("x")[1])


class BindingOptions(Model):
    """Switches of the relational mechanisms. None: the checkpoint's own value."""

    r2pe: bool | None = None
    csam: bool | None = None
    mcam: bool | None = None
    mcam_ratio: Annotated[float, Field(ge=0)] | None = None
    ambiguity: Ambiguity | None = None
    rules: Rules | None = None


class Output(Model):
    """Where the clip goes and what is written beside it.

    Without its sidecar a clip cannot be recognised as finished: it is sampled anew each time.
    """

    dir: Annotated[str, Field(min_length=1)] = "out"
    name: Annotated[str, AfterValidator(_output_name)] = "{id}_s{seed}"
    format: Literal["mp4", "gif", "frames"] = "mp4"
    sidecar: bool = True
    ai_label: bool = True


class SceneSpec(Model):
    """A whole scene as written."""

    lumosx: Annotated[int, PlainValidator(_version), WithJsonSchema({"const": VERSION})]
    id: Id | None = None
    prompt: Annotated[str, Field(max_length=MAX_PROMPT)]
    negative_prompt: str | None = None
    root: Annotated[str, Field(min_length=1)] | None = None
    subjects: list[Subject] = []
    objects: list[SceneObject] = []
    background: Annotated[Background | None, _single("a scene has one background")] = None
    generation: Generation = Generation()
    binding: BindingOptions = BindingOptions()
    output: Output = Output()
    meta: Annotated[dict[str, Any], AfterValidator(_jsonable)] = {}


def phrases(word: str | list[str] | None) -> tuple[str, ...]:
    """The `word` field as a tuple."""
    if word is None:
        return ()
    return (word,) if isinstance(word, str) else tuple(word)
