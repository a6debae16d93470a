"""Profiles and models by name: what is offered can be made, and what is wrong is said."""

import importlib
import inspect
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from composites import face_picture

from lumosx.errors import InputError
from lumosx.evaluation.models import MODELS, Models, Profile, load_models, load_profile
from lumosx.paths import configs_dir
from lumosx.vision import registry as registry_module
from lumosx.vision.registry import Choice, Entry

SHIPPED = sorted(path.stem for path in (configs_dir() / "bench").glob("*.yaml"))
FILES = ["identities.ArcSim=arcface-r100:/none.onnx", "identities.CurSim=curricularface:/none.onnx"]
FILES += ["flow=dis", "interpolator=dis"]


def _adapter(name: str) -> type:
    module, _, kind = MODELS[name].adapter.rpartition(".")
    return getattr(importlib.import_module(f"lumosx.{module}"), kind)


@pytest.mark.parametrize("name", MODELS)
def test_adapters_take_what_the_registry_gives(name: str) -> None:
    entry = MODELS[name]
    given = dict(entry.options)
    positional = [] if entry.weights is None else ["place"]
    if positional:
        given["device"] = "cpu"
    if entry.hub:
        given["revision"] = "main"
    inspect.signature(_adapter(name)).bind(*positional, **given)


@pytest.mark.parametrize("name", MODELS)
def test_adapters_can_do_what_their_roles_ask(name: str) -> None:
    asked = {
        "faces": ["detect"], "people": ["detect"], "phrases": ["find"], "subjects": ["find"], "identities": ["embed"],
        "likenesses": ["embed"], "words": ["embed", "embed_text"], "videos": ["embed_video", "embed_text"],
        "flow": ["flow"], "interpolator": ["flow"], "reader": ["read"],
    }  # fmt: skip
    for role in MODELS[name].roles:
        assert all(hasattr(_adapter(name), method) for method in asked[role]), role


def test_roles_are_those_of_the_benchmark() -> None:
    assert set(vars(Profile())) == set(Models.__dataclass_fields__)


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_profiles_name_models_that_can_fill_their_roles(name: str) -> None:
    profile = vars(load_profile(name))
    for role, value in profile.items():
        for text in value.values() if isinstance(value, dict) else [value] if value else []:
            assert role in MODELS[Choice.parse(text).model].roles


def test_offline_runs_and_says_what_it_is() -> None:
    models = load_models(load_profile("offline"))
    picture = face_picture("obama")
    (face,) = models.faces.detect(picture)
    assert models.identities["FaceSim-dlib"].embed(picture, [face]).shape == (1, 128)
    assert models.phrases is not None and models.interpolator is not None
    assert np.array_equal(models.interpolator.between(picture, picture), picture)
    cards = models.cards()
    places = {"faces", "identities.FaceSim-dlib", "phrases", "likenesses.Colour-I", "flow", "interpolator", "reader"}
    assert set(cards) == places
    assert all(card.commercial and card.revision and card.licence for card in cards.values())


def test_permissive_needs_no_permission() -> None:
    profile = load_profile("permissive")
    texts = [*profile.identities.values(), *profile.likenesses.values()]
    texts += [value for value in vars(profile).values() if isinstance(value, str)]
    assert not [text for text in texts if MODELS[Choice.parse(text).model].restricted]


def test_restricted_models_are_refused_all_at_once_with_their_licence() -> None:
    with pytest.raises(InputError) as refusal:
        load_models(load_profile("paper", FILES))
    lines = str(refusal.value).splitlines()[1:]
    assert [line.split(":")[0].strip() for line in lines] == ["arcface-r100", "curricularface", "videoclip-xl"]
    for line in lines:
        name = line.split(":")[0].strip()
        assert "on-commercial" in line or "CC-BY-NC" in line
        assert line.endswith(f"--allow {name}")
    with pytest.raises(InputError, match="--allow videoclip-xl") as refusal:
        load_models(load_profile("paper", FILES), allow=["arcface-r100", "curricularface"])
    assert "arcface-r100" not in str(refusal.value)


