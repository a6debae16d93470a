"""What the world is made of: for every noun, the ranges from which its continuous looks are drawn.

A noun fixes what kind of thing is seen (a cat has pointed ears, a top hat is tall); the numbers inside the
ranges and all colours are free, so an identity that was never trained on can always be drawn. Lengths are
figure units: a figure stands on y = 0, its head's centre is at HEAD, and its slot is two units wide.
"""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[float, float, float]
Look = dict[str, float | RGB]

HEAD = 2.08
SHOULDER = 1.42
HAT_BASE = 2.44
FAMILIES = ("hat", "shirt", "glasses")


class Colour(NamedTuple):
    """Ranges of hue, saturation and value."""

    hue: tuple[float, float] = (0.0, 1.0)
    saturation: tuple[float, float] = (0.5, 1.0)
    value: tuple[float, float] = (0.25, 1.0)


Ranges = dict[str, tuple[float, float] | Colour]

_NONE = (0.0, 0.0)
VIVID = Colour()
PALE = Colour(saturation=(0.05, 0.35), value=(0.72, 1.0))
SOFT = Colour(saturation=(0.15, 0.5), value=(0.5, 0.85))
_SKIN = Colour((0.02, 0.12), (0.12, 0.7), (0.3, 1.0))
_DARK = Colour(saturation=(0.2, 0.9), value=(0.05, 0.3))
_LIPS = Colour((0.93, 1.0), (0.5, 0.9), (0.4, 0.8))


def _face(**changed: tuple[float, float] | Colour) -> Ranges:
    plain: Ranges = {
        "skin": _SKIN,
        "hair": VIVID,
        "eye": _DARK,
        "mouth": _LIPS,
        "head_width": (0.5, 0.58),
        "head_height": (0.52, 0.6),
        "head_round": (0.4, 0.5),
        "jaw": (0.8, 0.95),  # the chin's width, as a share of the brow's
        "hairline": (0.24, 0.34),  # the fringe's lower edge, above the head's centre
        "hair_width": (0.1, 0.14),
        "hair_bottom": (2.2, 2.3),
        "ear_size": _NONE,
        "ear_point": _NONE,
        "antenna": _NONE,
        "eye_gap": (0.2, 0.27),
        "eye_size": (0.1, 0.13),
        "eye_square": _NONE,
        "mouth_width": (0.12, 0.24),
        "mouth_curve": (-0.8, 1.6),
        "beard": _NONE,
        "cheeks": _NONE,
        "whiskers": _NONE,
    }
    return plain | changed


FACES: dict[str, Ranges] = {
    "man": _face(
        head_round=(0.22, 0.32), jaw=(0.92, 1.0), beard=(1.0, 1.0), hairline=(0.28, 0.36),
        hair_width=(0.04, 0.08), mouth_curve=(-0.8, 0.6),
    ),
    "woman": _face(jaw=(0.62, 0.75), hair_width=(0.2, 0.27), hair_bottom=(1.3, 1.55), hairline=(0.2, 0.28)),
    "child": _face(
        head_width=(0.58, 0.64), head_height=(0.48, 0.54), jaw=(1.0, 1.08), hair_width=(0.02, 0.05),
        hair_bottom=(2.3, 2.36), eye_size=(0.15, 0.18), cheeks=(1.0, 1.0), mouth_width=(0.08, 0.14),
    ),
    "robot": _face(
        skin=Colour(saturation=(0.05, 0.4), value=(0.5, 0.95)), eye=Colour(value=(0.5, 1.0)),
        mouth=_DARK, head_width=(0.54, 0.6), head_round=(0.04, 0.1), jaw=(1.0, 1.0), hairline=(0.42, 0.48),
        hair_width=_NONE, hair_bottom=(2.4, 2.45), antenna=(0.26, 0.34), eye_size=(0.12, 0.16),
        eye_square=(1.0, 1.0), mouth_width=(0.28, 0.36), mouth_curve=_NONE,
    ),
    "cat": _face(
        skin=Colour((0.0, 1.0), (0.1, 0.75), (0.35, 1.0)), head_width=(0.56, 0.62), head_height=(0.46, 0.52),
        hairline=(0.3, 0.4), hair_width=(0.0, 0.02), hair_bottom=(2.3, 2.4),
        ear_size=(0.24, 0.3), ear_point=(0.85, 1.0), eye=Colour((0.12, 0.55), (0.6, 1.0), (0.35, 0.8)),
        mouth_curve=(1.0, 1.8), whiskers=(1.0, 1.0),
    ),
}  # fmt: skip


