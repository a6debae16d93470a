"""Running a benchmark: what goes wrong stays with its clip, a killed run goes on, and nothing of another run counts."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from typing import Any

import bench_fakes as fakes
import numpy as np
import pytest

from lumosx.errors import InputError
from lumosx.evaluation.cases import Case
from lumosx.evaluation.models import Models
from lumosx.evaluation.results import CaseResult
from lumosx.evaluation.runner import Item, Suite, claim, digest, items_of, score_items, score_video
from lumosx.evaluation.scores import Score, not_applicable

HERE = Path(__file__).parent
LEVELS = {"a": 0, "b": 51, "c": 102, "d": 204}


def world(folder: Path) -> tuple[list[Case], dict[str, dict[int | None, Path]]]:
    """Four cases of one person, a grey video each."""
    cases = [fakes.make_case(folder, name) for name in LEVELS]
    return cases, {name: {0: fakes.make_video(folder / f"{name}_s0.mp4", level)} for name, level in LEVELS.items()}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Case], dict[str, dict[int | None, Path]]]:
    return world(tmp_path_factory.mktemp("world"))


def scored(items: list[Item], out: Path, *measures: object, **options: object) -> dict[str, CaseResult]:
    suite = fakes.make_suite(*measures, **options)  # pyright: ignore[reportArgumentType]
    return {f"{result.case}/{result.seed}": result for result in score_items(items, suite, out)}


def statuses(result: CaseResult) -> dict[str, str]:
    return {score.metric: score.status for score in result.scores}


def value(result: CaseResult, metric: str) -> float | None:
    return next(score.value for score in result.scores if score.metric == metric)


def files(out: Path) -> dict[str, bytes]:
    """The clips' files without their times."""
    read = {path.name: json.loads(path.read_text()) for path in (out / "cases").iterdir()}
    return {name: json.dumps({**data, "seconds": 0}).encode() for name, data in read.items()}


def test_every_clip_gets_every_metric_in_order(shared, tmp_path: Path) -> None:
    found = scored(items_of(*shared), tmp_path)
    assert list(found) == [f"{name}/0" for name in LEVELS]
    for name, level in LEVELS.items():
        result = found[f"{name}/0"]
        assert [score.metric for score in result.scores] == ["brightness", "darkness", "objects", "likeness"]
        assert value(result, "brightness") == pytest.approx(level / 255, abs=0.01)
        assert value(result, "darkness") == pytest.approx(1 - level / 255, abs=0.01)
        assert statuses(result)["objects"] == "not_applicable"
        assert result.subjects == 1 and len(result.video_sha256 or "") == 64


def test_an_exception_is_the_error_of_its_measure_and_clip_alone(shared, tmp_path: Path) -> None:
    found = scored(items_of(*shared), tmp_path, fakes.Brightness(broken=("b",)), fakes.Likeness())
    assert statuses(found["b/0"]) == dict(brightness="error", darkness="error", objects="error", likeness="ok")
    detail = found["b/0"].scores[0].detail
    assert detail == {"type": "RuntimeError", "message": "no more memory, or whatever", "measure": "Brightness"}
    assert {name for name, result in found.items() if "error" in statuses(result).values()} == {"b/0"}


def test_a_video_that_cannot_be_read_is_an_error_of_all_metrics(shared, tmp_path: Path) -> None:
    cases, videos = shared
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(videos["c"][0].read_bytes()[:200])
    found = scored(items_of(cases, {**videos, "b": {0: broken}, "c": {0: cut}}), tmp_path / "out")
    for name in ("b/0", "c/0"):
        assert set(statuses(found[name]).values()) == {"error"}
        assert found[name].scores[0].detail["measure"] == "video"
        assert found[name].scores[0].detail["type"] == "InputError"
    assert statuses(found["d/0"])["brightness"] == "ok"


def test_a_reference_that_cannot_be_read_is_an_error_of_what_looks_at_it(shared, tmp_path: Path) -> None:
    case = fakes.make_case(tmp_path, "e")
    (tmp_path / "e_0.png").write_bytes(b"no picture")
    [result] = scored([Item(case, 0, shared[1]["a"][0])], tmp_path / "out").values()
    assert statuses(result)["brightness"] == "ok"
    assert result.scores[-1].detail["type"] == "ImageError"


