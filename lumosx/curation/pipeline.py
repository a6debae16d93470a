"""The stages of curation in their order, cheap ones first, and how settings and models make them."""

from collections.abc import Iterator, Mapping
from dataclasses import Field, fields
from typing import Any

from lumosx.curation.run import Kind
from lumosx.curation.stage import Stage
from lumosx.curation.stages.attributes import AttributeMasks
from lumosx.curation.stages.background import CleanBackgrounds
from lumosx.curation.stages.borders import BorderCrop
from lumosx.curation.stages.captions import Captioning
from lumosx.curation.stages.duplicates import NearDuplicates
from lumosx.curation.stages.entities import Matching
from lumosx.curation.stages.faces import FaceGates
from lumosx.curation.stages.grey import Greyscale
from lumosx.curation.stages.motion import Motion
from lumosx.curation.stages.objects import ObjectMasks
from lumosx.curation.stages.people import PeopleCount
from lumosx.curation.stages.scores import Quality
from lumosx.curation.stages.shots import ShotSplit
from lumosx.curation.stages.subtitles import SubtitleText
from lumosx.curation.stages.technical import Technical
from lumosx.curation.stages.video import ClipVideo
from lumosx.errors import InputError
from lumosx.scene.messages import nearest

SOURCES: tuple[Kind, ...] = (ShotSplit,)
# Stages of a group run in one pass over the clips, so that they share what they load. NearDuplicates judges a clip
# among all others, so it ends its group.
GROUPS: Mapping[str, tuple[Kind, ...]] = {
    "footage": (BorderCrop, Greyscale, SubtitleText, Technical, Motion),
    "scores": (Quality, PeopleCount, NearDuplicates),
    "words": (Captioning, Matching),
    "pictures": (FaceGates, AttributeMasks, ObjectMasks),
    "backgrounds": (CleanBackgrounds,),
    "videos": (ClipVideo,),
}
STAGES: tuple[Kind, ...] = (*SOURCES, *(kind for group in GROUPS.values() for kind in group))


def make_stages(models: Mapping[str, Any], settings: Mapping[str, Mapping[str, Any]]) -> dict[Kind, Stage[Any]]:
    """All stages whose models are there, in order.

    Args:
        models: by role.
        settings: by the name of a stage, such as {"flow": {"most": 3.0}}; what is not stated has its default.

    Raises:
        InputError: with all that is wrong: a stage or a setting that there is not (with the nearest one), a value of
            another type, a stage without its model that another one needs.
    """
    problems = list(_strange(settings))
    made: dict[Kind, Stage[Any]] = {}
    for kind in STAGES:
        missing = [f"model for {role}" for role in sorted(roles(kind) - models.keys())]
        missing += [f"stage {needed.name}" for needed in kind.needs if needed not in made]
        if not missing:
            given = {each.name: models[each.metadata["role"]] for each in _fields(kind, "model")}
            known = _settings(kind)
            own = {
                name: float(value) if known[name].type is float else value
                for name, value in settings.get(kind.name, {}).items()
                if name in known and _fits(value, known[name].type)
            }
            made[kind] = kind(**given, **own)
        elif kind not in OPTIONAL:
            problems.append(f"{kind.name}: no {' and no '.join(missing)}")
    if problems:
        raise InputError("\n".join(problems))
    return made


# Without their models these are left out: nothing is judged by quality, no clip is a duplicate, no background is kept.
OPTIONAL = (Quality, NearDuplicates, CleanBackgrounds)


def parse_settings(texts: list[str]) -> dict[str, dict[str, Any]]:
    """Of STAGE.SETTING=VALUE each. Raises InputError if one is not written so."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    for text in texts:
        place, equals, _ = text.partition("=")
        if not equals or place.count(".") != 1:
            raise InputError(f"--set {text}: write STAGE.SETTING=VALUE, such as flow.most=3.0")
    try:
        return OmegaConf.to_container(OmegaConf.from_dotlist(texts))  # pyright: ignore[reportReturnType]
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"--set {' '.join(texts)}: {error}") from error


def _strange(settings: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What is wrong with settings."""
    kinds = {kind.name: kind for kind in STAGES}
    for stage, stated in settings.items():
        if stage not in kinds:
            yield f"no stage {stage!r}; did you mean {nearest(stage, list(kinds), count=1)[0]!r}?"
            continue
        known = _settings(kinds[stage])
        for name, value in stated.items():
            if name not in known:
                near = nearest(name, list(known), count=1)
                yield f"no setting {stage}.{name}; there is {near[0] if near else 'none'}"
            elif not _fits(value, wanted := known[name].type):
                yield f"{stage}.{name}: {value!r} is not of type {getattr(wanted, '__name__', wanted)}"


def roles(*kinds: Kind) -> set[str]:
    """Of the models that stages ask."""
    return {each.metadata["role"] for kind in kinds for each in _fields(kind, "model")}


def _settings(kind: Kind) -> dict[str, Field[Any]]:
    """The settings and thresholds of a stage."""
    return {each.name: each for each in fields(kind) if each.metadata.get("use") != "model"}


def _fields(kind: Kind, use: str) -> list[Field[Any]]:
    return [each for each in fields(kind) if each.metadata.get("use") == use]


def _fits(value: Any, wanted: Any) -> bool:
    if wanted is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return type(value) is wanted
