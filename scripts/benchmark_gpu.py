"""What `benchmark.py` asks of a device: the time, and of a CUDA device memory, waits and a graph of a whole step."""

import gc
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

WAITS = ("cudaStreamSynchronize", "cudaEventSynchronize")
COPY = "Memcpy HtoD"  # how the profiler's names of copies from host to device begin
WARM_UP = 3  # runs before a capture


def clock(device: torch.device) -> float:
    """Seconds, when the device has done what it was given; a CPU's are those that it worked for this process."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def release() -> None:
    """Gives the device's unused memory back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def peak_memory(network: torch.nn.Module, run: Callable[[], Any]) -> int:
    """Bytes of a network's weights and of what a run of it allocates, whatever else lies on the device."""
    run()  # what it keeps for later runs is made
    release()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    run()
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    return weights + torch.cuda.max_memory_allocated() - before


def waits_and_copies(run: Callable[[], Any]) -> tuple[int, int]:
    """How often a run waits for the device, and how often it copies something to it."""
    with torch.profiler.profile() as profiler:
        run()
    return count([event.name for event in profiler.events()])


def count(events: Sequence[str]) -> tuple[int, int]:
    """Waits and copies among the names of a profiler's events."""
    return sum(name in WAITS for name in events), sum(name.startswith(COPY) for name in events)


class Graph:
    """A function as a CUDA graph, captured when it is first called: the host then gives one order instead of thousands.

    A function can be captured if it gives the device the same orders each time and never waits for an answer.
    """

    def __init__(self, run: Callable[[], Any]) -> None:
        self._run = run
        self._graph: Any = None
        self._result: Any = None

    def __call__(self) -> Any:
        """The function's result."""
        if self._graph is None:
            self._graph = self._capture()
        self._graph.replay()
        return self._result

    def _capture(self) -> Any:
        aside = torch.cuda.Stream()  # kernels set themselves up outside of the capture, as PyTorch asks for
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(WARM_UP):
                self._run()
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._result = self._run()
        return graph
