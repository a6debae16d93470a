# ruff: noqa: E501  the card is Markdown, one paragraph or table row a line
"""Puts a trained tiny run under checkpoints/ with its model card: python scripts/tiny_card.py RUN CHECKPOINT.

Every figure of the card comes from a file that the run or its measurement wrote; binding.json goes along.
"""

import json
import platform
import shutil
import sys
from pathlib import Path
from typing import Any

import torch
import yaml

from lumosx.files import atomic
from lumosx.models import LumosXTransformer3DModel, SpaceToDepthCodec
from lumosx.playground import World
from lumosx.training.checkpoint import load

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
| data | clips drawn while training, none seen twice: {samples:,} clips, {noisy:,} noisy samples; 40 % of captions say who stands where |
| transformer | {parameters:.2f} M parameters, {layers} layers of width {width}, `reference_timestep: zero`, `prediction: sample`, rules `paper` |
| text encoder | umT5 of {text_layers} layers, trained on captions alone, then frozen; on unseen captions it knows a word's owner {owner:.1%}, place {place:.1%} |
| codec | `SpaceToDepthCodec`, lossless: PSNR {psnr} on 32 unseen clips |
| training | {steps:,} steps of {clips} clips x {noises} noises in {hours:.1f} h on {threads} thread of a CPU ({machine}), PyTorch {torch} |
| made by | `scripts/train_tiny` (configs/experiment/tiny_text.yaml, tiny.yaml; seed {seed}) |

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


def main(run: Path, checkpoint: Path) -> None:
    """Copies RUN/export to the checkpoint folder and writes its card."""
    config = yaml.safe_load((run / "config.yaml").read_text())
    measured = json.loads((run / "binding.json").read_text())
    with atomic(checkpoint) as beside:
        shutil.copytree(run / "export", beside)
        shutil.copy(run / "binding.json", beside)
        shutil.copy(run / "log.jsonl", beside / "training_log.jsonl")
        (beside / "README.md").write_text(CARD.format(**facts(run, config, measured)))


def facts(run: Path, config: dict[str, Any], measured: dict[str, Any]) -> dict[str, Any]:
    """Every figure of the card."""
    model = LumosXTransformer3DModel.from_pretrained(run / "export" / "transformer")
    text = json.loads((run / "export" / "text_encoder" / "config.json").read_text())
    accuracy = json.loads((Path(config["model"]["text_encoder"]).parent / "accuracy.json").read_text())
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    every = config["train"]["log_every"]
    state = load(run / "latest.pt")
    assert state is not None
    steps, data, generation = state["step"], config["data"], config["model"]["generation"]
    return {
        "size": f"{data['width']} x {data['height']} pixels",
        "frames": data["frames"],
        "samples": steps * data["clips"],
        "noisy": steps * data["clips"] * data["noises"],
        "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        "layers": model.config.num_layers,
        "width": model.config.num_attention_heads * model.config.attention_head_dim,
        "text_layers": text["num_layers"],
        "owner": accuracy["owner"],
        "place": accuracy["place"],
        "psnr": codec_psnr(),
        "steps": steps,
        "clips": data["clips"],
        "noises": data["noises"],
        "hours": sum(record["seconds_per_step"] * every for record in log) / 3600,
        "threads": config["train"]["threads"] or torch.get_num_threads(),
        "machine": platform.machine(),
        "torch": torch.__version__,
        "seed": config["run"]["seed"],
        "measured": measured["settings"]["clips"],
        "sampling_steps": generation["steps"],
        "solver": generation["solver"],
        "rows": "\n".join(row(score) for score in measured["scores"]),
        "verdict": verdict(measured["scores"]),
    }


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
    binding = score["binding"]
    cells = [
        score["condition"],
        f"{binding['mean']:.3f} ({binding['low']:.3f}-{binding['high']:.3f})",
        *(f"{score[key]['mean']:.3f}" for key in ("binding_same_noun", "binding_distinct_nouns")),
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
    main(Path(sys.argv[1]), Path(sys.argv[2]))