@pytest.mark.parametrize("given", [[], [Score("one", 1.0)], [Score("one", 1.0), Score("one", 1.0)]])
def test_a_measure_that_does_not_give_its_metrics_is_an_error(shared, given: list[Score]) -> None:
    class Wrong:
        metrics = MappingProxyType({"one": True, "two": True})

        def __call__(self, case, clip, evidence) -> list[Score]:
            return given

    cases, videos = shared
    result = score_video(cases[0], videos["a"][0], [Wrong()], fakes.make_suite().models)
    assert statuses(result) == {"one": "error", "two": "error"}


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), np.float32("nan")])
def test_what_is_no_number_is_an_error(shared, wrong: float) -> None:
    class Odd:
        metrics = MappingProxyType({"odd": True, "even": True})

        def __call__(self, case, clip, evidence) -> list[Score]:
            return [Score("odd", wrong), Score("even", 1.0, detail={"table": np.eye(2), "none": np.nan})]

    cases, videos = shared
    odd, even = score_video(cases[0], videos["a"][0], [Odd()], fakes.make_suite().models).scores
    assert (odd.status, odd.detail["type"]) == ("error", "NotFinite")
    assert even.detail == {"table": [[1.0, 0.0], [0.0, 1.0]], "none": None}


def test_a_case_without_a_video_is_missing_everywhere(shared, tmp_path: Path) -> None:
    cases, videos = shared
    found = scored(items_of(cases, {name: videos[name] for name in "acd"}), tmp_path)
    assert set(statuses(found["b/0"]).values()) == {"missing"}
    assert len(found) == 4


class Pairs:
    """Of cases of two people; `order` of all. Breaks at whatever it is called with."""

    metrics = MappingProxyType({"pairs": True, "order": True})
    misses = MappingProxyType({"order": 0.5})

    def nothing_for(self, case: Case) -> list[Score]:
        return [not_applicable("pairs", "one person")] if case.subjects < 2 else []

    def __call__(self, case, clip, evidence) -> list[Score]:
        raise RuntimeError


def test_what_a_case_has_nothing_for_is_not_missing_nor_an_error(shared, tmp_path: Path) -> None:
    one, two = fakes.make_case(tmp_path, "one"), fakes.make_case(tmp_path, "two", people=2)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    problem = {"type": "SceneError", "message": "no such word", "measure": "generation"}
    ways = {
        "missing": (None, None),
        "made": (None, problem),
        "read": (broken, None),
        "raised": (shared[1]["a"][0], None),
    }
    for way, (video, known) in ways.items():
        items = [Item(case, 0, video, known) for case in (one, two)]
        alone, pair = scored(items, tmp_path / way, Pairs()).values()
        status = "missing" if way == "missing" else "error"
        assert statuses(alone) == {"pairs": "not_applicable", "order": status}, way
        assert statuses(pair) == {"pairs": status, "order": status}, way
        assert alone.scores[0].detail == {"why": "one person"}


def test_what_a_missing_clip_counts_is_in_the_identity() -> None:
    assert fakes.make_suite(fakes.Brightness(), Pairs()).identity["misses"] == {"order": 0.5}


def test_a_problem_of_making_the_video_is_an_error(shared, tmp_path: Path) -> None:
    problem = {"type": "SceneError", "message": "no such word", "measure": "generation"}
    [result] = scored([Item(shared[0][0], 3, None, problem)], tmp_path).values()
    assert set(statuses(result).values()) == {"error"} and result.scores[0].detail == problem
    assert not list((tmp_path / "cases").iterdir())


