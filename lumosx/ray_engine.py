"""Ray Data as the engine of independent jobs, on many machines or on all cores of one.

Ray only spreads the work: each job keeps its own result on the disk, because Ray's checkpoints follow its blocks.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from lumosx.errors import InputError

TRIES = 2  # of a job whose process dies, as the machine may have been the reason
Job = TypeVar("Job")
Done = TypeVar("Done")
LEAST_CPUS = 4  # of a cluster that is started here; with fewer, Ray's own tasks wait for those that wait for them


def map_with_ray(
    jobs: Sequence[Job],
    make: Callable[[], Callable[[Job], Done]],
    workers: int | None = None,
    address: str | None = None,
) -> Iterator[tuple[int, Done | None]]:
    """Each job's number and what became of it, in the order in which they end; None: its process died of it.

    A job whose process dies is tried once more.

    Args:
        jobs: what can be pickled.
        make: called once in every process, where it loads what is needed; what it makes is called with the jobs, and
            raises nothing.
        workers: processes at most; None: one for each GPU or, where there are none, for each CPU but one.
        address: of the cluster, such as ray://head:10001; None: that of RAY_ADDRESS, or else this machine.

    Raises:
        InputError: ray is not installed.
    """
    ray = _ray()
    if not ray.is_initialized():
        there = address or os.environ.get("RAY_ADDRESS")
        cpus = None if there else max(LEAST_CPUS, os.cpu_count() or 1, (workers or 0) + 1)
        ray.init(there, num_cpus=cpus, log_to_driver=False, include_dashboard=False)
    gpus = int(ray.cluster_resources().get("GPU", 0))
    processes = workers or gpus or max(1, int(ray.cluster_resources()["CPU"]) - 1)
    context = ray.data.DataContext.get_current()
    before = context.max_errored_blocks, context.enable_progress_bars
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    try:
        # A block a job: what dies takes nothing else with it, and the jobs are spread evenly.
        numbers = ray.data.from_items([{"job": number} for number in range(len(jobs))], override_num_blocks=len(jobs))
        done = numbers.map(
            _Process,
            fn_constructor_args=(list(jobs), make, os.getcwd()),
            # One job at a time: others that wait at a process when it dies would count as tried.
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=min(processes, len(jobs)), max_tasks_in_flight_per_actor=1
            ),
            num_cpus=None if gpus else 1,
            num_gpus=1 if gpus else None,
            ray_remote_args_fn=lambda: {
                "max_task_retries": TRIES - 1
            },  # without it, a job that kills is tried for ever
        )
        left = set(range(len(jobs)))
        for row in done.iter_rows():
            left.remove(row["job"])
            yield row["job"], pickle.loads(row["done"])
        yield from ((number, None) for number in sorted(left))
    finally:
        context.max_errored_blocks, context.enable_progress_bars = before


class _Process:
    """What runs in a process of Ray's."""

    def __init__(self, jobs: list[Any], make: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        os.chdir(folder)  # paths mean the same in all processes
        self._jobs, self._call = jobs, make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "done": pickle.dumps(self._call(self._jobs[row["job"]]))}


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("--engine ray needs Ray: pip install 'lumosx[ray]'") from error
    return ray
