# ruff: noqa: E501  the card is Markdown, one paragraph or table row a line
"""Puts the last of several phases under checkpoints/ with its model card.

python scripts/tiny_card.py RUN... --out CHECKPOINT. Every figure of the card comes from a file that the runs or the
measurement of the last one (RUN/binding.json) wrote.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from omegaconf import OmegaConf

from lumosx.data.batch import Bucket
from lumosx.files import atomic, sha256_of
from lumosx.models import LumosXTransformer3DModel, SpaceToDepthCodec
from lumosx.playground import World

CARD = """---
license: apache-2.0
library_name: lumosx
pipeline_tag: text-to-video
---
# lumosx-tiny

A small LumosX for the playground, the procedural world of this project: it makes clips of {size}, {frames} frames, of people
with given faces, hats, shirts and glasses. It is here to show, test and study the method, not to make videos of anything else.

| | |
|---|---|
| transformer | {parameters:.2f} M parameters, {layers} layers of width {width}, `reference_timestep: zero`, `prediction: sample`, rules `paper` |
| text encoder | umT5 of {text_layers} layers, trained on captions alone, then frozen; on unseen captions it knows a word's owner {owner:.1%}, place {place:.1%} |
| codec | `SpaceToDepthCodec`, lossless: PSNR {psnr} on 32 unseen clips |
{phases}
| machine | {machine}, PyTorch {torch} |
| made by | `scripts/train_tiny` (configs/experiment/tiny_text.yaml, tiny_1.yaml, tiny_2.yaml) |

## Binding

`lumosx playground measure --clips {measured}` on people it has never seen, two a clip, {sampling_steps} {solver} steps, no guidance. An
attribute counts as right if it is seen on its owner; one that is not recognised anywhere counts as wrong ("dropped" is their share).
An exchange of owners by chance would score 0.5 of what is not dropped. Intervals: 95 %, bootstrap over clips.

| captions | binding | same noun | distinct nouns | dropped | everything right | people where told |
|---|---|---|---|---|---|---|
{rows}

"Placed" captions say who stands where, "unplaced" ones do not. "MCAM off" samples the same weights without equation (4)'s bias.

{verdict}
"""


def main(runs: list[Path], checkpoint: Path) -> None:
    """Copies the last run's export to the checkpoint folder and writes its card."""
    with atomic(checkpoint) as beside:
        shutil.copytree(runs[-1] / "export", beside)
        shutil.copy(runs[-1] / "binding.json", beside)
        (beside / "training_log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log(runs)))
        (beside / "README.md").write_text(CARD.format(**facts(runs)))
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        sums = [f"{sha256_of(path)}  {path.relative_to(beside)}\n" for path in files]
        (beside / "SHA256SUMS").write_text("".join(sums))


def log(runs: list[Path]) -> list[dict[str, Any]]:
    """The runs' logs, one after the other."""
    return [
        {"phase": phase, **json.loads(line)}
        for phase, run in enumerate(runs, 1)
        for line in (run / "log.jsonl").read_text().splitlines()
    ]


def phase_row(number: int, run: Path) -> str:
    """One phase as a row of the card's first table."""
    config: Any = OmegaConf.load(run / "config.yaml")
    data, objective = config["data"], config["objective"]
    records = [record for record in log([run]) if "loss" in record]
    steps, batch = records[-1]["step"], config["train"]["batch"]
    hours = steps * fmean(record["seconds_per_step"] for record in records) / 3600
    shares = ", ".join(f"{share:.0%} {n}" for n, share in enumerate(data["subjects"], 1))
    return (
        f"| phase {number} | {steps:,} steps of {batch} clips x {data['noises']} noises, {steps * batch:,} clips, "
        f"none seen twice; people a clip: {shares}; {data['placed']:.0%} of captions say who stands where; sigma "
        f"{objective['distribution']}, shift {objective['shift']:g}; {hours:.1f} h |"
    )


def facts(runs: list[Path]) -> dict[str, Any]:
    """Every figure of the card."""
    run = runs[-1]
    config: Any = OmegaConf.load(run / "config.yaml")
    measured = json.loads((run / "binding.json").read_text())
    model = LumosXTransformer3DModel.from_pretrained(run / "export" / "transformer")
    text = json.loads((run / "export" / "text_encoder" / "config.json").read_text())
    accuracy = json.loads((Path(config["model"]["text_encoder"]).parent / "accuracy.json").read_text())
    bucket, generation = Bucket.parse(config["data"]["buckets"][0]), config["model"]["generation"]
    return {
        "size": f"{bucket.width} x {bucket.height} pixels",
        "frames": bucket.frames,
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        "layers": model.config.num_layers,
        "width": model.config.num_attention_heads * model.config.attention_head_dim,
        "text_layers": text["num_layers"],
        "owner": accuracy["owner"],
        "place": accuracy["place"],
        "psnr": codec_psnr(),
        "phases": "\n".join(phase_row(number, phase) for number, phase in enumerate(runs, 1)),
        **machine(run),
        "measured": measured["settings"]["clips"],
        "sampling_steps": generation["steps"],
        "solver": generation["solver"],
        "rows": "\n".join(row(score) for score in measured["scores"]),
        "verdict": verdict(measured["scores"]),
    }


def machine(run: Path) -> dict[str, str]:
    """What the run was trained on."""
    made = json.loads((run / "machine.json").read_text())
    device = f"{made['processor']}, {made['threads']} thread{'s' if made['threads'] > 1 else ''}"
    return {"machine": device if made["device"] == "cpu" else f"{made['device']}, {device}", "torch": made["torch"]}


def codec_psnr() -> str:
    """PSNR of the codec in dB on unseen clips of 8-bit frames, or 'infinite' where every pixel comes back."""
    video = World().render(range(32), split="test").video
    pixels = ((video + 1) * 127.5).round()
    codec = SpaceToDepthCodec()
    decoded = codec.decode(codec.encode(pixels / 127.5 - 1).latent_dist.mode()).sample
    error = ((((decoded + 1) * 127.5).round() - pixels) ** 2).mean()
    return "infinite (every pixel comes back)" if error == 0 else f"{10 * torch.log10(255**2 / error):.1f} dB"


def row(score: dict[str, Any]) -> str:
    """One line of the table."""
    binding, nouns = score["binding"], (score["binding_same_noun"], score["binding_distinct_nouns"])
    cells = [
        score["condition"],
        f"{binding['mean']:.3f} ({binding['low']:.3f}-{binding['high']:.3f})",
        *("-" if part is None else f"{part['mean']:.3f}" for part in nouns),
        f"{score['dropped']:.3f}",
        f"{score['all_right']:.3f}",
        "-" if score["placed_right"] is None else f"{score['placed_right']:.3f}",
    ]
    return "| " + " | ".join(cells) + " |"


def verdict(scores: list[dict[str, Any]]) -> str:
    """What the figures mean, by the bars that the project set itself."""
    by_name = {score["condition"]: score["binding"]["mean"] for score in scores}
    bars = {"placed": 0.90, "unplaced": 0.90}
    lines = [
        f"- {name}: {by_name[name]:.3f}, {'meets' if by_name[name] >= bar else 'misses'} the bar of {bar:.2f}."
        for name, bar in bars.items()
        if name in by_name
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    main(arguments.runs, arguments.out)
