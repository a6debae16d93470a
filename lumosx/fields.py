"""What may be written where, in a format that is typed with pydantic: for messages that name the right key."""

from collections.abc import Sequence
from typing import Any, get_args

from pydantic import BaseModel


def legal_keys(model: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys that are legal in the mapping at `path` of a `model` as written."""
    for step in path:
        if isinstance(step, str) and step in model.model_fields:
            model = _model_in(model.model_fields[step].annotation) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The model inside `Model`, `Model | None`, `list[Model]` or `Annotated[Model, ...]`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((model for inner in get_args(annotation) if (model := _model_in(inner))), None)
