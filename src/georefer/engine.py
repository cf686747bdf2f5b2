"""Engines: map work over many items in this process, over processes, or on Ray.

Same function, same results, in the order of the items, whatever the engine and the number of workers. The
function is sent to each worker once, so what it opens lazily (rasters) stays open there; items and results
travel, and only a bounded number of them is under way, so memory does not grow with their number.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar

from georefer.errors import ConfigError, GeoreferError, InputError, MissingExtra

Item = TypeVar("Item")
Result = TypeVar("Result")

EngineName = Literal["serial", "processes", "ray"]
ENGINES: tuple[EngineName, ...] = ("serial", "processes", "ray")

AHEAD = 3
"""Items under way per worker: one at work, the others so that nobody waits for the slowest."""

WORKER_LOST = "a worker process died while working on {name} (killed for want of memory?) where a result is expected; "


class Engine(Protocol):
    """Where work is done.

    An exception of the function comes out of `map` at its item's place: with the item's `name` in front of the
    message where it is an InputError, as a note on it otherwise. Items are taken only as results are fetched;
    closing the generator stops the workers.
    """

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str] = str
    ) -> Generator[Result, None, None]: ...


def engine_of(name: str = "serial", workers: int | None = None) -> Engine:
    """The engine of a command line; `workers` defaults to the cores there are (for Ray: in its cluster)."""
    if workers is not None and workers < 1:
        raise ConfigError(f"{workers} workers were asked for where at least 1 is expected; leave it out for all cores")
    if name == "serial":
        return Serial()
    if name == "processes":
        return Processes(workers or _cores())
    if name == "ray":
        return Ray(workers)
    raise ConfigError(f"the engine '{name}' was found where one of {', '.join(ENGINES)} is expected; name one of those")


def _cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Serial:
    """One after another, here."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str] = str
    ) -> Generator[Result, None, None]:
        for item in items:
            yield _opened(_done(function, item), name(item))


@dataclass(frozen=True)
class Processes:
    """Over fresh processes of this machine.

    They start anew (spawn), since forking with GDAL, threads or locks held is unsafe: function, items and results
    must pickle, and a script that uses this stands behind `if __name__ == "__main__":`. An interrupt reaches only
    this process, and workers end with it, even when it is killed.
    """

    workers: int

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str] = str
    ) -> Generator[Result, None, None]:
        pool = ProcessPoolExecutor(self.workers, multiprocessing.get_context("spawn"), _start_worker, (function,))
        try:
            for future, label in _ahead(lambda item: pool.submit(_in_worker, item), items, name, AHEAD * self.workers):
                try:
                    outcome = future.result()
                except BrokenProcessPool as error:
                    raise GeoreferError(f"{WORKER_LOST.format(name=label)}use fewer workers") from error
                yield _opened(outcome, label)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True)
class Ray:
    """Over the machines of a Ray cluster, or of a local one that is started and stopped here.

    An already initialised Ray is used as it is, else the cluster that RAY_ADDRESS names. Every node needs this
    package and sees the imagery under the same paths. What a lost node was doing is done again elsewhere.
    """

    workers: int | None = None
    """None: as many as the cluster has cores."""

    def map(
        self, function: Callable[[Item], Result], items: Iterable[Item], name: Callable[[Item], str] = str
    ) -> Generator[Result, None, None]:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("the engine 'ray'", "ray") from error
        is_ours = not ray.is_initialized()
        if is_ours:
            _start_ray(ray, self.workers)
        try:
            yield from self._map(ray, function, items, name)
        finally:
            if is_ours:
                ray.shutdown()

    def _map(self, ray: Any, function, items, name) -> Iterator[Any]:
        count = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        kind = ray.remote(num_cpus=1, max_restarts=-1, max_task_retries=-1)(_RayWorker)
        shared = ray.put(function)
        actors = [kind.remote(shared) for _ in range(count)]
        free = deque(actors * AHEAD)
        holder: dict[Any, Any] = {}

        def submit(item: Any) -> Any:
            actor = free.popleft()
            reference = actor.work.remote(item)
            holder[reference] = actor
            return reference

        try:
            for reference, label in _ahead(submit, items, name, len(free)):
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    raise GeoreferError(
                        f"{WORKER_LOST.format(name=label)}see what Ray says: {str(error).splitlines()[0]}"
                    ) from error
                free.append(holder.pop(reference))
                yield _opened(outcome, label)
        finally:
            # a killed actor's tasks would be reported as lost
            ray.wait(list(holder), num_returns=len(holder), timeout=10) if holder else None
            for actor in actors:
                ray.kill(actor)


class _RayWorker:
    """One process somewhere in the cluster, which keeps the function and what it opened."""

    def __init__(self, function: Callable[[Any], Any]):
        self.function = function

    def work(self, item: Any) -> tuple[bool, Any]:
        return _done(self.function, item)


def _start_ray(ray: Any, workers: int | None) -> None:
    address = os.environ.get("RAY_ADDRESS")
    own = {} if address else {"num_cpus": workers, "include_dashboard": False}
    ray.init(address=address or "local", log_to_driver=False, logging_level="error", **own)


def _ahead(
    submit: Callable[[Item], Any], items: Iterable[Item], name: Callable[[Item], str], limit: int
) -> Iterator[tuple[Any, str]]:
    """What `submit` gave and the item's name, in order; at most `limit` that were not asked for yet."""
    waiting: deque[tuple[Any, str]] = deque()
    for item in items:
        if len(waiting) == limit:
            yield waiting.popleft()
        waiting.append((submit(item), name(item)))
    while waiting:
        yield waiting.popleft()


# --- in the workers --------------------------------------------------------------------------------------

_function: Callable[[Any], Any] | None = None


def _start_worker(function: Callable[[Any], Any]) -> None:
    global _function
    # the parent decides what an interrupt means
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _function = function


def _end_with_parent() -> None:
    """A killed parent cannot say goodbye, and its workers would wait for it for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _in_worker(item: Any) -> tuple[bool, Any]:
    assert _function is not None
    return _done(_function, item)


def _done(function: Callable[[Any], Any], item: Any) -> tuple[bool, Any]:
    """(True, result) or (False, (exception, its traceback as text))."""
    try:
        return True, function(item)
    except Exception as error:  # noqa: BLE001  (raised again where the result is fetched)
        return False, (_portable(error), traceback.format_exc())


def _portable(error: Exception) -> Exception:
    """The exception itself where it survives pickling, its type and words otherwise."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
    except Exception:  # noqa: BLE001  (an exception's own __init__ can raise anything)
        kind = GeoreferError if isinstance(error, GeoreferError) else RuntimeError
        return kind(str(error) if kind is GeoreferError else f"{type(error).__name__}: {error}")
    return error


def _opened(outcome: tuple[bool, Any], name: str) -> Any:
    is_result, value = outcome
    if is_result:
        return value
    error, trace = value
    if isinstance(error, InputError):
        raise type(error)(f"{name}: {error}") from error
    error.add_note(f"while working on {name}; where it happened:\n{trace}")
    raise error