def test_what_is_allowed_is_looked_for(tmp_path: Path) -> None:
    """Allowed, the restricted models are missing files like all others, and every one is reported."""
    with pytest.raises(InputError) as missing:
        load_models(load_profile("paper", FILES), allow=["arcface-r100", "curricularface", "videoclip-xl"])
    places = [line.split(":")[0] for line in str(missing.value).splitlines()]
    assert places == [
        "identities.ArcSim", "identities.CurSim", "people", "phrases", "subjects", "likenesses.CLIP-I, words",
        "likenesses.DINO-I", "videos",
    ]  # fmt: skip
    assert "--allow" not in str(missing.value)


def test_a_model_with_two_roles_is_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Choice] = []

    def make(entry: Entry, choice: Choice, device: str) -> object:
        made.append(choice)
        return SimpleNamespace(card=SimpleNamespace(commercial=True))

    monkeypatch.setattr(registry_module, "_make", make)
    models = load_models(load_profile("permissive", ["interpolator=none"]))
    assert models.words is models.likenesses["CLIP-I"]
    assert len(made) == len(set(made)) == 10


def test_overrides() -> None:
    changes = ["identities.ArcSim=arcface-r100:/a/b.onnx", "likenesses.Colour-I=none", "people=rtdetr", "flow=none"]
    profile = load_profile("offline", changes)
    assert profile.identities == {"FaceSim-dlib": "dlib-resnet", "ArcSim": "arcface-r100:/a/b.onnx"}
    assert (profile.likenesses, profile.people, profile.flow) == ({}, "rtdetr", None)
    assert profile.interpolator == "dis", "nothing else changes"


@pytest.mark.parametrize(
    ("text", "choice"),
    [
        ("dis", Choice("dis")),
        ("clip:openai/clip", Choice("clip", "openai/clip")),
        ("clip:openai/clip@main", Choice("clip", "openai/clip", "main")),
        ("raft:/w/raft.pth", Choice("raft", "/w/raft.pth")),
    ],
)
def test_choices(text: str, choice: Choice) -> None:
    assert Choice.parse(text) == choice


def test_files_may_have_an_at_in_their_name(tmp_path: Path) -> None:
    (tmp_path / "net@2.onnx").touch()
    assert Choice.parse(f"raft:{tmp_path}/net@2.onnx") == Choice("raft", f"{tmp_path}/net@2.onnx")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("face=dlib-hog", "no role 'face'; did you mean 'faces'"),
        ("identities=dlib-resnet", "write identities.METRIC=NAME"),
        ("faces.A=dlib-hog", "write faces=NAME"),
        ("faces", "write faces=NAME"),
        ("faces=dlib-hug", "faces: no model 'dlib-hug'; did you mean 'dlib-hog'"),
        ("faces=regions", "faces: regions cannot do that; choose dlib-hog or dlib-mmod"),
        ("faces=none", "faces: a run needs it"),
        ("identities.FaceSim-dlib=none", "identities: a run needs it"),
        ("identities.ArcSim=dlib-resnet", "ArcSim is what arcface-r100 gives"),
        ("flow=raft", "raft needs the file of its weights: --model flow=raft:"),
        ("flow=dis:/w.pth", "dis takes no weights"),
        ("flow=raft:/w.pth@main", "without a revision"),
    ],
)
def test_wrong_overrides(override: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        load_models(load_profile("offline", [override]))
    assert message in str(error.value)


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("faces: dlib-hog\nidentities: {FaceSim-dlib: dlib-resnet}\n")
    assert load_profile(str(path)) == Profile(faces="dlib-hog", identities={"FaceSim-dlib": "dlib-resnet"})
    path.write_text("faces: dlib-hog\nidentites: {FaceSim-dlib: dlib-resnet}\n")
    with pytest.raises(InputError, match=r"own\.yaml: no role 'identites'; did you mean 'identities'"):
        load_profile(str(path))
    for broken in ("faces: [", "- faces", "identities: dlib-resnet"):
        path.write_text(broken)
        with pytest.raises(InputError, match=r"own\.yaml"):
            load_profile(str(path))


def test_unknown_profiles_and_permissions() -> None:
    with pytest.raises(InputError, match="no profile 'ofline'; did you mean 'offline'"):
        load_profile("ofline")
    with pytest.raises(InputError, match="allow: no model 'arcface'; did you mean 'arcface-r100'"):
        load_models(load_profile("offline"), allow=["arcface"])
