"""Calls that may hang or crash, in a process of their own: where unknown bytes first meet a decoder.

The process is kept for the next call. It starts afresh and imports what is called and nothing more, so that it does not
share the threads, the memory or the locks of the process that asks, nor run a user's script anew, as a process that is
spawned by Python's own means would.
"""

import os
import pickle
import re
import signal
import time
import warnings
from collections.abc import Callable
from functools import lru_cache
from multiprocessing.util import Finalize
from threading import Thread
from typing import Any, TypeVar

from lumosx.errors import InputError, TransientError

Result = TypeVar("Result")
GROWN = "A worker (stopped|was restarted) while some jobs were given"  # as loky says it, before 3.7 and since
WATCH = 1.0  # seconds between looks for the process that asks


class Crashed(Exception):
    """The process of a call died of it."""


class Killed(TransientError):
    """The process of a call was killed, by whom there was no memory left for most likely."""


def call(function: Callable[..., Result], *arguments: Any, seconds: float) -> Result:
    """What a function returns that runs in another process.

    Args:
        function, arguments: can be pickled. The module of the function is what the process imports.
        seconds: that it may take; importing counts, starting the process does not.

    Raises:
        TimeoutError: it took longer; it was stopped.
        Crashed: it ended its process.
        Killed: somebody else did.
        InputError: loky is not installed.
        Exception: what the function raises.
    """
    executor = _executor()
    from loky.process_executor import BrokenProcessPool

    # pickled here, because what cannot be imported there would break the pool rather than fail this call
    future = executor.submit(_run, pickle.dumps((function, arguments)))
    try:
        return future.result(timeout=seconds)
    except BrokenProcessPool as error:
        _stop(executor)
        raise _died(str(error)) from error
    except TimeoutError as error:
        if future.done():
            raise  # the function's own
        _stop(executor)
        raise TimeoutError(f"took longer than {seconds:g} s, and was stopped") from error


def _run(call: bytes) -> Any:
    function, arguments = pickle.loads(call)
    return function(*arguments)


def _follow(parent: int) -> None:
    """What a process does first: from then on it ends when the one that asks does, also if that is killed and so cannot
    stop it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(WATCH)
        os._exit(1)

    Thread(target=watch, daemon=True).start()


@lru_cache(maxsize=1)
def _executor() -> Any:
    try:
        from loky import ProcessPoolExecutor
    except ImportError as error:
        raise InputError("loky cannot be imported: pip install 'lumosx[curate]'") from error
    # A process that has grown by 300 MB, as frames of 4K make it, is replaced between two calls: nothing is lost. loky
    # warns from a thread of its own, so that a filter around the call would not hold.
    warnings.filterwarnings("ignore", GROWN, UserWarning, r"loky\.process_executor")
    executor = ProcessPoolExecutor(max_workers=1, initializer=_follow, initargs=(os.getpid(),))
    executor.submit(os.getpid).result()  # so that its start does not count
    # a process that multiprocessing started waits at its end for this one, and would wait for ever
    Finalize(None, _stop, (executor,), exitpriority=0)
    return executor


def _stop(executor: Any) -> None:
    _executor.cache_clear()
    executor.shutdown(wait=False, kill_workers=True)


def _died(message: str) -> Exception:
    """Of what loky says, which ends in a name and the exit code; a death by a signal has its number below 0."""
    codes = [int(code) for code in re.findall(r"\((-?\d+)\)", message)] or [1]
    if -signal.SIGKILL in codes:
        return Killed("its process was killed; most likely no memory was left")
    if codes[0] < 0:
        return Crashed(f"its process crashed ({signal.Signals(-codes[0]).name})")
    return Crashed(f"its process ended with exit code {codes[0]}")
