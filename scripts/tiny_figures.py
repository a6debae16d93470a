# ruff: noqa: E501  Markdown, one paragraph or table row a line
"""The figures of the shipped model in Markdown, from what its measurement wrote: the same for its card and the README."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lumosx.evaluation.binding import FAULTS

FINDINGS = Path(__file__).with_name("tiny_findings.md")
PEOPLE = ("nobody", "one person", "two people", "three people", "four people")
CLIPS, SAMPLES = 400, 3  # that the bars on binding ask for
STEPS, SECONDS, MEGABYTES = 20, 10, 20

Score = dict[str, Any]
"""One row of a measurement's scores, as `lumosx.evaluation.binding.Score.to_dict` gives it."""

FIGURES = """`lumosx playground measure` on people that it has never seen, {steps} {solver} steps, guidance {cfg:g}. An attribute counts if it
is seen on its owner, also if somebody else wears it too (the share that is "duplicated"). Intervals: 95 %, bootstrap over clips.
"Placed" captions say who stands where, "unplaced" ones do not, and there the pictures' groups alone tell whose hat it is. "MCAM
off" and "CSAM off" sample the same weights without that mechanism.

| captions | clips | binding | same noun | distinct nouns | everything right | people where told |
|---|---|---|---|---|---|---|
{binding}

What became of the attributes, and how like their pictures faces and attributes are (0: unrelated, 1: as drawn):

| captions | {faults} | identity | attributes |
|{rules}|
{rest}

{verdicts}"""


@dataclass(frozen=True)
class Bar:
    """Something that was asked of the model: what is `found` (None: not measured), and by how much it is `short` (0 or
    less: met).
    """

    name: str
    found: str | None
    asked: str
    short: float

    def __str__(self) -> str:
        if self.found is None:
            return f"- {self.name}: asked {self.asked}, **not measured**."
        verdict = f"**missed** by {self.short:.3g}" if self.short > 0 else "met"
        return f"- {self.name}: {self.found}, asked {self.asked}: {verdict}."


def findings() -> tuple[str, str]:
    """The two hand-written parts: what was found out, and what run would meet the bars that are missed."""
    found, _, wanted = FINDINGS.read_text().partition("## If a bar is missed\n")
    return found.strip(), wanted.strip()


def figures(measured: dict[str, Any], generation: dict[str, Any], size: float) -> str:
    """What card and README both show: the tables of the checkpoint's own settings, and a verdict on each bar."""
    kept = own(measured["scores"], generation)
    met = bars(kept, measured["machine"], size)
    missed = any(bar.short > 0 for bar in met)
    return FIGURES.format(
        **{key: generation[key] for key in ("steps", "solver", "cfg")},
        binding="\n".join(binding_row(score) for score in kept),
        faults=" | ".join(FAULTS),
        rules="|".join(["---"] * (len(FAULTS) + 3)),
        rest="\n".join(fault_row(score) for score in kept),
        verdicts="\n".join([*map(str, met), *(["", findings()[1]] if missed else [])]),
    )


def own(scores: list[Score], generation: dict[str, Any]) -> list[Score]:
    """The rows that were sampled as the checkpoint samples by itself."""
    return [score for score in scores if all(score[key] == generation[key] for key in ("steps", "solver", "cfg"))]


def label(score: Score) -> str:
    """How a row is named in every table."""
    return f"{PEOPLE[score['subjects']]}, {score['condition']}"


def estimate(value: dict[str, Any] | None) -> str:
    """A mean with its interval."""
    if value is None:
        return "-"
    return f"{value['mean']:.3f} " + ("(?)" if value["low"] is None else f"({value['low']:.3f}-{value['high']:.3f})")


def row(*cells: str) -> str:
    """One line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def clips(score: Score) -> str:
    """How many clips, and how often each was sampled."""
    return f"{score['clips']} x {score['samples'] / score['clips']:g}"


def binding_row(score: Score) -> str:
    """One line of the first table."""
    keys = "binding", "binding_same_noun", "binding_distinct_nouns", "all_right", "placed_right"
    return row(label(score), clips(score), *(estimate(score[key]) for key in keys))


def fault_row(score: Score) -> str:
    """One line of the second table."""
    values = [*(score["faults"][fault] for fault in FAULTS), score["identity"], score["attribute_likeness"]]
    return row(label(score), *map(estimate, values))


def steps_table(scores: list[Score]) -> str:
    """Every condition that was sampled in several ways."""
    ways = {key: [score for score in scores if label(score) == key] for key in dict.fromkeys(map(label, scores))}
    several = [
        score
        for same in ways.values()
        if len(same) > 1
        for score in sorted(same, key=lambda s: (s["solver"], s["steps"]))
    ]
    head = ["captions", "steps", "clips", "binding", "everything right", "identity", "attributes", "seconds a clip"]
    keys = "binding", "all_right", "identity", "attribute_likeness"
    lines = [
        row(label(score), f"{score['steps']} {score['solver']}", clips(score), *(estimate(score[key]) for key in keys), f"{score['seconds']:.2f}")
        for score in several
    ]  # fmt: skip
    return "\n".join([row(*head), row(*["---"] * len(head)), *lines])


def bars(scores: list[Score], machine: dict[str, Any], size: float) -> list[Bar]:
    """The verdict on everything that the project asks of this model."""
    by_label = {label(score): score for score in scores}
    asked = [
        *((f"two people, {words}", nouns, least) for words, least in (("placed", 0.95), ("unplaced", 0.90)) for nouns in ("same_noun", "distinct_nouns")),
        *((f"three people, {words}", None, 0.85) for words in ("placed", "unplaced")),
    ]  # fmt: skip
    found = [binding_bar(name, by_label.get(name), nouns, least) for name, nouns, least in asked]
    seconds, steps = max(score["seconds"] for score in scores), scores[0]["steps"]
    threads = f"{machine['threads']} thread{'s' if machine['threads'] > 1 else ''}"
    return [
        *found,
        Bar("steps", f"{steps}", f"{STEPS} or fewer", steps - STEPS),
        Bar("sampling a clip", f"{seconds:.2f} s on {machine['processor']}, {threads}", f"under {SECONDS} s on 2 cores", seconds - SECONDS),
        Bar("on disk", f"{size:.1f} MB", f"under {MEGABYTES} MB", size - MEGABYTES),
    ]  # fmt: skip


def binding_bar(name: str, score: Score | None, nouns: str | None, least: float) -> Bar:
    """The verdict on one row's binding, with one noun or distinct ones, or on all of it."""
    name = f"binding, {name}" + ("" if nouns is None else f", {nouns.replace('_', ' ')}")
    value = score and score["binding" if nouns is None else f"binding_{nouns}"]
    if score is None or value is None:
        return Bar(name, None, f"{least:.2f}", least)
    enough = score["clips"] >= CLIPS and score["samples"] >= SAMPLES * score["clips"]
    note = "" if enough else f" (on {clips(score)} clips; {CLIPS} x {SAMPLES} are asked)"
    return Bar(name, estimate(value) + note, f"{least:.2f}", least - value["mean"])
