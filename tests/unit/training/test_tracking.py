"""What a run writes down and shows: log.jsonl, the trackers for real and offline, the progress line."""

import json
import os
import pty
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lumosx.errors import InputError
from lumosx.training.config import Config, RunConfig, TrackConfig, TrainConfig
from lumosx.training.ranks import Ranks
from lumosx.training.tracking import Tracker, duration, progress_line

ALONE = Ranks(0, 1, torch.device("cpu"))
FIGURES = {
    "loss": 0.12345,
    "gradient_norm": 0.5678,
    "seconds_per_step": 1.5,
    "tokens_per_second": 12_345.0,
    "mfu": 0.4123,
}


def run_config(folder: Path, *trackers: str, name: str = "mine") -> Config:
    config = Config(run=RunConfig(root=str(folder), name=name), train=TrainConfig(steps=100))
    config.track = TrackConfig(to=list(trackers), project="tests")
    return config


def logged(folder: Path) -> list[dict[str, float]]:
    def refuse(constant: str) -> float:
        raise AssertionError(f"{constant} is not JSON")

    lines = (folder / "mine" / "log.jsonl").read_text().splitlines()
    return [json.loads(line, parse_constant=refuse) for line in lines]


def test_every_log_is_one_line_of_json(tmp_path: Path) -> None:
    tracker = Tracker(run_config(tmp_path), ALONE)
    tracker.log(20, {"loss": 0.5, "samples_seen": 40})
    tracker.log(40, {"loss@0.1": 0.25})
    assert logged(tmp_path) == [{"step": 20, "loss": 0.5, "samples_seen": 40}, {"step": 40, "loss@0.1": 0.25}]


def test_a_figure_that_is_no_number_is_null_so_that_the_line_stays_json(tmp_path: Path) -> None:
    Tracker(run_config(tmp_path), ALONE).log(1, {"loss": float("nan"), "gradient_norm": float("inf")})
    assert logged(tmp_path) == [{"step": 1, "loss": None, "gradient_norm": None}]


def test_only_the_main_rank_writes_and_speaks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(run_config(tmp_path, "tensorboard"), Ranks(1, 2, torch.device("cpu")))
    tracker.log(1, FIGURES)
    tracker.rewind(0)
    tracker.progress(1, FIGURES)
    tracker.note("left out")
    tracker.close()
    assert not any(tmp_path.iterdir())
    assert capsys.readouterr().out == ""


def test_rewinding_drops_what_lies_behind_the_step_and_a_line_cut_by_a_kill(tmp_path: Path) -> None:
    tracker = Tracker(run_config(tmp_path), ALONE)
    for step in (10, 20, 30):
        tracker.log(step, {"loss": float(step)})
    with (tmp_path / "mine" / "log.jsonl").open("a") as file:
        file.write('{"step": 40, "lo')
    tracker.rewind(20)
    tracker.log(25, {"loss": 25.0})
    assert [line["step"] for line in logged(tmp_path)] == [10, 20, 25]


def test_a_run_that_starts_anew_starts_an_empty_log(tmp_path: Path) -> None:
    first = Tracker(run_config(tmp_path), ALONE)
    first.log(10, {"loss": 1.0})
    second = Tracker(run_config(tmp_path), ALONE)
    second.rewind(0)
    assert logged(tmp_path) == []


