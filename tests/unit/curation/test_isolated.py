"""Calls in a process of their own: what comes back, and what becomes of those that hang or crash."""

import ctypes
import math
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

from lumosx.curation import isolated
from lumosx.errors import InputError, TransientError


def own_process() -> int:
    return os.getpid()


def ask_another() -> float:
    return isolated.call(math.hypot, 3, 4, seconds=60)


def crash() -> None:
    ctypes.string_at(0)  # a segmentation fault


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def leave() -> None:
    os._exit(7)


def refuse(name: str) -> None:
    raise InputError(f"{name}: no")


def run_out() -> None:
    raise TimeoutError("of its own")


def test_the_result_comes_back_from_one_process_that_is_kept() -> None:
    assert isolated.call(math.hypot, 3, 4, seconds=60) == 5
    first, second = (isolated.call(own_process, seconds=60) for _ in range(2))
    assert first == second != os.getpid()


def test_errors_are_those_of_the_function() -> None:
    with pytest.raises(InputError, match=r"a\.mp4: no"):
        isolated.call(refuse, "a.mp4", seconds=60)
    with pytest.raises(TimeoutError, match="of its own"):
        isolated.call(run_out, seconds=60)


def test_what_hangs_is_stopped_and_the_next_call_works() -> None:
    isolated.call(own_process, seconds=60)
    with pytest.raises(TimeoutError, match=r"longer than 0\.2 s"):
        isolated.call(time.sleep, 60, seconds=0.2)
    assert isolated.call(math.hypot, 3, 4, seconds=60) == 5


def test_a_crash_is_an_error_and_the_next_call_works() -> None:
    with pytest.raises(isolated.Crashed, match="SIGSEGV"):
        isolated.call(crash, seconds=60)
    with pytest.raises(isolated.Crashed, match="exit code 7"):
        isolated.call(leave, seconds=60)
    assert isolated.call(math.hypot, 3, 4, seconds=60) == 5


def test_a_process_that_asks_another_one_ends() -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        assert executor.submit(ask_another).result(60) == 5


def test_want_of_memory_may_pass() -> None:
    with pytest.raises(isolated.Killed, match="memory") as raised:
        isolated.call(kill, seconds=60)
    assert isinstance(raised.value, TransientError)


def test_a_script_without_a_guard_is_not_run_anew(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import math\nfrom lumosx.curation.isolated import call\n"
        "print('begun', flush=True)\nprint(call(math.hypot, 3, 4, seconds=60), flush=True)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=100)
    assert done.stdout.split() == ["begun", "5.0"]


def test_a_process_that_has_grown_is_replaced_in_silence(tmp_path: Path) -> None:
    (tmp_path / "growing.py").write_text(
        "import os, time\nkept = []\ndef grow():\n    kept.append(bytearray(400_000_000))\n"
        "    time.sleep(1.1)\n    return os.getpid()\n"  # it is looked at once a second
    )
    script = tmp_path / "script.py"
    script.write_text(
        "from growing import grow\nfrom lumosx.curation.isolated import call\n"
        "print(*(call(grow, seconds=60) for _ in range(2)))\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=True, timeout=100,
                          env={**os.environ, "PYTHONPATH": str(tmp_path)})  # fmt: skip
    assert len(set(done.stdout.split())) == 2
    assert done.stderr == ""


def test_a_process_ends_with_one_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import os, signal\nfrom lumosx.curation.isolated import call\n"
        "print(call(os.getpid, seconds=60), flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, text=True, check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    left, until = int(done.stdout), time.monotonic() + 60
    while runs(left) and time.monotonic() < until:
        time.sleep(0.1)
    assert not runs(left)


def runs(process: int) -> bool:
    """Whether a process goes on; one that nobody has asked about since its end does not."""
    return psutil.pid_exists(process) and psutil.Process(process).status() != psutil.STATUS_ZOMBIE
