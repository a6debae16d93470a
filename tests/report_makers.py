"""Results of two models on three cases, with invented scores: something missing, something failed."""

from pathlib import Path
from shutil import copyfile, copytree
from typing import Any

import numpy as np

from lumosx.evaluation.cases import Case
from lumosx.evaluation.readers import read_cases
from lumosx.evaluation.results import CaseResult, write_results
from lumosx.evaluation.scores import Score
from lumosx.paths import configs_dir
from lumosx.pipelines.video import write_clip

METRICS = {"ArcSim": True, "BindAcc": True, "swap": False}
MODEL = {"name": "ResNet <b>", "source": "dlib", "revision": "1.0", "licence": "CC0-1.0", "commercial": True}
IDENTITY = {
    "protocol": "v1", "version": 1, "task": "subject", "looks": 8, "metrics": METRICS,
    "models": {"identities.ArcSim": MODEL, "flow": MODEL | {"licence": "research only", "commercial": False}},
}  # fmt: skip
LOOKS = 8


def make_results(folder: Path) -> list[Path]:
    """The folders of both runs, `ours` and `baseline`, over three cases of one scene: a, b and c.

    By BindAcc `ours` has 1 in a, 0.25 in b (its people are exchanged) and misses c; `baseline` failed in a, has 0.5 in
    b and 0.75 in c, whose file is cut short.
    """
    copytree(configs_dir() / "scenes" / "two_friends", folder / "scene")
    lines = "".join(f"  - {{id: {case}, scene: scene/scene.yaml, truth: {case}.mp4}}\n" for case in "abc")
    (folder / "cases.yaml").write_text("lumosx_bench: 1\ncases:\n" + lines)
    for case, shade in zip("abc", (60, 120, 180), strict=True):
        frames = np.full((9, 48, 64, 3), shade, np.uint8)
        frames[:, 8:24, 8:24] = np.arange(0, 225, 25)[:, None, None, None]
        write_clip(frames, folder / f"{case}.mp4", 8)
    cases = read_cases(folder / "cases.yaml")
    runs = {"ours": [1.0, 0.25, None], "baseline": [None, 0.5, 0.75]}
    return [_write(folder / name, cases, values, folder / "cases.yaml") for name, values in runs.items()]


def _write(out: Path, cases: list[Case], values: list[float | None], source: Path) -> Path:
    results = []
    for case, value in zip(cases, values, strict=True):
        video = out / "videos" / f"{case.id}.mp4"
        video.parent.mkdir(parents=True, exist_ok=True)
        if value is not None and case.truth:
            copyfile(case.truth, video)
        stated = None if value is None and out.name == "ours" else f"videos/{case.id}.mp4"
        results.append(CaseResult(case.id, None, case.subjects, stated, None, scores(case, value, out.name == "ours")))
    if out.name == "baseline":
        last = out / "videos" / f"{cases[-1].id}.mp4"
        last.write_bytes(last.read_bytes()[:100])
    digests = {case.id: "0" * 64 for case in cases}
    write_results(results, out, IDENTITY, profile="offline", source=str(source), digests=digests)
    return out


def scores(case: Case, value: float | None, absent: bool) -> list[Score]:
    """BindAcc is `value`; without one the clip is missing, or scoring failed."""
    if value is None and absent:
        return [Score(name, None, "missing", {"why": "there is no video of it"}) for name in METRICS]
    if value is None:
        problem = {"type": "InputError", "message": "<script>document.title = 'run'</script>", "measure": "video"}
        return [Score(name, None, "error", problem) for name in METRICS]
    detail = owners(case, exchanged=value < 0.5)
    return [Score("ArcSim", value / 2), Score("BindAcc", value, detail=detail), Score("swap", 1 - value)]


def owners(case: Case, exchanged: bool) -> dict[str, Any]:
    """The detail of BindAcc: everything on its owner on 7 of 8 looks and on nobody else, or all of it exchanged."""
    attributes, counts = [], []
    for reference in case.attributes():
        owner = reference.subject
        assert owner is not None
        wearer = 1 - owner if exchanged else owner
        attributes.append(
            {
                "id": reference.id, "word": reference.word, "slot": reference.word.split()[-1], "picture": "",
                "owner": owner, "worn_by": [wearer], "verdict": "swap" if exchanged else "right", "counted": True,
            }
        )  # fmt: skip
        counts.append([LOOKS - 1 if wearer == 0 else 0, LOOKS - 1 if wearer == 1 else 0, 1])
    return {"attributes": attributes, "confusion": {"columns": [0, 1, "nobody"], "looks": LOOKS, "counts": counts}}
