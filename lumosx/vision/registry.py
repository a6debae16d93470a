"""Models by name, and profiles: which model does what in a run of benchmark or curation.

A profile is a YAML file, as in `configs/bench`, with models for roles. A model is NAME, or NAME:WEIGHTS, where WEIGHTS
is a file, a folder, or OWNER/NAME of the hub with @REVISION after it if wanted.

Whatever forbids commercial use, demands the source of what uses it (AGPL) or runs code of others is used only when it
is allowed by name. Of most models the name is enough to know that, of others the card of the chosen weights says it.
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
from lumosx.paths import configs_dir
from lumosx.scene.messages import nearest
from lumosx.vision import ModelCard


@dataclass(frozen=True)
class Entry:
    """A model that can be asked for.

    adapter: module and class below `lumosx`. weights: where they lie unless told; "" if the user must tell, which is
    what `wants` asks for; None if it has none or its wheel holds them. hub: whether they have revisions. restricted:
    why it is used only when allowed by name. told: whether its card knows the licence of its weights; False: the user
    has to. metric: the one that it alone gives, so that no score bears a name that is not its own.
    """

    roles: tuple[str, ...]
    adapter: str
    weights: str | None = None
    hub: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    restricted: str | None = None
    told: bool = True
    wants: str = "the file of its weights"
    metric: str | None = None


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


def hub(roles: str, adapter: str, weights: str, **more: Any) -> Entry:
    """A model of the hub; `roles` with spaces between them."""
    return Entry(tuple(roles.split()), adapter, weights, hub=True, **more)


@dataclass(frozen=True)
class Registry:
    """The models that one kind of run can ask for.

    models: by name. profile: a dataclass with a field for each role, a text or None, or of a role in `named` a dict of
    texts. shipped: the folder of `configs` with the profiles. named: roles that hold several models, by name (of a
    metric). needed: roles without which there is no run. others: fields of the profile that are no roles.
    """

    models: Mapping[str, Entry]
    profile: type
    shipped: str
    named: tuple[str, ...] = ()
    needed: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    def load_profile(self, name: str, overrides: Iterable[str] = ()) -> Any:
        """A shipped profile, or a YAML file of one's own, with models put in the place of its own.

        Args:
            name: the shipped profile's, or a path that ends in .yaml.
            overrides: ROLE=NAME[:WEIGHTS] each, or ROLE=none. Of a role with several models ROLE.METRIC, such as
                identities.ArcSim=arcface-r100:/path/to/it.onnx.

        Raises:
            InputError: there is no such profile, or a role or an override is not understood (with the nearest one).
        """
        shipped = configs_dir() / self.shipped
        path = Path(name).expanduser() if name.endswith(".yaml") else shipped / f"{name}.yaml"
        if not path.is_file():
            names = sorted(file.stem for file in shipped.glob("*.yaml"))
            raise InputError(_unknown("profile", name, names) + " A profile of your own is a path that ends in .yaml.")
        try:
            profile = OmegaConf.merge(OmegaConf.structured(self.profile), OmegaConf.load(path))
        except ConfigKeyError as error:
            raise InputError(f"{path}: {_unknown('role', str(error.key), self._roles)}") from error
        except (OmegaConfBaseException, YAMLError) as error:
            raise InputError(f"{path}: {error}") from error
        for override in overrides:
            self._override(profile, override)
        return OmegaConf.to_object(profile)

    def make(self, profile: Any, allow: Collection[str] = (), device: str = "cpu") -> dict[str, Any]:
        """Makes the models of a profile, by role or role.name; one that has several roles is made once.

        Args:
            profile: of the registry's kind.
            allow: names of models that may be used although their licence or their code restricts it.
            device: where they run, as torch names it.

        Raises:
            InputError: with all that is wrong: a model that there is not or that cannot fill its role, one that is not
                allowed, weights that are not there or not for commercial use, a library that is not installed.
        """
        chosen = {place: Choice.parse(text) for place, text in self._places(profile).items()}
        problems = [f"allow: {_unknown('model', name, self.models)}" for name in allow if name not in self.models]
        missing = [role for role in self.needed if not getattr(profile, role)]
        problems += [f"{role}: a run needs it; choose {self._able(role)}" for role in missing]
        problems += [f"{place}: {text}" for place, choice in chosen.items() for text in self._problems(place, choice)]
        known = [choice.model for choice in chosen.values() if choice.model in self.models]
        problems += _refusals(((name, self.models[name].restricted) for name in known), allow)
        _raise_all(problems)

        made: dict[Choice, Any] = {}
        for choice in dict.fromkeys(chosen.values()):
            try:
                made[choice] = _make(self.models[choice.model], choice, device)
            except InputError as error:
                problems.append(f"{', '.join(place for place, c in chosen.items() if c == choice)}: {error}")
        cards = [(choice.model, model.card) for choice, model in made.items() if self.models[choice.model].told]
        problems += _refusals(((name, _forbids(card)) for name, card in cards), allow)
        _raise_all(problems)
        return {place: made[choice] for place, choice in chosen.items()}

    @property
    def _roles(self) -> list[str]:
        return [role.name for role in fields(self.profile) if role.name not in self.others]

    def _override(self, profile: Any, text: str) -> None:
        place, _, model = text.partition("=")
        role, _, metric = place.partition(".")
        if role not in self._roles:
            raise InputError(f"--model {text}: {_unknown('role', role, self._roles)}")
        if not model or bool(metric) != (role in self.named):
            wanted = f"{role}.METRIC" if role in self.named else role
            raise InputError(f"--model {text}: write {wanted}=NAME, {wanted}=NAME:WEIGHTS or {wanted}=none")
        if not metric:
            profile[role] = None if model == "none" else model
        elif model == "none":
            profile[role].pop(metric, None)
        else:
            profile[role][metric] = model

    def _places(self, profile: Any) -> dict[str, str]:
        """What the profile states, by role or role.metric."""
        places: dict[str, str] = {}
        for role in self._roles:
            value = getattr(profile, role)
            if role in self.named:
                places |= {f"{role}.{metric}": text for metric, text in value.items()}
            elif value is not None:
                places[role] = value
        return places

    def _problems(self, place: str, choice: Choice) -> Iterable[str]:
        """What speaks against a model in a place, before anything is loaded."""
        role, _, metric = place.partition(".")
        entry = self.models.get(choice.model)
        if entry is None:
            yield _unknown("model", choice.model, self._candidates(role))
            return
        if role not in entry.roles:
            yield f"{choice.model} cannot do that; choose {self._able(role)}"
        if entry.weights == "" and choice.weights is None:
            yield f"{choice.model} needs {entry.wants}: --model {place}={choice.model}:..."
        if entry.weights is None and choice.weights:
            yield f"{choice.model} takes no weights; leave {choice.weights} out"
        if choice.revision and not entry.hub:
            yield f"no file {choice.weights}@{choice.revision}; {choice.model} takes one, without a revision"
        owner = next((name for name, other in self.models.items() if metric and other.metric == metric), choice.model)
        if owner != choice.model:
            yield f"{metric} is what {owner} gives; call the score of {choice.model} something else"

    def _candidates(self, role: str) -> list[str]:
        """The names of what can fill a role."""
        return [name for name, entry in self.models.items() if role in entry.roles]

    def _able(self, role: str) -> str:
        return " or ".join(self._candidates(role))


def _make(entry: Entry, choice: Choice, device: str) -> Any:
    module, _, kind = entry.adapter.rpartition(".")
    adapter = getattr(importlib.import_module(f"lumosx.{module}"), kind)
    if entry.weights is None:
        return adapter(**entry.options)
    revision = {"revision": choice.revision} if choice.revision else {}
    return adapter(choice.weights or entry.weights, device=device, **revision, **entry.options)


def _refusals(restricted: Iterable[tuple[str, str | None]], allow: Collection[str]) -> list[str]:
    """What has to be allowed by name and is not, of names of models with what restricts each, if anything does."""
    lines = [f"  {name}: {why}; --allow {name}" for name, why in restricted if why and name not in allow]
    return ["models that are used only when each is allowed by name:", *dict.fromkeys(lines)] if lines else []


def _forbids(card: ModelCard) -> str | None:
    """What a card has against commercial use."""
    return None if card.commercial else f"{card.licence} ({card.source})"


def _unknown(what: str, name: str, known: Iterable[str]) -> str:
    known = list(known)
    near = nearest(name, known, count=1)
    return f"no {what} {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there is {', '.join(known)}.")


def _raise_all(problems: Sequence[str]) -> None:
    if problems:
        raise InputError("\n".join(problems))
