"""A model whose weights forbid commercial use is used only when it is allowed by name, whatever its name says."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from transformers import Qwen2_5_VLConfig

from lumosx.curation.models import MODELS, Profile
from lumosx.errors import InputError
from lumosx.evaluation.models import Profile as BenchProfile
from lumosx.evaluation.models import load_models
from lumosx.vision import ModelCard, registry
from lumosx.vision.registry import Registry
from lumosx.vision.server import ChatServer

REGISTRY = Registry(MODELS, Profile, "curate", others=("settings",))  # in which no role has to be filled
RESTRICTED = "models that are used only when each is allowed by name:"


def qwen(folder: Path, width: int) -> str:
    """A Qwen2.5-VL as profiles state it; its size is known by its width."""
    Qwen2_5_VLConfig(text_config={"hidden_size": width}).save_pretrained(folder)
    (folder / "model.safetensors").write_bytes(b"weights")
    return f"qwen2.5-vl:{folder}"


@pytest.fixture
def small(tmp_path: Path) -> str:
    """The 3B, which is for research."""
    return qwen(tmp_path / "3B", 2048)


@pytest.fixture
def middling(tmp_path: Path) -> str:
    """The 7B, which is under the Apache license."""
    return qwen(tmp_path / "7B", 3584)


def test_one_that_is_not_for_commercial_use_is_refused(small: str, tmp_path: Path) -> None:
    why = f"Qwen Research License (3B): non-commercial ({tmp_path / '3B'})"
    with pytest.raises(InputError) as refusal:
        REGISTRY.make(Profile(captioner=small, tagger=small))
    assert str(refusal.value) == f"{RESTRICTED}\n  qwen2.5-vl: {why}; --allow qwen2.5-vl"


def test_one_that_is_allowed_is_made(small: str) -> None:
    assert not REGISTRY.make(Profile(captioner=small), ["qwen2.5-vl"])["captioner"].card.commercial


def test_other_weights_of_the_same_name_need_no_permission(middling: str) -> None:
    assert REGISTRY.make(Profile(captioner=middling))["captioner"].card.commercial


def test_one_of_two_weights_is_enough(small: str, middling: str) -> None:
    for captioner, tagger in [(small, middling), (middling, small)]:
        with pytest.raises(InputError, match=r"qwen2.5-vl: .*3B.*; --allow qwen2.5-vl$"):
            REGISTRY.make(Profile(captioner=captioner, tagger=tagger))


def test_what_else_is_wrong_is_told_with_it(small: str) -> None:
    with pytest.raises(InputError) as refusal:
        REGISTRY.make(Profile(captioner=small, tagger="sidecar:/no/such/folder"))
    first, *rest = str(refusal.value).splitlines()
    assert first.startswith("tagger: ") and rest[0] == RESTRICTED and len(rest) == 2


def test_a_server_does_not_know_and_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ChatServer, "_introduced", lambda self, path: {"data": [{"id": "Tiny"}]})
    card = REGISTRY.make(Profile(captioner="server:http://localhost:8000/v1"))["captioner"].card
    assert (card.name, card.commercial) == ("Tiny", False)


def test_the_benchmark_follows_the_same_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    card = ModelCard("a", "FOLDER", "1", "research only", False)
    monkeypatch.setattr(registry, "_make", lambda *_: SimpleNamespace(card=card))
    profile = BenchProfile(faces="dlib-hog", identities={"own": "dlib-resnet"})
    with pytest.raises(InputError) as refusal:
        load_models(profile, allow=["dlib-resnet"])
    assert str(refusal.value) == f"{RESTRICTED}\n  dlib-hog: research only (FOLDER); --allow dlib-hog"
    assert load_models(profile, allow=["dlib-hog", "dlib-resnet"]).faces.card is card
