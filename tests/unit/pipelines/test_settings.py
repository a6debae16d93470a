"""Settings: who states what, and sizes that a model cannot make."""

from typing import Any

import pytest
from tiny_models import tiny_scene

from lumosx.errors import InputError
from lumosx.models.grid import Grid
from lumosx.pipelines import Settings, resolve_settings
from lumosx.pipelines.settings import WAN_NEGATIVE_PROMPT

WAN = Grid(spatial=8, temporal=4, patch=(1, 2, 2))


def test_wans_defaults_hold_where_nobody_says_anything() -> None:
    settings, seeds = resolve_settings(tiny_scene())
    assert settings == Settings("832x480", 81, 16, 50, "dpm++", 8.0, 6.0, None, WAN_NEGATIVE_PROMPT)
    assert seeds == (1024,)


def test_call_before_scene_before_checkpoint() -> None:
    scene = tiny_scene(generation={"steps": 20, "cfg": 3.0}, negative_prompt="static")
    checkpoint = {"steps": 10, "cfg": 1.0, "fps": 8, "negative_prompt": ""}
    settings, _ = resolve_settings(scene, checkpoint, {"cfg": 5.0, "steps": None})
    assert (settings.cfg, settings.steps, settings.fps, settings.shift) == (5.0, 20, 8, 8.0)
    assert settings.negative_prompt == "static"


@pytest.mark.parametrize(
    ("scene", "checkpoint", "call", "expected"),
    [
        ({}, {"seed": 5}, {}, (5,)),
        ({"seeds": [1, 2]}, {"seed": 5}, {}, (1, 2)),
        ({"seeds": [1, 2]}, {"seed": 5}, {"seed": 0}, (0,)),
        ({"seed": 3}, {}, {"seeds": [8, 9]}, (8, 9)),
    ],
)
def test_seed_and_seeds_of_a_later_source_replace_both(
    scene: dict[str, Any], checkpoint: dict[str, Any], call: dict[str, Any], expected: tuple[int, ...]
) -> None:
    assert resolve_settings(tiny_scene(generation=scene), checkpoint, call)[1] == expected


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"step": 3}, "the call states step; known are cfg"),
        ({"seed": 1, "seeds": [1]}, "the call states both seed and seeds"),
        ({"size": "832"}, "WIDTHxHEIGHT"),
        ({"fps": 0}, "fps"),
        ({"cfg": -1}, "0 or more"),
        ({"cfg": "6"}, "cfg is a number, not '6'"),
        ({"cfg_image": "6"}, "cfg_image is a number"),
        ({"fps": "8"}, "fps is a number, not '8'"),
        ({"steps": 2.5}, "steps is a whole number"),
        ({"seeds": []}, "the call states no seeds"),
        ({"seed": -1}, "from 0 up, not -1"),
        ({"seeds": [1, 1.5]}, "from 0 up, not 1.5"),
        ({"seed": True}, "from 0 up, not True"),
        ({"seeds": [1, 2, 1]}, "a seed twice"),
    ],
)
def test_wrong_settings_are_errors(call: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve_settings(tiny_scene(), None, call)


def test_sizes_of_wan() -> None:
    WAN.check(Settings())
    assert WAN.latents(Settings()) == (21, 60, 104)
    assert WAN.tokens(Settings()) == (21, 30, 52)
    assert WAN.tokens(Settings(frames=1)) == (1, 30, 52)


def test_illegal_sizes_are_all_named_with_their_nearest_neighbours() -> None:
    with pytest.raises(InputError) as caught:
        WAN.check(Settings(size="840x8", frames=80))
    assert "width 840 is not a multiple of 16; nearest: 832 or 848" in str(caught.value)
    assert "height 8 is not a multiple of 16; nearest: 16 or 32" in str(caught.value)
    assert "frames 80 is not 1 + a multiple of 4; nearest: 77 or 81" in str(caught.value)
