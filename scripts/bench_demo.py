"""The benchmark from end to end, offline: cases, videos of two pretended models, their scores, a comparison, a report.

    python scripts/bench_demo.py --out out/bench_demo --run

Needs `pip install 'lumosx[bench]'` and a checkout. Without --run it writes cases and videos, and says what to run.
The videos are composites (`composites`). `careful` makes what it is asked for, a little blurred and in other light, and
gives up on one case. `careless` makes the same faces and mistakes the clothes in some cases (`PLAN`); where `careful`
gave up its file is broken.
"""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import join
from typing import Any

import numpy as np
from composites import FACES, FAULTS, RGB, Scene, clip_of, composite, face_picture, swatch, swayed
from PIL import Image
from ruamel.yaml import YAML
from scipy.ndimage import gaussian_filter

from lumosx.pipelines.video import write_clip

FRAMES, FPS, SIZE = 17, 16, (640, 360)
NOUNS = {"astronaut": "woman", "obama": "man", "biden": "man"}
COLOURS: dict[str, RGB] = {
    "red": (190, 35, 40), "orange": (230, 125, 30), "yellow": (225, 195, 45), "green": (50, 140, 60),
    "turquoise": (40, 165, 165), "blue": (40, 95, 190), "purple": (120, 45, 125), "pink": (230, 120, 170),
}  # fmt: skip
BROKEN = "broken"
# What `careless` does in each case; the first is of two people, the second of three, and so on.
PLAN = (
    "tops exchanged", "hat on two", "correct", "tops exchanged", "person missing", "correct",
    "tops exchanged", "correct", "correct", "tops exchanged", "hat on the wrong one", BROKEN,
)  # fmt: skip


def write_demo(out: Path, plan: Sequence[str] = PLAN) -> None:
    """Writes cases.yaml, its pictures and ground truths, and the videos of both models.

    Args:
        plan: for each case one of `FAULTS` or `BROKEN`.
    """
    cases = []
    for number, fault in enumerate(plan):
        name = f"case_{number + 1:02}"
        scene = _scene(2 + number % 2, np.random.default_rng(number))
        cases.append({"scene": _stated(name, scene, out / "pictures"), "truth": f"truth/{name}.mp4"})
        _write_videos(out, name, scene, fault, number)
    with (out / "cases.yaml").open("w", encoding="utf-8") as file:
        YAML().dump({"lumosx_bench": 1, "cases": cases}, file)


def commands(out: Path) -> list[list[str]]:
    """What follows, as arguments of `lumosx`."""
    careful, careless = (out / "scores" / model for model in ("careful", "careless"))
    arguments = [
        *(
            ["run", out / "cases.yaml", "--videos", out / run.name, "--looks", 8, "--out", run]
            for run in (careful, careless)
        ),
        ["compare", careful, careless],
        ["report", careless, careful, "--html", out / "report.html"],
    ]
    return [["bench", *map(str, own)] for own in arguments]


def _scene(people: int, rng: np.random.Generator) -> Scene:
    """Colours of one kind of garment differ; only then it can be told whose is whose."""
    tops, trousers, hats = (rng.permutation(list(COLOURS)).tolist() for _ in range(3))
    dyes = [COLOURS[name] for name in (*tops[: people + 1], *trousers[:people], hats[0])]
    faces = rng.permutation(FACES)[:people].tolist()
    return Scene.of(faces, dyes[: people + 1], dyes[people + 1 : -1], dyes[-1])


def _stated(name: str, scene: Scene, folder: Path) -> dict[str, Any]:
    """What is asked for, as a scene file states it; its pictures go into a folder beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    subjects, phrases = [], []
    for number, person in enumerate(scene.asked, start=1):
        face = f"{person.face}.png"
        Image.fromarray(face_picture(person.face)).save(folder / face)
        attributes = []
        for part, colour in person.worn.items():
            word = f"{_name(colour)} {part}"
            picture = f"{word.replace(' ', '_')}.png"
            Image.fromarray(swatch(part, colour)).save(folder / picture)
            attributes.append({"word": word, "image": f"{folder.name}/{picture}"})
        noun = NOUNS[person.face]
        subject = {"id": f"person_{number}", "word": noun, "face": f"{folder.name}/{face}", "consent": "public domain"}
        subjects.append({**subject, "attributes": attributes})
        worn = _listed([f"{_article(attribute['word'])}{attribute['word']}" for attribute in attributes])
        phrases.append(f"a {{{noun}:{subject['id']}}} with {worn}")
    prompt = f"{_listed(phrases)}, side by side before a wall."
    return {"lumosx": 1, "id": name, "prompt": prompt[0].upper() + prompt[1:], "subjects": subjects}


def _listed(phrases: Sequence[str]) -> str:
    *most, last = phrases
    return f"{', '.join(most)} and {last}"


def _article(garment: str) -> str:
    if garment.endswith("trousers"):
        return ""
    return "an " if garment[0] in "aeiou" else "a "


def _name(colour: RGB) -> str:
    return next(name for name, known in COLOURS.items() if known == colour)


def _write_videos(out: Path, name: str, scene: Scene, fault: str, seed: int) -> None:
    """The ground truth, and what both models make of it, with the same motion and light."""
    truth = write_clip(_clip(scene, np.random.default_rng([seed, 0])), out / "truth" / f"{name}.mp4", FPS)
    if fault == BROKEN:
        (out / "careless" / truth.name).write_bytes(truth.read_bytes()[:20_000])
        return
    for model, made in {"careful": "correct", "careless": fault}.items():
        rng = np.random.default_rng([seed, 1])
        light, frames = rng.uniform(0.92, 1.08), _clip(FAULTS[made](scene), rng)
        frames = np.clip(light * gaussian_filter(frames, (0, 0.7, 0.7, 0)), 0, 255).astype(np.uint8)
        write_clip(frames, out / model / truth.name, FPS)


def _clip(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """uint8 [17, 360, 640, 3] of people who sway, each in step with a phase of the own."""
    phases = rng.random(len(scene.drawn))
    return clip_of(lambda time: composite(swayed(scene.drawn, phases, time), *SIZE), FRAMES)


def main() -> None:
    """Writes the demonstration; shows its commands, and runs them where that is wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="the folder to write")
    parser.add_argument("--run", action="store_true", help="run the commands too")
    options = parser.parse_args()
    write_demo(options.out)
    for command in commands(options.out):
        print(f"$ {join(['lumosx', *command])}", flush=True)
        if options.run:
            code = subprocess.run([sys.executable, "-m", "lumosx.cli.main", *command], check=False).returncode
            print(f"exit code {code}\n", flush=True)
            if code and "compare" not in command:  # that one says by it that the second run is worse
                sys.exit(code)


if __name__ == "__main__":
    main()
