"""The ablation for readers: results.json, a page with tables and words, a plot beside the paper's Table 4, the runs'
configurations."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from omegaconf import OmegaConf

from lumosx.evaluation.ablation import BASE, CAPTIONS, NOUNS, Cell, Finding, Form, Readings, Table, findings, results
from lumosx.files import atomic, write_json
from lumosx.playground.estimate import Estimate

HEAD = """\
# The ablation of the paper's Table 4, on the playground

Made by `{command}`; every number is in `results.json`.

**{label}.** For each row and seed {clips} clips of unseen identities with captions that do not say who stands where
(unplaced) and {clips} with captions that do (placed), as many with each of {people} people, every other one with two
people of one noun. All rows start from the same weights, of a text-to-video model that has seen no reference, and those
of a seed train on the same noisy clips. Intervals are 95 %, over seeds and clips. No number here compares with one of
the paper's: it is another world, another size and another measure. What can be compared is what a row adds.
"""
LIKENESS = """\
Likeness goes from 0 (not seen) to 1 (as rendered). Of faces it is the counterpart of ArcSim, of attributes that of
CLIP-T. The paper's two columns are its own numbers, on its 500 videos.
"""
VERDICTS = """\
A claim is reproduced where the whole interval of the paired difference is on its side, contradicted where it is on the
other, and not shown where it holds 0 or fewer than three seeds were trained. Of as many claims as these about one is
found by chance.
"""
COLOURS = {"unplaced": "#c05621", "placed": "#2b6cb0"}


def write_report(readings: Readings, form: Form, command: str, runs: Path, out: Path) -> None:
    """Writes README.md, results.json, ablation.png and configs/ into a folder, of all that is read so far.

    Args:
        command: that makes it.
        runs: the folder that holds the runs, `base` and seed-N/ROW.
    """
    table = Table(readings)
    out.mkdir(parents=True, exist_ok=True)
    names = [BASE, *(f"seed-{seed}/{row}" for row, seed in sorted(readings))] if readings else []
    facts = [_facts(runs, name) for name in names]
    write_json({**results(table, form), "runs": facts}, out / "results.json")
    with atomic(out / "configs") as folder:
        folder.mkdir()
        for name in names:
            config = OmegaConf.load(runs / name / "config.yaml")
            del config.run.root  # a folder of the machine that trained
            OmegaConf.save(config, folder / f"{name.replace('/', '_')}.yaml")
    if table.rows:
        _draw(table, form, out / "ablation.png")
    with atomic(out / "README.md") as temporary:
        temporary.write_text("\n".join(_page(table, form, command, facts)) + "\n", encoding="utf-8")


def _facts(runs: Path, name: str) -> dict[str, Any]:
    """What a run took: steps, clips, hours, the machine."""
    folder = runs / name
    lines = (folder / "log.jsonl").read_text(encoding="utf-8").splitlines()
    steps = [line for line in map(json.loads, lines) if "loss" in line]
    before = [0, *(step["step"] for step in steps)]
    seconds = sum(step["seconds_per_step"] * (step["step"] - last) for step, last in zip(steps, before, strict=False))
    machine = json.loads((folder / "machine.json").read_text(encoding="utf-8"))
    last = steps[-1]
    return {"run": name, "steps": last["step"], "clips": last["samples_seen"], "loss": last["loss"],
            "hours": round(seconds / 3600, 2), **machine}  # fmt: skip


def _page(table: Table, form: Form, command: str, facts: list[dict[str, Any]]) -> Iterator[str]:
    clips = form.clips * len(form.subjects)
    people = ", ".join(map(str, form.subjects))
    yield HEAD.format(command=command, label=_sentence_case(form.label), clips=clips, people=people)
    yield "![What each row adds](ablation.png)\n"
    yield "## Binding: attributes on their owners, clips with two people and more\n"
    yield from _markdown(
        ["", "seeds", *(f"{c}, {n} nouns" if n else f"**{c}**" for c in CAPTIONS for n in (None, *NOUNS))],
        [
            [row.title, str(len(table.seeds(row.name))),
             *(_text(table.estimate(row.name, "binding", Cell(c, n))) for c in CAPTIONS for n in (None, *NOUNS))]
            for row in table.rows
        ],
    )  # fmt: skip
    yield "\n## By number of people\n"
    yield from _markdown(
        ["", *(f"{captions}, {people}" for captions in CAPTIONS for people in form.subjects)],
        [
            [row.title, *(_text(table.estimate(row.name, "binding", Cell(captions, subjects=people)))
                          for captions in CAPTIONS for people in form.subjects)]
            for row in table.rows
        ],
    )  # fmt: skip
    pairs = [(measure, captions) for measure in ("faces", "attributes") for captions in CAPTIONS]
    yield "\n## Likeness to the references, and the paper's Table 4 beside it\n"
    yield LIKENESS
    yield from _markdown(
        ["", *(f"{measure}, {captions}" for measure, captions in pairs), "paper: ArcSim", "paper: CLIP-T"],
        [
            [row.title, *(_text(table.estimate(row.name, measure, Cell(captions))) for measure, captions in pairs),
             *((f"{row.paper[1]:.3f}", f"{row.paper[0]:.3f}") if row.paper else ("-", "-"))]
            for row in table.rows
        ],
    )  # fmt: skip
    yield "\n## What is reproduced and what is not\n"
    yield VERDICTS
    yield from (_sentence(finding) for finding in findings(table))
    yield "\n## How it was made\n"
    yield from _markdown(
        ["run", "steps", "clips", "last loss", "hours", "on"],
        [
            [str(fact[key]) for key in ("run", "steps", "clips")]
            + [f"{fact['loss']:.3f}", f"{fact['hours']:.2f}", f"{fact['processor']}, {fact['device']}"]
            for fact in facts
        ],
    )  # fmt: skip
    yield "\n`configs/` holds the configuration of every run, as `lumosx train` wrote it but for `run.root`."


def _sentence_case(text: str) -> str:
    return text.strip()[0].upper() + text.strip()[1:]


def _sentence(finding: Finding) -> str:
    claim, change = finding.claim, finding.difference
    agree = sum((value > 0) == (change.mean > 0) for value in finding.by_seed)
    paper = f" (the paper: {claim.paper})" if claim.paper else ""
    return (
        f"- {claim.text}{paper}; {finding.captions} captions: **{finding.verdict}**, {change.mean:+.3f} "
        f"({change.low:+.3f} to {change.high:+.3f}), {agree} of {len(finding.by_seed)} seeds to that side."
    )


def _markdown(head: list[str], rows: list[list[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _text(value: Estimate | None) -> str:
    """A share; Student's interval may go beyond what a share can be."""
    if value is None:
        return "-"
    return f"{value.mean:.3f} ({max(0.0, value.low):.2f} to {min(1.0, value.high):.2f})"


