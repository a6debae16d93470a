"""Models by name, and profiles: which model does what in a benchmark run.

A profile is a YAML file, as in `configs/bench`, with models for roles. A model is NAME, or NAME:WEIGHTS, where WEIGHTS
is a file, a folder, or OWNER/NAME of the hub with @REVISION after it if wanted. Whatever forbids commercial use or runs
code of others is used only when it is allowed by name.
"""

import importlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from lumosx.errors import InputError
from lumosx.evaluation.models import Models
from lumosx.paths import configs_dir
from lumosx.scene.messages import nearest

NAMED = ("identities", "likenesses")  # roles that hold a model for each metric
NEEDED = ("faces", "identities")  # roles without which there is no run


@dataclass(frozen=True)
class Entry:
    """A model that can be asked for.

    adapter: module and class under `lumosx.evaluation.models`. weights: where they lie unless told; "" if the user must
    tell; None if it has none or its wheel holds them. hub: whether they have revisions. restricted: why it is used only
    when allowed by name. metric: the one that it alone gives, so that no score bears a name that is not its own.
    """

    roles: tuple[str, ...]
    adapter: str
    weights: str | None = None
    hub: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    restricted: str | None = None
    metric: str | None = None


def _arcface(name: str, licence: str, metric: str) -> Entry:
    options = {"name": name, "licence": licence}
    return Entry(("identities",), "faces.OnnxFaceEncoder", "", options=options, restricted=licence, metric=metric)


def _hub(roles: str, adapter: str, weights: str, **more: Any) -> Entry:
    return Entry(tuple(roles.split()), adapter, weights, hub=True, **more)


MODELS: dict[str, Entry] = {
    "dlib-hog": Entry(("faces",), "faces.DlibFaces"),
    "dlib-mmod": Entry(("faces",), "faces.DlibFaces", options={"mmod": True}),
    "dlib-resnet": Entry(("identities",), "faces.DlibEncoder", metric="FaceSim-dlib"),
    "arcface-r100": _arcface("ArcFace r100 (glint360k)", "non-commercial research only (InsightFace's)", "ArcSim"),
    "curricularface": _arcface("CurricularFace IR-101", "non-commercial research only", "CurSim"),
    "rtdetr": _hub("people", "detection.RtDetrPeople", "PekingU/rtdetr_v2_r50vd"),
    "regions": Entry(("phrases",), "offline.Regions"),
    "owlv2": _hub("phrases", "detection.OwlDetector", "google/owlv2-base-patch16-ensemble"),
    "florence2": _hub("phrases subjects", "detection.FlorenceDetector", "florence-community/Florence-2-large-ft"),
    "colours": Entry(("likenesses",), "offline.Colours", metric="Colour-I"),
    "clip": _hub("likenesses words", "pictures.ClipEncoder", "openai/clip-vit-large-patch14", metric="CLIP-I"),
    "dinov2": _hub("likenesses", "pictures.DinoEncoder", "facebook/dinov2-base", metric="DINO-I"),
    "xclip": _hub("videos", "videos.XClip", "microsoft/xclip-base-patch32"),
    "videoclip-xl": _hub(
        "videos",
        "videos.VideoClipXL",
        "alibaba-pai/VideoCLIP-XL-v2",
        options={"trust_code": True},
        restricted="CC-BY-NC-SA-4.0; runs the Python code of its repository",
    ),
    "dis": Entry(("flow", "interpolator"), "motion.DisFlow"),
    "raft": Entry(("flow", "interpolator"), "motion.RaftFlow", ""),
    "rapidocr": Entry(("reader",), "lettering.RapidOcr"),
}


@dataclass
class Profile:
    """Which model has which role of `Models`, as NAME[:WEIGHTS[@REVISION]]; None: the role is not filled."""

    faces: str | None = None
    identities: dict[str, str] = field(default_factory=dict)  # by metric; the first assigns people
    people: str | None = None
    phrases: str | None = None
    subjects: str | None = None
    likenesses: dict[str, str] = field(default_factory=dict)  # by metric
    words: str | None = None
    videos: str | None = None
    flow: str | None = None
    interpolator: str | None = None  # a model of flow
    reader: str | None = None


@dataclass(frozen=True)
class Choice:
    """A model as a profile states it. weights, revision: None for the model's own."""

    model: str
    weights: str | None = None
    revision: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Choice":
        """Of NAME[:WEIGHTS[@REVISION]]. A file or folder may have an @ in its name."""
        model, _, weights = text.strip().partition(":")
        revision = ""
        if "@" in weights and not Path(weights).expanduser().exists():
            weights, _, revision = weights.rpartition("@")
        return cls(model, weights or None, revision or None)


def load_profile(name: str, overrides: Iterable[str] = ()) -> Profile:
    """A profile of `configs/bench`, or of a YAML file of one's own, with models put in the place of its own.

    Args:
        name: the shipped profile's, or a path that ends in .yaml.
        overrides: ROLE=NAME[:WEIGHTS] each, or ROLE=none. Of a role with several models ROLE.METRIC, such as
            identities.ArcSim=arcface-r100:/path/to/it.onnx.

    Raises:
        InputError: there is no such profile, or a role or an override is not understood (with the nearest one).
    """
    shipped = configs_dir() / "bench"
    path = Path(name).expanduser() if name.endswith(".yaml") else shipped / f"{name}.yaml"
    if not path.is_file():
        names = sorted(file.stem for file in shipped.glob("*.yaml"))
        raise InputError(_unknown("profile", name, names) + " A profile of your own is a path that ends in .yaml.")
    try:
        profile = OmegaConf.merge(OmegaConf.structured(Profile), OmegaConf.load(path))
    except ConfigKeyError as error:
        raise InputError(f"{path}: {_unknown('role', str(error.key), _roles())}") from error
    except (OmegaConfBaseException, YAMLError) as error:
        raise InputError(f"{path}: {error}") from error
    for override in overrides:
        _override(profile, override)
    return OmegaConf.to_object(profile)  # pyright: ignore[reportReturnType]


