"""Small videos with real faces that pass every stage of the `offline` profile, with files that tell who wears what.

Heads are the photographs of `tests/data/faces`, on shirts of one colour before a coloured wall. The camera pans slowly
over the scene, so that all of it moves, and no edge stays where it is for long enough to be taken for a subtitle.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageDraw

from lumosx.curation.setup import Setup
from lumosx.mp4 import write_mp4

Who = Literal["obama", "biden", "astronaut"]
NOUNS: Mapping[Who, str] = {"obama": "man", "biden": "man", "astronaut": "woman"}
SHIRTS: Mapping[Who, tuple[str, tuple[int, int, int]]] = {
    "obama": ("green shirt", (20, 150, 60)),
    "biden": ("yellow shirt", (225, 200, 30)),
    "astronaut": ("blue shirt", (30, 70, 210)),
}
# Names of files, and who is seen, from left to right; where nobody is, the clip leaves.
VIDEOS: Mapping[str, Sequence[Who]] = {
    "obama": ("obama",),
    "biden": ("biden",),
    "both": ("obama", "biden"),
    "nobody": (),
}
FACES = Path(__file__).parent / "data" / "faces"
WALL = "wall of many colours"

SIZE = 320, 240  # width and height: the least that passes, and two people fit
FRAMES = 84  # 81 and a few
STEP = 0.5, 0.3  # pixels a frame of the pan, to the right and down
HEAD = 96  # pixels of a photograph's height, of which the face is a half
GRAIN = 6.0  # levels (standard deviation) of the wall, as a camera has it
CHEAP = ("caption.frames=1", "duplicates.frames=4")  # nobody looks at the caption's frames, and the clips are short


def write_footage(folder: Path, videos: Mapping[str, Sequence[Who]] = VIDEOS) -> None:
    """Writes NAME.mp4, NAME.txt with its caption and NAME.json with who wears what; the same bytes every time."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, people in videos.items():
        write_mp4(frames_of(people), folder / f"{name}.mp4", 16, {"crf": "16", "preset": "ultrafast"})
        if people:
            (folder / f"{name}.txt").write_text(caption(people), encoding="utf-8")
            (folder / f"{name}.json").write_text(json.dumps(entities(people)), encoding="utf-8")


def setup(folder: Path, *settings: str) -> Setup:
    """The offline profile, which reads the words beside the videos."""
    return Setup(models=(f"captioner=sidecar:{folder}", f"tagger=sidecar:{folder}"), settings=(*CHEAP, *settings))


def caption(people: Sequence[Who]) -> str:
    """Such as "A man in a green shirt and a man in a yellow shirt stand before a wall of many colours."."""
    named = " and ".join(f"a {NOUNS[who]} in a {SHIRTS[who][0]}" for who in people)
    return f"{named.capitalize()} {'stand' if len(people) > 1 else 'stands'} quietly before a {WALL}."


def entities(people: Sequence[Who]) -> dict[str, Any]:
    """The caption's words with their owners, as the tagger is asked for them."""
    return {
        "subjects": [
            {
                "box": number,
                "noun": {"words": NOUNS[who], "quote": f"{NOUNS[who]} in a {SHIRTS[who][0]}"},
                "attributes": [{"words": SHIRTS[who][0], "quote": SHIRTS[who][0]}],
            }
            for number, who in enumerate(people, start=1)
        ],
        "objects": [],
        "background": {"words": WALL, "quote": WALL},
    }


def frames_of(people: Sequence[Who]) -> list[np.ndarray]:
    """FRAMES of uint8 [240, 320, 3]; without people, of the wall and the frame of a picture on it."""
    width, height = SIZE
    scene = np.asarray(_scene(people))
    corners = [(round(STEP[0] * number), round(STEP[1] * number)) for number in range(FRAMES)]
    return [scene[y : y + height, x : x + width] for x, y in corners]


def _scene(people: Sequence[Who]) -> Image.Image:
    """All that the camera pans over."""
    width, height = (side + round(step * FRAMES) for side, step in zip(SIZE, STEP, strict=True))
    seed = sum(map(ord, "".join(people)))
    scene = _wall(width, height, seed)
    draw = ImageDraw.Draw(scene)
    if not people:  # without a hard edge it would leave before people are looked for
        draw.rectangle((width // 3, height // 4, 2 * width // 3, height // 2), outline=(20, 20, 20), width=8)
    for number, who in enumerate(people, start=1):
        photograph = Image.open(FACES / f"{who}.jpg").convert("RGB")
        head = photograph.resize((round(HEAD * photograph.width / photograph.height), HEAD), Image.Resampling.LANCZOS)
        middle, top = round(number * width / (len(people) + 1)), height // 4
        chin = top + head.height
        draw.rectangle((middle - 36, chin, middle + 36, chin + 80), fill=SHIRTS[who][1])
        scene.paste(head, (middle - head.width // 2, top))
    return scene


def _wall(width: int, height: int, seed: int) -> Image.Image:
    """Soft patches of colour with a fine grain."""
    random = np.random.default_rng(seed)
    patches = random.integers(30, 226, (height // 40, width // 40, 3), dtype=np.uint8)
    soft = np.asarray(Image.fromarray(patches).resize((width, height), Image.Resampling.BICUBIC), np.float64)
    return Image.fromarray((soft + random.normal(0, GRAIN, (height, width, 1))).clip(0, 255).astype(np.uint8))
