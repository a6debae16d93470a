"""What a run of curation depends on besides its videos, and what the data set keeps of it for the next command."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

from lumosx.curation.models import REGISTRY, Profile
from lumosx.curation.pipeline import make_stages, parse_settings, roles
from lumosx.curation.run import Kind, Stages
from lumosx.curation.sources import KNOWN, SETUP, WORK, expect_videos
from lumosx.errors import InputError
from lumosx.files import write_json
from lumosx.vision import ModelCard
from lumosx.vision.registry import Choice

ELSEWHERE = ("q-align", "server", "sidecar")  # models with a place, as weights have, that compute on no device of ours


@dataclass(frozen=True)
class Setup:
    """What a run depends on besides the videos: as the command line says it, and as the next command finds it again.

    models, settings: in the place of the profile's. allow: restricted models by name. seed: of the choice of pictures
    and of the videos for validation; nothing that is measured depends on it. validation: share of the videos whose
    clips training is validated on.
    """

    profile: str = "offline"
    models: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    allow: tuple[str, ...] = ()
    device: str = "cpu"
    seed: int = 0
    validation: float = 0.0

    def stages(self) -> dict[Kind, Any]:
        """Makes them with their models. Raises InputError with all that is wrong."""
        unlike = {each.name: Absent(ModelCard("", "", "", "", True)) for each in fields(Profile)}
        models, _ = _all(self._models, lambda: make_stages(unlike, self.stated()))
        return make_stages(models, self.stated())

    def _models(self) -> dict[str, Any]:
        return REGISTRY.make(REGISTRY.load_profile(self.profile, self.models), self.allow, self.device)

    def stated(self) -> dict[str, dict[str, Any]]:
        """The settings that profile and command line state, by stage. Raises InputError."""
        profile = REGISTRY.load_profile(self.profile, self.models)
        settings = {stage: dict(stated) for stage, stated in profile.settings.items()}
        for stage, stated in parse_settings(list(self.settings)).items():
            settings.setdefault(stage, {}).update(stated)
        return settings


@dataclass(frozen=True)
class Absent:
    """Stands for a model where nothing is measured: all that is left of it is its card.

    same_person: that it stated one, or else `FaceGates` would not have been made; which one is on no card.
    """

    card: ModelCard
    same_person: float = math.nan


@dataclass(frozen=True)
class Past:
    """The last run of a data set: its videos and setup, the settings that this stated, and its models' cards, by role.
    All is as it was then, so that a data set can be looked at without its models and its profile."""

    folder: Path
    setup: Setup
    stated: dict[str, dict[str, Any]]
    cards: dict[str, dict[str, Any]]

    def stages(self, measuring: Sequence[Kind] = ()) -> dict[Kind, Any]:
        """They judge and measure nothing, but for those in `measuring`, whose models alone are made. Raises InputError
        if there are no such settings any more, or no such models."""
        models: dict[str, Any] = {role: Absent(ModelCard(**card)) for role, card in self.cards.items()}
        if measuring:
            profile = REGISTRY.load_profile(self.setup.profile, self.setup.models)
            profile = replace(profile, **dict.fromkeys(models.keys() - roles(*measuring)))
            models |= replace(REGISTRY, needed=()).make(profile, self.setup.allow, self.setup.device)
        return make_stages(models, self.stated)


def on_gpu(setup: Setup, kinds: Sequence[Kind]) -> bool:
    """Whether models of these stages compute on a run's device, and that is no CPU."""
    profile = REGISTRY.load_profile(setup.profile, setup.models)
    chosen = {Choice.parse(text).model for role in roles(*kinds) if (text := getattr(profile, role))}
    placed = {name for name in chosen if REGISTRY.models[name].weights is not None and name not in ELSEWHERE}
    return setup.device != "cpu" and bool(placed)


def ready(folder: Path | None, out: Path, setup: Setup) -> Stages:
    """The stages of a run; nothing is written. Raises InputError with all that is wrong with folder (None: it is still
    to be made), settings and models."""
    check = partial(expect_videos, folder, out / WORK / KNOWN) if folder else lambda: None
    return _all(check, setup.stages)[1]


def changes(before: Past, now: Past) -> str:
    """How profile, models and settings of a run differ from those of the one before; empty: not at all."""

    def named(card: dict[str, Any] | None) -> str:
        return f"{card['name']} {str(card['revision'])[:12]}" if card else "none"

    pairs = [(role, now.cards.get(role), before.cards.get(role)) for role in now.cards | before.cards]
    told = [f"{role} {named(card)} (was {named(other)})" for role, card, other in pairs if card != other]
    if now.setup.profile != before.setup.profile:
        told.insert(0, f"profile {now.setup.profile} (was {before.setup.profile})")
    if now.setup.settings != before.setup.settings:
        settings = (" ".join(each.setup.settings) or "none" for each in (now, before))
        told.append("--set {} (was {})".format(*settings))
    return f"not as in the last run: {', '.join(told)}" if told else ""


def cards(stages: Stages) -> dict[str, dict[str, Any]]:
    """What the models say of themselves, by role."""
    found: dict[str, dict[str, Any]] = {}
    for stage in stages.values():
        for each in fields(stage):
            if each.metadata.get("use") == "model":
                found[each.metadata["role"]] = getattr(stage, each.name).card.to_dict()
    return found


def save(past: Past, out: Path) -> None:
    """Keeps a run's setup in its data set."""
    write_json({**asdict(past), "folder": str(past.folder)}, out / WORK / SETUP)


def load_past(out: Path) -> Past:
    """The last run of a data set.

    Raises:
        InputError: there was none.
    """
    path = out / WORK / SETUP
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lists = {name: tuple(data["setup"][name]) for name in ("models", "settings", "allow")}  # JSON knows no tuples
        return Past(Path(data["folder"]), Setup(**data["setup"] | lists), data["stated"], data["cards"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{out}: no run of curation has been there ({path.name}: {error})") from error


def _all(*asked: Callable[[], Any]) -> list[Any]:
    """What each returns. Raises InputError with what all of them raise."""
    found, problems = list[Any](), list[str]()
    for each in asked:
        try:
            found.append(each())
        except InputError as error:
            problems.append(str(error))
    if problems:
        raise InputError("\n".join(dict.fromkeys(problems)))
    return found
