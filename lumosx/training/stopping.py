"""Stops a run at the end of a step when the machine asks for it (SIGTERM, Slurm's SIGUSR1), so that nothing is lost."""

import signal
from types import FrameType

EXIT_CODE = 143  # 128 + SIGTERM: the run is whole and the same command goes on with it
SIGNALS = (signal.SIGTERM, signal.SIGUSR1)


class RunStopped(Exception):
    """The run was asked to stop and has saved its state."""


class StopSignal:
    """A context in which the signals above set `asked` instead of ending the process."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "StopSignal":
        self._before = {number: signal.signal(number, self._ask) for number in SIGNALS}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.asked = True