def _part(prefix: str, plain: Ranges, **changed: tuple[float, float] | Colour) -> Ranges:
    return {f"{prefix}_{name}": span for name, span in (plain | changed).items()}


_HAT: Ranges = {
    "main": VIVID,
    "second": VIVID,
    "band": _NONE,
    "brim": _NONE,
    "brim_shift": _NONE,
    "ball": _NONE,
}
HATS: dict[str, Ranges] = {
    "cap": _part(
        "hat", _HAT, bottom=(0.54, 0.6), top=(0.34, 0.42), height=(0.46, 0.56), round=(0.2, 0.26),
        brim=(0.4, 0.46), brim_shift=(0.36, 0.4),
    ),
    "top hat": _part(
        "hat", _HAT, bottom=(0.44, 0.5), top=(0.46, 0.56), height=(0.8, 0.94), round=(0.02, 0.05),
        band=(0.24, 0.36), brim=(0.76, 0.86),
    ),
    "beanie": _part(
        "hat", _HAT, bottom=(0.58, 0.64), top=(0.4, 0.48), height=(0.54, 0.64), round=(0.28, 0.34),
        band=(0.2, 0.28), ball=(0.15, 0.19),
    ),
}  # fmt: skip

_SHIRT: Ranges = {
    "main": VIVID,
    "second": VIVID,
    "angle": (0.0, 3.14159),
    "period": (0.42, 0.72),
    "share": (0.3, 0.6),
    "open": _NONE,
    "collar": _NONE,
}
SHIRTS: dict[str, Ranges] = {
    "shirt": _part("shirt", _SHIRT, hem=(0.52, 0.58), sleeve=(0.45, 0.55)),
    "jacket": _part("shirt", _SHIRT, hem=(0.58, 0.64), sleeve=(0.9, 0.9), open=(0.1, 0.14)),
    "sweater": _part("shirt", _SHIRT, hem=(0.6, 0.66), sleeve=(0.9, 0.9), collar=(0.12, 0.16)),
    "dress": _part("shirt", _SHIRT, hem=(0.8, 0.9), sleeve=(0.3, 0.4)),
}

_LENSES: Ranges = {"main": VIVID, "second": VIVID}
GLASSES: dict[str, Ranges] = {
    "glasses": _part(
        "glasses",
        _LENSES,
        second=PALE,
        tint=(0.25, 0.4),
        size=(0.21, 0.25),
        square=(0.0, 0.4),
        rim=(0.1, 0.13),
    ),
    "sunglasses": _part("glasses", _LENSES, tint=(1.0, 1.0), size=(0.22, 0.26), square=(0.3, 0.9), rim=(0.07, 0.1)),
}

ATTRIBUTES: dict[str, dict[str, Ranges]] = {"hat": HATS, "shirt": SHIRTS, "glasses": GLASSES}


def _thing(**changed: tuple[float, float] | Colour) -> Ranges:
    plain: Ranges = {
        "main": VIVID,
        "second": VIVID,
        "bottom": (0.7, 0.8),
        "top": (0.7, 0.8),
        "middle": _NONE,
        "height": (0.7, 0.8),
        "round": (0.05, 0.1),
        "turn": _NONE,
        "pole": _NONE,
        "band_angle": (0.0, 3.14159),
        "band": (0.45, 0.6),
    }
    return plain | changed