def test_a_seed_that_other_cases_have_is_due() -> None:
    cases = [Case(name, "", (), {}, Path()) for name in "abc"]
    a, b = Path("a"), Path("b")
    items = items_of(cases, {"a": {0: a, 1: a}, "b": {1: b}})
    assert [(item.case.id, item.seed, item.video) for item in items] == [
        ("a", 0, a), ("a", 1, a), ("b", 0, None), ("b", 1, b), ("c", 0, None), ("c", 1, None),
    ]  # fmt: skip
    unseeded = items_of(cases, {"a": {None: a}, "b": {1: b}})
    assert [(item.case.id, item.seed, item.video) for item in unseeded] == [
        ("a", None, a),
        ("b", 1, b),
        ("c", None, None),
    ]


def test_a_repeated_run_scores_nothing_again(shared, tmp_path: Path) -> None:
    items, first, second = items_of(*shared), fakes.Brightness(), fakes.Brightness()
    before = scored(items, tmp_path, first)
    written = {path: path.read_bytes() for path in (tmp_path / "cases").iterdir()}
    assert scored(items, tmp_path, second) == before
    assert (first.scored, second.scored) == (list(LEVELS), [])
    assert {path: path.read_bytes() for path in (tmp_path / "cases").iterdir()} == written


def test_errors_are_tried_again(shared, tmp_path: Path) -> None:
    items, second = items_of(*shared), fakes.Brightness()
    scored(items, tmp_path, fakes.Brightness(broken=("b",)))
    found = scored(items, tmp_path, second)
    assert second.scored == ["b"] and statuses(found["b/0"])["brightness"] == "ok"


def changes(folder: Path) -> Iterator[tuple[str, Item, dict[str, object]]]:
    """What makes a clip's scores others, one thing at a time."""
    case = fakes.make_case(folder / "first", "a")
    item = Item(case, 0, fakes.make_video(folder / "a.mp4", 100))
    yield "video", replace(item, video=fakes.make_video(folder / "other.mp4", 101)), {}
    yield "prompt", replace(item, case=replace(case, prompt="another")), {}
    yield "truth", replace(item, case=replace(case, truth=item.video)), {}
    [face] = case.references
    yield "word", replace(item, case=replace(case, references=(replace(face, word="woman"),))), {}
    other = fakes.make_case(folder / "second", "b").references[0]
    yield "picture", replace(item, case=replace(case, references=(replace(face, image=other.image),))), {}
    yield "models", item, {"revision": "2"}
    yield "looks", item, {"looks": 5}
    yield "nothing", item, {}


def test_whatever_scores_depend_on_makes_them_anew(tmp_path: Path) -> None:
    *changed, (_, same, _) = changes(tmp_path)
    for name, item, options in changed:
        out = tmp_path / "out" / name
        scored([same], out, fakes.Brightness())
        again, other = fakes.Brightness(), fakes.Brightness()
        scored([same], out, again)
        scored([item], out, other, **options)
        assert (again.scored, other.scored) == ([], ["a"]), name


def test_files_may_move(shared, tmp_path: Path) -> None:
    [first, *_], videos = shared
    scored([Item(first, 0, videos["a"][0])], tmp_path / "out", fakes.Brightness())
    moved = tmp_path / "moved.mp4"
    moved.write_bytes(videos["a"][0].read_bytes())
    again = fakes.Brightness()
    [result] = scored([Item(replace(first, folder=tmp_path), 0, moved)], tmp_path / "out", again).values()
    assert again.scored == [] and result.video == str(moved)


def test_a_damaged_file_of_a_clip_is_scored_again(shared, tmp_path: Path) -> None:
    items = items_of(*shared)[:1]
    scored(items, tmp_path, fakes.Brightness())
    [path] = (tmp_path / "cases").iterdir()
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"[]", b"{}", whole.replace(b'"ok"', b'"fine"')):
        path.write_bytes(damaged)
        again = fakes.Brightness()
        scored(items, tmp_path, again)
        assert again.scored == ["a"] and json.loads(path.read_bytes())["scores"] == json.loads(whole)["scores"]


def test_names_of_clips_never_clash(shared, tmp_path: Path) -> None:
    cases, videos = shared
    video = videos["a"][0]
    names = [("a", 1), ("a@1", None), ("a_s1", None), ("x/a", 1), ("..", None)]
    items = [Item(replace(cases[0], id=name), seed, video) for name, seed in names]
    assert len(scored(items, tmp_path)) == len(list((tmp_path / "cases").iterdir())) == len(names)
    with pytest.raises(InputError, match="two videos of one case and seed"):
        scored([items[0], items[0]], tmp_path)


