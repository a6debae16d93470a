"""Draws the losses of one run after another: python scripts/loss_curves.py RUN... --out loss.png

Left the training loss, right the validation loss at each noise level, both against the clips seen.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from lumosx.files import atomic

PREFIX = "validation/loss@"


def main(runs: list[Path], out: Path) -> None:
    """Reads each run's log.jsonl and writes the picture."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
    start, colours = 0, plt.get_cmap("viridis")
    for number, run in enumerate(runs, 1):
        records = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        last = [record for record in records if "loss" in record][-1]
        batch = last["samples_seen"] / last["step"]
        curve(left, start, batch, records, "loss", f"C{number - 1}", f"phase {number}")
        levels = sorted({key for record in records for key in record if key.startswith(PREFIX)})
        for place, key in enumerate(levels):
            label = f"sigma {key.removeprefix(PREFIX)}" if number == 1 else None
            curve(right, start, batch, records, key, colours(place / max(1, len(levels) - 1)), label)
        if number > 1:
            right.axvline(start, color="0.7", linewidth=0.8, linestyle=":")
        start += last["samples_seen"]
    left.set(xlabel="clips seen", ylabel="training loss", yscale="log")
    right.set(xlabel="clips seen", ylabel="validation loss, equation (8)", yscale="log")
    left.legend(frameon=False, fontsize=8)
    right.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    with atomic(out) as temporary:
        figure.savefig(temporary, dpi=110, format=out.suffix[1:])


def curve(axes: Any, start: int, batch: float, records: list[dict], key: str, colour: Any, label: str | None) -> None:
    """One figure of the log against the clips seen."""
    points = [(start + batch * record["step"], record[key]) for record in records if key in record]
    axes.plot(*zip(*points, strict=True), color=colour, linewidth=0.9, label=label)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    main(arguments.runs, arguments.out)
