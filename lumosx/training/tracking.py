"""Figures of a run: RUN/log.jsonl always, a line on the terminal, and the trackers that `track.to` names.

The trackers are spoken to directly. Those of accelerate would first make its process state, which settles device and
backend of the whole process before the engine that trains could.
"""

import math
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

from lumosx.errors import InputError
from lumosx.files import atomic
from lumosx.training.config import Config
from lumosx.training.ranks import Ranks
from lumosx.training.run import append_line, rewind_lines

Figures = Mapping[str, float]


class Tracker:
    """Writes a run's figures on the main rank; on the others it does nothing.

    Args:
        config: of the run. Figures go to its folder.
        ranks: of this process.

    Raises:
        InputError: a tracker is unknown, not installed, or does not start.
    """

    def __init__(self, config: Config, ranks: Ranks) -> None:
        kinds = _kinds(config.track.to)  # on all ranks, so that all of them stop
        self._is_main = ranks.is_main
        self._log = config.folder / "log.jsonl"
        self._steps = config.train.steps
        self._is_live = False  # whether an unfinished line stands on the terminal
        self._sinks: list[Sink] = []
        if self._is_main:
            config.folder.mkdir(parents=True, exist_ok=True)
            self._sinks = [kind(config) for kind in kinds]

    def log(self, step: int, figures: Figures) -> None:
        """Adds one line to log.jsonl and one point to each tracker. A figure that is no number is null in the log."""
        if not self._is_main:
            return
        valid = {name: value if math.isfinite(value) else None for name, value in figures.items()}
        append_line(self._log, {"step": step, **valid})
        for sink in self._sinks:
            sink.log(step, figures)

    def rewind(self, step: int) -> None:
        """Drops what was logged behind `step`, where the run goes on; a run that starts anew rewinds to 0."""
        if self._is_main:
            rewind_lines(self._log, step)
        for sink in self._sinks:
            sink.rewind(step)

    def progress(self, step: int, figures: Figures) -> None:
        """Shows where the run is: in place on a terminal, else as a line of its own. See `progress_line`."""
        if not self._is_main:
            return
        line = progress_line(step, self._steps, figures)
        if sys.stdout.isatty():
            width = shutil.get_terminal_size().columns - 1  # a line that wraps cannot be written over
            print(f"\r{line[:width]}{_CLEAR}", end="", flush=True)
            self._is_live = True
        else:
            print(line, flush=True)

    def note(self, text: str) -> None:
        """Prints a line that stays, such as why an update was left out."""
        if self._is_main:
            print(f"\r{text}{_CLEAR}" if self._is_live else text, flush=True)
            self._is_live = False

    def close(self) -> None:
        """Ends the terminal's line and every tracker's run."""
        if self._is_live:
            print()
            self._is_live = False
        for sink in self._sinks:
            sink.close()


_CLEAR = "\x1b[K"  # the rest of the terminal's line


def progress_line(step: int, steps: int, figures: Figures) -> str:
    """One line for people; what `figures` does not hold is left out.

    Args:
        step, steps: updates so far, and at the end.
        figures: loss, gradient_norm, seconds_per_step, tokens_per_second, mfu (0 to 1).
    """
    parts = [f"step {step}/{steps}"]
    for name, show in _SHOWN.items():
        if name in figures:
            parts.append(show(figures[name]))
    if "seconds_per_step" in figures and step < steps:
        parts.append(f"{duration((steps - step) * figures['seconds_per_step'])} left")
    return "  ".join(parts)


_SHOWN = {
    "loss": "loss {:.4f}".format,
    "gradient_norm": "gradient norm {:.3g}".format,
    "seconds_per_step": "{:.2f} s/step".format,
    "tokens_per_second": lambda rate: f"{_short(rate)} tokens/s",
    "mfu": "MFU {:.1%}".format,
}


def _short(number: float) -> str:
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}"


def duration(seconds: float) -> str:
    """Seconds as people say them, the two largest units: "1 h 12 min"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min" if minutes else f"{rest} s"


class Sink(Protocol):
    """A tracker that is not ours, with one run open."""

    def __init__(self, config: Config) -> None:
        """Opens the run; one of the same name goes on."""
        ...

    def log(self, step: int, figures: Figures) -> None:
        """Adds a point."""
        ...

    def rewind(self, step: int) -> None:
        """Hides points behind `step` where the tracker can; elsewhere those of the resumed run lie over them."""
        ...

    def close(self) -> None:
        """Ends the run."""
        ...


class _TensorBoard:
    """Event files under RUN/tensorboard."""

    def __init__(self, config: Config) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._open, self._folder = SummaryWriter, str(config.folder / "tensorboard")
        self._writer = SummaryWriter(self._folder)

    def log(self, step: int, figures: Figures) -> None:
        for name, value in figures.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def rewind(self, step: int) -> None:
        self._writer.close()
        self._writer = self._open(self._folder, purge_step=step + 1)

    def close(self) -> None:
        self._writer.close()


class _Wandb:
    """A run of Weights & Biases, its files under RUN/wandb; WANDB_MODE is respected."""

    def __init__(self, config: Config) -> None:
        import wandb

        try:
            self._run = wandb.init(
                project=config.track.project,
                name=config.run.name,
                id=_wandb_id(config.folder / "wandb-id.txt"),
                resume="allow",
                dir=config.folder,
                config=asdict(config),
                allow_val_change=True,
            )
        except wandb.Error as error:
            raise InputError(f"track.to=wandb: {error} WANDB_MODE=offline keeps the figures here for later") from error
        # wandb's own step may never go back, as a resumed run does
        self._run.define_metric("step", hidden=True)
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, figures: Figures) -> None:
        self._run.log({"step": step, **figures})

    def rewind(self, step: int) -> None: ...

    def close(self) -> None:
        self._run.finish()


def _wandb_id(path: Path) -> str:
    """Of the run, from its first start on. Random: others in the project may have given their run the same name."""
    if not path.is_file():
        with atomic(path) as temporary:
            temporary.write_text(uuid.uuid4().hex, encoding="utf-8")
    return path.read_text(encoding="utf-8")


class _Trackio:
    """A run of trackio, kept where TRACKIO_DIR says."""

    def __init__(self, config: Config) -> None:
        import trackio  # pyright: ignore[reportMissingImports]

        self._run = trackio.init(
            project=config.track.project, name=config.run.name, config=asdict(config), resume="allow"
        )

    def log(self, step: int, figures: Figures) -> None:
        self._run.log(dict(figures), step=step)

    def rewind(self, step: int) -> None: ...

    def close(self) -> None:
        self._run.finish()


TRACKERS: dict[str, type[Sink]] = {"wandb": _Wandb, "tensorboard": _TensorBoard, "trackio": _Trackio}


def _kinds(names: Sequence[str]) -> list[type[Sink]]:
    for name in names:
        if name not in TRACKERS:
            raise InputError(f"track.to: {name!r} is no tracker; choose from {', '.join(TRACKERS)}")
        if find_spec(name) is None:
            raise InputError(f"track.to: {name} is not installed: pip install 'lumosx[tracking]'")
    return [TRACKERS[name] for name in names]
