"""Where units of work run: in this process, in several on this machine, or on a Ray cluster.

All three take the same function and units and yield as each is done. Units write their results themselves, so a
cluster's machines must share the folders that they read and write.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing.connection import wait as wait_for
from typing import Any, Literal, Protocol, TypeVar, get_args

from latent_reenact.errors import InterruptedRunError, MissingDependencyError, UsageError

T = TypeVar("T")
R = TypeVar("R")
Cluster = Literal["local", "ray"]

_QUEUED_PER_JOB = 2  # units handed out at a time, so that a failure leaves few to call back
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


class Executor(Protocol):
    """Runs `function` on every unit, in any order, and yields once for each that is done."""

    def __call__(self, function: Callable[[T], None], units: Sequence[T]) -> Iterator[None]: ...


def executor(cluster: Cluster = "local", jobs: int | None = None) -> Executor:
    """The executor of a name.

    Args:
        jobs: processes on this machine; all cores by default. On a cluster it is Ray that decides.

    Raises:
        UsageError: unknown name, or less than one job.
        MissingDependencyError: Ray is not installed.
    """
    if cluster not in get_args(Cluster):
        raise UsageError(f"cluster: got {cluster!r}, expected one of {', '.join(get_args(Cluster))}")
    if jobs is not None and jobs < 1:
        raise UsageError(f"jobs: got {jobs}, expected 1 or more")
    if cluster == "ray":
        _import_ray()
        return run_on_ray
    return partial(run_locally, jobs=jobs or core_count())


def core_count() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_locally(function: Callable[[T], None], units: Sequence[T], *, jobs: int) -> Iterator[None]:
    """In `jobs` processes of one thread each; in this one where that is enough.

    Raises:
        InterruptedRunError: a process was killed.
    """
    jobs = min(jobs, len(units))
    if jobs <= 1:
        for unit in units:
            function(unit)
            yield
        return
    before = set(multiprocessing.active_children())
    context = multiprocessing.get_context("spawn")
    with _environment(_ONE_THREAD), ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        try:
            yield from _drained(lambda unit: pool.submit(function, unit), units, jobs * _QUEUED_PER_JOB)
        except BrokenProcessPool:
            raise InterruptedRunError(
                "a worker process was killed, perhaps for want of memory; what is finished stays: "
                "run it again, with fewer --jobs"
            ) from None
        except BaseException:  # an error of a unit, or Ctrl-C: the others need not be finished first
            for child in set(multiprocessing.active_children()) - before:
                child.terminate()
            raise


def map_locally(function: Callable[[T], R], units: Sequence[T], *, jobs: int) -> list[R]:
    """What `function` returns for every unit, in order; in `jobs` processes, or in this one where that is enough."""
    jobs = min(jobs, len(units))
    if jobs <= 1:
        return [function(unit) for unit in units]
    context = multiprocessing.get_context("spawn")
    with _environment(_ONE_THREAD), ProcessPoolExecutor(jobs, mp_context=context, initializer=_start_worker) as pool:
        return list(pool.map(function, units))


def run_on_ray(function: Callable[[T], None], units: Sequence[T]) -> Iterator[None]:
    """As tasks of one core each on the Ray cluster that this process belongs to, or on a new one of this machine.

    Raises:
        MissingDependencyError: Ray is not installed.
    """
    ray = _import_ray()
    if not ray.is_initialized():
        ray.init()
    task = ray.remote(num_cpus=1)(function)
    limit = _QUEUED_PER_JOB * max(1, int(ray.cluster_resources().get("CPU", 1)))
    waiting = list(reversed(units))
    running: list[Any] = []
    try:
        while waiting or running:
            while waiting and len(running) < limit:
                running.append(task.remote(waiting.pop()))
            finished, running = ray.wait(running, num_returns=1)
            for reference in finished:
                ray.get(reference)  # raises what the unit raised
                yield
    except BaseException:
        for reference in running:
            ray.cancel(reference)
        raise


def _drained(submit: Callable[[T], Future[None]], units: Sequence[T], limit: int) -> Iterator[None]:
    """Keep `limit` units submitted; yield as they are done, raise what they raise."""
    waiting = list(reversed(units))
    running: set[Future[None]] = set()
    while waiting or running:
        while waiting and len(running) < limit:
            running.add(submit(waiting.pop()))
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            future.result()
            yield


def _start_worker() -> None:
    """Ctrl-C is for the main process, which stops this one; and without it nobody would."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_die_with, args=(parent.sentinel,), daemon=True).start()


def _die_with(sentinel: int) -> None:
    wait_for([sentinel])
    os._exit(1)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    """Set variables for the processes started meanwhile."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _import_ray() -> Any:
    try:
        import ray
    except ImportError:
        raise MissingDependencyError(
            "--cluster ray needs Ray, which is not installed; pip install 'latent-reenact[ray]'"
        ) from None
    return ray
