"""One colour for each subject, the same in every picture and table that the project draws.

The hues are Okabe and Ito's (2008), which colour-blind readers tell apart, with Paul Tol's wine in place of their
black; the first four stay well apart for every kind of sight (tested). Objects and background belong to
nobody: they are grey.
"""

from typing import Literal

SUBJECT_COLOURS = (
    "#0072b2",  # blue
    "#e69f00",  # orange
    "#882255",  # wine
    "#56b4e9",  # sky blue
    "#009e73",  # bluish green
    "#f0e442",  # yellow
    "#d55e00",  # vermilion
    "#cc79a7",  # reddish purple
)
OBJECT_COLOUR = "#7d8590"
BACKGROUND_COLOUR = "#b8bec6"
SHARED_COLOUR = "#3d444d"  # words that more than one owner claims


def colour_of(kind: Literal["background", "object", "face", "attribute"], subject: int | None) -> str:
    """The colour "#rrggbb" of an entity; `subject` counts from 0 and starts over after the eighth."""
    if subject is not None:
        return SUBJECT_COLOURS[subject % len(SUBJECT_COLOURS)]
    return BACKGROUND_COLOUR if kind == "background" else OBJECT_COLOUR


def ink_on(colour: str) -> str:
    """Black or white, whichever reads better on `colour` (WCAG 2 contrast)."""
    light = _luminance(colour)
    return "#000000" if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else "#ffffff"


def mix(colour: str, other: str, amount: float) -> str:
    """`colour` with the share `amount` (0 to 1) of `other` in it."""
    pairs = zip(_channels(colour), _channels(other), strict=True)
    return "#" + "".join(f"{round(a + (b - a) * amount):02x}" for a, b in pairs)


def _channels(colour: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(colour.removeprefix("#"))
    return red, green, blue


def _luminance(colour: str) -> float:
    """Relative luminance of WCAG 2, 0 (black) to 1 (white)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (v / 255 for v in _channels(colour))]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
