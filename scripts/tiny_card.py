# ruff: noqa: E501  the card is Markdown, one paragraph or table row a line
"""Puts the last of several phases under checkpoints/ with its model card, and its figures into the README.

python scripts/tiny_card.py RUN... --out CHECKPOINT --readme README.md. Every figure comes from a file that the runs or
the measurement of the last one (RUN/binding.json) wrote; only scripts/tiny_findings.md is written by hand.
"""

import argparse
import json
import shutil
from pathlib import Path
from statistics import fmean
from typing import Any

from omegaconf import OmegaConf
from tiny_figures import figures, findings, steps_table

from lumosx.data.batch import Bucket
from lumosx.files import atomic, sha256_of
from lumosx.models import LumosXTransformer3DModel

BEGIN, END = "<!-- tiny:begin -->", "<!-- tiny:end -->"  # around the figures that card and README share

CARD = """---
license: apache-2.0
library_name: lumosx
pipeline_tag: text-to-video
---
# lumosx-tiny

A small LumosX for the playground, the procedural world of this project: clips of {size}, {frames} frames, of drawn people with
given faces, clothes and things. It is here to show, test and study the method, not to make videos of anything else.

| | |
|---|---|
| transformer | {parameters:.2f} M parameters, {layers} layers of width {width}, `reference_timestep: {reference_timestep}`, `prediction: {prediction}`, rules `{rules}` |
| text encoder | {text} |
| codec | {codec} |
{phases}
| machine | {machine} |
| on disk | {megabytes:.1f} MB |
| made by | `scripts/train_tiny` |

{findings}

## Binding

{figures}

## Quality against steps

{steps}
"""


def main(runs: list[Path], checkpoint: Path, readme: Path | None) -> None:
    """Copies the last run's export to the checkpoint's folder, writes its card, and its figures into the README."""
    measured = json.loads((runs[-1] / "binding.json").read_text())
    with atomic(checkpoint) as beside:
        shutil.copytree(runs[-1] / "export", beside)
        shutil.copy(runs[-1] / "binding.json", beside)
        (beside / "training_log.jsonl").write_text("".join(json.dumps(record) + "\n" for record in log(runs)))
        shared = figures(measured, generation(runs[-1]), megabytes(beside))
        (beside / "README.md").write_text(card(runs, measured, shared, megabytes(beside)))
        files = sorted(path for path in beside.rglob("*") if path.is_file())
        sums = [f"{sha256_of(path)}  {path.relative_to(beside)}\n" for path in files]
        (beside / "SHA256SUMS").write_text("".join(sums))
    if readme is not None:
        text = with_figures(readme.read_text(), shared)
        with atomic(readme) as beside:
            beside.write_text(text)


def with_figures(page: str, shared: str) -> str:
    """The page with these figures between its two markers. Raises ValueError if it has no such place."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"the page has no place for the figures between {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{shared}\n{END}{after}"


def log(runs: list[Path]) -> list[dict[str, Any]]:
    """The runs' logs, one after the other."""
    return [
        {"phase": phase, **json.loads(line)}
        for phase, run in enumerate(runs, 1)
        for line in (run / "log.jsonl").read_text().splitlines()
    ]


def settings(run: Path) -> Any:
    """The run's configuration."""
    return OmegaConf.load(run / "config.yaml")


def generation(run: Path) -> dict[str, Any]:
    """How the checkpoint samples unless it is told otherwise."""
    return json.loads((run / "export" / "model_index.json").read_text())["generation"]