def test_killed_within_a_clip_a_run_loses_that_clip_alone(tmp_path: Path) -> None:
    cases, videos = world(tmp_path)
    script = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from pathlib import Path\n"
        "import bench_fakes as fakes, test_runner as t\n"
        "from lumosx.evaluation.runner import items_of\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "cases = [fakes.make_case(folder, name) for name in t.LEVELS]\n"
        "videos = {name: {0: folder / f'{name}_s0.mp4'} for name in t.LEVELS}\n"
        "t.scored(items_of(cases, videos), folder / 'out', fakes.Brightness(deadly=('c',)), fakes.Likeness())\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert killed.returncode == 9, killed.stderr
    assert {path.name for path in (tmp_path / "out" / "cases").iterdir()} == {"a@0.json", "b@0.json"}
    rest = fakes.Brightness()
    scored(items_of(cases, videos), tmp_path / "out", rest, fakes.Likeness())
    assert rest.scored == ["c", "d"]
    scored(items_of(cases, videos), tmp_path / "whole")
    assert files(tmp_path / "out") == files(tmp_path / "whole")


def test_a_folder_belongs_to_one_protocol_task_and_profile(tmp_path: Path) -> None:
    claim(tmp_path, "v1", "subject", "offline")
    claim(tmp_path, "v1", "subject", "offline")
    with pytest.raises(InputError, match="holds scores of protocol v1, not release; choose another --out"):
        claim(tmp_path, "release", "subject", "offline")
    with pytest.raises(InputError, match="task subject, not identity; profile offline, not paper"):
        claim(tmp_path, "v1", "identity", "paper")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="does not say what was scored"):
        claim(tmp_path, "v1", "subject", "offline")


def test_the_digest_goes_by_content() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1}) != digest({"a": 1, "b": [3]})


@pytest.mark.parametrize("protocol", ["v1", "release"])
@pytest.mark.parametrize("task", ["identity", "subject"])
def test_no_metric_of_a_protocol_bears_the_name_of_another(protocol, task) -> None:
    model: Any = SimpleNamespace(card=fakes.card("fake"))
    pictures = {"CLIP-I": model, "DINO-I": model}
    models = Models(model, {"ArcSim": model, "CurSim": model}, model, model, model, pictures, *[model] * 5)
    suite = Suite.of(protocol, task, models)
    assert len(suite.metrics) == sum(len(measure.metrics) for measure in suite.measures) > 1
    assert "ArcSim" in suite.metrics and ("BindAcc" in suite.metrics) == ((protocol, task) == ("v1", "subject"))
    json.dumps(suite.identity)


@pytest.mark.slow
@pytest.mark.timeout(900)  # Ray starts seven processes
def test_spread_over_processes_the_files_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a clip that its process dies of takes nothing else with it."""
    ray = pytest.importorskip("ray")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    cases, videos = world(tmp_path)
    (tmp_path / "b_s0.mp4").write_bytes(b"no video")
    items = items_of([*cases, fakes.make_case(tmp_path, "e")], videos)
    here = {result.case: result for result in score_items(items, fakes.make_suite(), tmp_path / "here")}
    ray.cloudpickle.register_pickle_by_value(fakes)
    try:
        deadly = partial(fakes.make_suite, fakes.Brightness(deadly=("a",)), fakes.Likeness())
        spread = {r.case: r for r in score_items(items, fakes.make_suite(), tmp_path / "spread", deadly)}
    finally:
        ray.cloudpickle.unregister_pickle_by_value(fakes)
        ray.shutdown()
    assert {score.detail["type"] for score in spread.pop("a").scores} == {"ProcessDied"}
    del here["a"]
    assert spread == here
    scored_here = files(tmp_path / "here")
    del scored_here["a@0.json"]
    assert files(tmp_path / "spread") == scored_here
