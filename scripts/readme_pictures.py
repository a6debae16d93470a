"""Draws the README's pictures with the shipped checkpoint: python scripts/readme_pictures.py"""

import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from lumosx import LumosXPipeline, Scene
from lumosx.cli.explain_figure import figure_png
from lumosx.cli.explanation import explain
from lumosx.paths import checkpoint_path, configs_dir
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
    loss_curve(checkpoint_path("lumosx-tiny") / "training_log.jsonl").savefig(PICTURES / "loss.png", dpi=110)


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


def loss_curve(log: Path) -> plt.Figure:
    """The training loss against the clips seen."""
    records = [json.loads(line) for line in log.read_text().splitlines()]
    figure, axes = plt.subplots(figsize=(8, 3), layout="constrained")
    start = 0
    for phase in sorted({record["phase"] for record in records}):
        part = [record for record in records if record["phase"] == phase]
        seen = [start + record["samples_seen"] for record in part]
        axes.plot(seen, [record["loss"] for record in part], linewidth=0.9, label=f"phase {phase}")
        start = seen[-1]
    axes.set(xlabel="clips seen", ylabel="loss, equation (8)", yscale="log")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
