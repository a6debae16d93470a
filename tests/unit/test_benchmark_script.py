"""The benchmark: what it compares gives the same, its ratios are those of the timings, and its table has every row."""

import contextlib
import importlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lumosx.relations.typical import typical_layout

SCRIPTS = Path(__file__).parents[2] / "scripts"
SIZE = {
    "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "text_dim": 12,
    "freq_dim": 16, "ffn_dim": 32, "num_layers": 2, "mcam_ratio": 5.0,
}  # fmt: skip
BACKENDS = {"flash", "flex", "magi"}  # beside the split


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(SCRIPTS))


def module(part: str) -> Any:
    return importlib.import_module(f"benchmark{part}")


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The CPU's, in miniature, and compilation is pretended."""
    monkeypatch.setattr(module("_network").LumosXTransformer3DModel, "compile_repeated_blocks", lambda _: None)
    whole = module("").cpu_setup()
    small = {"transformer": whole.transformer | SIZE, "training_layers": 2, "video": (2, 2, 3), "text": 16}
    return replace(whole, **small, rounds=2, seconds=0)


def close(result: Any, expected: Any) -> bool:
    if isinstance(result, torch.Tensor):
        return torch.allclose(result, expected, atol=1e-4, rtol=1e-3)
    return all(close(*pair) for pair in zip(result, expected, strict=True))


# ---- what is compared gives the same --------------------------------------------------------------------------------


@pytest.mark.parametrize("case", ["forward", "forward_and_backward"])
def test_ways_to_attend_agree(setup: Any, case: str) -> None:
    attention = module("_attention")
    layout = typical_layout(setup.video, 8, setup.text)
    ways = attention.ways_to_attend(layout, setup.device)
    tokens = [torch.randn(len(layout), 2, 16) for _ in range(3)]
    run = getattr(attention, case)
    split = run(ways["split"][0], tokens)
    same = {name for name, (_, same_as) in ways.items() if same_as == "split"}
    assert same == {"dense mask", *BACKENDS}
    assert close(run(ways["dense mask"][0], tokens), split)
    if case == "forward":
        assert close(run(ways["flex"][0], tokens), split)
        assert close(run(ways["the video's call"][0], tokens), split[: layout.video_tokens])
    assert not close(run(ways["full attention"][0], tokens), split)


@torch.no_grad()
@pytest.mark.parametrize("references", [0, 1, 8])
def test_ways_to_step_agree(setup: Any, references: int) -> None:
    script = module("_network")
    network = script.random_network(setup)
    latents = script.random_latents(setup, network)
    variants = script.ways_to_step(replace(setup, compiled=(references,)), network, network, latents, references)
    plain = variants["plain"].run()
    assert plain.shape == (2, 4, 2, 4, 6) and not close(plain[:1], plain[1:])  # both branches
    same = {name for name, variant in variants.items() if variant.same_as == "plain"}
    assert same == {"references cached", "text cached too", "one batch", "compiled"}
    assert all(close(variants[name].run(), plain) for name in same)


