"""Ray Data as the engine of independent jobs, on many machines or on all cores of one.

Ray only spreads the work: each job keeps its own result on the disk, because Ray's checkpoints follow its blocks.
"""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    gpu: bool = True,
) -> Iterator[tuple[int, Done | None]]:
    """Each job's number and what became of it, in the order in which they end; None: its process died of it.

    A job whose process dies is tried once more.

    Args:
        jobs: what can be pickled.
        make: called once in every process, where it loads what is needed; what it makes is called with the jobs, and
            raises nothing.
        workers: processes at most; None: as many as `share` says.
        address: of the cluster, such as ray://head:10001; None: that of RAY_ADDRESS, or else this machine.
        gpu: whether the jobs need a GPU where there are any.

    Raises:
        InputError: ray is not installed.
    """
    ray = _ray()
    if not ray.is_initialized():
        there = address or os.environ.get("RAY_ADDRESS")
        cpus = None if there else max(LEAST_CPUS, os.cpu_count() or 1, (workers or 0) + 1)
        ray.init(there, num_cpus=cpus, log_to_driver=False, include_dashboard=False)
    processes, takes = share(ray.cluster_resources(), workers, gpu)
    context = ray.data.DataContext.get_current()
    scaling = context.autoscaling_config
    before = context.max_errored_blocks, context.enable_progress_bars, scaling.actor_pool_util_upscaling_threshold
    context.max_errored_blocks, context.enable_progress_bars = -1, False
    scaling.actor_pool_util_upscaling_threshold = 1.0  # its own, 1.75, is never reached with one job at a time
    try:
        # A block a job: what dies takes nothing else with it, and the jobs are spread evenly.
        rows = [{"number": number, "job": ray.cloudpickle.dumps(job)} for number, job in enumerate(jobs)]
        done = ray.data.from_items(rows, override_num_blocks=len(jobs)).map(
            _Process,
            fn_constructor_args=(make, os.getcwd()),
            # One job at a time: others that wait at a process when it dies would count as tried.
            compute=ray.data.ActorPoolStrategy(
                min_size=1, max_size=min(processes, len(jobs)), max_tasks_in_flight_per_actor=1
            ),
            **takes,
            ray_remote_args_fn=lambda: {
                "max_task_retries": TRIES - 1
            },  # without it, a job that kills is tried for ever
        )
        left = set(range(len(jobs)))
        for row in done.iter_rows():
            left.remove(row["number"])
            yield row["number"], pickle.loads(row["done"])
        yield from ((number, None) for number in sorted(left))
    finally:
        context.max_errored_blocks, context.enable_progress_bars, scaling.actor_pool_util_upscaling_threshold = before


def share(resources: Mapping[str, float], workers: int | None, gpu: bool) -> tuple[int, dict[str, int]]:
    """Processes at most, and what each takes of a cluster: a GPU if the jobs need one and there are any, or else a CPU,
    of which one is left to Ray's own tasks.

    Args:
        resources: of the cluster, as Ray names them.
        workers, gpu: as of `map_with_ray`.
    """
    gpus = int(resources.get("GPU", 0))
    if gpu and gpus:
        return workers or gpus, {"num_gpus": 1}
    return workers or max(1, int(resources["CPU"]) - 1), {"num_cpus": 1}


class _Process:
    """What runs in a process of Ray's."""

    def __init__(self, make: Callable[[], Callable[[Any], Any]], folder: str) -> None:
        os.chdir(folder)  # paths mean the same in all processes
        self._call = make()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return {"number": row["number"], "done": pickle.dumps(self._call(pickle.loads(row["job"])))}


def _ray() -> Any:
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise InputError("--engine ray needs Ray: pip install 'lumosx[ray]'") from error
    return ray