OBJECTS: dict[str, Ranges] = {
    "ball": _thing(bottom=(0.82, 0.82), top=(0.82, 0.82), height=(0.82, 0.82), round=(0.8, 0.8)),
    "box": _thing(),
    "lamp": _thing(
        bottom=(0.8, 0.9),
        top=(0.3, 0.4),
        middle=(0.5, 0.5),
        height=(0.42, 0.5),
        pole=(1.0, 1.0),
        band_angle=(1.57, 1.58),
    ),
    "kite": _thing(bottom=(0.6, 0.66), top=(0.6, 0.66), height=(0.6, 0.66), turn=(0.785, 0.785), round=(0.0, 0.02)),
    "vase": _thing(
        bottom=(0.75, 0.85), top=(0.25, 0.35), height=(0.85, 0.9), round=(0.2, 0.25), band_angle=(1.57, 1.58)
    ),
}

_SHAPE = ("x", "y", "bottom", "top", "height", "round")


def _scenery(horizon: tuple[float, float], *shapes: tuple[tuple[float, float], ...]) -> Ranges:
    """Three shapes, each six ranges in _SHAPE's order; frame coordinates: x and y in -1..1, y upwards."""
    plain: Ranges = {"sky": PALE, "haze": PALE, "ground": SOFT, "far": SOFT, "near": SOFT, "horizon": horizon}
    return plain | {
        f"{name}{i}": span for i, shape in enumerate(shapes) for name, span in zip(_SHAPE, shape, strict=True)
    }


BACKGROUNDS: dict[str, Ranges] = {
    "meadow": _scenery((-0.5, -0.2),
        ((-0.9, -0.3), (-0.5, -0.4), (0.7, 0.9), (0.2, 0.3), (0.4, 0.6), (0.2, 0.3)),
        ((0.3, 0.9), (-0.5, -0.4), (0.7, 0.9), (0.2, 0.3), (0.3, 0.6), (0.2, 0.3)),
        ((-0.8, 0.8), (0.6, 0.8), (0.3, 0.4), (0.15, 0.2), (0.1, 0.14), (0.1, 0.1)),
    ),
    "beach": _scenery((-0.6, -0.4),
        (_NONE, (-0.4, -0.3), (1.5, 1.5), (1.5, 1.5), (0.2, 0.3), _NONE),
        (_NONE, (-0.1, 0.0), (1.5, 1.5), (1.5, 1.5), (0.04, 0.08), _NONE),
        ((-0.8, 0.8), (0.55, 0.75), (0.2, 0.2), (0.2, 0.2), (0.2, 0.2), (0.2, 0.2)),
    ),
    "street": _scenery((-0.6, -0.4),
        ((-0.9, -0.6), (0.0, 0.2), (0.2, 0.35), (0.2, 0.35), (0.6, 0.9), _NONE),
        ((-0.2, 0.2), (-0.2, 0.1), (0.2, 0.35), (0.2, 0.35), (0.5, 0.9), _NONE),
        ((0.6, 0.9), (0.0, 0.2), (0.2, 0.35), (0.2, 0.35), (0.6, 0.9), _NONE),
    ),
    "room": _scenery((-0.75, -0.6),
        ((-0.6, 0.6), (0.35, 0.5), (0.36, 0.46), (0.36, 0.46), (0.36, 0.46), (0.0, 0.05)),
        ((-0.95, -0.9), (0.2, 0.3), (0.08, 0.16), (0.12, 0.2), (0.9, 1.2), _NONE),
        ((0.9, 0.95), (0.2, 0.3), (0.08, 0.16), (0.12, 0.2), (0.9, 1.2), _NONE),
    ),
}  # fmt: skip

BARE: Look = {
    "shirt_main": (0.62, 0.62, 0.64),
    "shirt_second": (0.62, 0.62, 0.64),
}  # the torso of one who has no shirt reference
STUDIO: RGB = (0.86, 0.88, 0.9)  # behind figures without a background
PREPOSITIONS = {"meadow": "in", "beach": "on", "street": "on", "room": "in"}
TROUSERS: RGB = (0.2, 0.2, 0.28)
