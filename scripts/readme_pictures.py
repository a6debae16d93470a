"""Draws the README's pictures with the shipped checkpoint: python scripts/readme_pictures.py"""

from pathlib import Path

import numpy as np
from PIL import Image

from lumosx import LumosXPipeline, Scene
from lumosx.cli.explain_figure import figure_png
from lumosx.cli.explanation import explain
from lumosx.paths import configs_dir
from lumosx.playground import World

PICTURES = Path(__file__).parents[1] / ".github"
UNSEEN = range(200, 208)  # chosen before looking; seeds of the "test" split, which training never draws
SCALE = 4
COLUMNS = 8  # the most references that any of these clips has


def main() -> None:
    """Writes every picture."""
    scene = Scene.load(configs_dir() / "scenes" / "two_friends" / "scene.yaml")
    pipe = LumosXPipeline.from_pretrained("checkpoints/lumosx-tiny")
    sheet = pipe(scene, progress=False).contact_sheet()  # pyright: ignore[reportAttributeAccessIssue]
    sheet.save(PICTURES / "two_friends.png", optimize=True)
    (PICTURES / "binding.png").write_bytes(figure_png(explain(scene)))
    unseen(pipe).save(PICTURES / "unseen.png", optimize=True)


def unseen(pipe: LumosXPipeline) -> Image.Image:
    """Unseen two-person clips, a row each: the references, five sampled frames, and those frames as they truly are."""
    rows = []
    for seed in UNSEEN:
        clips = World().render([seed], split="test", subjects=2)
        result = pipe(Scene.from_dict(clips.scene(0)), seed=seed, progress=False)
        references = ((clips.references[0] + 1) * 127.5).byte().permute(0, 2, 3, 1).numpy()
        cells = [*references, *[np.full((32, 32, 3), 255, np.uint8)] * (COLUMNS - len(references))]
        gap = np.full((32, 8, 3), 255, np.uint8)
        frames = result.frames[::2]  # pyright: ignore[reportAttributeAccessIssue]
        rows += [np.concatenate([*cells, gap, *frames, gap, *clips.frames(0)[::2]], axis=1)]
        rows += [np.full((4, rows[0].shape[1], 3), 255, np.uint8)]
    picture = Image.fromarray(np.concatenate(rows[:-1]))
    return picture.resize((picture.width * SCALE, picture.height * SCALE), Image.Resampling.NEAREST)


if __name__ == "__main__":
    main()