def load_models(profile: Profile, allow: Collection[str] = (), device: str = "cpu") -> Models:
    """Makes the models of a profile; one that has several roles is made once.

    Args:
        allow: names of models that may be used although their licence or their code restricts it.
        device: where they run, as torch names it.

    Raises:
        InputError: with all that is wrong: a model that there is not or that cannot fill its role, one that is not
            allowed, weights that are not there, a library that is not installed.
    """
    chosen = {place: Choice.parse(text) for place, text in _places(profile).items()}
    problems = [f"allow: {_unknown('model', name, MODELS)}" for name in allow if name not in MODELS]
    problems += [f"{role}: a run needs it; choose {_able(role)}" for role in NEEDED if not getattr(profile, role)]
    problems += [f"{place}: {problem}" for place, choice in chosen.items() for problem in _problems(place, choice)]
    problems += _refusals(chosen.values(), allow)
    _raise_all(problems)

    made: dict[Choice, Any] = {}
    for choice in dict.fromkeys(chosen.values()):
        try:
            made[choice] = _make(choice, device)
        except InputError as error:
            problems.append(f"{', '.join(place for place, c in chosen.items() if c == choice)}: {error}")
    _raise_all(problems)
    return _filled({place: made[choice] for place, choice in chosen.items()})


def _override(profile: Any, text: str) -> None:
    place, _, model = text.partition("=")
    role, _, metric = place.partition(".")
    if role not in _roles():
        raise InputError(f"--model {text}: {_unknown('role', role, _roles())}")
    if not model or bool(metric) != (role in NAMED):
        wanted = f"{role}.METRIC" if role in NAMED else role
        raise InputError(f"--model {text}: write {wanted}=NAME, {wanted}=NAME:WEIGHTS or {wanted}=none")
    if not metric:
        profile[role] = None if model == "none" else model
    elif model == "none":
        profile[role].pop(metric, None)
    else:
        profile[role][metric] = model


def _places(profile: Profile) -> dict[str, str]:
    """What the profile states, by role or role.metric."""
    places: dict[str, str] = {}
    for role in _roles():
        value = getattr(profile, role)
        if role in NAMED:
            places |= {f"{role}.{metric}": text for metric, text in value.items()}
        elif value is not None:
            places[role] = value
    return places


def _problems(place: str, choice: Choice) -> Iterable[str]:
    """What speaks against a model in a place, before anything is loaded."""
    role, _, metric = place.partition(".")
    entry = MODELS.get(choice.model)
    if entry is None:
        yield _unknown("model", choice.model, _models(role))
        return
    if role not in entry.roles:
        yield f"{choice.model} cannot do that; choose {_able(role)}"
    if entry.weights == "" and choice.weights is None:
        yield f"{choice.model} needs the file of its weights: --model {place}={choice.model}:/path/to/file"
    if entry.weights is None and choice.weights:
        yield f"{choice.model} takes no weights; leave {choice.weights} out"
    if choice.revision and not entry.hub:
        yield f"no file {choice.weights}@{choice.revision}; {choice.model} takes one, without a revision"
    owner = next((name for name, other in MODELS.items() if metric and other.metric == metric), choice.model)
    if owner != choice.model:
        yield f"{metric} is what {owner} gives; call the score of {choice.model} something else"


def _refusals(choices: Iterable[Choice], allow: Collection[str]) -> list[str]:
    """What has to be allowed by name and is not."""
    names = [choice.model for choice in choices if choice.model in MODELS and choice.model not in allow]
    refused = {name: MODELS[name].restricted for name in names if MODELS[name].restricted}
    lines = [f"  {name}: {why}; --allow {name}" for name, why in refused.items()]
    return ["models that are used only when each is allowed by name:", *lines] if lines else []


def _make(choice: Choice, device: str) -> Any:
    entry = MODELS[choice.model]
    module, _, kind = entry.adapter.partition(".")
    adapter = getattr(importlib.import_module(f"lumosx.evaluation.models.{module}"), kind)
    if entry.weights is None:
        return adapter(**entry.options)
    revision = {"revision": choice.revision} if choice.revision else {}
    return adapter(choice.weights or entry.weights, device=device, **revision, **entry.options)


def _filled(made: Mapping[str, Any]) -> Models:
    """The roles with their models, by place."""
    roles: dict[str, Any] = {role: {} for role in NAMED}
    for place, model in made.items():
        role, _, metric = place.partition(".")
        if metric:
            roles[role][metric] = model
        else:
            roles[role] = model
    if "interpolator" in roles:
        from lumosx.evaluation.models.motion import FlowInterpolator

        roles["interpolator"] = FlowInterpolator(roles["interpolator"])
    return Models(**roles)


def _roles() -> list[str]:
    return [role.name for role in fields(Profile)]


def _models(role: str) -> list[str]:
    """The names of what can fill a role."""
    return [name for name, entry in MODELS.items() if role in entry.roles]


def _able(role: str) -> str:
    return " or ".join(_models(role))


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = nearest(name, known, count=1)
    return f"no {what} {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}.")


def _raise_all(problems: Sequence[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))