@torch.no_grad()
def test_mcam_is_compared_to_none(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = module("_network")
    compared: list[tuple[Any, ...]] = []

    class Recorded:
        def __init__(self, *arguments: Any) -> None:
            compared.append(arguments)

        def ratios(self, *_: Any) -> list[Any]:
            return []

    monkeypatch.setattr(script, "Comparison", Recorded)
    assert not list(script.mcam(setup, script.random_network(setup)))
    assert [(changed.rounds, references) for changed, _, references, _ in compared] == [(4, 4), (4, 8)]
    for *_, variants in compared:
        relational, plain = (variants[name].run() for name in ("with MCAM", "without MCAM"))
        assert relational.shape == plain.shape == (2, 4, 2, 4, 6)
        assert not close(relational[0], plain[0]) and close(relational[1], plain[1])  # no word in the negative prompt


def test_training_with_a_mask_gives_the_same(setup: Any) -> None:
    script = module("_network")
    network = script.random_network(setup)
    latents = script.random_latents(setup, network)
    split = lambda: script.training_pass(network, latents, script.random_branches(setup, network, 4)[0])  # noqa: E731
    masked = script.WithMask(split)
    velocity, gradient = split()
    assert close(masked(), (velocity, gradient)) and gradient.abs().max() > 0
    assert [*masked._masks] == [(36, 36), (12, 36)]  # so it did run with masks, the last layer with the video's
    masked._masks[36, 36].fill_(True)
    assert not close(masked()[0], velocity)


def test_networks_are_in_the_types_of_loaded_ones(setup: Any, tmp_path: Path) -> None:
    network = module("_network").random_network(replace(setup, dtype=torch.bfloat16))
    network.save_pretrained(tmp_path)
    loaded = type(network).from_pretrained(tmp_path, torch_dtype=torch.bfloat16)
    types = {name: parameter.dtype for name, parameter in network.named_parameters()}
    assert types == {name: parameter.dtype for name, parameter in loaded.named_parameters()}
    assert set(types.values()) == {torch.float32, torch.bfloat16}


# ---- comparing ------------------------------------------------------------------------------------------------------


def fixed(result: Any) -> Callable[[], Any]:
    return lambda: result


def failing() -> None:
    raise RuntimeError("no such kernel\nand much more")


def test_what_differs_or_cannot_run_is_not_compared() -> None:
    compare = module("_compare")
    one, near, far = torch.ones(3), torch.full((3,), 1.0001), torch.full((3,), 1.5)
    variants = {
        "base": compare.Variant(fixed((one, one))),
        "near": compare.Variant(fixed((one, near)), "base"),
        "far": compare.Variant(fixed((one, far)), "base"),
        "no number": compare.Variant(fixed((one, one * float("nan"))), "base"),
        "other": compare.Variant(fixed(far)),
        "absent": compare.Variant(failing, "base", optional=True),
    }
    runs, notes = compare.warm_up(variants, 1e-3)
    assert [*runs] == ["base", "near", "other"]
    assert notes == [
        "absent: no such kernel",
        "far: not compared, because its result differs from that of base by 0.5",
        "no number: not compared, because its result differs from that of base by nan",
    ]
    with pytest.raises(RuntimeError, match="no such kernel"):
        compare.warm_up({"base": compare.Variant(failing)}, 1e-3)


@pytest.mark.parametrize(("seconds", "rounds"), [(0.0, 5), (20.0, 7), (1e9, 40)])
def test_variants_take_turns_there_and_back(seconds: float, rounds: int) -> None:
    passed, order = [0.0], []

    def lasting(name: str, duration: float) -> Callable[[], None]:
        def run() -> None:
            order.append(name)
            passed[0] += duration

        return run

    runs = {name: lasting(name, duration) for name, duration in (("a", 2.0), ("b", 1.0))}
    times = module("_compare").time_in_turns(runs, lambda: passed[0], 5, seconds)
    assert times == {"a": [2.0] * rounds, "b": [1.0] * rounds}
    assert "".join(order) == ("abba" * rounds)[: 2 * rounds]


def test_a_ratio_is_the_median_of_the_rounds() -> None:
    value, spread = module("_compare").ratio([2.0, 9.0, 4.0, 30.0, 8.0], [1.0, 3.0, 4.0, 5.0, 2.0])  # 2, 3, 1, 6, 4
    assert value == 3.0 and spread == pytest.approx((4 - 2) / 2 / 3)


@given(st.lists(st.floats(0.01, 100), min_size=2, max_size=30), st.floats(0.1, 10))
def test_drift_cancels(slowness: list[float], longer: float) -> None:
    over, under = [longer * s for s in slowness], slowness
    assert module("_compare").ratio(over, under) == (pytest.approx(longer), pytest.approx(0, abs=1e-9))


def test_figures_of_a_comparison(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    compare, table = module("_compare"), module("_table")
    times = {"slow": [3.0, 6.0], "fast": [1.0, 2.0]}
    monkeypatch.setattr(compare, "time_in_turns", lambda *_: times)
    goal = table.at_least(2.5)
    goals = {"step: slow / fast": {4: goal}, "step: fast / slow": {8: goal}}
    found = compare.Comparison(replace(setup, goals=goals), "step", 4, {})
    figures = [*found.ratios(("slow", "fast"), ("slow", "absent"), ("fast", "slow")), *found.milliseconds("slow", "no")]
    assert [(f.name, f.references, f.goal) for f in figures] == [
        ("step: slow / fast", 4, goal),
        ("step: fast / slow", 4, None),
        ("step: slow, ms", 4, None),
    ]
    assert [f.value for f in figures] == [3.0, pytest.approx(1 / 3), 4500.0]


# ---- the table ------------------------------------------------------------------------------------------------------


def test_table() -> None:
    table = module("_table")
    low, high = table.at_most(1.03), table.at_least(1.3)
    figures = [
        table.Figure("a / b", 0, 1.0312, low, 0.01),
        table.Figure("a / b", 8, 1.298, low, 0.2),
        table.Figure("b / c", 8, 1.3, high, 0.02),
        table.Figure("b / c", 0, 12.345),
        table.Figure("b, ms", 0, 1234.5),
        table.Figure("waits", 8, 0, table.at_most(0)),
    ]
    assert table.table(figures, ["left out", "left out"]).splitlines() == [
        "| references | 0 | 8 | goal |",
        "|---|---:|---:|---|",
        "| a / b | 1.03 **missed** | 1.3 **missed** | ≤ 1.03 |",
        "| b / c | 12.3 | 1.3 met | ≥ 1.3 at 8 |",
        "| b, ms | 1234 |  |  |",
        "| waits |  | 0 met | ≤ 0 |",
        "",
        "- A ratio is the median of the ratios of all rounds; the middle half of them spans ±2.0% of it, at worst "
        "±20.0% (a / b, 8 references).",
        "- left out",
    ]


# ---- the whole ------------------------------------------------------------------------------------------------------


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells by row, without the goals."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return {name: values[:-1] for name, *values in cells}


def test_every_row_in_miniature(setup: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    script = module("")
    text = script.report(setup, [found for part in script.PARTS.values() for found in part(setup)])
    rows = rows_of(text)
    assert rows.pop("references") == ["0", "1", "4", "8", "12"]
    forward, both = "attention forward", "attention forward and backward"
    ways = ("dense mask / split", "split / the video's call", "split / full attention", "split, ms")
    everywhere = {
        *(f"{case}: {way}" for case in (forward, both) for way in ways),
        f"{forward}: flex / split",
        f"{forward}: the video's call, TFLOP/s",
        *(f"step: plain / {way}" for way in ("references cached", "one batch")),
        "step: references cached / text cached too",
        "step: plain, ms",
        "step: text cached too, ms",
    }
    some = {
        "step: with MCAM / without MCAM": (4, 8),
        "training pass: dense mask / split": (4, 8),
        "training pass: split, ms": (4, 8),
        "a clip of lumosx-tiny: uncached / cached": (8,),
        "a clip of lumosx-tiny: cached, ms": (8,),
        "step: plain / compiled": (4,),
        "step: compiled, ms": (4,),
        "step: 50 of them compiled, s": (4,),
    }
    columns = dict.fromkeys(everywhere, (0, 1, 4, 8, 12)) | some
    filled = {name: {n: c for n, c in zip((0, 1, 4, 8, 12), cells, strict=True) if c} for name, cells in rows.items()}
    assert {name: tuple(cells) for name, cells in filled.items()} == columns
    assert all(float(cell.split()[0]) > 0 for cells in filled.values() for cell in cells.values())
    with_goal = {(name, n) for name, cells in filled.items() for n, cell in cells.items() if " " in cell}
    assert with_goal == {(name, n) for name, goals in setup.goals.items() for n in goals}
    assert "differs" not in text
    notes = [line for line in text.splitlines() if "cannot run here" in line or "FlexAttention" in line]
    assert len(notes) == 2 * len(BACKENDS) - 1  # of each case, but that flex runs forward

    fake_cuda(monkeypatch, peak=[3, 2])
    details = {figure.name for figure in module("_network").details(setup) if not isinstance(figure, str)}
    assert script.gpu_setup().goals.keys() <= columns.keys() | details


def test_flops_set_the_gpus_goals() -> None:
    script = module("")
    setup = script.gpu_setup()
    video, reference = 21 * 30 * 52, 30 * 52
    tokens = video + 8 * reference  # a background, two people of three members, one of one
    share = (video * tokens + (1 + 9 + 9 + 1) * reference**2) / tokens**2
    assert script.attended_share(setup, 8) == pytest.approx(share)
    assert script.attended_share(setup, 0) == script.cached_speedup(setup, 0) == 1
    assert 1.10 < script.cached_speedup(setup, 8) < 1.14  # as counted by hand for groups of four


# ---- on a GPU, as far as it can be pretended ------------------------------------------------------------------------


def fake_cuda(monkeypatch: pytest.MonkeyPatch, peak: Sequence[int]) -> list[str]:
    """Answers of `torch.cuda`, and the list of what was asked of it."""
    asked: list[str] = []
    peaks: Iterator[int] = iter(peak)

    class FakeGraph:
        def replay(self) -> None:
            asked.append("replay")

    @contextlib.contextmanager
    def told(what: str) -> Iterator[None]:
        asked.append(f"{what} begins")
        yield
        asked.append(f"{what} ends")

    def fake_stream() -> Any:
        return SimpleNamespace(wait_stream=lambda _: asked.append("wait"))

    fakes = {
        "memory_allocated": lambda: 1_000,
        "max_memory_allocated": lambda: next(peaks),
        "reset_peak_memory_stats": lambda: asked.append("reset"),
        "Stream": fake_stream,
        "current_stream": fake_stream,
        "stream": lambda _: told("stream"),
        "CUDAGraph": FakeGraph,
        "graph": lambda _: told("capture"),
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return asked


def test_a_graph_is_captured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = fake_cuda(monkeypatch, [])
    graph = module("_gpu").Graph(lambda: asked.append("run") or len(asked))
    results = [graph(), graph()]
    warm_up = ["wait", "stream begins", "run", "run", "run", "stream ends", "wait"]
    assert asked == [*warm_up, "capture begins", "run", "capture ends", "replay", "replay"]
    assert results == [9, 9]  # what the captured run gave


def test_details_of_a_step(monkeypatch: pytest.MonkeyPatch, setup: Any) -> None:
    network = module("_network")
    fake_cuda(monkeypatch, peak=[3_001_000, 2_001_000])
    monkeypatch.setattr(network, "waits_and_copies", lambda _: (3, 5))
    figures = {figure.name: figure.value for figure in network.details(setup) if not isinstance(figure, str)}
    weights = sum(4 * p.numel() for p in network.random_network(setup).parameters())
    assert figures["step: peak memory, GB"] == pytest.approx((weights + 3_000_000) / 1e9)
    assert figures["step: memory of MCAM, GB"] == pytest.approx(1e-3)
    assert (figures["step: waits for the device"], figures["step: copies to the device"]) == (3, 5)
    assert figures["step: plain / as a graph"] > 0 and figures["step: as a graph, ms"] > 0


def test_waits_and_copies_are_those_of_the_profiler() -> None:
    gpu = module("_gpu")
    names = ["aten::copy_", "cudaMemcpyAsync", "Memcpy HtoD (Pageable -> Device)", "Memcpy DtoH (Device -> Pageable)"]
    names += ["cudaStreamSynchronize", "cudaLaunchKernel", "cudaStreamSynchronize", "Memcpy HtoD (Pinned -> Device)"]
    assert gpu.count(names) == (2, 2)
    assert gpu.waits_and_copies(lambda: torch.ones(2) + 1) == (0, 0)


# ---- the command ----------------------------------------------------------------------------------------------------


def run(monkeypatch: pytest.MonkeyPatch, *options: str) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark.py", *options])
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    module("").main()


def test_the_command_prints_and_writes_the_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    figure = module("_table").Figure("training pass: a / b", 4, 0.5, module("_table").at_least(1.0))
    monkeypatch.setitem(module("").PARTS, "training", lambda _: iter([figure, "left out"]))
    file = tmp_path / "table.md"
    run(monkeypatch, "--device", "cpu", "--only", "training", "--out", str(file))  # a goal that is missed is no error
    printed = capsys.readouterr().out
    assert file.read_text() == printed
    assert rows_of(printed) == {"references": ["4"], "training pass: a / b": ["0.5 **missed**"]}
    options = f"--device cpu --only training --out {file}"
    assert f"- command: `python scripts/benchmark.py {options}`" in printed
    assert f"PyTorch {torch.__version__}" in printed and "diffusers" in printed and "threads: " in printed


def test_what_was_measured_before_an_error_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def part(_: Any) -> Iterator[Any]:
        yield module("_table").Figure("a / b", 4, 2.0)
        raise RuntimeError("no memory left")

    monkeypatch.setitem(module("").PARTS, "training", part)
    with pytest.raises(RuntimeError, match="no memory left"):
        run(monkeypatch, "--device", "cpu", "--only", "training")
    assert rows_of(capsys.readouterr().out)["a / b"] == ["2"]


def test_without_a_gpu_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as error:
        run(monkeypatch, "--device", "cuda")
    assert error.value.code == 2 and "PyTorch finds no CUDA device here" in capsys.readouterr().err