def test_an_unknown_tracker_is_an_input_error_that_lists_the_known(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'mlflow' is no tracker; choose from wandb, tensorboard, trackio"):
        Tracker(run_config(tmp_path, "mlflow"), ALONE)


@pytest.mark.parametrize("name", ["wandb", "tensorboard", "trackio"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_tracker_that_is_not_installed_stops_every_rank_and_says_what_to_install(
    name: str, rank: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)  # as if it were not there
    with pytest.raises(InputError, match=rf"{name} is not installed: pip install 'lumosx\[tracking\]'"):
        Tracker(run_config(tmp_path, name), Ranks(rank, 2, torch.device("cpu")))


def test_tensorboard_reads_back_one_curve_of_a_run_that_was_resumed(tmp_path: Path) -> None:
    config = run_config(tmp_path, "tensorboard")
    first = Tracker(config, ALONE)
    for step in (10, 20, 30):
        first.log(step, {"loss": float(step)})
    first.close()
    second = Tracker(config, ALONE)
    second.rewind(20)
    for step in (30, 40):
        second.log(step, {"loss": -float(step)})
    second.close()
    events = EventAccumulator(str(config.folder / "tensorboard")).Reload()
    assert [(point.step, point.value) for point in events.Scalars("loss")] == [(10, 10), (20, 20), (30, -30), (40, -40)]


def wandb_records(path: Path) -> Iterator[bytes]:
    """Records of a .wandb file: LevelDB's log format behind a header of 7 bytes."""
    data, place, whole = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        room = 32768 - place % 32768
        if room < 7:  # the rest of a block holds no header
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # all of a record, or its last part
            yield whole
            whole = b""


def wandb_points(folder: Path) -> tuple[set[str], list[dict[str, float]]]:
    """Ids of the runs that offline files below `folder` are of, and all points in them."""
    from wandb.proto.wandb_internal_pb2 import Record  # pyright: ignore[reportAttributeAccessIssue]

    ids, points = set(), []
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        for record in map(Record.FromString, wandb_records(path)):
            if record.run.run_id:
                ids.add(record.run.run_id)
            items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            if items:
                points.append({key: value for key, value in items.items() if key[0] != "_"})
    return ids, points


def test_wandb_offline_keeps_one_run_through_a_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    config = run_config(tmp_path, "wandb", name="a/b")
    for rewound, step in ((0, 30), (20, 25)):  # the second goes back, as after a kill
        tracker = Tracker(config, ALONE)
        tracker.rewind(rewound)
        tracker.log(step, {"loss": float(step)})
        tracker.close()
        time.sleep(1.1)  # wandb names the run's folders by the second
    ids, points = wandb_points(config.folder)
    assert ids == {(config.folder / "wandb-id.txt").read_text()}
    assert points == [{"step": 30, "loss": 30.0}, {"step": 25, "loss": 25.0}]


def test_wandb_runs_of_one_name_in_two_folders_are_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    ids: set[str] = set()
    for person in ("anna", "ben"):
        config = run_config(tmp_path / person, "wandb")
        tracker = Tracker(config, ALONE)
        tracker.log(1, {"loss": 1.0})
        tracker.close()
        ids |= wandb_points(config.folder)[0]
    assert len(ids) == 2


def test_wandb_that_cannot_start_is_an_input_error_that_names_the_offline_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    def refuse(**options: object) -> None:
        raise wandb.Error("No API key configured.")

    monkeypatch.setattr(wandb, "init", refuse)
    with pytest.raises(InputError, match=r"track\.to=wandb: No API key.*WANDB_MODE=offline"):
        Tracker(run_config(tmp_path, "wandb"), ALONE)


STAND_IN = """
calls = []

class Run:
    def log(self, metrics, step=None):
        calls.append(("log", metrics, step))

    def finish(self):
        calls.append(("finish",))

def init(project, name=None, config=None, resume="never"):
    calls.append(("init", project, name, resume))
    return Run()
"""


def test_trackio_goes_on_with_the_run_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a module that stands in for trackio, which is not among the packages that the tests need."""
    (tmp_path / "trackio.py").write_text(STAND_IN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    tracker = Tracker(run_config(tmp_path / "runs", "trackio"), ALONE)
    tracker.log(10, {"loss": 0.5})
    tracker.close()
    calls = sys.modules.pop("trackio").calls
    assert calls == [("init", "tests", "mine", "allow"), ("log", {"loss": 0.5}, 10), ("finish",)]


def test_the_progress_line_says_how_far_how_fast_and_how_long_still() -> None:
    assert progress_line(20, 100, FIGURES) == (
        "step 20/100  loss 0.1235  gradient norm 0.568  1.50 s/step  12.3k tokens/s  MFU 41.2%  2 min left"
    )


def test_the_progress_line_leaves_out_what_is_not_known() -> None:
    assert progress_line(100, 100, {"loss": 1.0, "seconds_per_step": 0.25}) == "step 100/100  loss 1.0000  0.25 s/step"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "0 s"), (59, "59 s"), (60, "1 min"), (3599, "59 min"), (4320, "1 h 12 min"), (100_000, "1 d 3 h")],
)
def test_durations_read_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_off_a_terminal_every_progress_is_a_plain_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tracker = Tracker(run_config(tmp_path), ALONE)
    tracker.progress(1, {"loss": 1.0})
    tracker.note("step 2: left out")
    tracker.progress(3, {"loss": 2.0})
    tracker.close()
    assert capsys.readouterr().out == "step 1/100  loss 1.0000\nstep 2: left out\nstep 3/100  loss 2.0000\n"


def shown_on(terminal: int) -> str:
    """All that was written to a terminal whose other end is closed."""
    shown = b""
    with suppress(OSError):  # so Linux says that there is no more
        while part := os.read(terminal, 1000):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_on_a_terminal_the_line_is_written_over_and_notes_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = pty.openpty()
    monkeypatch.setenv("COLUMNS", "19")
    tracker = Tracker(run_config(tmp_path), ALONE)
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        tracker.progress(1, {"loss": 1.0})
        tracker.progress(2, {"loss": 2.0})
        tracker.note("saved")
        tracker.progress(3, {"loss": 3.0})
        tracker.close()
        monkeypatch.undo()
    clear = "\x1b[K"
    assert shown_on(reader) == (  # one column is left free, or the terminal would begin a new row
        f"\rstep 1/100  loss 1{clear}\rstep 2/100  loss 2{clear}\rsaved{clear}\r\n\rstep 3/100  loss 3{clear}\r\n"
    )