def megabytes(folder: Path) -> float:
    """Of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def card(runs: list[Path], measured: dict[str, Any], shared: str, size: float) -> str:
    """The model card."""
    run = runs[-1]
    model, bucket = settings(run)["model"], Bucket.parse(settings(run)["data"]["buckets"][0])
    transformer: Any = LumosXTransformer3DModel.from_pretrained(run / "export" / "transformer")
    config = transformer.config
    return CARD.format(
        size=f"{bucket.width} x {bucket.height} pixels",
        frames=bucket.frames,
        parameters=sum(p.numel() for p in transformer.parameters()) / 1e6,
        layers=config.num_layers,
        width=config.num_attention_heads * config.attention_head_dim,
        reference_timestep=config.reference_timestep,
        prediction=config.prediction,
        rules=config.rules,
        text=text_encoder(Path(model["text_encoder"])),
        codec=codec(Path(model["codec"])),
        phases="\n".join(phase(number, run) for number, run in enumerate(runs, 1)),
        machine=machine(run),
        megabytes=size,
        findings=findings()[0],
        figures=f"{BEGIN}\n{shared}\n{END}",
        steps=steps_table(measured["scores"]),
    )


def text_encoder(export: Path) -> str:
    """What it is, how it was trained, and how well it reads unseen captions."""
    config = json.loads((export / "text_encoder" / "config.json").read_text())
    accuracy = json.loads((export.parent / "accuracy.json").read_text())
    made: Any = settings(export.parent)
    captions, steps = made["text"]["captions"], made["train"]["steps"]
    return (
        f"umT5 of {config['num_layers']} layers of width {config['d_model']}, {steps:,} steps on {captions:,} captions, then frozen; "
        f"on unseen captions it knows a word's owner {accuracy['owner']:.1%}, place {accuracy['place']:.1%}"
    )


def codec(export: Path) -> str:
    """What it is, and what it loses."""
    config = json.loads((export / "vae" / "config.json").read_text())
    psnr = json.loads((export.parent / "accuracy.json").read_text())
    space, time = config["scale_factor_spatial"], config["scale_factor_temporal"]
    return (
        f"`{config['_class_name']}`, blocks of {space} x {space} pixels x {time} frames to {config['z_dim']} numbers, then frozen; PSNR of "
        f"unseen clips {psnr['psnr_clips']:.1f} dB, of their references {psnr['psnr_references']:.1f} dB"
    )


def phase(number: int, run: Path) -> str:
    """One phase as a row of the card's first table."""
    config = settings(run)
    data, optim, train = config["data"], config["optim"], config["train"]
    records = [record for record in log([run]) if "loss" in record]
    steps, batch = records[-1]["step"], train["batch"]
    hours = steps * fmean(record["seconds_per_step"] for record in records) / 3600
    shares = ", ".join(f"{share:.0%} {people}" for people, share in enumerate(data["subjects"], 1))
    decay = f", decay over the last {optim['decay']:.0%}" if optim["decay"] else ""
    muon = f", Muon {optim['muon_lr']:g} on the blocks' matrices" if optim["muon_lr"] else ""
    return (
        f"| phase {number} | {steps:,} steps of {batch} clips x {data['noises']} noises, {steps * batch:,} clips, none seen twice; "
        f"people a clip: {shares}; {data['placed']:.0%} of captions say who stands where; sigma {sigma(config['objective'])}; "
        f"{optim['name']} {optim['lr']:g}{muon}{decay}, average {train['ema']:g}; {hours:.1f} h |"
    )


def sigma(objective: Any) -> str:
    """How noise levels are drawn."""
    shape = "" if objective["distribution"] != "logit_normal" else f" ({objective['mean']:g}, {objective['std']:g})"
    return f"{objective['distribution']}{shape}, shift {objective['shift']:g}"


def machine(run: Path) -> str:
    """What the run was trained on."""
    made = json.loads((run / "machine.json").read_text())
    device = (
        f"{made['processor']}, {made['threads']} thread{'s' if made['threads'] > 1 else ''}, PyTorch {made['torch']}"
    )
    return device if made["device"] == "cpu" else f"{made['device']}, {device}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--readme", type=Path, help="a page with markers around the figures")
    arguments = parser.parse_args()
    main(arguments.runs, arguments.out, arguments.readme)
