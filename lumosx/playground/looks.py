"""What the world is made of: for every noun, the ranges from which its continuous looks are drawn.

A noun fixes what kind of thing is seen (a rabbit has long ears, a top hat is tall); the numbers inside the
ranges and all colours are free, so an identity that was never trained on can always be drawn. Lengths are
figure units: a figure stands on y = 0, its head's centre is at HEAD, and its slot is at least two units wide.
"""

from __future__ import annotations

from typing import NamedTuple

RGB = tuple[float, float, float]
Look = dict[str, float | RGB]

HEAD = 2.12
SHOULDER = 1.58
HIP = 0.76
HAT_BASE = 2.47
FAMILIES = ("hat", "shirt", "trousers", "glasses", "bag")


class Colour(NamedTuple):
    """Ranges of hue, saturation and value."""

    hue: tuple[float, float] = (0.0, 1.0)
    saturation: tuple[float, float] = (0.5, 1.0)
    value: tuple[float, float] = (0.25, 1.0)


Ranges = dict[str, tuple[float, float] | Colour]

_NONE = (0.0, 0.0)
_FULL = (1.0, 1.0)
VIVID = Colour()
PALE = Colour(saturation=(0.05, 0.35), value=(0.72, 1.0))
SOFT = Colour(saturation=(0.15, 0.5), value=(0.5, 0.85))
_SKIN = Colour((0.02, 0.11), (0.15, 0.65), (0.35, 1.0))
_DARK = Colour(saturation=(0.2, 0.9), value=(0.05, 0.3))
_LIPS = Colour((0.93, 1.0), (0.5, 0.9), (0.4, 0.8))


def _face(**changed: tuple[float, float] | Colour) -> Ranges:
    plain: Ranges = {
        "skin": _SKIN,
        "hair": VIVID,
        "eye": _DARK,
        "mouth": _LIPS,
        "head_width": (0.5, 0.58),
        "head_height": (0.5, 0.56),
        "head_round": (0.4, 0.48),
        "jaw": (0.8, 0.95),  # the chin's width, as a share of the brow's
        "hairline": (0.22, 0.3),  # the fringe's lower edge, above the head's centre
        "hair_width": (0.1, 0.14),
        "hair_bottom": (2.2, 2.3),
        "ear_width": _NONE,
        "ear_height": _NONE,
        "ear_out": (0.5, 0.5),  # where an ear stands, as a share of the head's half width
        "ear_up": (0.9, 0.9),  # its centre, as a share of the head's half height
        "ear_round": _NONE,
        "ear_top": _FULL,  # its width at the top, as a share of that at the bottom
        "antenna": _NONE,
        "eye_gap": (0.2, 0.27),
        "eye_size": (0.1, 0.13),
        "eye_tall": _FULL,
        "eye_square": _NONE,
        "mouth_width": (0.12, 0.24),
        "mouth_curve": (-0.8, 1.6),
        "beard": _NONE,
        "muzzle": _NONE,
        "nose": _NONE,
        "cheeks": _NONE,
        "whiskers": _NONE,
    }
    return plain | changed