def _draw(table: Table, form: Form, path: Path) -> None:
    """Left what is measured here, with intervals and every seed; right the paper's two columns."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", width_ratios=[4, 4, 3])
    for axes, measure, title in (
        (left, "binding", "attributes on their owners"),
        (middle, "faces", "likeness of faces"),
    ):
        for offset, captions in ((-0.15, "unplaced"), (0.15, "placed")):
            for place, row in enumerate(table.rows):
                value = table.estimate(row.name, measure, Cell(captions))
                if value is None:
                    continue
                edges = [[value.mean - value.low], [value.high - value.mean]]
                axes.errorbar(place + offset, value.mean, edges, fmt="o", color=COLOURS[captions], capsize=3,
                              label=captions if place == 0 else None)  # fmt: skip
                seeds = table.by_seed(row.name, measure, Cell(captions))
                axes.plot([place + offset + 0.08] * len(seeds), seeds, ".", color=COLOURS[captions], alpha=0.4)
        axes.set_xticks(range(len(table.rows)), [row.title for row in table.rows], rotation=35, ha="right")
        axes.set(title=f"here: {title}")
    left.legend(frameon=False, fontsize=8, title="captions", title_fontsize=8, loc="upper left")
    known = [row for row in table.rows if row.paper]
    right.plot([row.paper[1] for row in known if row.paper], "s-", color="0.3", label="ArcSim")
    other = right.twinx()
    other.plot([row.paper[0] for row in known if row.paper], "^--", color="0.6", label="CLIP-T")
    right.set_xticks(range(len(known)), [row.title for row in known], rotation=35, ha="right")
    right.set(title="the paper's Table 4", ylabel="ArcSim")
    other.set_ylabel("CLIP-T (dashed)")
    for axes in (left, middle, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(_sentence_case(form.label), fontsize=9, color="0.4")
    with atomic(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
    plt.close(figure)