FACES: dict[str, Ranges] = {
    "man": _face(
        head_round=(0.22, 0.32), jaw=(0.92, 1.0), beard=_FULL, hairline=(0.26, 0.32),
        hair_width=(0.05, 0.08), mouth_curve=(-0.8, 0.6),
    ),
    "woman": _face(jaw=(0.62, 0.75), hair_width=(0.2, 0.27), hair_bottom=(1.45, 1.65), hairline=(0.18, 0.26)),
    "child": _face(
        head_width=(0.58, 0.64), head_height=(0.46, 0.52), jaw=(1.0, 1.08), hair_width=(0.02, 0.05),
        hair_bottom=(2.3, 2.36), eye_size=(0.15, 0.18), cheeks=_FULL, mouth_width=(0.08, 0.14),
        ear_width=(0.17, 0.2), ear_height=(0.17, 0.2), ear_round=(0.17, 0.17), ear_out=(1.18, 1.22), ear_up=(0.3, 0.4),
    ),
    "robot": _face(
        skin=Colour((0.5, 0.7), (0.05, 0.4), (0.45, 0.95)), eye=Colour(value=(0.6, 1.0)),
        mouth=_DARK, head_width=(0.54, 0.6), head_round=(0.04, 0.1), jaw=_FULL, hairline=(0.3, 0.36),
        hair_width=_NONE, hair_bottom=(2.4, 2.45), antenna=(0.24, 0.3), eye_size=(0.12, 0.16),
        eye_square=_FULL, mouth_width=(0.28, 0.36), mouth_curve=_NONE,
    ),
    "cat": _face(
        skin=Colour((0.03, 0.13), (0.1, 0.9), (0.35, 1.0)), head_width=(0.56, 0.62), head_height=(0.44, 0.5),
        hairline=(0.22, 0.3), hair_width=(0.0, 0.02), hair_bottom=(2.3, 2.4),
        ear_width=(0.22, 0.27), ear_height=(0.28, 0.34), ear_out=(0.72, 0.78), ear_up=(0.95, 1.05), ear_top=(0.0, 0.1),
        eye=Colour((0.12, 0.55), (0.6, 1.0), (0.35, 0.8)), eye_tall=(1.2, 1.4),
        mouth_curve=(1.0, 1.8), nose=(0.07, 0.09), whiskers=_FULL,
    ),
    "bear": _face(
        skin=Colour((0.02, 0.11), (0.4, 0.9), (0.15, 0.6)), head_width=(0.58, 0.64), head_height=(0.5, 0.54),
        hairline=(0.5, 0.6), hair_width=(0.0, 0.02), hair_bottom=(2.3, 2.4), jaw=(1.0, 1.08),
        ear_width=(0.2, 0.24), ear_height=(0.2, 0.24), ear_round=(0.2, 0.2), ear_out=(0.88, 0.95), ear_up=(0.78, 0.86),
        eye_size=(0.07, 0.09), muzzle=(0.26, 0.32), nose=(0.1, 0.13), mouth_width=(0.08, 0.12),
    ),
    "rabbit": _face(
        skin=Colour((0.0, 1.0), (0.02, 0.3), (0.72, 1.0)), head_width=(0.48, 0.54), head_height=(0.48, 0.52),
        hairline=(0.3, 0.36), hair_width=(0.0, 0.02), hair_bottom=(2.3, 2.4),
        ear_width=(0.13, 0.16), ear_height=(0.5, 0.56), ear_round=(0.13, 0.13), ear_out=(1.02, 1.12),
        ear_up=(0.75, 0.9),
        nose=(0.06, 0.08), cheeks=_FULL, mouth_width=(0.06, 0.1), mouth_curve=(1.2, 1.8),
    ),
    "alien": _face(
        skin=Colour((0.24, 0.45), (0.45, 0.95), (0.5, 1.0)), head_width=(0.54, 0.6), head_height=(0.54, 0.6),
        jaw=(0.42, 0.55), hairline=(0.32, 0.38), hair_width=_NONE, hair_bottom=(2.4, 2.45),
        antenna=(0.36, 0.42), eye_size=(0.14, 0.17), eye_tall=(1.4, 1.7), mouth_width=(0.06, 0.1),
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
        "hat", _HAT, bottom=(0.54, 0.6), top=(0.34, 0.42), height=(0.44, 0.54), round=(0.2, 0.26),
        brim=(0.4, 0.46), brim_shift=(0.36, 0.4),
    ),
    "top hat": _part(
        "hat", _HAT, bottom=(0.44, 0.5), top=(0.46, 0.56), height=(0.78, 0.9), round=(0.02, 0.05),
        band=(0.24, 0.36), brim=(0.76, 0.86),
    ),
    "beanie": _part(
        "hat", _HAT, bottom=(0.58, 0.64), top=(0.4, 0.48), height=(0.52, 0.62), round=(0.28, 0.34),
        band=(0.2, 0.28), ball=(0.15, 0.19),
    ),
    "wizard hat": _part(
        "hat", _HAT, bottom=(0.52, 0.58), top=(0.02, 0.08), height=(0.84, 0.96), round=(0.02, 0.05),
        band=(0.16, 0.26), brim=(0.78, 0.88),
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
    "dots": _NONE,
}
SHIRTS: dict[str, Ranges] = {
    "shirt": _part("shirt", _SHIRT, hem=(0.5, 0.56), sleeve=(0.45, 0.55)),
    "jacket": _part("shirt", _SHIRT, hem=(0.56, 0.62), sleeve=(0.9, 0.9), open=(0.1, 0.14), share=(0.0, 0.0)),
    "sweater": _part("shirt", _SHIRT, hem=(0.58, 0.64), sleeve=(0.9, 0.9), collar=(0.12, 0.16)),
    "vest": _part("shirt", _SHIRT, hem=(0.5, 0.56), sleeve=(0.12, 0.16), share=(0.0, 0.0), dots=(0.1, 0.13)),
}

_LEGS: Ranges = {"main": VIVID, "second": VIVID, "flare": _NONE, "stripe": _NONE, "hem": _NONE}
TROUSERS: dict[str, Ranges] = {
    "trousers": _part("trousers", _LEGS, length=(0.9, 0.9), stripe=(0.1, 0.14)),
    "shorts": _part("trousers", _LEGS, length=(0.42, 0.52), hem=(0.1, 0.14)),
    "skirt": _part("trousers", _LEGS, length=(0.56, 0.66), flare=(0.22, 0.32), hem=(0.14, 0.2)),
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
    "sunglasses": _part("glasses", _LENSES, tint=_FULL, size=(0.22, 0.26), square=(0.3, 0.9), rim=(0.07, 0.1)),
}

_BAG: Ranges = {"main": VIVID, "second": VIVID, "strap": _NONE, "handle": _NONE}
BAGS: dict[str, Ranges] = {
    "satchel": _part(
        "bag", _BAG, strap=_FULL, width=(0.28, 0.34), height=(0.22, 0.27), flap=(0.45, 0.6), y=(0.66, 0.74)
    ),
    "handbag": _part(
        "bag", _BAG, handle=(0.14, 0.18), width=(0.26, 0.32), height=(0.28, 0.34), flap=(0.3, 0.4), y=(0.46, 0.52)
    ),
}

ATTRIBUTES: dict[str, dict[str, Ranges]] = {
    "hat": HATS,
    "shirt": SHIRTS,
    "trousers": TROUSERS,
    "glasses": GLASSES,
    "bag": BAGS,
}


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

SCENERY = 7  # shapes of a background
_SHAPE = ("depth", "x", "y", "bottom", "top", "height", "round")
_NOWHERE = ((0.0, 0.0), (0.0, 0.0), (-9.0, -9.0), *[(0.1, 0.1)] * 3, _NONE)


def _scenery(
    horizon: tuple[float, float], road: tuple[float, float], *shapes: tuple[tuple[float, float], ...]
) -> Ranges:
    """A sky, up to SCENERY shapes from far to near, a ground and a road on it that runs away from the viewer.

    Each shape is seven ranges in _SHAPE's order; frame coordinates: x and y in -1..1, y upwards; depth in
    0 (near) .. 1 (as pale as the haze). `road` is the road's half width at the lower edge.
    """
    plain: Ranges = {"sky": PALE, "haze": PALE, "ground": SOFT, "far": SOFT, "near": SOFT, "path": SOFT}
    plain |= {"horizon": horizon, "road": road}
    padded = [*shapes, *[_NOWHERE] * (SCENERY - len(shapes))]
    return plain | {
        f"{name}{i}": span for i, shape in enumerate(padded) for name, span in zip(_SHAPE, shape, strict=True)
    }


def _tree(depth: float, x: tuple[float, float], size: float) -> list[tuple[tuple[float, float], ...]]:
    """Trunk and crown."""
    d, trunk = (depth, depth), 0.06 * size
    return [
        (d, x, (0.0, 0.05), (trunk, trunk), (trunk, trunk), (0.5 * size, 0.5 * size), _NONE),
        (
            d,
            x,
            (0.3, 0.45),
            (0.3 * size, 0.36 * size),
            (0.16 * size, 0.3 * size),
            (0.3 * size, 0.36 * size),
            (0.1, 0.15),
        ),
    ]


BACKGROUNDS: dict[str, Ranges] = {
    "meadow": _scenery((-0.35, -0.15), (0.25, 0.5),
        ((0.7, 0.8), (-0.9, -0.3), (-0.3, -0.2), (0.8, 1.0), (0.2, 0.3), (0.4, 0.6), (0.2, 0.3)),
        ((0.5, 0.6), (0.3, 0.9), (-0.4, -0.3), (0.8, 1.0), (0.2, 0.3), (0.4, 0.5), (0.2, 0.3)),
        ((0.85, 0.9), (-0.8, 0.8), (0.6, 0.8), (0.3, 0.4), (0.15, 0.2), (0.1, 0.14), (0.1, 0.1)),
        *_tree(0.1, (-0.85, 0.85), 0.7),
    ),
    "beach": _scenery((-0.5, -0.35), _NONE,
        ((0.3, 0.4), _NONE, (-0.4, -0.3), (1.5, 1.5), (1.5, 1.5), (0.25, 0.35), _NONE),
        ((0.6, 0.7), _NONE, (-0.08, 0.0), (1.5, 1.5), (1.5, 1.5), (0.03, 0.06), _NONE),
        ((0.0, 0.0), (-0.8, 0.8), (0.55, 0.75), (0.18, 0.18), (0.18, 0.18), (0.18, 0.18), (0.18, 0.18)),
        ((0.1, 0.1), (-0.8, 0.8), (0.0, 0.05), (0.1, 0.14), (0.18, 0.22), (0.05, 0.07), _NONE),
        ((0.0, 0.0), (-0.8, 0.8), (0.2, 0.25), (0.14, 0.18), _NONE, (0.16, 0.2), _NONE),
    ),
    "street": _scenery((-0.4, -0.3), (0.7, 0.9),
        ((0.7, 0.75), (-0.25, -0.15), (-0.1, 0.0), (0.14, 0.2), (0.14, 0.2), (0.3, 0.5), _NONE),
        ((0.7, 0.75), (0.15, 0.25), (-0.1, 0.0), (0.14, 0.2), (0.14, 0.2), (0.3, 0.5), _NONE),
        ((0.4, 0.45), (-0.55, -0.5), (0.0, 0.1), (0.2, 0.26), (0.2, 0.26), (0.5, 0.7), _NONE),
        ((0.4, 0.45), (0.5, 0.55), (0.0, 0.1), (0.2, 0.26), (0.2, 0.26), (0.5, 0.7), _NONE),
        ((0.05, 0.1), (-0.95, -0.9), (0.1, 0.2), (0.2, 0.26), (0.2, 0.26), (0.8, 1.0), _NONE),
        ((0.05, 0.1), (0.9, 0.95), (0.1, 0.2), (0.2, 0.26), (0.2, 0.26), (0.8, 1.0), _NONE),
    ),
    "room": _scenery((-0.6, -0.45), (0.5, 0.7),
        ((0.0, 0.0), (-0.6, 0.6), (0.35, 0.5), (0.36, 0.46), (0.36, 0.46), (0.36, 0.46), (0.0, 0.05)),
        ((1.0, 1.0), (-0.6, 0.6), (0.35, 0.5), (0.26, 0.34), (0.26, 0.34), (0.26, 0.34), (0.0, 0.05)),
        ((0.1, 0.2), (-0.95, -0.9), (0.2, 0.3), (0.08, 0.16), (0.12, 0.2), (0.9, 1.2), _NONE),
        ((0.1, 0.2), (0.9, 0.95), (0.2, 0.3), (0.08, 0.16), (0.12, 0.2), (0.9, 1.2), _NONE),
    ),
    "forest": _scenery((-0.4, -0.25), (0.15, 0.35),
        ((0.75, 0.8), _NONE, (0.0, 0.1), (1.5, 1.5), (1.5, 1.5), (0.3, 0.4), _NONE),
        *_tree(0.6, (-0.4, 0.4), 0.9),
        *_tree(0.3, (-0.95, -0.6), 1.3),
        *_tree(0.05, (0.6, 0.95), 1.6),
    ),
}  # fmt: skip

BARE: Look = {
    "shirt_main": (0.62, 0.62, 0.64),
    "shirt_second": (0.62, 0.62, 0.64),
    "trousers_main": (0.24, 0.24, 0.3),
    "trousers_second": (0.24, 0.24, 0.3),
}  # the clothes of one who has no reference of them
STUDIO: RGB = (0.86, 0.88, 0.9)  # behind figures without a background
SHOES: RGB = (0.12, 0.11, 0.14)
SHADOW: RGB = (0.05, 0.05, 0.1)
PREPOSITIONS = {"meadow": "in", "beach": "on", "street": "on", "room": "in", "forest": "in"}
